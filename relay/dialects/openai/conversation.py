"""A conversation as Claude's system prompt and turns.

One that only grows stays the same up to where it grew, block for block: newer models
refuse their own thinking after anything before it has changed. So nothing is moved that
another turn could move back, and an instruction in the middle stays in its place.
"""

import re

import msgspec

from relay.dialects.openai import parts
from relay.dialects.openai.fields import Json, below, choice, given, needed, refusal
from relay.dialects.openai.tools import claude_name

_ROLES = ("user", "assistant", "system", "developer")
_UNFIT = re.compile(r"[^A-Za-z0-9_-]")


class Conversation:
    """Collects what was said, in its order, into turns that alternate."""

    def __init__(self) -> None:
        self.system: list[Json] = []
        self.messages: list[Json] = []

    def put(self, role: str, blocks: list[Json]) -> None:
        """Add blocks to the last turn where it is the same speaker's, else as a new one."""
        if not blocks:
            return
        if self.messages and self.messages[-1]["role"] == role:
            self.messages[-1]["content"] += blocks
        else:
            self.messages.append({"role": role, "content": blocks})

    def message(self, item: Json, place: str) -> None:
        """Add a message, by its role."""
        role = choice(item, "role", _ROLES, place)
        if role is None:
            raise refusal(below(place, "role"), "this field is required.")
        content = item.get("content")
        where = below(place, "content")
        if role in ("user", "assistant"):
            self.put(role, parts.read(content, where, said_by=role))
            return
        blocks = parts.read(content, where, said_by="system")
        if self.messages:
            # In its place, in the user's turn: not every model takes a system turn in the middle.
            for block in blocks:
                block["text"] = f"<system>\n{block['text']}\n</system>"
            self.put("user", blocks)
        else:
            self.system += blocks

    def call(self, item: Json, place: str) -> None:
        """Add a call whose arguments are JSON in a string."""
        arguments = needed(item, "arguments", str, place)
        try:
            value = msgspec.json.decode(arguments or "{}", type=Json)
        except (msgspec.DecodeError, RecursionError):
            raise refusal(below(place, "arguments"), "must be a JSON object in a string.") from None
        self.use(item, place, value)

    def use(self, item: Json, place: str, value: Json) -> None:
        """Add a call of a tool with this input."""
        namespace = given(item, "namespace", str, place) or ""
        name = claude_name(needed(item, "name", str, place), namespace, place)
        block = {"type": "tool_use", "id": _call_id(item, place), "name": name, "input": value}
        self.put("assistant", [block])

    def output(self, item: Json, place: str) -> None:
        """Add what came of a call."""
        content = parts.read(item.get("output"), below(place, "output"), said_by="tool")
        block: Json = {"type": "tool_result", "tool_use_id": _call_id(item, place)}
        if content:
            block["content"] = content
        self.put("user", [block])


def _call_id(item: Json, place: str) -> str:
    """The call's id in the letters that Claude takes; its own ids stay as they are."""
    call_id = needed(item, "call_id", str, place)
    if not call_id:
        raise refusal(below(place, "call_id"), "must not be empty.")
    return _UNFIT.sub("_", call_id)


def match_calls(messages: list[Json], place: str) -> None:
    """Check that every call has its output in the next turn, and put outputs before words.

    Claude wants both; OpenAI's lists may hold a message between a call and its output.
    """
    open_calls: list[str] = []
    for message in messages:
        content = message["content"]
        results = [block for block in content if block["type"] == "tool_result"]
        if message["role"] == "user":
            answered = [block["tool_use_id"] for block in results]
            _compare(open_calls, answered, place)
            if results:
                others = [block for block in content if block["type"] != "tool_result"]
                message["content"] = results + others
            open_calls = []
        else:
            open_calls = [block["id"] for block in content if block["type"] == "tool_use"]
    _compare(open_calls, [], place)


def _compare(calls: list[str], outputs: list[str], place: str) -> None:
    made, answered = set(calls), set(outputs)
    for name in calls:
        if name not in answered:
            raise refusal(place, f"No tool output found for function call {name}.")
    for name in outputs:
        if name not in made:
            raise refusal(place, f"No tool call found for function call output {name}.")
    if len(made) < len(calls) or len(answered) < len(outputs):
        raise refusal(place, "a call_id stands twice.")
