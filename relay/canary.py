"""`relay canary`: a release proves on its machine that it serves, before any client is sent to it.

It serves from a temporary data folder, with the machine's own settings, interpreter and Redis,
against the built-in simulator: each API is called whole and streamed, and the books must show what
was used. Nothing of it reaches Claude, a webhook, or what the machine has stored.
"""

import contextlib
import dataclasses
import json
import secrets
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode

import httpx
import trio

from relay import server, simulator
from relay.context import Context
from relay.redis_link import CALL_DEADLINE_S, RedisAway, RedisLink, ReplyError, linked
from relay.settings import Secret, Settings

_DEADLINE_S = 30.0
_LOOK_EVERY_S = 0.02
_MOST_SHOWN = 300
_MODEL = "claude-haiku-4-5"
_SIMULATED_KEY = "simulated-upstream-key"
_QUESTION: Mapping[str, Any] = {"model": _MODEL, "messages": [{"role": "user", "content": "Hello"}]}

# Redis has sixteen databases unless it is told otherwise; the relay's own is among the first.
_DATABASES = range(15, 0, -1)
_MARK = "relay:canary"
# A canary that is older was killed, and could not clear its database.
_ABANDONED_S = 120
_CLEAR = """
local function clear()
  for _, key in ipairs(redis.call('KEYS', '{relay}:*')) do redis.call('DEL', key) end
  redis.call('DEL', KEYS[1])
end
"""
_TAKE = """
local now, kept = tonumber(redis.call('TIME')[1]), redis.call('GET', KEYS[1])
local since = kept and tonumber(string.match(kept, ' (%d+)$')) or 0
if kept and now - since > tonumber(ARGV[2]) then clear() end
if redis.call('DBSIZE') > 0 then return 0 end
redis.call('SET', KEYS[1], ARGV[1] .. ' ' .. string.format('%d', now))
return 1
"""
_LEAVE = """
local kept = redis.call('GET', KEYS[1])
if kept and string.match(kept, '^%x+') == ARGV[1] then clear() end
"""


class CanaryFailed(Exception):
    """A sentence about the call that failed, and how."""


@dataclasses.dataclass(frozen=True, slots=True)
class Call:
    """One call of the proof.

    Args:
        body: without `stream`.
        text: takes the answer's text out of a whole answer.
        end: what a complete stream holds.
    """

    name: str
    path: str
    body: Mapping[str, Any]
    text: Callable[[Any], str]
    end: str


CALLS = (
    Call("messages", "/v1/messages", {**_QUESTION, "max_tokens": 50},
         lambda answer: answer["content"][0]["text"], "event: message_stop"),
    Call("chat completions", "/openai/claude/v1/chat/completions", _QUESTION,
         lambda answer: answer["choices"][0]["message"]["content"], "data: [DONE]"),
    Call("responses", "/openai/claude/v1/responses", {"model": _MODEL, "input": "Hello"},
         lambda answer: answer["output"][-1]["content"][0]["text"], "event: response.completed"),
)  # fmt: skip


async def run(settings: Settings) -> tuple[str, ...]:
    """Prove that this release serves here.

    Returns:
        what was called, in words.

    Raises:
        CanaryFailed: a call failed, took too long, or is not on the books.
        store.RedisAway, settings.SettingsError and others: as for `relay serve`.
    """
    called: list[str] = []
    try:
        with trio.fail_after(_DEADLINE_S), tempfile.TemporaryDirectory(prefix="relay-") as home:
            async with _database(settings.redis_url) as redis_url:
                await _serve_and_call(_apart(settings, Path(home), redis_url), called)
    except trio.TooSlowError:
        done = ", ".join(called) or "none"
        raise CanaryFailed(
            f"The calls have not ended within {_DEADLINE_S:.0f} seconds; answered so far: {done}."
        ) from None
    return tuple(called)


def _apart(settings: Settings, home: Path, redis_url: str | None) -> Settings:
    """The machine's settings, without what others would notice or what would refuse the calls."""
    return dataclasses.replace(
        settings,
        home=home,
        host="127.0.0.1",
        port=0,
        redis_url=redis_url,
        proxy=None,
        rate_enabled=False,
        budgets=(),
        webhooks=(),
        # Made up, a first password would be printed.
        admin_password=Secret(secrets.token_urlsafe()),
        notify_socket="",
        log_to_file=False,
        drain_lead_s=0.0,
        drain_timeout_s=1.0,
    )


