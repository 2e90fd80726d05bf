"""The first page: whether all is well, what it costs, and what to do next. It stays live."""

from collections.abc import AsyncIterator

import trio
from quart import Response

from relay.web import charts
from relay.web.visit import Visit

_EVERY_S = 2.0
_DRAWN_EVERY_S = 10.0
# The browser opens the stream anew by itself; until then a connection that nobody reads may hang.
_LONGEST_S = 600.0
_SILENCE_S = 20.0


async def page(visit: Visit) -> Response:
    snapshot = await visit.shared.live.snapshot()
    return visit.page("overview.html", now=snapshot, drawn=await charts.of_last_day(visit))


async def stream(visit: Visit) -> Response:
    """The overview's middle part as server-sent events, as often as it changes."""
    response = Response(
        _events(visit), 200, {"content-type": "text/event-stream", "x-accel-buffering": "no"}
    )
    response.timeout = None
    return response


async def _events(visit: Visit) -> AsyncIterator[bytes]:
    token = visit.request.cookies.get(visit.way.cookie, "")
    sent, sent_at, end = "", trio.current_time(), trio.current_time() + _LONGEST_S
    drawn, drawn_at = await charts.of_last_day(visit), trio.current_time()
    yield b"retry: 3000\n\n"
    while not visit.shared.stop.is_set() and trio.current_time() < end:
        if await visit.ctx.users.session(token) is None:
            yield b"event: gone\ndata: signed out\n\n"
            return
        snapshot = await visit.shared.live.snapshot()
        if trio.current_time() - drawn_at >= _DRAWN_EVERY_S:
            drawn, drawn_at = await charts.of_last_day(visit), trio.current_time()
        part = visit.rendered("overview_now.html", now=snapshot, drawn=drawn)
        if part != sent:
            sent, sent_at = part, trio.current_time()
            yield "".join(f"data: {line}\n" for line in part.splitlines()).encode() + b"\n"
        elif trio.current_time() - sent_at > _SILENCE_S:
            sent_at = trio.current_time()
            yield b": still here\n\n"
        with trio.move_on_after(_EVERY_S):
            await visit.shared.stop.wait()
