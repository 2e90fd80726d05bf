"""A conversation's calls and results as Claude wants them, whatever a client's history holds.

Claude wants every id once, every call's result at the head of the next turn, and no other results
there. OpenAI's clients count their ids anew, lose results when a user stops them, and cut the
beginning off a long history. What is done here depends on what stands before it only, so a
conversation that grew begins as it did.
"""

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from relay.dialects.openai.fields import Json

NO_RESULT = "No result came of this call."
_LATE = "The result of the tool call {}:"
_UNFIT = re.compile(r"[^A-Za-z0-9_-]")
_NAMELESS = "call"
# So Claude's documentation on streamed tool input shows it an input that was cut off.
_NOT_AN_OBJECT = "INVALID_JSON"


def input_of(arguments: Any) -> Json:
    """A call's input out of what a client sends as its arguments; nothing is refused.

    Args:
        arguments: an object as JSON in a string, as a rule. An answer's bound may have cut it
            off, and some clients send null, a list, or the object itself.
    """
    if isinstance(arguments, dict):
        return arguments
    if arguments is None:
        return {}
    text = arguments if isinstance(arguments, str) else msgspec.json.encode(arguments).decode()
    if not text.strip():
        return {}
    try:
        value = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        return {_NOT_AN_OBJECT: text}
    if isinstance(value, dict):
        return value
    return {} if value is None else {_NOT_AN_OBJECT: text}


def settle(messages: list[Json], heard: Mapping[int, int]) -> None:
    """Give every call an id of its own and its result, and every result its call.

    Args:
        messages: turns that alternate; an assistant's last calls may add one.
        heard: how many blocks of a turn answer the calls before it, where not all do.
    """
    names = _Names()
    calls: dict[str, list[str]] = {}
    for place, message in enumerate(messages):
        if message["role"] == "user":
            blocks = message["content"]
            end = heard.get(place, len(blocks))
            message["content"] = _answered(blocks[:end], calls) + _answered(blocks[end:], {})
            calls = {}
        else:
            calls = _renamed(message["content"], names)
    if calls:
        messages.append({"role": "user", "content": _answered([], calls)})


class _Names:
    """The ids that were given so far."""

    def __init__(self) -> None:
        self._given: set[str] = set()
        self._counts: dict[str, int] = {}

    def new(self, wanted: str) -> str:
        """An id that no call has, in the letters that Claude takes: the wanted one where it can be.

        Else a number follows it. Claude's own ids stay as they are.
        """
        wanted = _UNFIT.sub("_", wanted) or _NAMELESS
        name = wanted
        while name in self._given:
            count = self._counts[wanted] = self._counts.get(wanted, 1) + 1
            name = f"{wanted}_{count}"
        self._given.add(name)
        return name


def _renamed(blocks: list[Json], names: _Names) -> dict[str, list[str]]:
    """Names a turn's calls; returns their new ids, in their order, by the client's."""
    calls: dict[str, list[str]] = {}
    for block in blocks:
        if block["type"] == "tool_use":
            wanted = block["id"]
            block["id"] = names.new(wanted)
            calls.setdefault(wanted, []).append(block["id"])
    return calls


def _answered(blocks: list[Json], calls: dict[str, list[str]]) -> list[Json]:
    """A turn's blocks: the results of the calls before it, and then all else it holds."""
    results, others = [], []
    for block in blocks:
        if block["type"] != "tool_result":
            others.append(block)
        elif waiting := calls.get(block["tool_use_id"]):
            results.append({**block, "tool_use_id": waiting.pop(0)})
        else:
            others += _as_words(block)
    for waiting in calls.values():
        results += [_missing(call_id) for call_id in waiting]
    return results + others


def _missing(call_id: str) -> Json:
    text = {"type": "text", "text": NO_RESULT}
    return {"type": "tool_result", "tool_use_id": call_id, "content": [text]}


def _as_words(result: Json) -> list[Json]:
    """A result whose call is not there as what the user says."""
    head = {"type": "text", "text": _LATE.format(result["tool_use_id"])}
    return [head, *result.get("content", ())]
