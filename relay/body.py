"""A request's body as JSON: its top-level fields, undecoded and within bounds.

Everything here takes one pass over the body and memory that does not grow with it: a body is read
before anything is known of what its sender may do.
"""

import codecs
import json
import re
from typing import Any

import msgspec

from relay import errors

NOT_JSON = "The request's body is not a JSON object in UTF-8."
HALF_PAIR = (
    "The request's body holds half a surrogate pair: a character such as an emoji was cut in two."
    " Leave that text out or send the whole character."
)
MOST_FIELDS = 256
LONGEST_NAME = 256
# A body over this size is read in a thread, so that it holds up nobody else.
LARGE_BYTES = 1024 * 1024
# Values that a decoded body may hold: they take a hundred times the memory of their JSON.
MOST_CONTAINERS, MOST_VALUES = 150_000, 400_000

_SLICE_BYTES = 256 * 1024
# The name is one that was decoded already, so it is not long.
_NAME = re.compile(rb'[ \t\n\r]*("[^"\\]*(?:\\.[^"\\]*)*")[ \t\n\r]*:[ \t\n\r]*')
_COMMA = re.compile(rb"[ \t\n\r]*,")
# All that is no half of a pair: other bytes, other escapes, and whole pairs of escapes.
_WHOLE = (
    rb"(?:[^\\]++|\\[^u]|\\u(?![dD][89a-fA-F])"
    rb"|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})"
)
_WHOLES = re.compile(_WHOLE + rb"*+")
_WHOLES_OR_HALF = re.compile(rb"(" + _WHOLE + rb"++)|\\u[dD][89a-fA-F][0-9a-fA-F]{2}")


class _Name(str):
    """A top-level name; a type of its own lets the decoder hand over each before it goes on."""

    __slots__ = ()


class _Names:
    """Sees the top-level names of one body as they are decoded."""

    def __init__(self) -> None:
        self._seen: set[str] = set()

    def __call__(self, _: type, name: str) -> _Name:
        if len(name) > LONGEST_NAME:
            raise errors.BadRequest(
                f"{name[:40]}…: a field's name has at most {LONGEST_NAME} characters."
            )
        if name in self._seen:
            raise errors.BadRequest(f"{name}: this field stands twice in the request's body.")
        if len(self._seen) >= MOST_FIELDS:
            raise errors.BadRequest(f"The request's body has over {MOST_FIELDS} fields.")
        self._seen.add(name)
        return _Name(name)


def fields_of(body: bytes | memoryview) -> dict[str, msgspec.Raw]:
    """The fields of a JSON object, undecoded, by their decoded names.

    Raises:
        errors.BadRequest: it is not strict JSON in UTF-8, repeats a field, has over MOST_FIELDS of
            them or one with a name of over LONGEST_NAME characters.
    """
    check_utf8(body)
    try:
        fields: Any = msgspec.json.decode(body, type=dict[_Name, msgspec.Raw], dec_hook=_Names())
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        raise errors.BadRequest(why_not_json(bytes(body))) from None
    found: dict[str, msgspec.Raw] = fields
    return found


def check_utf8(body: bytes | memoryview) -> None:
    """Refuse what is not UTF-8, without a decoded copy of it. Raises errors.BadRequest."""
    if isinstance(body, bytes) and body.isascii():
        return
    decoder = codecs.getincrementaldecoder("utf-8")()
    view = memoryview(body)
    try:
        if len(view) <= _SLICE_BYTES:
            codecs.utf_8_decode(view, "strict", True)
            return
        for start in range(0, len(view), _SLICE_BYTES):
            decoder.decode(view[start : start + _SLICE_BYTES])
        decoder.decode(b"", True)
    except UnicodeDecodeError:
        raise errors.BadRequest(why_not_json(bytes(body))) from None


def why_not_json(body: bytes) -> str:
    """What is wrong with a body that could not be read."""
    return HALF_PAIR if joined(body) is not None else NOT_JSON


def joined(body: bytes) -> bytes | None:
    """A body whose halves of surrogate pairs are U+FFFD; None where it holds none.

    Halves come as escapes, which JSON allows, or as three bytes each, which UTF-8 does not; two of
    these that belong together become their character.
    """
    done = body
    if b"\xed" in body:
        try:
            text = body.decode("utf-8", "surrogatepass")
        except UnicodeDecodeError:
            return None
        done = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()
    if (b"\\ud" in done or b"\\uD" in done) and _WHOLES.fullmatch(done) is None:
        done = _WHOLES_OR_HALF.sub(lambda found: found[1] or b"\\ufffd", done)
    return None if done == body else done


def check_values(body: bytes) -> None:
    """Refuse a body that would take far more memory decoded than as it came.

    Raises errors.BadRequest.
    """
    if len(body) <= LARGE_BYTES:
        return
    containers = body.count(b"{") + body.count(b"[")
    if containers > MOST_CONTAINERS or body.count(b",") > MOST_VALUES:
        raise errors.BadRequest("The request's body holds more values than the relay reads.")


def place_of(body: bytes, name: str) -> tuple[int, int]:
    """Where the value of a top-level field begins and ends; the body was read before.

    Raises:
        KeyError: there is no such field.
    """
    position = body.index(b"{") + 1
    for field, value in fields_of(body).items():
        key = _NAME.match(body, position)
        if key is None or json.loads(key[1]) != field:
            raise ValueError("a body is not what was read of it")
        end = key.end() + len(memoryview(value))
        if field == name:
            return key.end(), end
        comma = _COMMA.match(body, end)
        position = comma.end() if comma else end
    raise KeyError(name)
