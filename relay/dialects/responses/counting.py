"""How long an input is, by Claude's own count."""

from dataclasses import replace

from relay import errors
from relay.dialects.openai.fields import Json
from relay.dialects.responses.answer import Frame
from relay.dialects.responses.dialect import Responses

# What Claude counts; it takes none of a request's other fields there.
_COUNTED = (
    "model", "messages", "system", "tools", "tool_choice", "thinking", "output_config",
)  # fmt: skip


class Counting(Responses):
    """The dialect of one count: a request of the Responses API, whose length is the answer."""

    kind, target = "count_tokens", b"/v1/messages/count_tokens"

    def _framed(self, fields: Json) -> Frame:
        frame = super()._framed(fields)
        body = {name: frame.asked.body[name] for name in _COUNTED if name in frame.asked.body}
        return Frame(self._request_id, replace(frame.asked, body=body))

    def _whole(self, message: Json) -> Json:
        count = message.get("input_tokens")
        if type(count) is not int:
            raise errors.BadGateway("The upstream's answer is no count.")
        return {"object": "response.input_tokens", "input_tokens": count}
