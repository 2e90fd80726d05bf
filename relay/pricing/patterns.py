"""The names for which a row's patterns stand, as far as they can be listed.

A pattern of plain text, groups, alternatives, `?` and classes such as [5-9] stands for a few names;
any other one for more than can be listed.
"""

import re

_MOST = 1000


class _Open(Exception):
    """The pattern stands for more names than can be listed."""


def names_in(pattern: re.Pattern[str]) -> frozenset[str] | None:
    """All names that a row's pattern matches, in lower case; None where they cannot be listed."""
    reader = _Reader(pattern.pattern.lower())
    try:
        return frozenset(reader.alternatives())
    except _Open:
        return None


class _Reader:
    """Reads one pattern from its start to its end."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    @property
    def _next(self) -> str:
        return self._text[self._at : self._at + 1]

    def _take(self) -> str:
        taken = self._next
        if not taken:
            raise _Open
        self._at += 1
        return taken

    def alternatives(self) -> set[str]:
        """What is left, or left of a group."""
        found = self._sequence()
        while self._next == "|":
            self._at += 1
            found |= self._sequence()
        return found

    def _sequence(self) -> set[str]:
        found = {""}
        while self._next and self._next not in "|)":
            part = self._part()
            if self._next == "?":
                self._at += 1
                part = part | {""}
            if (self._next and self._next in "*+{?") or len(found) * len(part) > _MOST:
                raise _Open
            found = {start + end for start in found for end in part}
        return found

    def _part(self) -> set[str]:
        taken = self._take()
        if taken == "(":
            return self._group()
        if taken == "[":
            return self._class()
        if taken == "\\" and not self._next.isalnum():
            return {self._take()}
        if taken in ".^$*+?{}\\":
            raise _Open
        return {taken}

    def _group(self) -> set[str]:
        if self._text.startswith("?:", self._at):
            self._at += 2
        found = self.alternatives()
        if self._take() != ")":
            raise _Open
        return found

    def _class(self) -> set[str]:
        found: set[str] = set()
        while (taken := self._take()) != "]":
            if taken in "^\\":
                raise _Open
            last = taken
            if self._next == "-" and self._text[self._at + 1 : self._at + 2] != "]":
                self._at += 1
                last = self._take()
            found |= {chr(code) for code in range(ord(taken), ord(last) + 1)}
        return found
