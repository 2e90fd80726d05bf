"""OpenAI's Responses API over Claude's Messages API.

request.py and items.py make Claude's request of the client's; stream.py and what it writes with
(blocks, answer) make the client's answer of Claude's. All of that is pure functions over plain
data and events.
"""

from relay.dialects.responses.compacting import Compacting
from relay.dialects.responses.counting import Counting
from relay.dialects.responses.dialect import Responses

__all__ = ["Compacting", "Counting", "Responses"]
