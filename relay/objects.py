"""Batches, files and skills: each lives in one account and belongs to the key that made it.

A later call on an object's id goes to the account that holds it; an id that is unknown or
another key's is not found. Lists are answered from the relay's own table, because an account's
own list would show every key's objects.
"""

import contextlib
import time
from urllib.parse import parse_qs

import msgspec
import trio

from relay import batches, errors
from relay.call import Call
from relay.client import Client
from relay.context import Context
from relay.exchange import answered, authenticated, body_of, caller_of, outcome, pass_through
from relay.headers import answer_headers
from relay.keys import KeyRef
from relay.lease import Lease
from relay.leases import AWAY, new_request_id
from relay.opening import collect
from relay.store import RedisAway
from relay.upstream import Reply, UpstreamError

BATCHES = b"/v1/messages/batches"
KINDS = {"batch": BATCHES, "file": b"/v1/files", "skill": b"/v1/skills"}
# A look at an object holds a slot and costs nothing.
_LOOK = "object"
_MOST_FILE_BYTES = 500 * 1024 * 1024
_MOST_ANSWER_BYTES = 4 * 1024 * 1024
_DEFAULT_PAGE = 20
_LARGEST_PAGE = 100
_READS_AT_ONCE = 8
_REMEMBER_DEADLINE_S = 5.0
_BOOK_DEADLINE_S = 5.0


async def create_batch(ctx: Context, client: Client) -> None:
    """Read a new batch, admit it by what it can cost, and pass it to an account."""
    key = await authenticated(ctx, client)
    async with batches.spooled(ctx, client, key) as spool:
        reading = await batches.read(ctx, key, spool)
        call = reading.call(BATCHES + _query(client))
        client.trail.model = next(iter(reading.models)) if len(reading.models) == 1 else None
        async with (
            ctx.leases.admit(client.request_id, key, call, caller_of(ctx, client)) as lease,
            batches.outlasting(),
            outcome(ctx, client, lease),
            answered(ctx, client, lease, batches.pieces(spool), plain=True) as reply,
        ):
            body = await collect(reply, _MOST_ANSWER_BYTES)
            if reply.status == 200:
                await batches.keep(ctx, lease, reading, body)
            await ctx.leases.settle(lease)
            await _answer(client, lease, reply, _as_ours(client, body))


async def create_upload(ctx: Context, client: Client, kind: str) -> None:
    """Pass a new file or skill to an account and remember whose it is and where."""
    key = await authenticated(ctx, client)
    announced = client.header(b"content-length")
    if announced.isdigit() and int(announced) > _MOST_FILE_BYTES:
        raise errors.TooLarge(f"A {kind} may have at most {_MOST_FILE_BYTES // (1024 * 1024)} MiB.")
    # What a key uploads lies together, so that a request can name several of them.
    call = Call(kind, "POST", KINDS[kind] + _query(client), thread="files")
    async with ctx.leases.admit(client.request_id, key, call, caller_of(ctx, client)) as lease:
        upload = client.upload(ctx.settings.body_timeout_s)
        async with (
            outcome(ctx, client, lease),
            answered(ctx, client, lease, upload, plain=True) as reply,
        ):
            body = await collect(reply, _MOST_ANSWER_BYTES)
            if reply.status == 200:
                await _remember(ctx, body, kind, key, lease.account.account_id)
            await ctx.leases.settle(lease)
            await _answer(client, lease, reply, _as_ours(client, body))


async def use(ctx: Context, client: Client, kind: str, object_id: str, rest: bytes) -> None:
    """Pass a call on one object to the account that holds it.

    Args:
        rest: what follows the id in the path, e.g. b"/results".
    """
    key = await authenticated(ctx, client)
    account_id = await _home_of(ctx, object_id, kind, key)
    target = KINDS[kind] + b"/" + object_id.encode() + rest + _query(client)
    call = Call(_LOOK, client.method, target, account_id=account_id)
    if kind == "batch" and client.method == "DELETE":
        await batches.before_delete(ctx, object_id)
    body = b""
    if client.method == "POST":
        body = await body_of(ctx, client, key)
    try:
        async with ctx.leases.admit(client.request_id, key, call, caller_of(ctx, client)) as lease:
            if kind == "batch" and rest == b"/results":
                await _pass_results(ctx, client, lease, object_id)
            elif kind == "batch":
                await _pass_described(ctx, client, lease, body)
            else:
                await pass_through(ctx, client, lease, body)
    finally:
        if client.method == "DELETE" and not rest and client.status in (200, 404):
            # A client that has its answer leaves, which ends everything else here.
            with trio.move_on_after(_REMEMBER_DEADLINE_S, shield=True):
                await ctx.store.objects.forget(object_id, key.id, kind)


async def _pass_results(ctx: Context, client: Client, lease: Lease, batch_id: str) -> None:
    """Pass a batch's results on, and book it by them if nobody has yet."""
    tally = batches.Tally(ctx.prices)
    try:
        await pass_through(ctx, client, lease, b"", tally)
    finally:
        # A client that has its last line leaves; what fails here the job does later.
        with trio.move_on_after(_BOOK_DEADLINE_S, shield=True), contextlib.suppress(RedisAway):
            batch = await ctx.store.batches.read(batch_id)
            if batch and not batch.is_booked and tally.is_whole(batch.requests):
                await batches.book(ctx, batch, tally)


async def _pass_described(ctx: Context, client: Client, lease: Lease, body: bytes) -> None:
    """Pass on an answer that describes a batch."""
    async with (
        outcome(ctx, client, lease),
        answered(ctx, client, lease, body, plain=True) as reply,
    ):
        described = await collect(reply, _MOST_ANSWER_BYTES)
        await ctx.leases.settle(lease)
        await _answer(client, lease, reply, _as_ours(client, described))


