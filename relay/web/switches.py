"""Enabling and disabling: one page for whatever can be either."""

from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from quart import Response

from relay.context import Context
from relay.web.visit import Visit


class Room(Protocol):
    """Where something is kept that can be enabled and disabled by its id."""

    async def set_enabled(self, name_or_id: str, *, enabled: bool) -> Any: ...


def switching(
    room: Callable[[Context], Room], pages: str, *, enabled: bool
) -> Callable[..., Awaitable[Response]]:
    """The view of a route whose one variable part is the id.

    Args:
        pages: the path under which each has its own page.
    """

    async def view(visit: Visit, **parts: str) -> Response:
        (one_id,) = parts.values()
        await room(visit.ctx).set_enabled(one_id, enabled=enabled)
        return visit.redirect(f"{pages}/{one_id}", "enabled" if enabled else "disabled")

    return view
