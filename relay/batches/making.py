"""A new batch: its body on disk, what it can cost, and the record that holds its reservation."""

import contextlib
import logging
import tempfile
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field, replace
from typing import BinaryIO

import msgspec
import trio

from relay import errors, homes
from relay.batches.reading import requests_of
from relay.call import CHARS_PER_TOKEN, Call, Named
from relay.client import Client
from relay.context import Context
from relay.dialects import file_ids, messages
from relay.keys import KeyRef
from relay.lease import Lease
from relay.pricing import PICO_PER_MICRO, Part, Prices, Tokens
from relay.store import KeptBatch, RedisAway

log = logging.getLogger("relay.batches")

MOST_BYTES = 256 * 1024 * 1024
# All bodies of batches that a process holds on disk at one time.
MOST_SPOOLED_BYTES = 4 * MOST_BYTES
_MOST_MODELS = 64
_MOST_NAMED = 10_000
# Of so many requests' conversations it is looked whose organisation's thinking they hold.
_MOST_SIGNATURES = 100
_PIECE_BYTES = 256 * 1024
_KEEP_DEADLINE_S = 60.0
_RETRY_S = 0.2
# An upstream that has a whole batch is given so long to say its id, also when nobody waits for it.
_OUTLAST_S = 20.0


@dataclass(slots=True)
class _Share:
    """What a batch holds for one model."""

    first: int
    requests: int = 0
    most_micros: int = 0
    most_global_micros: int = 0
    input_tokens: int = 0
    input_pico: int = 0
    output_pico: int = 0


@dataclass(slots=True)
class Reading:
    """What the relay knows of a batch before it is sent.

    Args:
        models: by name: requests, expected micro-dollars, input tokens by size.
        unbounded: the field whose cost cannot be bounded, or empty.
        files: the ids of uploaded files that it names, and where each stands first.
        account_id: the account that has those files; empty for any.
    """

    requests: int = 0
    models: dict[str, tuple[int, int, int]] = field(default_factory=dict)
    places: dict[str, str] = field(default_factory=dict)
    most_micros: int = 0
    most_global_micros: int = 0
    unbounded: str = ""
    also: dict[str, str] = field(default_factory=dict)
    named: dict[tuple[str, str], Named] = field(default_factory=dict)
    thinking: list[str] = field(default_factory=list)

    def name(self, place: str, things: Iterable[Named]) -> None:
        """Add what a request names. Raises errors.BadRequest when that becomes too much."""
        for thing in things:
            whole = replace(thing, place=f"{place}.{thing.place}")
            self.named.setdefault((thing.kind, thing.id), whole)
        if len(self.named) > _MOST_NAMED:
            raise errors.BadRequest(f"{place}: a batch names up to {_MOST_NAMED} files and others.")

    def call(self, target: bytes) -> Call:
        """The call that makes the batch at the upstream."""
        return Call(
            "batch",
            "POST",
            target,
            model="\n".join(self.models),
            named=tuple(self.named.values()),
            thinking=tuple(self.thinking),
            unbounded=self.unbounded,
            most_micros=self.most_micros,
            most_global_micros=self.most_global_micros,
            expected_micros=sum(expected for _, expected, _ in self.models.values()),
            places=self.places,
            also=self.also,
        )


@contextlib.asynccontextmanager
async def spooled(ctx: Context, client: Client, key: KeyRef) -> AsyncIterator[BinaryIO]:
    """The client's body in a file that is gone with the block, or with this process.

    Raises:
        errors.TooLarge, errors.Overloaded: it is too large, or too many are there.
        errors.Unauthorized: the key is disabled, expired or gone.
    """
    announced = client.announced_bytes
    if announced is not None and announced > MOST_BYTES:
        raise _too_large()
    await ctx.keys.check(key)
    patience_s = ctx.settings.body_timeout_s
    expected = MOST_BYTES if announced is None else announced
    hold = await ctx.spools.take(expected, key.id, patience_s)
    size = 0
    try:
        # Beside the relay's own data: /tmp is often memory.
        with tempfile.TemporaryFile(dir=ctx.settings.home, buffering=0) as spool:
            async for part in client.upload(patience_s):
                if size + len(part) > MOST_BYTES:
                    raise _too_large()
                size += len(part)
                try:
                    await trio.to_thread.run_sync(spool.write, part)
                except OSError as error:
                    log.error("request=%s cannot be kept on disk: %s", client.request_id, error)
                    raise errors.Unavailable("The relay has no room on disk for a batch.") from None
            ctx.spools.shrink(hold, size)
            yield spool
    finally:
        ctx.spools.give_back(hold)


def _too_large() -> errors.TooLarge:
    return errors.TooLarge(f"A batch may have at most {MOST_BYTES // (1024 * 1024)} MiB.")


async def pieces(spool: BinaryIO) -> AsyncIterator[bytes]:
    """A spooled body from its beginning."""
    await trio.to_thread.run_sync(spool.seek, 0)
    while piece := await trio.to_thread.run_sync(spool.read, _PIECE_BYTES):
        yield piece