async def _answer(client: Client, lease: Lease, reply: Reply, body: bytes) -> None:
    headers = [
        header for header in answer_headers(client, lease, reply) if header[0] != b"content-length"
    ]
    await client.answer(reply.status, [*headers, (b"content-length", b"%d" % len(body))], body)


def _as_ours(client: Client, body: bytes) -> bytes:
    """A batch's description with the address of its results at the relay.

    The SDKs fetch `results_url` as it stands, with the relay's key: left as it is, they would
    send that key to the upstream. Host and scheme are the client's own words, told to itself.
    """
    try:
        fields = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, msgspec.ValidationError, UnicodeError):
        return body
    if bytes(fields.get("results_url", b"null")) == b"null":
        return body
    batch_id = msgspec.json.decode(fields["id"], type=str)
    scheme = client.header(b"x-forwarded-proto").decode("latin-1")
    base = client.path.partition(b"/messages/batches")[0].decode("latin-1")
    host = client.header(b"host").decode("latin-1")
    url = f"{scheme if scheme == 'https' else 'http'}://{host}{base}/messages/batches"
    fields["results_url"] = msgspec.Raw(msgspec.json.encode(f"{url}/{batch_id}/results"))
    return msgspec.json.encode(fields)


async def listing(ctx: Context, client: Client, kind: str) -> None:
    """Answer a list of the key's own objects, newest first, each read from its account."""
    key = await authenticated(ctx, client)
    client.trail.key = (await ctx.keys.check(key)).name
    ids, has_more = _page(await ctx.store.objects.ids(key.id, kind), client)
    page: dict[str, object] = {"has_more": has_more}
    found = [value for value in await _read_all(ctx, client, kind, ids, key) if value is not None]
    if kind == "skill":
        page["next_page"] = ids[-1] if has_more else None
    else:
        page |= {"first_id": ids[0] if ids else None, "last_id": ids[-1] if ids else None}
    body = msgspec.json.encode({"data": found, **page})
    await client.answer_json(200, body)


async def anthropics_skills(ctx: Context, client: Client) -> None:
    """Answer a list of Anthropic's own skills, which are the same at every account."""
    key = await authenticated(ctx, client)
    call = Call(_LOOK, "GET", KINDS["skill"] + _query(client))
    async with ctx.leases.admit(client.request_id, key, call, caller_of(ctx, client)) as lease:
        await pass_through(ctx, client, lease, b"")


async def _read_all(
    ctx: Context, client: Client, kind: str, ids: list[str], key: KeyRef
) -> list[msgspec.Raw | None]:
    found: list[msgspec.Raw | None] = [None] * len(ids)
    limit = trio.CapacityLimiter(_READS_AT_ONCE)
    is_away = False

    async def read(place: int) -> None:
        nonlocal is_away
        async with limit:
            try:
                found[place] = await _read(ctx, client, kind, ids[place], key)
            except RedisAway:
                is_away = True

    async with trio.open_nursery() as nursery:
        for place in range(len(ids)):
            nursery.start_soon(read, place)
    if is_away:
        raise errors.Unavailable(AWAY)
    return found


async def _read(
    ctx: Context, client: Client, kind: str, object_id: str, key: KeyRef
) -> msgspec.Raw | None:
    """One object as its account describes it; None when it is gone or cannot be read now."""
    try:
        account_id = await _home_of(ctx, object_id, kind, key)
        call = Call(_LOOK, "GET", KINDS[kind] + b"/" + object_id.encode(), account_id=account_id)
        async with (
            ctx.leases.admit(new_request_id(), key, call, caller_of(ctx, client)) as lease,
            answered(ctx, client, lease, b"", plain=True) as reply,
        ):
            body = await collect(reply, _MOST_ANSWER_BYTES)
            return msgspec.Raw(_as_ours(client, body)) if reply.status == 200 else None
    except (errors.RelayError, UpstreamError):
        return None


async def _home_of(ctx: Context, object_id: str, kind: str, key: KeyRef) -> str:
    found = await ctx.store.objects.read(object_id)
    if not found:
        await ctx.store.confirm()
    if not found or found["key"] != key.id or found["kind"] != kind:
        raise errors.NotFound(f"There is no {kind} with the id {object_id}.")
    return found["account"]


async def _remember(ctx: Context, body: bytes, kind: str, key: KeyRef, account_id: str) -> None:
    object_id = msgspec.json.decode(body, type=_Made).id
    now_ms = int(time.time() * 1000)
    with trio.move_on_after(_REMEMBER_DEADLINE_S, shield=True):
        await ctx.store.objects.remember(object_id, kind, key.id, account_id, now_ms)


class _Made(msgspec.Struct):
    id: str


def _page(ids: list[str], client: Client) -> tuple[list[str], bool]:
    """The part of `ids` that limit, after_id (of skills: page) and before_id ask for, and whether
    more follow."""
    asked = {name: values[-1] for name, values in parse_qs(client.query.decode("latin-1")).items()}
    limit = asked.get("limit", str(_DEFAULT_PAGE))
    if not limit.isdigit() or not 1 <= int(limit) <= 1000:
        raise errors.BadRequest("limit: must be a whole number from 1 to 1000.")
    size = min(int(limit), _LARGEST_PAGE)
    if (before := asked.get("before_id")) in ids:
        end = ids.index(before)
        return ids[max(0, end - size) : end], end > size
    after = asked.get("page", asked.get("after_id"))
    start = ids.index(after) + 1 if after in ids else 0
    return ids[start : start + size], len(ids) > start + size


def _query(client: Client) -> bytes:
    return b"?" + client.query if client.query else b""
