"""Which uploaded files a messages request names: every `file_id` that its upstream would read.

Nothing is decoded but short names and ids: a body of any size costs one pass and no memory. A body
that does not mention a file costs two searches for a few bytes.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import trio

from relay import errors

_FILE_ID = b'"file_id"'
# A letter of file_id as JSON may escape it; few bodies have any.
_ESCAPED = re.compile(rb"\\u00(?:6[4569cC]|5[fF])")
_SLICE_BYTES = 1024 * 1024
# What this much is made of takes a moment; more is read beside the event loop.
_READ_AT_ONCE_BYTES = 16 * 1024
_MOST_FILES = 1000

_TOKEN = re.compile(rb'["{}\[\],]')
_QUOTE, _BACKSLASH = ord('"'), ord("\\")
# A name or an id of 200 characters, each of them escaped.
_LONGEST_TEXT = 1200

# A tool's arguments are the model's own words, and a schema describes a client's fields.
_TOOL_USES = {"tool_use", "server_tool_use", "mcp_tool_use"}
_SCHEMAS = {"input_schema", "input_examples", "schema"}
_WITH_SCHEMAS = {"tools", "output_format", "output_config"}
# What a tool of the upstream's own made there comes back in the next request's conversation.
_OUTPUTS = {"code_execution_output", "bash_code_execution_output"}


async def named_in(body: bytes) -> dict[str, str]:
    """The ids of the files that a valid JSON body names, and where each stands first.

    Raises:
        errors.BadRequest: it names more than the relay looks up.
    """
    if not await _mentions(body):
        return {}
    if len(body) <= _READ_AT_ONCE_BYTES:
        return named(body)
    return await trio.to_thread.run_sync(named, body)


async def _mentions(body: bytes) -> bool:
    """Whether a field may be called file_id; large bodies are searched in slices."""
    # One byte is found far quicker than several.
    is_escaped = b"\\" in body
    for start in range(0, len(body), _SLICE_BYTES):
        end = start + _SLICE_BYTES + len(_FILE_ID)
        # Measured: backwards it is found, or known to be missing, in half the time.
        if body.rfind(_FILE_ID, start, end) >= 0:
            return True
        if is_escaped and _ESCAPED.search(body, start, end):
            return True
        if end < len(body):
            await trio.lowlevel.checkpoint()
    return False


def named(body: bytes) -> dict[str, str]:
    """As named_in(), at once."""
    if _FILE_ID not in body and not _ESCAPED.search(body):
        return {}
    found: dict[str, str] = {}
    for place, file_id in _Scan(body).files():
        found.setdefault(file_id, place)
    return found


@dataclass(slots=True)
class _Frame:
    """An object or a list that is open; `found` are its files so far, by the key they are below."""

    is_list: bool
    key: str = ""
    index: int = 0
    wants_key: bool = True
    types: set[str] = field(default_factory=set)
    found: list[tuple[str, str, str]] = field(default_factory=list)

    @property
    def step(self) -> str:
        return f"[{self.index}]" if self.is_list else f".{self.key}"

    def read(self) -> Iterator[tuple[str, str]]:
        """The files of it that the upstream reads, once it is whole.

        A name that stands twice is read in its widest sense: an object is a tool's only where
        nothing else can be read out of it.
        """
        if self.types and self.types <= _OUTPUTS:
            return
        is_tool_use = bool(self.types) and self.types <= _TOOL_USES
        for key, place, file_id in self.found:
            if not (is_tool_use and key == "input"):
                yield place, file_id


class _Scan:
    """One pass over a body."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self._open: list[_Frame] = []
        self._count = 0

    def files(self) -> Iterator[tuple[str, str]]:
        """Place and id of each file. Raises errors.BadRequest."""
        at, body = 0, self._body
        while token := _TOKEN.search(body, at):
            at = token.end()
            match token[0]:
                case b'"':
                    stop = self._end_of_string(at)
                    self._string(body[at : min(stop, at + _LONGEST_TEXT)])
                    at = stop + 1
                case b"{" | b"[":
                    self._open.append(_Frame(token[0] == b"["))
                case b"," if self._open:
                    self._open[-1].index += 1
                    self._open[-1].wants_key = True
                case b"}" | b"]" if self._open:
                    found = list(self._open.pop().read())
                    if not self._open:
                        yield from found
                        return
                    above = self._open[-1]
                    above.found += [(above.key, *each) for each in found]

    def _end_of_string(self, at: int) -> int:
        """Where the quote stands that ends the string whose text begins at `at`."""
        quote = self._body.find(b'"', at)
        while quote >= 0:
            before = quote - 1
            while before >= at and self._body[before] == _BACKSLASH:
                before -= 1
            if (quote - before) % 2:
                return quote
            quote = self._body.find(b'"', quote + 1)
        return len(self._body)

    def _string(self, raw: bytes) -> None:
        if not self._open or self._open[-1].is_list:
            return
        frame = self._open[-1]
        if frame.wants_key:
            frame.key, frame.wants_key = _text(raw)[:64], False
        elif frame.key == "type":
            frame.types.add(_text(raw)[:64] if len(frame.types) < len(_TOOL_USES) + 1 else "")
        elif frame.key == "file_id" and not self._is_in_schema():
            self._count += 1
            if self._count > _MOST_FILES:
                raise errors.BadRequest(
                    f"{self._place()}: a request names up to {_MOST_FILES} files."
                )
            frame.found.append((frame.key, self._place(), _text(raw)))

    def _is_in_schema(self) -> bool:
        keys = [frame.key for frame in self._open if not frame.is_list]
        if keys[0] == "params":
            del keys[0]
        return keys[0] in _WITH_SCHEMAS and not _SCHEMAS.isdisjoint(keys[1:])

    def _place(self) -> str:
        return "".join(frame.step for frame in self._open).removeprefix(".")


def _text(raw: bytes) -> str:
    """A JSON string's text; what was cut off or cannot be read equals no name and no id."""
    if _BACKSLASH not in raw:
        return raw.decode(errors="replace")
    try:
        return str(json.loads(b'"' + raw + b'"', strict=False))
    except ValueError:
        return "\ufffd"
