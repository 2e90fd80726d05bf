"""The models of an account, without those that a key may not use, in Claude's form or OpenAI's."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import msgspec

from relay import errors, exchange
from relay.call import Call
from relay.client import Client
from relay.context import Context
from relay.headers import answer_headers
from relay.keys import may_use
from relay.opening import collect
from relay.upstream import Reply

Json = dict[str, Any]
Tell = Callable[[bytes, tuple[str, ...]], bytes]

_MOST_BYTES = 4 * 1024 * 1024
_MODELS = b"/v1/models"
# As many as Claude's API gives at once: OpenAI's lists have no pages.
_ALL = _MODELS + b"?limit=1000"


async def claudes(ctx: Context, client: Client, target: bytes, model: str) -> None:
    """Answer with Claude's own list, other names for models among it, or one entry of it.

    Args:
        target: path and query at the upstream.
        model: the one that is asked for, or empty.
    """
    aliases = ctx.settings.claude_models
    own_name = aliases.get(model)
    if own_name is not None:
        target = _MODELS + b"/" + own_name.encode()

    def tell(body: bytes, allowed: tuple[str, ...]) -> bytes:
        body = _only(allowed, body, model) if allowed else body
        if own_name is not None:
            return msgspec.json.encode({**_decoded(body), "id": model})
        return _with_aliases(body, aliases) if aliases and not model else body

    await _answer(ctx, client, target, tell)


async def openais(ctx: Context, client: Client, model: str) -> None:
    """Answer with the list in OpenAI's form, other names for models among it, or one entry."""
    aliases = ctx.settings.openai_models
    if not model:
        await _answer(ctx, client, _ALL, lambda body, allowed: _listed(body, allowed, aliases))
        return
    own_name = aliases.get(model, model)

    def tell(body: bytes, allowed: tuple[str, ...]) -> bytes:
        found = _decoded(_only(allowed, body, model) if allowed else body)
        return msgspec.json.encode(_told(found, model))

    await _answer(ctx, client, _MODELS + b"/" + own_name.encode(), tell)


async def _answer(ctx: Context, client: Client, target: bytes, tell: Tell) -> None:
    key = await exchange.authenticated(ctx, client)
    call = Call("models", "GET", target)

    async def deliver(reply: Reply) -> None:
        body = await collect(reply, _MOST_BYTES)
        headers = answer_headers(client, lease, reply)
        if reply.status == 200:
            body = tell(body, lease.account.key_models)
            headers = [pair for pair in headers if pair[0] != b"content-length"]
            headers.append((b"content-length", b"%d" % len(body)))
        await ctx.leases.settle(lease)
        await client.answer(reply.status, headers, body)

    async with ctx.leases.admit(
        client.request_id, key, call, exchange.caller_of(ctx, client)
    ) as lease:
        await exchange.forward(ctx, client, lease, b"", deliver, plain=True)


def _only(allowed: tuple[str, ...], body: bytes, model: str) -> bytes:
    answer = _decoded(body)
    if "data" not in answer:
        if not may_use(allowed, _id(answer)):
            raise errors.NotFound(f"model: {model} is not among this key's models.")
        return body
    answer["data"] = [entry for entry in _entries(answer) if may_use(allowed, _id(entry))]
    ids = [entry.get("id") for entry in answer["data"]]
    answer["first_id"], answer["last_id"] = (ids[0], ids[-1]) if ids else (None, None)
    return msgspec.json.encode(answer)


def _with_aliases(body: bytes, aliases: Mapping[str, str]) -> bytes:
    """A list in which models stand by their other names too, each behind the model itself.

    Pages begin and end where the upstream's do, by whose names clients ask for the next.
    """
    answer = _decoded(body)
    entries = []
    for entry in _entries(answer):
        names = (name for name, own_name in aliases.items() if own_name == _id(entry))
        entries += [entry, *({**entry, "id": name} for name in names)]
    return msgspec.json.encode({**answer, "data": entries})


def _listed(body: bytes, allowed: tuple[str, ...], aliases: Mapping[str, str]) -> bytes:
    answer = _decoded(_only(allowed, body, "") if allowed else body)
    known = {_id(entry): entry for entry in _entries(answer)}
    named = {
        name: known.get(own_name, {})
        for name, own_name in aliases.items()
        if not allowed or may_use(allowed, own_name)
    }
    data = [_told(one, name) for name, one in {**known, **named}.items()]
    return msgspec.json.encode({"object": "list", "data": data})


def _entries(answer: Json) -> list[Json]:
    """The models of a list, whatever else an upstream has put there."""
    data = answer.get("data")
    return [entry for entry in data if isinstance(entry, dict)] if isinstance(data, list) else []


def _id(model: Json) -> str:
    name = model.get("id")
    return name if isinstance(name, str) else ""


def _told(model: Json, name: str) -> Json:
    return {"id": name, "object": "model", "created": _seconds(model), "owned_by": "anthropic"}


def _seconds(model: Json) -> int:
    """When a model came out, in seconds since the epoch; 0 where that is not known."""
    try:
        return int(datetime.fromisoformat(str(model.get("created_at"))).timestamp())
    except (ValueError, OverflowError):
        return 0


def _decoded(body: bytes) -> Json:
    try:
        return msgspec.json.decode(body, type=Json)
    except (msgspec.DecodeError, RecursionError):
        raise errors.BadGateway("The upstream's list of models cannot be read.") from None
