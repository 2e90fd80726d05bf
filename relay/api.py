"""The APIs' paths: which of them the relay serves, and what answers each."""

import functools
import re
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any
from urllib.parse import parse_qs

from relay import bases, catalogue, errors, exchange, objects, selfservice
from relay.call import Call
from relay.client import Client
from relay.context import Context
from relay.dialects import aliases, chat, messages, responses
from relay.dialects.openai import VERSION, Translating, failures
from relay.dialects.openai.asked import Choices

Handler = Callable[[Context, Client, "re.Match[bytes]"], Awaitable[None]]

_ID = rb"([A-Za-z0-9][A-Za-z0-9_.:@~-]{0,199})"
_VERSION = b"anthropic-version"


async def _call(kind: str, ctx: Context, client: Client, match: "re.Match[bytes]") -> None:
    target, named = _target(client, match), ctx.settings.claude_models

    def read(body: bytes) -> Call:
        return aliases.read(kind, client.method, target, body, client.headers, named)

    await exchange.relay(ctx, client, messages, read)


async def _responses(ctx: Context, client: Client, match: "re.Match[bytes]") -> None:
    await _translated(ctx, client, responses.Responses(client.request_id, _choices(ctx)))


async def _compact(ctx: Context, client: Client, match: "re.Match[bytes]") -> None:
    await _translated(ctx, client, responses.Compacting(client.request_id, _choices(ctx)))


async def _count(ctx: Context, client: Client, match: "re.Match[bytes]") -> None:
    await _translated(ctx, client, responses.Counting(client.request_id, _choices(ctx)))


async def _chat(ctx: Context, client: Client, match: "re.Match[bytes]") -> None:
    await _translated(ctx, client, chat.Chat(client.request_id, _choices(ctx)))


def _choices(ctx: Context) -> Choices:
    return Choices(ctx.settings.openai_models, ctx.settings.openai_caches, ctx.models.traits)


async def _translated(ctx: Context, client: Client, dialect: Translating[Any]) -> None:
    _pin_version(client)
    client.refusal = dialect.refusal

    def read(body: bytes) -> Call:
        call = dialect.read(client.headers, body)
        if dialect.beta:
            client.headers = [*client.headers, (b"anthropic-beta", dialect.beta)]
        return call

    await exchange.relay(ctx, client, dialect, read)


def _pin_version(client: Client) -> None:
    """Ask for the version whose answers the dialect reads, whatever a client may say."""
    others = [pair for pair in client.headers if pair[0] != _VERSION]
    client.headers = [*others, (_VERSION, VERSION)]


async def _not_stored(ctx: Context, client: Client, match: "re.Match[bytes]") -> None:
    await exchange.authenticated(ctx, client)
    raise errors.NotFound("The relay stores no responses: what was answered is not kept.")


async def _create_batch(ctx: Context, client: Client, match: "re.Match[bytes]") -> None:
    messages.refuse_encoded(client.headers)
    await objects.create_batch(ctx, client)


async def _upload(kind: str, ctx: Context, client: Client, match: "re.Match[bytes]") -> None:
    messages.refuse_encoded(client.headers)
    await objects.create_upload(ctx, client, kind)


async def _skills(ctx: Context, client: Client, match: "re.Match[bytes]") -> None:
    if parse_qs(client.query).get(b"source") == [b"anthropic"]:
        await objects.anthropics_skills(ctx, client)
    else:
        await objects.listing(ctx, client, "skill")


async def _version(
    method_rest: bytes, ctx: Context, client: Client, match: "re.Match[bytes]"
) -> None:
    rest = b"/versions/" + match[2] + method_rest
    await objects.use(ctx, client, "skill", match[1].decode(), rest)


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
    await catalogue.claudes(ctx, client, _target(client, match), _named(match))


async def _openais_models(ctx: Context, client: Client, match: "re.Match[bytes]") -> None:
    _pin_version(client)
    await catalogue.openais(ctx, client, _named(match))


