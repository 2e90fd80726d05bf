"""The input's items as Claude's system prompt and messages."""

import re
from collections.abc import Callable

from relay.dialects.openai.conversation import Conversation
from relay.dialects.openai.fields import Json, below, given, needed, objects, refusal
from relay.dialects.responses import carried, spoken

# Made by built-in tools of ours: what they stand for comes back inside of a reasoning item.
_PASSED_OVER = frozenset({"web_search_call"})
# Nothing is stored, so they lead nowhere.
_REFERENCES = frozenset({"item_reference"})
_CALLS = ("function_call", "custom_tool_call")
_KIND = re.compile(r"[a-z][a-z0-9_]{0,63}")


class Items(Conversation):
    """Collects items, in their order, into turns that alternate."""

    def __init__(self) -> None:
        super().__init__()
        self.tools: list[tuple[str, Json]] = []
        # How many blocks of the assistant's turn an earlier answer's own record has settled.
        self._settled = 0

    def add(self, items: list[tuple[str, Json]]) -> None:
        """Add all items of an input; raises errors.BadRequest with the place of what is wrong."""
        if not items and not self.system:
            raise refusal("input", "must hold at least one item.")
        for place, item in self._in_order(items, _is_answer):
            kind = given(item, "type", str, place) or "message"
            if kind in _PASSED_OVER:
                continue
            read = _READERS.get(kind, Items.other)
            read(self, item, place)
        self.end()

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

    def put(self, role: str, blocks: list[Json]) -> None:
        turns = len(self.messages)
        super().put(role, blocks)
        if len(self.messages) > turns:
            self._settled = 0

    def custom_call(self, item: Json, place: str) -> None:
        self.use(item, place, {"input": given(item, "input", str, place) or ""})

    def reasoning(self, item: Json, place: str) -> None:
        packed = given(item, "encrypted_content", str, place)
        unpacked = carried.unpack(packed) if packed else None
        if unpacked is None:
            # Another model's thinking, which Claude can neither read nor check.
            self.left_out.append(f"{place} (reasoning)")
            return
        blocks, is_turn = unpacked
        # What comes now is the assistant's, whatever it holds.
        self.put("assistant", [])
        if is_turn and self.messages and self.messages[-1]["role"] == "assistant":
            del self.messages[-1]["content"][self._settled :]
        self.put("assistant", blocks)
        if is_turn:
            self._settled = len(self.messages[-1]["content"])

    def compaction(self, item: Json, place: str) -> None:
        """A summary of Claude's takes the place of all before it."""
        packed = given(item, "encrypted_content", str, place)
        unpacked = carried.unpack(packed) if packed else None
        if unpacked is None or unpacked[0][0]["type"] != "compaction":
            self.left_out.append(f"{place} (compaction)")
            return
        self.messages = [{"role": "assistant", "content": unpacked[0][:1]}]
        self._is_blank, self._settled = False, 1
        self._heard.clear()

    def other(self, item: Json, place: str) -> None:
        """Add an item of a tool that Claude does not have, as what it says."""
        kind = item["type"]
        if kind in _REFERENCES or not _KIND.fullmatch(kind):
            raise refusal(below(place, "type"), f"{kind} has no counterpart with Claude.")
        text = spoken.said(item)
        if text is None:
            self.left_out.append(f"{place} ({kind})")
        else:
            self.put(text[0], [text[1]])

    def more_tools(self, item: Json, place: str) -> None:
        listed = needed(item, "tools", list, place)
        self.tools += objects(listed, below(place, "tools"))


def _is_answer(item: Json) -> bool:
    return item.get("role") == "assistant" or item.get("type") in _CALLS


_READERS: dict[str, Callable[[Items, Json, str], None]] = {
    "message": Items.message,
    "function_call": Items.call,
    "custom_tool_call": Items.custom_call,
    "function_call_output": Items.output,
    "custom_tool_call_output": Items.output,
    "reasoning": Items.reasoning,
    "additional_tools": Items.more_tools,
    "compaction": Items.compaction,
}
