"""What may stand in the fields that people fill in. Each rule returns the value as it is kept.

Raises ValueError with a sentence that names no field; whoever asks knows which one it is, and
raises a Problem.
"""

import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Protocol, TypeVar

_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class Named(Protocol):
    """Something with an id and a name."""

    @property
    def id(self) -> str: ...
    @property
    def name(self) -> str: ...


N = TypeVar("N", bound=Named)


class Problem(Exception):
    """A sentence about why something cannot be found, made or changed.

    Args:
        field: what is wrong, by the name that the function which was called knows it by.
    """

    def __init__(self, sentence: str, field: str = "") -> None:
        super().__init__(sentence)
        self.field = field

    @property
    def rule(self) -> str:
        """The sentence without the field's name before it."""
        return str(self).removeprefix(f"{self.field}: ")


def name(value: object) -> str:
    """What a person calls something."""
    text = str(value)
    if not text.strip() or len(text) > 100 or not text.isprintable():
        raise ValueError("A name is one line of 1 to 100 printable characters.")
    return text


def line(value: object) -> str:
    """A remark, or nothing."""
    text = str(value)
    if len(text) > 500 or not all(one.isprintable() for one in text):
        raise ValueError("A remark is one line of at most 500 printable characters.")
    return text


def glob(value: object) -> str:
    """A model's name, with * and ? standing for anything."""
    text = str(value)
    if not text.strip() or len(text) > 256 or not text.isprintable() or set("[]") & set(text):
        raise ValueError(f"{text!r} is not a model pattern; use a name, * and ?.")
    return text


def globs(values: Iterable[object]) -> str:
    """Model patterns, one a line."""
    return "\n".join(glob(value) for value in values)


def words(values: Iterable[object]) -> str:
    """Plain words, such as names of groups, tags and users; one a line."""
    found = [str(value) for value in values]
    for word in found:
        if not _WORD.fullmatch(word):
            raise ValueError(
                f"{word!r} is not one plain word; use at most 64 letters, digits, . _ and -."
            )
    return "\n".join(found)


def whole(value: object, least: int, most: int) -> str:
    """A whole number within bounds."""
    text = str(value)
    if not re.fullmatch(r"[0-9]{1,12}", text) or not least <= int(text) <= most:
        raise ValueError(f"{text!r} is not a whole number from {least} to {most}.")
    return str(int(text))


def moment(value: datetime) -> str:
    """A point in time, in milliseconds since 1970 (UTC)."""
    ms = int(value.timestamp() * 1000)
    # What can be shown in any zone afterwards.
    if not 0 <= ms < datetime(9000, 1, 1, tzinfo=UTC).timestamp() * 1000:
        raise ValueError("A time is between the years 1970 and 9000.")
    return str(ms)


def lines(text: str) -> tuple[str, ...]:
    """What globs() or words() keep, as it was given."""
    return tuple(text.split("\n")) if text else ()


def by_name_or_id(records: Iterable[N], name_or_id: str) -> Sequence[N]:
    """The record with this id; else all with this name, of which there is at most one unless an
    earlier release let several be made."""
    named = []
    for record in records:
        if record.id == name_or_id:
            return [record]
        if record.name == name_or_id:
            named.append(record)
    return named


def twins(kind: str, name: str, records: Sequence[Named]) -> str:
    """The sentence about several records of one name."""
    ids = ", ".join(record.id for record in records)
    return f"There are {len(records)} {kind} named {name}; use an id: {ids}."
