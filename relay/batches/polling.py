"""Looks at open batches until each has ended, and books it from its results."""

import enum
import logging
import time
from collections.abc import Callable

import msgspec
import trio

from relay import errors
from relay.accounts import AccountProblem, Credential
from relay.batches.booking import Tally, book, book_estimated
from relay.context import Context
from relay.store import KeptBatch
from relay.upstream import UpstreamError

log = logging.getLogger("relay.batches")

FIRST_LOOK_MS = 60_000
_LAST_LOOK_MS = 15 * 60_000
# A batch is looked at again after a tenth of its age.
_PART_OF_AGE = 10
# Its upstream keeps results for so long.
LONGEST_MS = 29 * 24 * 3600 * 1000
# How long a run of the job may take; the claim outlives it.
RUN_DEADLINE_S = 900.0
_CLAIM_MS = 1_000_000
_AT_ONCE = 4
_DEADLINE_S = 60.0
_MOST_DESCRIPTION = 1024 * 1024
_VERSION = (b"anthropic-version", b"2023-06-01")


class Standing(enum.Enum):
    """What a look at a batch has found."""

    BOOKED = enum.auto()
    OPEN = enum.auto()
    UNKNOWN = enum.auto()


class _Gone(Exception):
    """Nobody can have the batch's results any more; the word says why."""


async def poll(ctx: Context) -> None:
    """Look at every batch whose time has come. Raises RedisAway."""
    while batch_ids := await ctx.store.batches.due(_AT_ONCE, _CLAIM_MS):
        async with trio.open_nursery() as nursery:
            for batch_id in batch_ids:
                nursery.start_soon(_follow, ctx, batch_id)


async def _follow(ctx: Context, batch_id: str) -> None:
    batch = await ctx.store.batches.read(batch_id)
    if batch is None or batch.is_booked:
        return
    age_ms = round(time.time() * 1000) - batch.started_at_ms
    if await look(ctx, batch) is Standing.BOOKED:
        return
    if age_ms >= LONGEST_MS:
        await _give_up(ctx, batch, "not_ended")
        return
    wait_ms = min(max(FIRST_LOOK_MS, age_ms // _PART_OF_AGE), _LAST_LOOK_MS)
    await ctx.store.batches.look_again(batch_id, round(time.time() * 1000) + wait_ms)


async def before_delete(ctx: Context, batch_id: str) -> None:
    """Book a batch that its key's holder wants deleted. Raises errors.RelayError if that fails."""
    batch = await ctx.store.batches.read(batch_id)
    if batch is None or batch.is_booked:
        return
    match await look(ctx, batch):
        case Standing.OPEN:
            raise errors.BadRequest(f"{batch_id} has not ended; cancel it first.")
        case Standing.UNKNOWN:
            raise errors.Unavailable(
                "What this batch has cost is not known yet, so it cannot be deleted. Try again."
            )


async def look(ctx: Context, batch: KeptBatch) -> Standing:
    """Ask the batch's account for it, and book it if it has ended. Raises RedisAway."""
    try:
        credential = await ctx.accounts.credential(batch.account_id, "")
    except AccountProblem:
        gone = not await ctx.store.accounts.read(batch.account_id)
        if gone:
            await _give_up(ctx, batch, "account_removed")
        return Standing.BOOKED if gone else Standing.UNKNOWN
    try:
        if not await _has_ended(ctx, credential, batch):
            return Standing.OPEN
        tally = await _results(ctx, credential, batch)
    except _Gone as gone_because:
        await _give_up(ctx, batch, str(gone_because))
        return Standing.BOOKED
    except UpstreamError as error:
        log.warning("batch %s at %s: %s", batch.id, batch.account_name, error)
        return Standing.UNKNOWN
    if not tally.is_whole(batch.requests):
        log.warning("batch %s at %s: its results are not whole", batch.id, batch.account_name)
        return Standing.UNKNOWN
    await book(ctx, batch, tally)
    return Standing.BOOKED


async def _give_up(ctx: Context, batch: KeptBatch, why: str) -> None:
    log.warning("batch %s at %s is booked as estimated: %s", batch.id, batch.account_name, why)
    await book_estimated(ctx, batch, why)


class _Described(msgspec.Struct):
    processing_status: str


async def _has_ended(ctx: Context, credential: Credential, batch: KeptBatch) -> bool:
    described = bytearray()

    def read(data: bytes) -> None:
        if len(described) + len(data) > _MOST_DESCRIPTION:
            raise UpstreamError("body", "its description is too large")
        described.extend(data)

    await _get(ctx, credential, batch, b"", read)
    try:
        return msgspec.json.decode(described, type=_Described).processing_status == "ended"
    except (msgspec.MsgspecError, UnicodeError):
        raise UpstreamError("body", "its description cannot be read") from None


async def _results(ctx: Context, credential: Credential, batch: KeptBatch) -> Tally:
    tally = Tally(ctx.prices)
    await _get(ctx, credential, batch, b"/results", tally.feed)
    tally.finish()
    return tally


async def _get(
    ctx: Context,
    credential: Credential,
    batch: KeptBatch,
    rest: bytes,
    read: Callable[[bytes], object],
) -> None:
    """Read an answer about a batch, piece by piece.

    Raises:
        _Gone: there is no such thing.
        UpstreamError: it cannot be had now.
    """
    headers = [credential.header, _VERSION, (b"accept-encoding", b"identity")]
    if credential.beta:
        headers.append((b"anthropic-beta", credential.beta))
    target = b"/v1/messages/batches/" + batch.id.encode() + rest
    async with ctx.upstreams.send(
        credential.base_url,
        "GET",
        target,
        headers,
        b"",
        headers_timeout_s=_DEADLINE_S,
        silence_timeout_s=_DEADLINE_S,
        proxy=credential.proxy,
        judges_host=credential.judges_host,
        judges_proxy=credential.judges_proxy,
    ) as reply:
        if reply.status == 404:
            raise _Gone("results_gone")
        if reply.status != 200:
            raise UpstreamError("headers", f"it answered with status {reply.status}")
        while data := await reply.receive():
            read(data)