def _target(client: Client, match: "re.Match[bytes]") -> bytes:
    return b"/v1/" + match.string + (b"?" + client.query if client.query else b"")


def _named(match: "re.Match[bytes]") -> str:
    """The id in a path, or empty."""
    return match[1].decode() if match.re.groups else ""


def _on_object(kind: str, rest: bytes = b"") -> Handler:
    return partial(_use, kind, rest)


_BATCHES, _FILES, _SKILLS = rb"messages/batches", rb"files", rb"skills"
_VERSIONS = _SKILLS + b"/" + _ID + b"/versions"
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
    (_FILES, {"POST": partial(_upload, "file"), "GET": partial(_list, "file")}),
    (_FILES + b"/" + _ID, {"GET": _on_object("file"), "DELETE": _on_object("file")}),
    (_FILES + b"/" + _ID + b"/content", {"GET": _on_object("file", b"/content")}),
    (_SKILLS, {"POST": partial(_upload, "skill"), "GET": _skills}),
    (_SKILLS + b"/" + _ID, {"GET": _on_object("skill"), "DELETE": _on_object("skill")}),
    (_VERSIONS, {method: _on_object("skill", b"/versions") for method in ("GET", "POST")}),
    (_VERSIONS + b"/" + _ID, {method: partial(_version, b"") for method in ("GET", "DELETE")}),
    (_VERSIONS + b"/" + _ID + b"/content", {"GET": partial(_version, b"/content")}),
)
ROUTES = tuple((re.compile(pattern), handlers) for pattern, handlers in _HANDLERS)

_OPENAI_HANDLERS: tuple[tuple[bytes, Mapping[str, Handler]], ...] = (
    (rb"chat/completions", {"POST": _chat}),
    (rb"responses", {"POST": _responses}),
    (rb"responses/input_tokens", {"POST": _count}),
    (rb"responses/compact", {"POST": _compact}),
    (
        rb"responses/" + _ID + rb"(?:/[a-z_]+)?",
        {"GET": _not_stored, "POST": _not_stored, "DELETE": _not_stored},
    ),
)
OPENAI_ROUTES = tuple((re.compile(pattern), handlers) for pattern, handlers in _OPENAI_HANDLERS)
# Under a base of OpenAI's these are told in its words; elsewhere they are Anthropic's.
OPENAI_MODELS: tuple[tuple[re.Pattern[bytes], Mapping[str, Handler]], ...] = (
    (re.compile(rb"models"), {"GET": _openais_models}),
    (re.compile(rb"models/" + _ID), {"GET": _openais_models}),
)


_Refusal = Callable[[int, bytes], tuple[int, bytes, bytes]]
_Found = tuple[_Refusal | None, Mapping[str, Handler], "re.Match[bytes] | None"]


def _found(path: bytes) -> _Found:
    """How errors of a path's API are told, and what answers there, by method."""
    if bases.speaks_gemini(path):
        return bases.in_geminis_words, {}, None
    refusal = failures.in_openais_words if bases.speaks_openai(path) else None
    asked = bases.asked(path)
    for pattern, handlers in (*OPENAI_ROUTES, *(OPENAI_MODELS if asked.is_openai else ROUTES)):
        if match := pattern.fullmatch(asked.rest):
            return refusal, handlers, match
    return refusal, {}, None


# Most requests are for a few paths; what a client may make up takes no more room than this.
_LONGEST_REMEMBERED = 100
_remembered = functools.lru_cache(maxsize=256)(_found)


def route(client: Client) -> Callable[[Context], Awaitable[None]] | None:
    """What answers the client's path, or None when the relay serves nothing there.

    Errors are told in the words of the path's API from here on.

    Raises:
        errors.MethodNotAllowed: the path is served, but not by this method.
    """
    find = _remembered if len(client.path) <= _LONGEST_REMEMBERED else _found
    client.refusal, handlers, match = find(client.path)
    if match is None:
        return None
    handler = handlers.get(client.method)
    if handler is None:
        raise errors.MethodNotAllowed(client.method, tuple(handlers))
    return lambda ctx: handler(ctx, client, match)
