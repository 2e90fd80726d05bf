"""The way of one request: authenticate, read, admit, send, deliver, settle.

With delivery.py, by which the answer goes on to the client, the only room that knows both the
client and the upstream. Whatever happens, the lease's own exit settles it.
"""

import contextlib
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from functools import partial

import msgspec
import trio

from relay import balancer, delivery, errors, homes, limits, missing_models, opening
from relay.balancer import Verdict
from relay.body import LARGE_BYTES, place_of
from relay.call import Call, Dialect, Headers, Reader
from relay.client import Client, ClientGone
from relay.context import Context
from relay.headers import answer_headers, belongs_to, passed_headers, upstream_headers, value_of
from relay.keys import KeyRef
from relay.lease import Lease
from relay.leases import Step
from relay.opening import RefusedInside
from relay.patience import Patience
from relay.store import Again, Caller, RedisAway
from relay.upstream import Reply, UpstreamError, is_ours

_MOST_REFUSAL_BYTES = 4 * 1024 * 1024
REFUSED = "credential_refused"


async def authenticated(ctx: Context, client: Client) -> KeyRef:
    """Whose key the request carries; the access line names it by its id until it is admitted."""
    key = await ctx.keys.authenticate(client.headers)
    client.trail.key = key.id
    return key


def caller_of(ctx: Context, client: Client) -> Caller:
    """Who calls, as far as a key's limits ask."""
    agent = client.header(b"user-agent").decode("latin-1")
    return Caller(ctx.clients.of(agent), limits.address(client.address))


async def body_of(ctx: Context, client: Client, key: KeyRef) -> bytes:
    """A call's whole body. A large one is not even read for a key that may not call.

    Raises:
        errors.Unauthorized: the key is disabled, expired or gone.
        errors.RelayError: see Client.body().
    """
    settings = ctx.settings
    announced = client.announced_bytes
    if announced is None or announced > LARGE_BYTES:
        await ctx.keys.check(key)
    return await client.body(settings.max_body_bytes, ctx.bodies, settings.body_timeout_s, key.id)


async def relay(
    ctx: Context, client: Client, dialect: Dialect, read: Callable[[bytes], Call]
) -> None:
    """Answer a call whose body is read whole, from the key to the settled lease.

    Args:
        read: makes the call of the body; raises errors.BadRequest.
    """
    key = await authenticated(ctx, client)
    body = await body_of(ctx, client, key)
    if len(body) > LARGE_BYTES:
        call = await trio.to_thread.run_sync(read, body, limiter=ctx.bodies.readers)
    else:
        call = read(body)
    client.trail.model = call.model
    call = await homes.found_in(call)
    try:
        await _admitted(ctx, client, dialect, key, call)
    except (errors.ForbiddenModel, errors.UnservedModel) as refusal:
        section = missing_models.section_of(dialect.name)
        raise await ctx.missing_models.explained(refusal, key.id, section) from None


async def _admitted(
    ctx: Context, client: Client, dialect: Dialect, key: KeyRef, call: Call
) -> None:
    """Answer a call that was read, once it is admitted."""
    async with ctx.leases.admit(client.request_id, key, call, caller_of(ctx, client)) as lease:
        lease.dialect = dialect.name
        deliver = partial(delivery.deliver, ctx, client, dialect, lease)
        suited = partial(_suited, ctx, dialect) if dialect.retells else None
        await forward(ctx, client, lease, call.body, deliver, suited, plain=dialect.retells)


@dataclass(frozen=True, slots=True)
class _Failure:
    """An attempt that brought no answer: what follows from it, and what a client would be told.

    `is_own` where these are the relay's own words, and not the upstream's.
    """

    verdict: Verdict
    status: int
    headers: errors.Headers
    body: bytes
    is_own: bool = False

    @property
    def rank(self) -> int:
        """Which of several failures tells the client most: the lowest, and the last of those."""
        return {429: 0, 503: 1, 404: 2}.get(self.status, 3)


async def forward(
    ctx: Context,
    client: Client,
    lease: Lease,
    body: bytes,
    deliver: Callable[[Reply], Awaitable[None]],
    suited: Callable[[Lease], bytes | None] | None = None,
    *,
    plain: bool = False,
) -> None:
    """Send an admitted call to its account and have its answer delivered.

    Before the first byte has reached the client, a failure moves the call to another account
    as long as there is one; after it nothing is sent twice.

    Args:
        deliver: passes an answer below 400 on to the client.
        suited: what the lease's account gets instead of `body`, or None.
        plain: whether the answer must come uncompressed, because the relay reads it.
    """
    async with outcome(ctx, client, lease):
        failures: list[_Failure] = []
        patience = _patience(ctx)
        while failure := await _attempt(
            ctx, client, lease, (suited and suited(lease)) or body, deliver, plain=plain
        ):
            failures.append(failure)
            if failure.verdict.is_suspect:
                ctx.checks.suspect(lease.account.account_id)
            if failure.verdict.may_be_exhausted:
                ctx.checks.suspect(lease.account.account_id, model=call_model(lease))
            if not failure.verdict.moves_on:
                break
            verdict = failure.verdict
            pause_s = patience.pause_s(verdict.pause_s) if verdict.repeats else None
            most_s = None if pause_s is None else patience.left_s
            step = await ctx.leases.move_on(lease, verdict, most_s)
            if step is Step.NOWHERE:
                failure = min(reversed(failures), key=lambda failed: failed.rank)
                break
            if isinstance(step, Again):
                pause_s = max(pause_s or 0.0, step.pause_ms / 1000)
                patience.use(pause_s)
                await trio.sleep(pause_s)
        if failure:
            await _answer_failure(ctx, client, lease, failure)


