"""The Anthropic API's paths: which of them the relay serves, and what answers each."""

import re
from collections.abc import Awaitable, Callable, Mapping
from functools import partial

import msgspec

from relay import errors, exchange, objects, selfservice
from relay.call import Call
from relay.client import Client
from relay.context import Context
from relay.dialects import chat, messages, responses
from relay.keys import may_use
from relay.upstream import Reply

Handler = Callable[[Context, Client, "re.Match[bytes]"], Awaitable[None]]

_MOST_MODELS_BYTES = 4 * 1024 * 1024
_ID = rb"([A-Za-z0-9][A-Za-z0-9_.:@~-]{0,199})"
# Base URLs may end in nothing, /api or /claude; some tools leave out /v1.
_BASE = re.compile(rb"(?:/api|/claude)?(?:/v1)?/(.+)")
_OPENAI_BASE = re.compile(rb"/openai/claude/v1/+(.+?)/?")
_VERSION = b"anthropic-version"


async def _call(kind: str, ctx: Context, client: Client, match: "re.Match[bytes]") -> None:
    target = b"/v1/" + match.string + (b"?" + client.query if client.query else b"")

    def read(body: bytes) -> Call:
        return messages.read(kind, client.method, target, body, client.headers)

    await exchange.relay(ctx, client, messages, read)


async def _responses(ctx: Context, client: Client, match: "re.Match[bytes]") -> None:
    await _translated(ctx, client, responses.Responses(client.request_id))


async def _chat(ctx: Context, client: Client, match: "re.Match[bytes]") -> None:
    await _translated(ctx, client, chat.Chat(client.request_id))


async def _translated(ctx: Context, client: Client, dialect: responses.Responses) -> None:
    others = [pair for pair in client.headers if pair[0] != _VERSION]
    # The version whose answers the dialect reads, whatever a client may say.
    client.headers = [*others, (_VERSION, responses.VERSION)]
    await exchange.relay(ctx, client, dialect, partial(dialect.read, client.headers))


async def _not_stored(ctx: Context, client: Client, match: "re.Match[bytes]") -> None:
    await exchange.authenticated(ctx, client)
    raise errors.NotFound("The relay stores no responses: what was answered is not kept.")


async def _create_batch(ctx: Context, client: Client, match: "re.Match[bytes]") -> None:
    messages.refuse_encoded(client.headers)
    await objects.create_batch(ctx, client)


async def _create_file(ctx: Context, client: Client, match: "re.Match[bytes]") -> None:
    messages.refuse_encoded(client.headers)
    await objects.create_file(ctx, client)


async def _list(kind: str, ctx: Context, client: Client, match: "re.Match[bytes]") -> None:
    await objects.listing(ctx, client, kind)


async def _use(
    kind: str, rest: bytes, ctx: Context, client: Client, match: "re.Match[bytes]"
) -> None:
    await objects.use(ctx, client, kind, match[1].decode(), rest)


async def _usage(ctx: Context, client: Client, match: "re.Match[bytes]") -> None:
    await selfservice.own_usage(ctx, client)


async def _credits(ctx: Context, client: Client, match: "re.Match[bytes]") -> None:
    await selfservice.credits_used(ctx, client)


async def _models(ctx: Context, client: Client, match: "re.Match[bytes]") -> None:
    """The models of an account, without those that the key may not use."""
    key = await exchange.authenticated(ctx, client)
    target = b"/v1/" + match.string + (b"?" + client.query if client.query else b"")
    call = Call("models", "GET", target)

    async def deliver(reply: Reply) -> None:
        body = await exchange.collect(reply, _MOST_MODELS_BYTES)
        headers = exchange.answer_headers(client, lease, reply)
        allowed = lease.account.key_models
        if reply.status == 200 and allowed:
            body = _only(allowed, body, match)
            headers = [pair for pair in headers if pair[0] != b"content-length"]
            headers.append((b"content-length", b"%d" % len(body)))
        await ctx.leases.settle(lease)
        await client.answer(reply.status, headers, body)

    async with ctx.leases.admit(
        client.request_id, key, call, exchange.caller_of(ctx, client)
    ) as lease:
        await exchange.forward(ctx, client, lease, b"", deliver, plain=True)


def _only(allowed: tuple[str, ...], body: bytes, match: "re.Match[bytes]") -> bytes:
    answer = msgspec.json.decode(body)
    if "data" not in answer:
        if not may_use(allowed, answer.get("id", "")):
            raise errors.NotFound(f"model: {match[1].decode()} is not among this key's models.")
        return body
    answer["data"] = [model for model in answer["data"] if may_use(allowed, model.get("id", ""))]
    ids = [model["id"] for model in answer["data"]]
    answer["first_id"], answer["last_id"] = (ids[0], ids[-1]) if ids else (None, None)
    return msgspec.json.encode(answer)


def _on_object(kind: str, rest: bytes = b"") -> Handler:
    return partial(_use, kind, rest)


_BATCHES, _FILES = rb"messages/batches", rb"files"
_HANDLERS: tuple[tuple[bytes, Mapping[str, Handler]], ...] = (
    (rb"messages", {"POST": partial(_call, "messages")}),
    (rb"messages/count_tokens", {"POST": partial(_call, "count_tokens")}),
    (rb"usage", {"GET": _usage}),
    # Claude Code asks below its base URL, which may end in /api already.
    (rb"(?:api/)?oauth/usage", {"GET": _credits}),
    (rb"models", {"GET": _models}),
    (rb"models/" + _ID, {"GET": _models}),
    (_BATCHES, {"POST": _create_batch, "GET": partial(_list, "batch")}),
    (_BATCHES + b"/" + _ID, {"GET": _on_object("batch"), "DELETE": _on_object("batch")}),
    (_BATCHES + b"/" + _ID + b"/results", {"GET": _on_object("batch", b"/results")}),
    (_BATCHES + b"/" + _ID + b"/cancel", {"POST": _on_object("batch", b"/cancel")}),
    (_FILES, {"POST": _create_file, "GET": partial(_list, "file")}),
    (_FILES + b"/" + _ID, {"GET": _on_object("file"), "DELETE": _on_object("file")}),
    (_FILES + b"/" + _ID + b"/content", {"GET": _on_object("file", b"/content")}),
)
ROUTES = tuple((re.compile(pattern), handlers) for pattern, handlers in _HANDLERS)

OPENAI_ROUTES: tuple[tuple[re.Pattern[bytes], Mapping[str, Handler]], ...] = (
    (re.compile(rb"chat/completions"), {"POST": _chat}),
    (re.compile(rb"responses"), {"POST": _responses}),
    (
        re.compile(rb"responses/" + _ID + rb"(?:/[a-z_]+)?"),
        {"GET": _not_stored, "POST": _not_stored, "DELETE": _not_stored},
    ),
)


def route(client: Client) -> Callable[[Context], Awaitable[None]] | None:
    """What answers the client's path, or None when the relay serves nothing there.

    Raises:
        errors.MethodNotAllowed: the path is served, but not by this method.
    """
    routes, base = ROUTES, _BASE.fullmatch(client.path)
    if client.path.startswith(b"/openai/"):
        client.refusal = errors.in_openais_words
        routes, base = OPENAI_ROUTES, _OPENAI_BASE.fullmatch(client.path)
    if base is None:
        return None
    for pattern, handlers in routes:
        if match := pattern.fullmatch(base[1]):
            handler = handlers.get(client.method)
            if handler is None:
                raise errors.MethodNotAllowed(client.method, tuple(handlers))
            return lambda ctx: handler(ctx, client, match)
    return None
