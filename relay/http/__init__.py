"""The express lane: plain HTTP/1.1 requests, parsed in C and answered in their connection's task.

It knows nothing of the relay. README.md beside this says what it replaces, what that buys and how
to turn it off.
"""

from relay.http.lane import Handler, HandOver, Lane, Surroundings
from relay.http.ports import Ports
from relay.http.request import Gone, Request

__all__ = ["Gone", "HandOver", "Handler", "Lane", "Ports", "Request", "Surroundings"]
