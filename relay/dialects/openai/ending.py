"""A conversation that ends with Claude's own turn: how it goes on."""

from relay.dialects import models
from relay.dialects.openai.fields import Json

_GO_ON: Json = {"role": "user", "content": [{"type": "text", "text": "Continue."}]}


def settle(body: Json, traits: models.Traits) -> None:
    """Let the user's be the last turn where the model takes no beginning of its answer.

    Nothing before it changes, so that a longer conversation still begins like this one.
    """
    messages = body["messages"]
    if not messages or messages[-1]["role"] != "assistant":
        return
    thinks = body.get("thinking", {}).get("type") in ("enabled", "adaptive")
    if traits.continues and not thinks:
        _cut_blank_end(messages[-1]["content"])
    else:
        messages.append({**_GO_ON, "content": [dict(block) for block in _GO_ON["content"]]})


def _cut_blank_end(blocks: list[Json]) -> None:
    """Claude refuses a beginning that ends with white space."""
    last = blocks[-1]
    if last["type"] == "text" and last["text"].strip():
        blocks[-1] = {**last, "text": last["text"].rstrip()}
