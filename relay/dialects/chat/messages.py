"""A chat's messages as Claude's system prompt and turns."""

from typing import Any

from relay.dialects.openai.conversation import Conversation
from relay.dialects.openai.fields import Json, below, given, needed, objects, refusal


class Chat(Conversation):
    """Collects messages, in their order, into turns that alternate."""

    def __init__(self) -> None:
        super().__init__()
        self._functions = 0

    def add(self, items: list[tuple[str, Json]]) -> None:
        """Add all messages; raises errors.BadRequest with the place of what is wrong."""
        if not items:
            raise refusal("messages", "must hold at least one message.")
        for place, item in items:
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
                content = _as_items(item.get("content"), below(place, "content"))
                self.message({"role": role, "content": content}, place)
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
        where = below(place, "content")
        self.message({"role": "assistant", "content": _as_items(content, where)}, place)
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
        content = _as_items(item.get("content"), below(place, "content"))
        # Some clients send null for a tool that has nothing to say.
        self.output({"call_id": call_id, "output": "" if content is None else content}, place)


def _as_items(content: Any, place: str) -> Any:
    """A content's parts as the Responses API writes them."""
    if not isinstance(content, list):
        return content
    return [_as_item(part, where) for where, part in objects(content, place)]


def _as_item(part: Json, place: str) -> Json:
    if needed(part, "type", str, place) != "image_url":
        return part
    image = part.get("image_url")
    # Some clients write the address itself.
    address = image if isinstance(image, str) else needed(part, "image_url", dict, place).get("url")
    marks = ("cache_control", "prompt_cache_breakpoint")
    kept = {name: part[name] for name in marks if name in part}
    return {"type": "input_image", "image_url": address, **kept}
