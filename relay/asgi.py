"""The front: path to handler, one place that answers errors.

A request of the express lane runs in its connection's task. Any other is two tasks, its way and
its client's going away; whichever ends first ends the other. Everything that a handler raises
becomes an answer and a log line here.
"""

import ipaddress
import json
import logging
import math
import re
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import trio

import relay
from relay import api, bases, errors, log, signin
from relay.attempts import network_of
from relay.client import Client, ClientGone, Receive, Send
from relay.context import Context
from relay.delivery import OUT_OF_ROOM
from relay.http import Handler, Request
from relay.lane_client import LaneClient
from relay.leases import new_request_id, unavailable
from relay.store import DatabaseLost, RedisAway
from relay.strangers import Strangers
from relay.upstream import is_ours

_log = logging.getLogger("relay.access")
_errors = logging.getLogger("relay.asgi")

Application = Callable[[Any, Receive, Send], Awaitable[None]]
Admin = Callable[[Client], Awaitable[None]]

_CONSOLE, _ADMIN = b"/web", b"/admin/api"
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
# What clients knock at before they send anything, under each base URL.
_PROBE = re.compile(rb"(?:/(?:api|claude|openai|v1))*(?:/hello)?")
_NOT_FROM_HERE = (
    "The console and the admin API are not open to your address (web.allowedAddresses)."
)
_CORS_METHODS = b"GET, POST, DELETE, OPTIONS"
_CORS_MAX_AGE = b"600"
# Who asks for the health at least so often is a proxy that goes by it.
_WATCHES_EVERY_S = 5.0


