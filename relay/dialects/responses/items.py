"""The input's items as Claude's system prompt and messages.

A conversation that only grows stays the same up to where it grew, block for block: newer models
refuse their own thinking after anything before it has changed. So nothing is moved that
another turn could move back, and an instruction in the middle stays in its place.
"""

import re
from collections.abc import Callable

import msgspec

from relay.dialects.responses import carried, parts
from relay.dialects.responses.fields import Json, below, choice, given, needed, objects, refusal
from relay.dialects.responses.tools import claude_name

_ROLES = ("user", "assistant", "system", "developer")
_UNFIT = re.compile(r"[^A-Za-z0-9_-]")
# Made by built-in tools of ours: what they stand for comes back inside of a reasoning item.
_PASSED_OVER = frozenset({"web_search_call"})


class Conversation:
    """Collects items, in their order, into turns that alternate."""

    def __init__(self) -> None:
        self.system: list[Json] = []
        self.messages: list[Json] = []
        self.tools: list[tuple[str, Json]] = []
        # How many blocks of the assistant's turn an earlier answer's own record has settled.
        self._settled = 0

    def add(self, items: list[tuple[str, Json]]) -> None:
        """Add all items of an input; raises errors.BadRequest with the place of what is wrong."""
        for place, item in items:
            kind = given(item, "type", str, place) or "message"
            if kind in _PASSED_OVER:
                continue
            read = _READERS.get(kind)
            if read is None:
                raise refusal(below(place, "type"), f"{kind} has no counterpart with Claude.")
            read(self, item, place)
        if not self.messages:
            raise refusal("input", "must hold at least one message.")
        match_calls(self.messages, "input")

    def lacks_thinking(self) -> bool:
        """Whether tools are being called in a turn whose thinking did not come back."""
        if self.messages[-1]["content"][0]["type"] != "tool_result":
            return False
        for message in reversed(self.messages):
            kinds = {block["type"] for block in message["content"]}
            if message["role"] == "user" and "tool_result" not in kinds:
                break
            if kinds & {"thinking", "redacted_thinking"}:
                return False
        return True

    def _put(self, role: str, blocks: list[Json]) -> None:
        if not blocks:
            return
        if self.messages and self.messages[-1]["role"] == role:
            self.messages[-1]["content"] += blocks
        else:
            self.messages.append({"role": role, "content": blocks})
            self._settled = 0

    def message(self, item: Json, place: str) -> None:
        role = choice(item, "role", _ROLES, place)
        if role is None:
            raise refusal(below(place, "role"), "this field is required.")
        content = item.get("content")
        where = below(place, "content")
        if role in ("user", "assistant"):
            self._put(role, parts.read(content, where, said_by=role))
            return
        blocks = parts.read(content, where, said_by="system")
        if self.messages:
            # In its place, in the user's turn: not every model takes a system turn in the middle.
            for block in blocks:
                block["text"] = f"<system>\n{block['text']}\n</system>"
            self._put("user", blocks)
        else:
            self.system += blocks

    def call(self, item: Json, place: str) -> None:
        arguments = needed(item, "arguments", str, place)
        try:
            value = msgspec.json.decode(arguments or "{}", type=Json)
        except (msgspec.DecodeError, RecursionError):
            raise refusal(below(place, "arguments"), "must be a JSON object in a string.") from None
        self._use(item, place, value)

    def custom_call(self, item: Json, place: str) -> None:
        self._use(item, place, {"input": needed(item, "input", str, place)})

    def _use(self, item: Json, place: str, value: Json) -> None:
        namespace = given(item, "namespace", str, place) or ""
        name = claude_name(needed(item, "name", str, place), namespace, place)
        block = {"type": "tool_use", "id": _call_id(item, place), "name": name, "input": value}
        self._put("assistant", [block])

    def output(self, item: Json, place: str) -> None:
        content = parts.read(item.get("output"), below(place, "output"), said_by="tool")
        block: Json = {"type": "tool_result", "tool_use_id": _call_id(item, place)}
        if content:
            block["content"] = content
        self._put("user", [block])

    def reasoning(self, item: Json, place: str) -> None:
        packed = given(item, "encrypted_content", str, place)
        unpacked = carried.unpack(packed) if packed else None
        if unpacked is None:
            # Another model's thinking, which Claude can neither read nor check.
            return
        blocks, is_turn = unpacked
        if is_turn and self.messages and self.messages[-1]["role"] == "assistant":
            del self.messages[-1]["content"][self._settled :]
        self._put("assistant", blocks)
        if is_turn:
            self._settled = len(self.messages[-1]["content"])

    def more_tools(self, item: Json, place: str) -> None:
        listed = needed(item, "tools", list, place)
        self.tools += objects(listed, below(place, "tools"))


_READERS: dict[str, Callable[[Conversation, Json, str], None]] = {
    "message": Conversation.message,
    "function_call": Conversation.call,
    "custom_tool_call": Conversation.custom_call,
    "function_call_output": Conversation.output,
    "custom_tool_call_output": Conversation.output,
    "reasoning": Conversation.reasoning,
    "additional_tools": Conversation.more_tools,
}


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
