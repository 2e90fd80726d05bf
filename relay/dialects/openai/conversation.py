"""A conversation as Claude's system prompt and turns.

One that only grows stays the same up to where it grew, block for block: newer models
refuse their own thinking after anything before it has changed. So nothing is moved that
another turn could move back, and an instruction in the middle stays in its place.
"""

from collections.abc import Callable, Iterator
from typing import Any

from relay.dialects.openai import calls, claudes, parts
from relay.dialects.openai.fields import Json, below, choice, given, needed, refusal
from relay.dialects.openai.tools import claude_name

_ROLES = ("user", "assistant", "system", "developer")
# Claude wants every turn to say something, and the user to begin.
_BEGIN = "Begin."
_NOTHING = "(nothing)"


class Conversation:
    """Collects what was said, in its order, into turns that alternate."""

    def __init__(self) -> None:
        self.system: list[Json] = []
        self.messages: list[Json] = []
        # The places of what Claude cannot have, with what stood there.
        self.left_out: list[str] = []
        # Whether the user's turn that is being collected has only blank messages so far.
        self._is_blank = False
        self._is_past = False
        # How many blocks of a turn of the user's the assistant had before it spoke again.
        self._heard: dict[int, int] = {}

    def put(self, role: str, blocks: list[Json]) -> None:
        """Add blocks to the last turn where it is the same speaker's, else as a new one.

        A message without blocks said nothing: the user's keeps its place where it is the whole
        turn, the assistant's is left out.
        """
        if role == "assistant":
            self._end_turn()
        last = self.messages[-1]["role"] if self.messages else None
        if not blocks:
            self._is_blank |= role == "user" and last != "user"
        elif last == role:
            self.messages[-1]["content"] += blocks
        else:
            self.messages.append({"role": role, "content": blocks})
        if blocks:
            self._is_blank = False

    def _end_turn(self) -> None:
        """The user's turn has ended: one in which nothing was said says so.

        Where there is none, the assistant begins, or the system prompt alone says what to do.
        """
        if self._is_blank or not self.messages:
            text = _NOTHING if self._is_blank else _BEGIN
            self.messages.append({"role": "user", "content": [{"type": "text", "text": text}]})
            self._is_blank = False
        last = len(self.messages) - 1
        # An answer that was empty ends a turn too, though what follows is joined to it.
        self._heard.setdefault(last, len(self.messages[last]["content"]))

    def end(self) -> None:
        """Make of all that was said what Claude takes; nothing is put afterwards."""
        self._end_turn()
        calls.settle(self.messages, self._heard)

    def message(self, item: Json, place: str) -> None:
        """Add a message, by its role."""
        role = choice(item, "role", _ROLES, place)
        if role is None:
            raise refusal(below(place, "role"), "this field is required.")
        content = item.get("content")
        where = below(place, "content")
        if role == "assistant":
            thoughts, unsigned = claudes.thoughts(item, place)
            self.left_out += unsigned
            # Of an answer that was empty, or was thinking only, a client keeps null.
            blocks = [] if content is None else self._read(content, where, role)
            if not any(map(claudes.is_thought, blocks)):
                blocks = thoughts + blocks
            self.put(role, claudes.marked(blocks, item, place))
            return
        if role == "user":
            self.put(role, claudes.marked(self._read(content, where, role), item, place))
            return
        blocks = claudes.marked(self._read(content, where, "system"), item, place)
        if self.messages or self._is_blank:
            # In its place, in the user's turn: not every model takes a system turn in the middle.
            for block in blocks:
                block["text"] = f"<system>\n{block['text']}\n</system>"
            self.put("user", blocks)
        else:
            self.system += blocks

    def _read(self, content: Any, place: str, said_by: str) -> list[Json]:
        return parts.read(
            content, place, said_by=said_by, left_out=self.left_out, is_past=self._is_past
        )

    def _in_order(
        self, items: list[tuple[str, Json]], is_answer: Callable[[Json], bool]
    ) -> Iterator[tuple[str, Json]]:
        """The items with their places, up to the last answer as the past."""
        answers = [index for index, (_, item) in enumerate(items) if is_answer(item)]
        for index, item in enumerate(items):
            self._is_past = bool(answers) and index <= answers[-1]
            yield item

    def call(self, item: Json, place: str) -> None:
        """Add a call whose arguments are JSON in a string."""
        self.use(item, place, calls.input_of(item.get("arguments")))

    def use(self, item: Json, place: str, value: Json) -> None:
        """Add a call of a tool with this input."""
        namespace = given(item, "namespace", str, place) or ""
        name = claude_name(needed(item, "name", str, place), namespace, place)
        call_id = needed(item, "call_id", str, place)
        block = {"type": "tool_use", "id": call_id, "name": name, "input": value}
        self.put("assistant", claudes.marked([block], item, place))

    def output(self, item: Json, place: str, name: str = "output") -> None:
        """Add what came of a call.

        Args:
            name: the field that holds it in the client's request.
        """
        content = self._read(item.get("output"), below(place, name), "tool")
        call_id = needed(item, "call_id", str, place)
        block: Json = {"type": "tool_result", "tool_use_id": call_id}
        if content:
            block["content"] = content
        if item.get("is_error") is True:
            block["is_error"] = True
        self.put("user", claudes.marked([block], item, place))