class App:
    """The ASGI application of one process.

    Args:
        console: the console's pages; None where they are switched off.
        admin: answers what comes in below /admin/api; None likewise.
    """

    def __init__(
        self, ctx: Context, console: Application | None = None, admin: Admin | None = None
    ) -> None:
        self._ctx = ctx
        self._console = console
        self._admin = admin
        self._trusted = [ipaddress.ip_network(one) for one in ctx.settings.trusted_proxies]
        self._open_to = [ipaddress.ip_network(one) for one in ctx.settings.web_addresses]
        self._strangers = Strangers()
        self.is_draining = False
        self._asked_at = -math.inf
        self._told = trio.Event()

    async def warn(self, lead_s: float) -> None:
        """Answer /health with 503 for `lead_s`, and until whoever watches it has heard it.

        On a busy machine a proxy's question may come late; a proxy that does not know yet would
        send its next request to a closed door.
        """
        is_watched = trio.current_time() - self._asked_at < _WATCHES_EVERY_S
        self.is_draining = True
        await trio.sleep(lead_s)
        if lead_s and is_watched:
            with trio.move_on_after(_WATCHES_EVERY_S):
                await self._told.wait()

    def lane(self, path: bytes) -> Handler | None:
        """What answers a plain request to a path on the express lane; None where pages do."""
        is_console = self._console is not None and _is_below(path, _CONSOLE)
        is_admin = self._admin is not None and _is_below(path, _ADMIN)
        return None if is_console or is_admin else self._on_lane

    async def _on_lane(self, request: Request) -> None:
        """Answer one request that came by the lane, in its connection's task."""
        client = LaneClient(request, new_request_id(), self._cors(request.headers))
        self._look_behind(client)
        try:
            await self._answer(client)
        finally:
            client.let_go()
            self._report(client, "api")

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        """Answer one HTTP request."""
        client = Client(scope, receive, self._with_cors(scope, send), new_request_id())
        self._look_behind(client)
        if self._console is not None and _is_below(client.path, _CONSOLE) and self._may(client):
            there = {**scope, "client": (client.address, 0), "scheme": client.scheme}
            await self._show_console(self._console, client, there, receive, send)
            return
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_until_gone, client, nursery.cancel_scope)
                await self._answer(client)
                nursery.cancel_scope.cancel()
        finally:
            client.let_go()
            self._report(client, "admin API" if _is_below(client.path, _ADMIN) else "api")

    async def _show_console(
        self, console: Application, client: Client, scope: Any, receive: Receive, send: Send
    ) -> None:
        """Hand a request to the console, which has its own nursery and its own words for errors."""

        async def told(message: Any) -> None:
            if message["type"] == "http.response.start":
                client.status = message["status"]
                client.trail.is_own_error = message["status"] >= 500
            elif not message.get("more_body", False):
                client.is_ended = True
            await send(message)

        try:
            await console(scope, receive, told)
        finally:
            self._report(client, "console")

    def _look_behind(self, client: Client) -> None:
        """Put the caller's own scheme and address in place, where trusted proxies tell them."""
        told = client.header(b"x-forwarded-proto")
        if told and self._is_trusted(client.address):
            client.scheme = told.decode("latin-1")
        client.address = self._address_behind(client)

    def _may(self, client: Client) -> bool:
        """Whether the settings open console and admin API to the caller's address."""
        return not self._open_to or is_among(client.address, self._open_to)

    def _address_behind(self, client: Client) -> str:
        """The caller's own address, where trusted proxies tell it."""
        address = client.address
        for told in reversed(client.header(b"x-forwarded-for").decode("latin-1").split(",")):
            if not told.strip() or not self._is_trusted(address):
                break
            address = told.strip()
        return address

    def _is_trusted(self, address: str) -> bool:
        return is_among(address, self._trusted)

    async def _answer(self, client: Client) -> None:
        try:
            await self._handler(client)()
        except errors.RelayError as error:
            client.trail.error = client.trail.error or self._word(client, error)
            await _refuse(client, error)
        except ClientGone:
            client.trail.error = "client_gone"
        except RedisAway as error:
            client.trail.error = f"redis_away: {error}"
            await _refuse(client, unavailable(error))
        except Exception as error:  # noqa: BLE001  # the border: the client gets an answer
            await _refuse(client, _unexpected(client, error))

    def _word(self, client: Client, error: errors.RelayError) -> str:
        """What the access line calls an error; fail2ban counts the unknown keys in it."""
        if not isinstance(error, errors.UnknownKey):
            return error.type
        is_new = self._strangers.is_new(network_of(client.address), error.key_hash)
        return "unknown_key" if is_new else "unknown_key_again"

    def _handler(self, client: Client) -> Callable[[], Awaitable[None]]:
        if own := self._own_handler(client):
            return own
        if client.method == "HEAD" and _PROBE.fullmatch(bases.plain(client.path)):
            return lambda: _empty(client, 200)
        if client.method == "OPTIONS":
            return lambda: _empty(client, 204)
        if client.path in (b"/health", b"/ready"):
            if client.method not in ("GET", "HEAD"):
                raise errors.MethodNotAllowed(client.method, ("GET", "HEAD"))
            check = self._health if client.path == b"/health" else self._ready
            return lambda: check(client)
        if client.path == signin.PATH:
            if client.method != "GET":
                raise errors.MethodNotAllowed(client.method, ("GET",))
            return lambda: signin.callback(self._ctx, client)
        found = api.route(client)
        if found is None:
            raise errors.NotFound(bases.unknown(client))
        return lambda: found(self._ctx)

    def _own_handler(self, client: Client) -> Callable[[], Awaitable[None]] | None:
        """What answers on the paths of the console and the admin API, where they are open."""
        if self._console is not None:
            if client.path == b"/" and client.method == "GET":
                return lambda: client.answer(303, [(b"location", _CONSOLE)], b"")
            if _is_below(client.path, _CONSOLE):
                raise errors.Forbidden(_NOT_FROM_HERE)
        if (admin := self._admin) is not None and _is_below(client.path, _ADMIN):
            if not self._may(client):
                raise errors.Forbidden(_NOT_FROM_HERE)
            return lambda: admin(client)
        return None

    async def _health(self, client: Client) -> None:
        """Whether this process takes requests; Redis does not matter."""
        self._asked_at = trio.current_time()
        status, word = (503, "draining") if self.is_draining else (200, "ok")
        await client.answer_json(
            status, f'{{"status":"{word}","version":"{relay.__version__}"}}'.encode()
        )
        if self.is_draining:
            self._told.set()

    async def _ready(self, client: Client) -> None:
        """Whether a request would be served as far as this process and Redis go."""
        if self.is_draining:
            await self._health(client)
            return
        try:
            await self._ctx.store.confirm()
        except DatabaseLost as lost:
            body = {"status": "database_lost", "message": str(lost)}
            await client.answer_json(503, json.dumps(body).encode())
            return
        except RedisAway:
            await client.answer_json(503, b'{"status":"redis_away"}')
            return
        await client.answer_json(200, f'{{"status":"ok","version":"{relay.__version__}"}}'.encode())

    def _cors(self, headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        """What names a request's origin in its answer, where the settings allow it."""
        origins = self._ctx.settings.cors_origins
        if not origins:
            return []
        origin = next((value for name, value in headers if name == b"origin"), b"")
        if "*" not in origins and origin.decode("latin-1") not in origins:
            return []
        return [
            (b"access-control-allow-origin", origin or b"*"),
            (b"access-control-allow-methods", _CORS_METHODS),
            (b"access-control-allow-headers", b"*, authorization"),
            (b"access-control-expose-headers", b"*"),
            (b"access-control-max-age", _CORS_MAX_AGE),
            (b"vary", b"origin"),
        ]

    def _with_cors(self, scope: Any, send: Send) -> Send:
        """`send`, naming the request's origin where the settings allow it."""
        extra = self._cors(scope["headers"])
        if not extra:
            return send

        async def send_with_origin(message: Any) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], *extra]}
            await send(message)

        return send_with_origin

    def _report(self, client: Client, surface: str) -> None:
        """Count the request where Relay itself failed it and no record tells, and log it."""
        trail = client.trail
        if trail.is_own_error and not trail.has_record:
            word = trail.error or f"status_{client.status}"
            self._ctx.own_errors.count(surface, word.partition(":")[0])
        self._tell(client)

    def _tell(self, client: Client) -> None:
        """The access line: figures and names, never content."""
        # A proxy asks for the health every second.
        level = logging.DEBUG if client.path == b"/health" else logging.INFO
        if not _log.isEnabledFor(level):
            return
        trail = client.trail
        cut = None if client.is_ended else "unfinished"
        _log.log(
            level,
            log.fields(
                request=client.request_id,
                client=client.address,
                method=client.method,
                path=client.path.decode("latin-1"),
                status=client.status,
                key=trail.key,
                account=trail.account,
                model=trail.model,
                tokens_in=trail.tokens_in,
                tokens_out=trail.tokens_out,
                cost_micros=trail.cost_micros,
                attempts=trail.attempts,
                first_byte_s=trail.first_byte_s,
                duration_s=time.monotonic() - client.started_at,
                upstream_request=trail.upstream_request_id,
                error=trail.error,
                end=cut,
            ),
        )


