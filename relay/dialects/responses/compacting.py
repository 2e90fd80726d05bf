"""A conversation that is summarised, so that it can go on: by Claude's own compaction.

Claude's summary is a signed block that takes the place of all that it sums up. It travels as the
`encrypted_content` of a compaction item, which stands for everything before it when it comes back.
"""

from dataclasses import replace

from relay import errors
from relay.dialects.openai.answered import as_object, as_objects, usage
from relay.dialects.openai.asked import Choices
from relay.dialects.openai.fields import Json
from relay.dialects.responses import carried
from relay.dialects.responses.answer import Frame
from relay.dialects.responses.dialect import Responses

_NO_SUMMARY = "Claude gave no summary of the conversation. Try again, or shorten it."


class Compacting(Responses):
    """The dialect of one compaction of the Responses API."""

    def __init__(self, request_id: str, choices: Choices) -> None:
        super().__init__(request_id, choices)
        self._said: list[Json] = []

    def _framed(self, fields: Json) -> Frame:
        plain = {name: value for name, value in fields.items() if name not in ("stream", "text")}
        frame = super()._framed({**plain, "tool_choice": None})
        self._said = _users(fields.get("input"))
        body = {**frame.asked.body, "compaction": {"type": "summarize"}}
        return Frame(self._request_id, replace(frame.asked, body=body, forced=""))

    def _whole(self, message: Json) -> Json:
        blocks = as_objects(message.get("content"))
        summaries = [block for block in blocks if block.get("type") == "compaction"]
        if not summaries or not summaries[-1].get("content"):
            raise errors.BadGateway(_NO_SUMMARY)
        frame = self.frame
        users = [
            {**item, "id": frame.item_id("msg", number), "status": "completed"}
            for number, item in enumerate(self._said)
        ]
        item = {
            "id": frame.item_id("cmp", len(users)),
            "type": "compaction",
            "encrypted_content": carried.pack_turn(summaries[-1:]),
        }
        return {
            "id": f"resp_{frame.stem}",
            "object": "response.compaction",
            "created_at": frame.created_at,
            "output": [*users, item],
            "usage": usage(_figures(message)),
        }


def _users(said: object) -> list[Json]:
    """The user's messages of an input, as items."""
    if isinstance(said, str):
        said = [{"role": "user", "content": said}]
    items = as_objects(said)
    return [
        {"type": "message", "role": "user", "content": _parts(item.get("content"))}
        for item in items
        if item.get("role") == "user" and item.get("type", "message") == "message"
    ]


def _parts(content: object) -> list[Json]:
    if isinstance(content, str):
        return [{"type": "input_text", "text": content}]
    return as_objects(content)


def _figures(message: Json) -> Json:
    """The usage of the pass that made the summary, which stands beside the answer's own."""
    whole = as_object(message.get("usage"))
    passes = as_objects(whole.get("iterations"))
    return next((one for one in passes if one.get("type") == "compaction"), whole)