async def _serve_and_call(settings: Settings, called: list[str]) -> None:
    async with trio.open_nursery() as upstreams:
        serve = partial(simulator.serve, api_keys=frozenset({_SIMULATED_KEY}))
        upstream = await upstreams.start(serve)
        async with trio.open_nursery() as relays:
            stop = trio.Event()
            ctx, url = await relays.start(partial(server.serve, settings, stop=stop))
            await ctx.accounts.add("canary", secret=_SIMULATED_KEY, base_url=upstream.base_url)
            _, key = await ctx.keys.create("canary")
            await _call_all(url, key, called)
            await _find_on_the_books(ctx, len(called))
            stop.set()
        upstreams.cancel_scope.cancel()


async def _call_all(url: str, key: str, called: list[str]) -> None:
    headers = {"authorization": f"Bearer {key}", "anthropic-version": "2023-06-01"}
    async with httpx.AsyncClient(
        base_url=url, headers=headers, timeout=_DEADLINE_S, trust_env=False
    ) as client:
        for call in CALLS:
            for stream in (False, True):
                name = f"{call.name}, {'streamed' if stream else 'whole'}"
                try:
                    answer = await client.post(call.path, json={**call.body, "stream": stream})
                except httpx.HTTPError as error:
                    raise CanaryFailed(f"{name}: no answer: {error!r}") from None
                _judge(name, call, answer, stream=stream)
                called.append(name)


def _judge(name: str, call: Call, answer: httpx.Response, *, stream: bool) -> None:
    begin = answer.text[:_MOST_SHOWN]
    if answer.status_code != HTTPStatus.OK:
        raise CanaryFailed(f"{name}: answered with {answer.status_code}: {begin}")
    try:
        is_whole = call.end in answer.text if stream else bool(call.text(answer.json()))
    except (ValueError, LookupError, TypeError):
        is_whole = False
    if not is_whole:
        raise CanaryFailed(f"{name}: the answer is not what the API's clients expect: {begin}")


async def _find_on_the_books(ctx: Context, calls: int) -> None:
    """Wait until every call has a record with a cost, or for the deadline."""
    while True:
        records = [json.loads(record) for record in await ctx.store.usage.records(calls + 1)]
        if len(records) == calls and all(record["cost_micros"] > 0 for record in records):
            return
        await trio.sleep(_LOOK_EVERY_S)


@contextlib.asynccontextmanager
async def _database(url: str | None) -> AsyncIterator[str | None]:
    """A database of the machine's Redis that is empty, and is so again afterwards.

    Yields:
        its address; None, which makes the relay run a Redis of its own, where that is usual here or
        where Redis has no database to spare.
    """
    owner = secrets.token_hex(8)
    for number in _DATABASES if url else ():
        apart = _address(url or "", number)
        async with linked(apart) as link:
            if not await _take(link, owner):
                continue
            try:
                yield apart
            finally:
                with trio.move_on_after(CALL_DEADLINE_S, shield=True):
                    await link.call("EVAL", _CLEAR + _LEAVE, 1, _MARK, owner)
            return
    yield None


async def _take(link: RedisLink, owner: str) -> bool:
    """Whether the database of a link was empty, or left behind, and is the owner's now.

    Raises:
        RedisAway: it does not answer. One that answers and has no such database or no memory for
            it, or does not let us have it, is no reason that a release should not serve.
    """
    try:
        return bool(await link.call("EVAL", _CLEAR + _TAKE, 1, _MARK, owner, _ABANDONED_S))
    except ReplyError:
        return False
    except RedisAway as error:
        if link.refused is not None or str(error).startswith("OOM"):
            return False
        raise


def _address(url: str, number: int) -> str:
    """The same Redis, another of its databases."""
    place, _, query = url.partition("?")
    options = {**dict(parse_qsl(query)), "db": str(number)}
    return f"{place}?{urlencode(options)}"