def is_among(address: str, networks: Sequence[Network]) -> bool:
    """Whether an address is in one of some networks; an IPv4 one as IPv6 sees it as well."""
    try:
        given = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(given, ipaddress.IPv6Address) and given.ipv4_mapped is not None:
        given = given.ipv4_mapped
    return any(given in network for network in networks)


def _is_below(path: bytes, base: bytes) -> bool:
    return path == base or path.startswith(base + b"/")


def _unexpected(client: Client, error: Exception) -> errors.RelayError:
    """What answers an error that nothing below has a word for; logs it."""
    if is_ours(error):
        client.trail.error = "out_of_room"
        _errors.warning("request=%s failed: %s", client.request_id, error)
        return errors.Unavailable(OUT_OF_ROOM)
    client.trail.error = "internal_error"
    _errors.error("request=%s failed", client.request_id, exc_info=error)
    return errors.InternalError("The relay failed; its log says why.")


async def _until_gone(client: Client, scope: trio.CancelScope) -> None:
    await client.leaves()
    scope.cancel()


async def _refuse(client: Client, error: errors.RelayError) -> None:
    client.trail.is_own_error = error.status >= 500
    if client.status is not None:
        return
    status, headers, body = errors.response(error, client.request_id)
    await client.answer(status, headers, body)


async def _empty(client: Client, status: int) -> None:
    await client.answer(status, errors.identity(client.request_id), b"")
