"""A chat's messages as Claude's system prompt and turns."""

from relay.dialects.openai import claudes
from relay.dialects.openai.conversation import Conversation
from relay.dialects.openai.fields import Json, below, given, needed, objects, refusal


class Chat(Conversation):
    """Collects messages, in their order, into turns that alternate."""

    def __init__(self) -> None:
        super().__init__()
        self._functions = 0

    @property
    def thinks(self) -> bool:
        """Whether the last answer's thinking came back with it."""
        answers = [message for message in self.messages if message["role"] == "assistant"]
        return bool(answers) and any(map(claudes.is_thought, answers[-1]["content"]))

    def instruct(self, fields: Json) -> None:
        """Add the system prompt where it stands in Claude's field beside the messages."""
        if fields.get("system") is not None:
            self.system += self._read(fields["system"], "system", "system")

    def add(self, items: list[tuple[str, Json]]) -> None:
        """Add all messages; raises errors.BadRequest with the place of what is wrong."""
        if not items:
            raise refusal("messages", "must hold at least one message.")
        for place, item in self._in_order(items, lambda item: item.get("role") == "assistant"):
            role = needed(item, "role", str, place)
            if role == "assistant":
                self._assistant(item, place)
            elif role == "tool":
                call_id = needed(item, "tool_call_id", str, place)
                self._result(item, place, call_id)
            elif role == "function":
                needed(item, "name", str, place)
                self._result(item, place, f"function_{self._functions}")
            else:
                self.message(item, place)
        self.end()

    def _assistant(self, item: Json, place: str) -> None:
        if item.get("audio") is not None:
            raise refusal(below(place, "audio"), "Claude does not hear.")
        content = item.get("content")
        calls = given(item, "tool_calls", list, place) or []
        old = given(item, "function_call", dict, place)
        if content is None:
            # A refusal or calls may stand in place of words.
            content = given(item, "refusal", str, place)
        self.message({**item, "content": content}, place)
        for where, one in objects(calls, below(place, "tool_calls")):
            if (kind := given(one, "type", str, where)) not in (None, "function"):
                raise refusal(below(where, "type"), f"{kind} calls have no counterpart here.")
            function = needed(one, "function", dict, where)
            self._call(function, below(where, "function"), needed(one, "id", str, where))
        if old:
            self._functions += 1
            self._call(old, below(place, "function_call"), f"function_{self._functions}")

    def _call(self, function: Json, place: str, call_id: str) -> None:
        known = {name: function.get(name) for name in ("name", "arguments")}
        self.call({**known, "call_id": call_id}, place)

    def _result(self, item: Json, place: str, call_id: str) -> None:
        content = item.get("content")
        # Some clients send null for a tool that has nothing to say.
        output = "" if content is None else content
        self.output({**item, "call_id": call_id, "output": output}, place, "content")