async def read(ctx: Context, key: KeyRef, spool: BinaryIO) -> Reading:
    """What a spooled batch asks for. Raises errors.BadRequest with the field."""
    shares, reading = await trio.to_thread.run_sync(_shares, spool, ctx.prices)
    if not shares:
        raise errors.BadRequest("requests: a batch has at least one.")
    for model in shares:
        if own_name := ctx.settings.claude_models.get(model):
            place = f"requests[{shares[model].first}].params.model"
            raise errors.BadRequest(f"{place}: a batch names {model} by its own name, {own_name}.")
    used = await _used_shares(ctx, key, list(shares))
    for model, share in shares.items():
        part, micros = used.get(model, (0.0, 0))
        pico = share.input_pico + round(share.output_pico * part)
        pico = max(pico, share.requests * micros * PICO_PER_MICRO)
        expected = ctx.prices.rounded(pico, 0, batch=True)
        reading.models[model] = (share.requests, expected, share.input_tokens)
        reading.places[model] = f"requests[{share.first}].params.model"
        reading.most_micros += _halved(ctx.prices, share.most_micros)
        reading.most_global_micros += _halved(ctx.prices, share.most_global_micros)
    return reading


def _halved(prices: Prices, micros: int) -> int:
    return prices.rounded(micros * PICO_PER_MICRO, 0, batch=True)


async def _used_shares(
    ctx: Context, key: KeyRef, models: list[str]
) -> dict[str, tuple[float, int]]:
    try:
        return await ctx.store.batches.shares(key.id, models)
    except RedisAway:
        # Admission will say so.
        return {}


def _shares(spool: BinaryIO, prices: Prices) -> tuple[dict[str, _Share], Reading]:
    spool.seek(0)
    shares: dict[str, _Share] = {}
    reading = Reading()
    for number, request in enumerate(requests_of(spool)):
        place = f"requests[{number}]"
        try:
            params = messages.params_of(request)
            named = file_ids.named(request)
        except errors.BadRequest as error:
            raise errors.BadRequest(messages.below(place, error.message)) from None
        if len(reading.thinking) < _MOST_SIGNATURES:
            reading.thinking += homes.signatures((params.model, *params.also), request, 1)
        reading.name(place, (*params.named, *homes.of_files(named)))
        if params.model not in shares and len(shares) >= _MOST_MODELS:
            raise errors.BadRequest(f"{place}.params.model: a batch names up to {_MOST_MODELS}.")
        share = shares.setdefault(params.model, _Share(number))
        tokens = params.size // CHARS_PER_TOKEN
        share.requests += 1
        size = params.model, params.size, params.max_tokens, params.reach
        share.most_micros += prices.most(*size)
        share.most_global_micros += prices.most(*size, is_global=True)
        share.input_tokens += tokens
        share.input_pico += prices.pico(Part(params.model, Tokens(input=tokens)))
        share.output_pico += prices.pico(Part(params.model, Tokens(output=params.max_tokens)))
        if params.unbounded and not reading.unbounded:
            reading.unbounded = f"{place}.params.{params.unbounded}"
        for model, where in params.also.items():
            if len(reading.also) < _MOST_MODELS:
                reading.also.setdefault(model, f"{place}.{where}")
            elif model not in reading.also:
                raise errors.BadRequest(f"{place}.{where}: a batch names up to {_MOST_MODELS}.")
        reading.requests += 1
    return shares, reading


class _Made(msgspec.Struct):
    id: str


async def keep(ctx: Context, lease: Lease, reading: Reading, described: bytes) -> None:
    """Let the batch that the upstream has `described` take over its lease's reservation.

    Raises:
        errors.BadGateway: the description has no id.
        errors.Unavailable: Redis was away all the time.
    """
    try:
        batch_id = msgspec.json.decode(described, type=_Made).id
    except (msgspec.MsgspecError, UnicodeError):
        raise errors.BadGateway("The upstream did not say the batch's id.") from None
    batch = KeptBatch(
        id=batch_id,
        lease=lease.id,
        key_id=lease.key.id,
        key_name=lease.account.key_name,
        account_id=lease.account.account_id,
        account_name=lease.account.account_name,
        client=lease.client,
        requests=reading.requests,
        models=reading.models,
    )
    with trio.move_on_after(_KEEP_DEADLINE_S, shield=True):
        while True:
            try:
                await ctx.store.batches.keep(batch)
                return
            except RedisAway:
                await trio.sleep(_RETRY_S)
    log.error("batch %s at %s is not on the books: Redis is away", batch_id, batch.account_name)
    raise errors.Unavailable("The relay cannot reach its database, so this batch is lost to it.")


@contextlib.asynccontextmanager
async def outlasting() -> AsyncIterator[None]:
    """Go on for a little after a cancellation: what an upstream has taken must not be lost."""
    failed: Exception | None = None
    async with trio.open_nursery() as nursery:
        scope = trio.CancelScope(shield=True)
        is_done = False

        async def watch() -> None:
            try:
                await trio.sleep_forever()
            finally:
                if not is_done:
                    scope.deadline = trio.current_time() + _OUTLAST_S

        nursery.start_soon(watch)
        try:
            with scope:
                yield
        except Exception as error:  # noqa: BLE001  # raised again outside, where it is no group
            failed = error
        is_done = True
        nursery.cancel_scope.cancel()
    if failed is not None:
        raise failed
