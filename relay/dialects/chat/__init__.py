"""OpenAI's Chat Completions API over Claude's Messages API.

request.py and messages.py make Claude's request of the client's; stream.py and answer.py make the
client's answer of Claude's. All of that is pure functions over plain data and events. What both of
OpenAI's APIs read alike stands in relay.dialects.responses.
"""

from relay.dialects.chat import answer, request, stream
from relay.dialects.responses import Responses, Teller
from relay.dialects.responses.fields import Json
from relay.dialects.responses.request import Translated


class Chat(Responses):
    """The dialect of one request: it knows what was asked and how far the answer has come."""

    name = "openai-chat"

    def _translate(self, fields: Json) -> Translated:
        return request.translate(fields)

    def _teller(self) -> Teller:
        return stream.Stream(self.frame)

    def _whole(self, message: Json) -> Json:
        return answer.whole(self.frame, message)
