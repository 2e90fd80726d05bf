"""Requests of the Anthropic API that call one of Claude's models by an operator's other name."""

from collections.abc import Mapping

import msgspec

from relay.body import place_of
from relay.call import Call, Headers
from relay.dialects import messages


def read(
    kind: str,
    method: str,
    target: bytes,
    body: bytes,
    headers: Headers,
    aliases: Mapping[str, str],
) -> Call:
    """What messages.read() reads, with Claude's own name in the place of an operator's.

    Only that value changes in the body, so everything after it goes by the model that serves.

    Args:
        aliases: Claude's models by the names that clients may use for them.

    Raises:
        errors.BadRequest: see messages.read().
    """
    call = messages.read(kind, method, target, body, headers)
    own_name = aliases.get(call.model)
    if own_name is None:
        return call
    start, end = place_of(body, "model")
    body = body[:start] + msgspec.json.encode(own_name) + body[end:]
    return messages.read(kind, method, target, body, headers)
