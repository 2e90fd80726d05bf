"""A request that names everything that can be bounded, and the dearest that it can come to."""

from typing import Any

from relay.dialects import messages
from relay.pricing import Prices

OPUS, FABLE, SONNET = "claude-opus-5", "claude-fable-5-2", "claude-sonnet-5-5"
ADVISOR = {"type": "advisor_20260301", "name": "advisor", "model": OPUS, "max_uses": 1,
           "max_tokens": 1024}  # fmt: skip
SEARCH = {"type": "web_search_20260209", "name": "web_search", "max_uses": 1}
COMPACT = {"type": "compact_20260112", "pause_after_compaction": True}
WINDOW = {"input_tokens": 0, "cache_creation_input_tokens": 1_000_000,
          "cache_creation": {"ephemeral_1h_input_tokens": 1_000_000}}  # fmt: skip
EVERYTHING: dict[str, Any] = {
    "model": OPUS,
    "fallbacks": [{"model": FABLE, "speed": "fast"}, {"model": SONNET}],
    "tools": [ADVISOR, SEARCH],
    "context_management": {"edits": [COMPACT]},
    "speed": "fast",
    "inference_geo": "us",
}
# The dearest that everything can come to: each model that declines searches, asks and compacts.
HOPS = [
    {**WINDOW, "type": kind, "model": model, "output_tokens": put_out}
    for model in (OPUS, FABLE, SONNET)
    for kind, put_out in (("compaction", 100), ("message", 100), ("message", 100))
]
ADVICE = {"type": "advisor_message", "model": OPUS, "input_tokens": 5_000, "output_tokens": 1024}
DEAREST = {
    "input_tokens": 1_000_000, "output_tokens": 200, "speed": "fast", "inference_geo": "us",
    "server_tool_use": {"web_search_requests": 1}, "iterations": [*HOPS, ADVICE, ADVICE],
}  # fmt: skip


def held_by(prices: Prices, body: str, *, is_global: bool = False) -> int:
    """What a strict budget holds for a request, micro-dollars."""
    call = messages.read("messages", "POST", b"/v1/messages", body.encode(), [])
    size = len(call.body), call.max_tokens, call.reach
    return prices.most(call.model, *size, is_global=is_global)


def usd(micros: int) -> str:
    return f"{micros // 1_000_000}.{micros % 1_000_000:06d}"