async def _answer_failure(ctx: Context, client: Client, lease: Lease, failure: _Failure) -> None:
    if failure.verdict.moves_on and failure.status != 404 and homes.continues_thread(lease.call):
        # No other account has the thread: its client sends the conversation whole.
        raise homes.thread_not_found(lease.call)
    await ctx.leases.settle(lease)
    client.trail.is_own_error = failure.is_own and failure.status >= 500
    answer = failure.status, failure.headers, failure.body
    if failure.status == 404 and not failure.is_own:
        answer = await _named_models(ctx, client, lease, failure) or answer
    await client.answer(*answer)


async def _named_models(
    ctx: Context, client: Client, lease: Lease, failure: _Failure
) -> tuple[int, errors.Headers, bytes] | None:
    """What the client is answered instead, if the upstream does not have the model."""
    section = missing_models.section_of(lease.dialect)
    found = await ctx.missing_models.of_upstream(lease, failure.headers, failure.body, section)
    return missing_models.answer(found, failure.headers, client.request_id) if found else None


def _patience(ctx: Context) -> Patience:
    settings = ctx.settings
    return Patience(settings.max_retries, settings.retry_delay_s, settings.retry_timeout_s)


async def _attempt(
    ctx: Context,
    client: Client,
    lease: Lease,
    body: bytes,
    deliver: Callable[[Reply], Awaitable[None]],
    *,
    plain: bool,
) -> _Failure | None:
    """Try the lease's account. Returns None once the client has its answer, or part of it."""
    call = lease.call
    headers: errors.Headers = []
    try:
        async with answered(ctx, client, lease, _as_mapped(lease, body), plain=plain) as reply:
            if reply.status < 400:
                headers = reply.headers
                await deliver(reply)
                return None
            refusal = await opening.collect(reply, _MOST_REFUSAL_BYTES)
            verdict = balancer.of_reply(
                reply.status, reply.headers, refusal, call.model, is_fast=call.reach.is_fast
            )
            if call.kind != "messages":
                # Counting tokens has limits of its own, which say nothing of messages.
                verdict = replace(verdict, state="")
            return _Failure(verdict, reply.status, answer_headers(client, lease, reply), refusal)
    except RefusedInside as refused:
        return _refused_inside(client, lease, headers, refused)
    except UpstreamError as error:
        if client.status is not None:
            raise
        lease.error = delivery.word_for(error)
        client.trail.error = f"{lease.error}: {error.reason}"
        verdict = balancer.of_break(call, error)
        return _own_failure(verdict, client, delivery.own_error(error))
    except errors.RelayError as error:
        if client.status is not None or (lease.status or 500) < 300:
            raise
        verdict = balancer.of_reply(lease.status or 500, (), b"")
        return _own_failure(verdict, client, error)


def _refused_inside(
    client: Client, lease: Lease, headers: Headers, refused: RefusedInside
) -> _Failure:
    """An error under a status of 200 is what the status that belongs to it would have said."""
    call, status = lease.call, refused.status
    lease.status, lease.error = status, f"status_{status}"
    is_fast = call.reach.is_fast
    verdict = balancer.of_reply(status, headers, refused.body, call.model, is_fast=is_fast)
    if status in (401, 403):
        return _own_failure(verdict, client, _credential_refused(client, lease))
    told = opening.whole_headers(passed_headers(client, lease, headers), refused.body)
    return _Failure(verdict, status, told, refused.body)


def _own_failure(verdict: Verdict, client: Client, error: errors.RelayError) -> _Failure:
    return _Failure(verdict, *errors.response(error, client.request_id), is_own=True)


def _suited(ctx: Context, dialect: Dialect, lease: Lease) -> bytes | None:
    """The request as it suits the model that the lease's account has for the one asked for."""
    traits = ctx.models.traits(call_model(lease), lease.account.account_id)
    return dialect.suited(traits, lease.call.max_tokens)


def call_model(lease: Lease) -> str:
    """What the lease's account calls the model that was asked for."""
    return lease.credential.model_map.get(lease.call.model, lease.call.model)


def _as_mapped(lease: Lease, body: bytes) -> bytes:
    """The body, with the model's name changed where the account calls it something else.

    The one case in which a byte of a request changes: only that value, in place.
    """
    call = lease.call
    target = lease.credential.model_map.get(call.model)
    if target is None or call.kind == "batch":
        return body
    start, end = place_of(body, "model")
    return body[:start] + msgspec.json.encode(target) + body[end:]


