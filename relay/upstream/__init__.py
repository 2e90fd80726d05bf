"""The pooled HTTP/1.1 client that talks to an account's API; every proxied request runs here.

It opens, keeps and reuses connections, sends one request at a time on each, and hands out the
answer's bytes as they arrive, undecoded but for the chunked framing. It must never send a
request twice when the first could have been processed, wait without a deadline, or let bytes
of one answer reach the reader of another. It knows nothing of accounts, keys or meanings.
"""

from relay.upstream.errors import (
    AnswerTooLargeError,
    UpstreamError,
    UpstreamTimeoutError,
    is_ours,
)
from relay.upstream.exchange import Reply
from relay.upstream.origin import Origin, parse_base_url
from relay.upstream.pool import Upstreams
from relay.upstream.proxy import parse_proxy_url

__all__ = [
    "AnswerTooLargeError",
    "Origin",
    "Reply",
    "UpstreamError",
    "UpstreamTimeoutError",
    "Upstreams",
    "is_ours",
    "parse_base_url",
    "parse_proxy_url",
]
