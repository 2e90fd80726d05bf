"""A text that must not be seen."""


class Secret:
    """A text that repr, str and logs show as ***; reveal() gives it."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The text itself."""
        return self._text

    def __repr__(self) -> str:
        return "***"
