"""OpenAI's Chat Completions API over Claude's Messages API.

request.py and messages.py make Claude's request of the client's; stream.py and answer.py make the
client's answer of Claude's. All of that is pure functions over plain data and events.
"""

from relay.dialects.chat import answer, request, stream
from relay.dialects.openai import Teller, Translating
from relay.dialects.openai.answered import Frame
from relay.dialects.openai.fields import Json


class Chat(Translating[Frame]):
    """The dialect of one request."""

    name = "openai-chat"

    def _framed(self, fields: Json) -> Frame:
        return Frame(self._request_id, request.translate(fields, self._choices))

    def _teller(self) -> Teller:
        return stream.Stream(self.frame)

    def _whole(self, message: Json) -> Json:
        return answer.whole(self.frame, message)
