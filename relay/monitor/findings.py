"""What a check found, and how bad all of it is."""

from collections.abc import Iterable
from dataclasses import dataclass

OK, UNSEEN, WARNING, CRITICAL = "ok", "unseen", "warning", "critical"
# What cannot be seen is no problem by itself, and no recovery either.
_RANK = {OK: 0, UNSEEN: 0, WARNING: 1, CRITICAL: 2}
EXIT_STATUS = {OK: 0, WARNING: 1, CRITICAL: 2}


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found of one thing.

    Args:
        check: the check's name.
        level: OK, UNSEEN, WARNING or CRITICAL.
        text: a sentence.
        mend: the command or the step that mends it.
        subject: which of several things it is about.
        settles: it often passes by itself, so it is told when it is there at the next run too.
    """

    check: str
    level: str
    text: str
    mend: str = ""
    subject: str = ""
    settles: bool = False

    @property
    def name(self) -> str:
        return f"{self.check} {self.subject}".strip()

    @property
    def is_problem(self) -> bool:
        return self.level in (WARNING, CRITICAL)

    def to_json(self) -> dict[str, object]:
        """As programs see it."""
        return {
            "check": self.check,
            "subject": self.subject,
            "level": self.level,
            "text": self.text,
            "mend": self.mend,
        }


def is_worse(level: str, than: str) -> bool:
    """Whether a level is worse than another one."""
    return _RANK[level] > _RANK[than]


def worst(findings: Iterable[Finding]) -> str:
    """OK, or the worst level of all."""
    return max((one.level for one in findings if one.is_problem), key=_RANK.__getitem__, default=OK)


def by_amount(percent: float, warning: int, critical: int) -> str:
    """The level of something of which too much is bad."""
    if percent >= critical:
        return CRITICAL
    return WARNING if percent >= warning else OK
