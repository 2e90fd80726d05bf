"""What of a request's cost its own fields bound, and which field nobody can bound beforehand.

A request is judged by its decoded values, however its JSON spells them. The body is searched once,
and only what may matter is decoded: a body may be large, and most of it is text.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from relay import errors
from relay.dialects import named_tools
from relay.dialects.named_tools import Unbounded
from relay.pricing import ANY_MODEL, LARGEST_CONTEXT, MOST_TOKENS, PLAIN, Fallback, Reach

# Fields that change nothing of what size and max_tokens bound, whatever they say. Everything that
# is not known is taken for unbounded: tomorrow's fields may cost anything.
_BOUNDED = frozenset((
    "model", "max_tokens", "messages", "system", "tools", "tool_choice", "metadata", "stream",
    "stop_sequences", "temperature", "top_p", "top_k", "thinking", "output_config",
    "output_format", "cache_control", "context_management", "service_tier", "diagnostics",
    "fallback_credit_token", "tags", "user_profile_id",
))  # fmt: skip
# Fields whose values say how much more it can cost.
_PRICED = frozenset(("fallbacks", "speed", "inference_geo", "compaction", "thread"))
# Values that make a field, known or not, as good as left out.
_NOTHING = (b"null", b"[]", b"{}", b'""', b"false")

_LONGEST_PRICED = 64 * 1024
_MOST_FALLBACKS, _LONGEST_MODEL = 16, 256
# What a letter, a digit or _ looks like when it is spelled as an escape; nobody needs to.
_ESCAPE = re.compile(rb"\\u00(?:3[0-9]|5[fF]|6[1-9a-fA-F]|7[0-9aA])")
# Content that is read at the upstream, whatever its size: no more than a context holds. What is
# uploaded into a container is for code that runs there. And tools that are named in messages.
_ELSEWHERE, _UPLOAD = frozenset(("url", "file")), "container_upload"
_ADDITION = "tool_addition"
# Content that costs more tokens than its bytes are: a picture, and the pages of a document.
_SHOWN = ("image", "document", "base64")
_PICTURE_TOKENS = 5000


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

    def count(self, data: bytes | memoryview) -> dict[str, int]:
        """How often each of the types stands in it."""
        counts: dict[str, int] = {}
        for start in range(0, len(data), _PIECE_BYTES):
            end = min(start + _PIECE_BYTES + self.longest_name, len(data))
            for found in self.name.finditer(data, start, end):
                if word := self.value.match(data, found.end()):
                    kind = json.loads(word[1])
                    counts[kind] = counts.get(kind, 0) + 1
        return counts


def _content(name: bytes, words: bytes, longest_name: int) -> _Content:
    value = re.compile(rb'[ \t\n\r]*:[ \t\n\r]*("(?:%s)")' % words)
    return _Content(re.compile(rb'"%s"' % name), value, longest_name)


_PIECE_BYTES = 1024 * 1024
_WORDS = (*sorted(_ELSEWHERE), _UPLOAD, _ADDITION, *_SHOWN)
_TYPED = _content(b"type", "|".join(_WORDS).encode(), len(b'"type"'))
_TYPED_ESCAPED = _content(
    _spelled("type"), b"|".join(map(_spelled, _WORDS)), len(b'"type"') + 4 * len(b"\\u0000")
)


class _Fallback(msgspec.Struct, forbid_unknown_fields=True):
    model: str
    max_tokens: int | None = None
    speed: str | None = None
    thinking: msgspec.Raw = msgspec.Raw()
    output_config: msgspec.Raw = msgspec.Raw()


class _Typed(msgspec.Struct, forbid_unknown_fields=True):
    type: str = ""


class _Edit(msgspec.Struct):
    type: str = ""
    pause_after_compaction: bool | None = None
    model: msgspec.Raw | None = None


class _Management(msgspec.Struct):
    edits: list[_Edit] | None = None


# What the fields hold whose values are priced.
_TYPES: Mapping[str, Any] = {
    "fallbacks": str | list[_Fallback] | None,
    "speed": str | None,
    "inference_geo": str | None,
    "compaction": _Typed | None,
    "thread": _Typed | None,
}


def of(body: bytes, fields: Mapping[str, msgspec.Raw]) -> tuple[str, Reach]:
    """The field whose cost nothing bounds, or empty; and what bounds it beside size and max_tokens.

    Args:
        fields: the body's top-level fields, undecoded, by their decoded names.

    Raises:
        errors.BadRequest: a number is larger than anything can be.
    """
    try:
        return "", _reach(body, fields)
    except Unbounded as found:
        return found.field, PLAIN


def _reach(body: bytes, fields: Mapping[str, msgspec.Raw]) -> Reach:
    is_escaped = b"\\u00" in body and _ESCAPE.search(body) is not None
    reach = PLAIN
    if "tools" in fields:
        reach = named_tools.of(memoryview(fields["tools"]), is_escaped=is_escaped)
    content = _TYPED_ESCAPED if is_escaped else _TYPED
    if counts := content.count(body):
        reach = _with_content(reach, counts, content, fields)
    for name, value in fields.items():
        if name in _BOUNDED or memoryview(value) in _NOTHING:
            continue
        if name not in _PRICED or len(memoryview(value)) > _LONGEST_PRICED:
            raise Unbounded(name[:100])
        reach = replace(reach, **_priced(name, value, is_fast=reach.is_fast))
    if "context_management" in fields:
        compacts = _compacts(fields["context_management"])
        reach = replace(reach, compacts=compacts) if compacts != 0 else reach
    if "max_tokens" not in fields:
        raise Unbounded("max_tokens")
    return reach


def _with_content(
    reach: Reach, counts: Mapping[str, int], content: _Content, fields: Mapping[str, msgspec.Raw]
) -> Reach:
    """What there is, with what the content costs beyond its bytes and the tools it defines."""
    if _UPLOAD in counts:
        for name, value in fields.items():
            if _UPLOAD in content.count(memoryview(value)):
                raise Unbounded(name[:100])
    if additions := counts.get(_ADDITION):
        reach = named_tools.added(memoryview(fields.get("messages", b"")), additions, reach)
    hidden = counts.get("image", 0) * _PICTURE_TOKENS
    if ("document" in counts and "base64" in counts) or not _ELSEWHERE.isdisjoint(counts):
        # A small file may have many pages, and one that is not here any number.
        hidden += LARGEST_CONTEXT
    return replace(reach, hidden_tokens=reach.hidden_tokens + hidden) if hidden else reach


def _priced(name: str, raw: msgspec.Raw, *, is_fast: bool) -> dict[str, Any]:
    """What a field adds whose value says how much that is. Raises Unbounded."""
    value = _decoded(name, raw, _TYPES[name])
    match name, value:
        case _, None:
            return {}
        case "speed", "standard" | "fast":
            return {"is_fast": is_fast or value == "fast"}
        case "inference_geo", "us" | "global":
            return {"geo": value}
        case "compaction", _Typed(type="summarize"):
            return {"summarizes": True}
        case "thread", _Typed(type="create"):
            return {}
        case "fallbacks", "default":
            return {"fallbacks": (Fallback(ANY_MODEL),)}
        case "fallbacks", list() if len(value) <= _MOST_FALLBACKS:
            speeds = {entry.speed for entry in value} - {None, "standard"}
            if speeds - {"fast"}:
                raise Unbounded(name)
            found = tuple(_fallback(entry, number) for number, entry in enumerate(value))
            return {"fallbacks": found, "is_fast": is_fast or bool(speeds)}
    raise Unbounded(name)


def _fallback(entry: _Fallback, number: int) -> Fallback:
    if not entry.model or len(entry.model) > _LONGEST_MODEL or (entry.max_tokens or 0) < 0:
        raise Unbounded("fallbacks")
    if (entry.max_tokens or 0) > MOST_TOKENS:
        place = f"fallbacks[{number}].max_tokens"
        raise errors.BadRequest(f"{place}: must be at most {MOST_TOKENS}.")
    return Fallback(entry.model, entry.max_tokens)


def _decoded(name: str, raw: msgspec.Raw, kind: Any) -> Any:
    try:
        return msgspec.json.decode(raw, type=kind)
    except (msgspec.MsgspecError, RecursionError, UnicodeError):
        raise Unbounded(name) from None


def _compacts(management: msgspec.Raw) -> int | None:
    """How often a prompt may be compacted, which is a pass of its own; None is in each pass.

    Other ways of managing the context must only leave things out. Raises Unbounded.
    """
    name = "context_management"
    if len(memoryview(management)) > _LONGEST_PRICED:
        raise Unbounded(name)
    edits = (_decoded(name, management, _Management | None) or _Management()).edits or ()
    beside = [edit for edit in edits if not edit.type.startswith("clear_")]
    if not beside:
        return 0
    (edit, *others) = beside
    if others or not edit.type.startswith("compact_") or edit.model is not None:
        raise Unbounded(name)
    return 1 if edit.pause_after_compaction else None