@contextlib.asynccontextmanager
async def outcome(ctx: Context, client: Client, lease: Lease) -> AsyncIterator[None]:
    """Note how a lease's request ended, settle it, and turn an upstream's failure into ours."""
    lease.client = client.header(b"user-agent").decode("latin-1")[:200]
    client.trail.key, client.trail.account = lease.account.key_name, lease.account.account_name
    try:
        yield
    except UpstreamError as error:
        lease.error = delivery.word_for(error)
        client.trail.error = f"{lease.error}: {error.reason}"
        if client.status is None:
            raise delivery.own_error(error) from None
    except trio.Cancelled:
        lease.error = lease.error or ("client_gone" if client.is_gone else "shutdown")
        raise
    except Exception as error:
        lease.error = lease.error or _word_for(error)
        raise
    finally:
        if lease.error == REFUSED:
            ctx.checks.suspect(lease.account.account_id)
        await ctx.leases.settle(lease)  # noqa: ASYNC102  # it shields itself, with a deadline
        client.trail.has_record = lease.has_record
        _fill_in(client, lease)


def _word_for(error: Exception) -> str:
    """What the record calls an error that nothing on the way has named; empty for the client's."""
    if isinstance(error, ClientGone):
        return "client_gone"
    if isinstance(error, errors.RelayError):
        return error.type if error.status >= 500 else ""
    if isinstance(error, RedisAway):
        return "redis_away"
    return "out_of_room" if is_ours(error) else "internal_error"


@contextlib.asynccontextmanager
async def answered(
    ctx: Context,
    client: Client,
    lease: Lease,
    body: bytes | AsyncIterable[bytes],
    *,
    plain: bool = False,
) -> AsyncIterator[Reply]:
    """The answer of the lease's account; marks on the lease how far the request has come.

    Args:
        plain: whether the answer must come uncompressed, because the relay reads it.
    """
    call, settings = lease.call, ctx.settings
    waits_s = settings.stream_headers_timeout_s if call.stream else settings.request_timeout_s
    silence_s = settings.silence_timeout_s if call.stream else settings.request_timeout_s
    lease.was_sent = True
    try:
        async with ctx.upstreams.send(
            lease.credential.base_url,
            call.method,
            call.target,
            upstream_headers(client, lease, plain=plain),
            body,
            headers_timeout_s=waits_s,
            silence_timeout_s=silence_s,
            proxy=lease.credential.proxy,
            judges_host=lease.credential.judges_host,
            judges_proxy=lease.credential.judges_proxy,
        ) as reply:
            _note_answer(client, lease, reply)
            yield reply
    except UpstreamError as error:
        if lease.status is None:
            lease.was_sent = not error.never_left
        raise


def _note_answer(client: Client, lease: Lease, reply: Reply) -> None:
    lease.status = reply.status
    lease.headroom = balancer.headroom(reply.headers)
    lease.place = belongs_to(reply.headers)
    lease.upstream_request_id = value_of(reply.headers, b"request-id").decode("latin-1")
    client.trail.upstream_request_id = lease.upstream_request_id
    if reply.status >= 400:
        lease.error = f"status_{reply.status}"
    if 300 <= reply.status < 400:
        lease.error = "upstream_redirects"
        client.trail.error = f"upstream_redirects: status {reply.status}; is the base URL right?"
        # A client that followed it would take its key to another host.
        raise errors.BadGateway("The upstream account's address only redirects elsewhere.")
    if reply.status in (401, 403):
        raise _credential_refused(client, lease)


def _credential_refused(client: Client, lease: Lease) -> errors.Unavailable:
    lease.error = REFUSED
    client.trail.error = (
        f"credential_refused: the upstream answered {lease.status} to the account's secret"
    )
    # A 401 or 403 would make clients drop their own, valid key.
    return errors.Unavailable(lease.credential.sentence)


async def pass_through(
    ctx: Context,
    client: Client,
    lease: Lease,
    body: bytes | AsyncIterable[bytes],
    reader: Reader | None = None,
) -> None:
    """Answer from the one account that can; a `reader` sees what comes as well, uncompressed."""
    async with (
        outcome(ctx, client, lease),
        answered(ctx, client, lease, body, plain=reader is not None) as reply,
    ):
        await delivery.pass_body(ctx, client, lease, reply, reader)


def _fill_in(client: Client, lease: Lease) -> None:
    trail = client.trail
    trail.error = lease.error or None if lease.attempts else trail.error or lease.error or None
    trail.account = lease.account.account_name
    if lease.attempts:
        tokens = [attempt.tokens for attempt in lease.attempts]
        trail.tokens_in = sum(one.prompt for one in tokens)
        trail.tokens_out = sum(one.output for one in tokens)
        trail.cost_micros = sum(attempt.cost_micros for attempt in lease.attempts)
        trail.attempts = len(lease.attempts) if len(lease.attempts) > 1 else None
