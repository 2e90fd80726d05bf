"""A custom tool's input out of the JSON that Claude writes around it, as it comes."""

import json
import re

_HEAD = re.compile(r'\s*\{\s*"input"\s*:\s*"')
_TOKEN = re.compile(r'[^"\\]+|\\u[0-9a-fA-F]{4}|\\[^u]')
_FIRST_HALF = re.compile(r"\\u[dD][89abAB]")


class InputReader:
    """Reads the string in `{"input": "…"}` piece by piece, wherever the JSON is cut.

    What is not of that form gives nothing.
    """

    def __init__(self) -> None:
        self._pending = ""
        self._has_begun = False
        self._is_over = False

    def feed(self, text: str) -> str:
        """The characters of the input that `text` completes."""
        if self._is_over:
            return ""
        self._pending += text
        if not self._has_begun:
            head = _HEAD.match(self._pending)
            if head is None:
                return ""
            self._has_begun, self._pending = True, self._pending[head.end() :]
        end = self._end_of_whole()
        whole, self._pending = self._pending[:end], self._pending[end:]
        self._is_over = self._pending.startswith('"')
        return _decoded(whole) if whole else ""

    def _end_of_whole(self) -> int:
        """Up to where no escape is cut in two, nor a character that takes two of them."""
        position = last = 0
        while token := _TOKEN.match(self._pending, position):
            last, position = position, token.end()
        is_half = bool(_FIRST_HALF.match(self._pending, last)) and position == last + 6
        if is_half and not self._pending.startswith('"', position):
            return last
        return position


def _decoded(text: str) -> str:
    try:
        plain: str = json.loads(f'"{text}"', strict=False)
    except ValueError:
        return ""
    # Half a character, which JSON can write and UTF-8 cannot, becomes a question mark.
    return plain.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
