"""An answer on its way to the client: passed on byte for byte, or told in another API's words.

Usage is read on the side. A stream is settled before the client can see its end, and one that
breaks off is never taken for whole.
"""

import time

import trio

from relay import errors, opening
from relay.call import Dialect, Meter, Reader
from relay.client import Client
from relay.context import Context
from relay.headers import answer_headers
from relay.lease import Lease
from relay.opening import NoMessageError, Stream, collect
from relay.upstream import Reply, UpstreamError, UpstreamTimeoutError

# No answer that is larger is anything but a message.
_MOST_JUDGED_BYTES = 256 * 1024
NO_ANSWER = (
    "The upstream closed the connection before it answered. The request may have been carried out."
)
_OUT_OF_ROOM = "The relay's machine is out of file descriptors, memory or ports."
OUT_OF_ROOM = f"{_OUT_OF_ROOM} The request may have been carried out."
OUT_OF_ROOM_UNSENT = f"{_OUT_OF_ROOM} Nothing was sent; try again in a moment."
NO_MESSAGE = "The upstream answered, but not with a message. The request may have been carried out."
BROKEN_OFF = "The upstream's answer broke off. What has come so far is not the whole answer."


async def deliver(
    ctx: Context, client: Client, dialect: Dialect, lease: Lease, reply: Reply
) -> None:
    """Pass a model's answer on as it arrives, and read its usage on the side."""
    call = lease.call
    if call.stream and reply.status == 200:
        await _stream(ctx, client, dialect, lease, reply)
        return
    lease.meter = meter = dialect.meter(reply.status, reply.headers, stream=False)
    if dialect.retells:
        await _retell(ctx, client, dialect, lease, reply, meter)
    elif call.kind == "messages" and reply.status == 200:
        await _whole(ctx, client, dialect, lease, reply, meter)
    else:
        await pass_body(ctx, client, lease, reply, meter)


async def _stream(
    ctx: Context, client: Client, dialect: Dialect, lease: Lease, reply: Reply
) -> None:
    stream = await opening.begun(dialect, reply, ctx.settings.ping_interval_s)
    lease.meter = meter = stream.meter
    await ctx.leases.served(lease)
    await client.start(reply.status, stream.headers(answer_headers(client, lease, reply)))
    held, stream.held = stream.held, b""
    if not held:
        # Push the head out: the first event may be long in coming.
        await client.write(b"")
    try:
        while data := held or await _next_chunk(ctx, client, dialect, stream, meter):
            if lease.first_byte_at is None:
                lease.first_byte_at = time.monotonic()
            if not held:
                meter.feed(data)
            held = b""
            if meter.has_ended:
                lease.error = "" if meter.is_complete else "error_event"
                # Before the client can see the end: its next request must find its slot free.
                await ctx.leases.settle(lease)
            if piece := dialect.retold(meter, data):
                await client.write(piece)
    except UpstreamError as error:
        lease.error = word_for(error)
        client.trail.error = f"{lease.error}: {error.reason}"
        await _break_off(client, dialect, meter, own_error(error))
        return
    meter.finish()
    if meter.has_begun and not meter.has_ended:
        # Clients take a clean end for success, so an end that is none must not look like one.
        lease.error = "upstream_cut"
        await _break_off(client, dialect, meter, errors.BadGateway(BROKEN_OFF))
        return
    await ctx.leases.settle(lease)
    await client.end()


async def _next_chunk(
    ctx: Context, client: Client, dialect: Dialect, stream: Stream, meter: Meter
) -> bytes:
    """The stream's next bytes, with pings while it is silent where they do no harm."""
    every_s = ctx.settings.ping_interval_s
    waited_s = 0.0
    while True:
        with trio.move_on_after(every_s):
            return await stream.receive()
        waited_s += every_s
        if waited_s >= ctx.settings.silence_timeout_s:
            raise UpstreamTimeoutError("body", f"nothing came for {waited_s:.0f} s")
        if meter.at_boundary:
            await client.write(dialect.ping)


async def _break_off(
    client: Client, dialect: Dialect, meter: Meter, error: errors.RelayError
) -> None:
    """End a broken stream so that no client takes it for whole.

    Between two events an error event says so. Inside one nothing can be said any more: the
    answer is left unended, which the listener turns into an aborted connection.
    """
    if meter.at_boundary:
        await client.end(dialect.error_frame(error, client.request_id))


