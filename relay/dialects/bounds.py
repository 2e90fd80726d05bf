"""What of a request's cost its own fields bound, and which field nobody can bound beforehand.

A request is judged by its decoded values, however its JSON spells them. The body is searched once,
and only what may matter is decoded: a body may be large, and most of it is text.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from relay import errors
from relay.pricing import MOST_USES

# Fields that change nothing of what size and max_tokens bound, whatever they say. Everything that
# is not known is taken for unbounded: tomorrow's fields may cost anything.
_BOUNDED = frozenset((
    "model", "max_tokens", "messages", "system", "tools", "tool_choice", "metadata", "stream",
    "stop_sequences", "temperature", "top_p", "top_k", "thinking", "output_config",
    "output_format", "cache_control", "context_management", "service_tier", "diagnostics",
))  # fmt: skip
# Values that make a field, known or not, as good as left out.
_NOTHING = (b"null", b"[]", b"{}", b'""', b"false")
# Values of other fields that cost no more than leaving them out.
_USUAL = {"speed": "standard", "inference_geo": "global"}

# Tools that the client runs itself, by their types.
_CLIENTS_TOOL = re.compile(r"(?:custom$|$|bash_|text_editor_|memory_|computer_|browser_)")
_BOUNDED_TOOL = re.compile(r"web_(?:search|fetch)_")
# A type that no tool of the client's own, and nothing in its schema, has.
_OTHER_TYPE = re.compile(
    rb'"type"\s*:\s*"'
    rb'(?!(?:object|string|array|number|integer|boolean|null|custom|ephemeral)")'
)
# Tools that may cost more are decoded, which takes far more memory than their JSON.
_LARGEST_TOOLS = 1024 * 1024
_LONGEST_MANAGEMENT = 64 * 1024
_LONGEST_USUAL = 100
# What a letter, a digit or _ looks like when it is spelled as an escape; nobody needs to.
_ESCAPE = re.compile(rb"\\u00(?:3[0-9]|5[fF]|6[1-9a-fA-F]|7[0-9aA])")
# Content that is read at the upstream, whatever its size; and tools that are named in messages.
_ELSEWHERE = ("url", "file", "container_upload", "tool_addition")


def _spelled(word: str) -> bytes:
    """A pattern for a word whose letters may each be an escape."""
    return b"".join(
        b"(?:%c|\\\\u00%x%s)" % (letter, letter >> 4, _hex(letter & 15)) for letter in word.encode()
    )


def _hex(digit: int) -> bytes:
    low = b"%x" % digit
    return low if low.isdigit() else b"[%s%s]" % (low, low.upper())


@dataclass(frozen=True, slots=True)
class _Content:
    """Finds content of some types. The name of the field is looked for piece by piece, since a
    search holds up every thread; what follows it may be far away.

    A quote within a string has a backslash before it, so no text of a message matches.
    """

    name: re.Pattern[bytes]
    value: re.Pattern[bytes]
    longest_name: int

    def is_in(self, data: bytes | memoryview) -> bool:
        for start in range(0, len(data), _PIECE_BYTES):
            end = min(start + _PIECE_BYTES + self.longest_name, len(data))
            for found in self.name.finditer(data, start, end):
                if self.value.match(data, found.end()):
                    return True
        return False


def _content(name: bytes, words: bytes, longest_name: int) -> _Content:
    value = re.compile(rb'[ \t\n\r]*:[ \t\n\r]*"(?:%s)"' % words)
    return _Content(re.compile(rb'"%s"' % name), value, longest_name)


_PIECE_BYTES = 1024 * 1024
_BY_REFERENCE = _content(b"type", "|".join(_ELSEWHERE).encode(), len(b'"type"'))
_BY_REFERENCE_ESCAPED = _content(
    _spelled("type"), b"|".join(map(_spelled, _ELSEWHERE)), len(b'"type"') + 4 * len(b"\\u0000")
)


class _Tool(msgspec.Struct):
    type: str | None = None
    max_uses: int | None = None


class _Edit(msgspec.Struct):
    type: str = ""


class _Management(msgspec.Struct):
    edits: list[_Edit] | None = None


def of(body: bytes, fields: Mapping[str, msgspec.Raw]) -> tuple[str, int]:
    """The field whose cost nothing bounds, or empty; how often the upstream may use its tools.

    Args:
        fields: the body's top-level fields, undecoded, by their decoded names.

    Raises:
        errors.BadRequest: a number is larger than anything can be.
    """
    is_escaped = b"\\u00" in body and _ESCAPE.search(body) is not None
    by_tools, uses = _tools(memoryview(fields.get("tools", b"")), is_escaped=is_escaped)
    content = _BY_REFERENCE_ESCAPED if is_escaped else _BY_REFERENCE
    if by_tools:
        return by_tools, 0
    if content.is_in(body):
        found = (name for name, value in fields.items() if content.is_in(memoryview(value)))
        return next(found, "messages"), uses
    for name, value in fields.items():
        if name not in _BOUNDED and not _is_usual(name, value):
            return name[:100], uses
    if "context_management" in fields and not _is_lean(fields["context_management"]):
        return "context_management", uses
    return "" if "max_tokens" in fields else "max_tokens", uses


def _tools(tools: memoryview, *, is_escaped: bool) -> tuple[str, int]:
    """As of(), of the field tools alone."""
    if not is_escaped and not _OTHER_TYPE.search(tools):
        return "", 0
    if len(tools) > _LARGEST_TOOLS:
        return "tools", 0
    try:
        named = msgspec.json.decode(tools or b"[]", type=list[_Tool] | None) or []
    except (msgspec.ValidationError, msgspec.DecodeError):
        return "tools", 0
    uses = 0
    for number, tool in enumerate(named):
        if _CLIENTS_TOOL.match(tool.type or ""):
            continue
        limit = tool.max_uses
        if limit is not None and limit > MOST_USES:
            place = f"tools[{number}].max_uses"
            raise errors.BadRequest(f"{place}: must be at most {MOST_USES}.")
        if limit is None or limit < 0 or not _BOUNDED_TOOL.match(tool.type or ""):
            return "tools", 0
        uses += limit
    return "", min(uses, MOST_USES)


def _is_usual(name: str, raw: msgspec.Raw) -> bool:
    """Whether a field that may cost more says nothing, or what costs no more."""
    value = memoryview(raw)
    if len(value) > _LONGEST_USUAL:
        return False
    if value in _NOTHING:
        return True
    try:
        return name in _USUAL and msgspec.json.decode(value) == _USUAL[name]
    except (msgspec.DecodeError, UnicodeError):
        return False


def _is_lean(management: msgspec.Raw) -> bool:
    """Whether managing the context only leaves things out. A compaction is a pass of its own."""
    if len(memoryview(management)) > _LONGEST_MANAGEMENT:
        return False
    try:
        edits = (msgspec.json.decode(management, type=_Management | None) or _Management()).edits
    except (msgspec.ValidationError, msgspec.DecodeError):
        return False
    return all(edit.type.startswith("clear_") for edit in edits or ())