async def pass_body(
    ctx: Context,
    client: Client,
    lease: Lease,
    reply: Reply,
    meter: Reader | None,
    held: bytes = b"",
) -> None:
    """Pass a body on, its last piece only once the lease is settled.

    The head waits for what follows the first piece: a short answer that breaks off can then
    still be answered with a proper error.

    Args:
        held: bytes that have come already, and the meter has read.
    """
    headers = answer_headers(client, lease, reply)
    while data := await reply.receive():
        if lease.first_byte_at is None:
            lease.first_byte_at = time.monotonic()
        if meter is not None:
            meter.feed(data)
        if held:
            if client.status is None:
                await client.start(reply.status, headers)
            await client.write(held)
        held = data
    if meter is not None:
        meter.finish()
    await ctx.leases.settle(lease)
    if client.status is None:
        await client.start(reply.status, headers)
    await client.end(held)


async def _whole(
    ctx: Context, client: Client, dialect: Dialect, lease: Lease, reply: Reply, meter: Meter
) -> None:
    """Pass a whole answer on byte for byte, once it is clear that it is a message.

    What is too large to be anything else is not waited for.
    """
    held = b""
    while data := await reply.receive():
        meter.feed(data)
        held += data
        if len(held) > _MOST_JUDGED_BYTES:
            lease.first_byte_at = time.monotonic()
            await pass_body(ctx, client, lease, reply, meter, held)
            return
    lease.first_byte_at = time.monotonic()
    meter.finish()
    headers = answer_headers(client, lease, reply)
    if not meter.is_complete:
        told = opening.told_as_whole(meter.body)
        if told is None:
            opening.judge(meter.body)
        else:
            held, headers = told, opening.whole_headers(headers, told)
            lease.meter = _read_anew(dialect, told)
    await ctx.leases.settle(lease)
    await client.answer(reply.status, headers, held)


def _read_anew(dialect: Dialect, body: bytes) -> Meter:
    """The meter of a message that was made of a stream."""
    meter = dialect.meter(200, (), stream=False)
    meter.feed(body)
    meter.finish()
    return meter


async def _retell(
    ctx: Context, client: Client, dialect: Dialect, lease: Lease, reply: Reply, meter: Meter
) -> None:
    """Answer with a whole answer in the dialect's own words."""
    body = await collect(reply, opening.MOST_ANSWER_BYTES)
    lease.first_byte_at = time.monotonic()
    if reply.status == 200 and lease.call.kind == "messages":
        anew = opening.told_as_whole(body)
        body = body if anew is None else anew
        opening.judge(body)
    meter.feed(body)
    meter.finish()
    told = dialect.retold_whole(body)
    await ctx.leases.settle(lease)
    headers = opening.whole_headers(answer_headers(client, lease, reply), told)
    await client.answer(reply.status, headers, told)


def own_error(error: UpstreamError) -> errors.RelayError:
    """What a client is told when its account's upstream fails."""
    if isinstance(error, NoMessageError):
        return errors.BadGateway(NO_MESSAGE)
    if error.is_ours:
        return errors.Unavailable(OUT_OF_ROOM_UNSENT if error.never_left else OUT_OF_ROOM)
    if isinstance(error, UpstreamTimeoutError):
        if error.never_left:
            return errors.GatewayTimeout(
                "The upstream did not accept a connection in time. Nothing was sent."
            )
        return errors.GatewayTimeout(
            "The upstream did not answer in time. The request may have been carried out."
        )
    if error.never_left:
        return errors.BadGateway("The upstream cannot be reached. Nothing was sent.")
    if error.stage in ("send", "headers"):
        return errors.BadGateway(NO_ANSWER)
    return errors.BadGateway(BROKEN_OFF)


def word_for(error: UpstreamError) -> str:
    """What the record calls a failure of an upstream."""
    if isinstance(error, NoMessageError):
        return "upstream_no_message"
    word = "timeout" if isinstance(error, UpstreamTimeoutError) else "failed"
    return f"upstream_{error.stage}_{word}"
