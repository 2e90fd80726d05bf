"""The nursery tree of one relay process: Redis, store, upstreams, jobs, listener.

What is built first ends last, so a lease can always be settled. Signals, draining and the
word to systemd are here too.
"""

import contextlib
import gc
import ipaddress
import logging
import signal
import sys
from collections.abc import AsyncIterator
from functools import partial
from http import HTTPStatus

import trio

import relay
from relay import batches, errors, jobs, limits, listener, redis_child, store, systemd, tariff
from relay.accounts import Accounts, Reach, SignIns, kinds
from relay.alerts import Alerts, post
from relay.asgi import App
from relay.audit import Audit
from relay.backup import Backups
from relay.bodies import BodyBudget
from relay.checks import Checks
from relay.context import Context
from relay.keys import Keys
from relay.known_models import KnownModels
from relay.leases import Leases, new_request_id
from relay.missing_models import MissingModels
from relay.oauth import Provider
from relay.own_errors import OwnErrors
from relay.owners import Owners
from relay.reconcile import AdminKeys, Reconciler
from relay.settings import Settings
from relay.store import DatabaseLost, RedisAway, RelayLimits, Store
from relay.tokens import Tokens
from relay.upstream import Upstreams
from relay.users import FIRST, Users
from relay.vault import Vault

log = logging.getLogger("relay.server")

_LAST_SETTLEMENTS_S = 10.0
# At boot Redis may come up after us; what is still away then needs its operator.
_REDIS_PATIENCE_S = 10.0


@contextlib.asynccontextmanager
async def stored(settings: Settings) -> AsyncIterator[Store]:
    """The store at the Redis of the settings, or at the relay's own."""
    async with contextlib.AsyncExitStack() as stack:
        if settings.redis_url is None:
            url = await stack.enter_async_context(redis_child.running(settings))
        else:
            url = settings.redis_url
        yield await stack.enter_async_context(store.opened(url, settings.home))


def vault(settings: Settings) -> Vault:
    """The vault of the settings' secrets."""
    previous = settings.previous_encrypt_key
    return Vault(
        settings.encrypt_key.reveal(),
        settings.jwt_secret.reveal(),
        previous.reveal() if previous is not None else None,
    )


def _provider(settings: Settings) -> Provider | None:
    """The operator's OAuth server, where one is set."""
    needed = (settings.oauth_client_id, settings.oauth_authorize_url, settings.oauth_token_url,
              settings.oauth_redirect_uri)  # fmt: skip
    if not all(needed):
        return None
    return Provider(
        client_id=settings.oauth_client_id,
        client_secret=settings.oauth_client_secret,
        authorize_url=settings.oauth_authorize_url,
        token_url=settings.oauth_token_url,
        redirect_uri=settings.oauth_redirect_uri,
        scopes=settings.oauth_scopes,
    )


def _relay_limits(settings: Settings) -> RelayLimits:
    return RelayLimits(
        rate_max=settings.rate_max if settings.rate_enabled else 0,
        rate_ms=round(settings.rate_window_s * 1000),
        concurrency=settings.max_concurrent,
        budgets=limits.budgets(dict(settings.budgets), settings.budget_mode),
        most_waiting=settings.most_waiting,
        wait_ms=round(settings.wait_s * 1000),
        soft_burst=settings.soft_burst,
        key_percent=settings.key_percent,
    )


@contextlib.asynccontextmanager
async def context(settings: Settings) -> AsyncIterator[Context]:
    """The parts of one process, connected."""
    async with stored(settings) as opened:
        safe, provider = vault(settings), _provider(settings)
        clients = limits.Clients(settings.clients)
        keys = Keys(opened, safe, clients.ids)
        table = kinds.table(provider, settings.identity_token_folders)
        networks = tuple(ipaddress.ip_network(text) for text in settings.inner_networks)
        reach = Reach(settings.base_url, networks)
        accounts = Accounts(opened, safe, table, settings.proxy, reach)
        prices = tariff.load(settings)
        models = KnownModels(opened)
        relay_limits = _relay_limits(settings)
        upstreams = Upstreams(connect_timeout_s=settings.connect_timeout_s, inner_networks=networks)
        audit = Audit(opened, safe)
        alerts = Alerts(opened, settings.webhooks, relay_limits.budgets, post, audit.note)
        admin_keys = AdminKeys(opened, safe, accounts, settings.base_url)
        ctx = Context(
            settings=settings,
            store=opened,
            keys=keys,
            owners=Owners(opened, safe),
            accounts=accounts,
            signins=SignIns(opened, safe, accounts, provider),
            checks=Checks(opened, accounts, upstreams, prices, models, settings.check_interval_s),
            models=models,
            audit=audit,
            users=Users(opened, safe),
            tokens=Tokens(opened, safe),
            admin_keys=admin_keys,
            reconciler=Reconciler(
                opened,
                admin_keys,
                accounts,
                upstreams,
                prices,
                alerts,
                audit,
                settings.proxy,
            ),
            alerts=alerts,
            backups=Backups(settings, opened, audit, alerts),
            prices=prices,
            tariff=tariff.Tariff(opened, settings, prices, audit),
            leases=Leases(
                opened,
                keys,
                accounts,
                prices,
                relay_limits,
                settings.blocked_message,
                settings.retry_timeout_s,
            ),
            missing_models=MissingModels(opened, accounts, models),
            own_errors=OwnErrors(opened),
            clients=clients,
            upstreams=upstreams,
            bodies=BodyBudget(settings.max_bodies_bytes),
            spools=BodyBudget(batches.MOST_SPOOLED_BYTES),
        )
        try:
            yield ctx
        finally:
            with trio.move_on_after(_LAST_SETTLEMENTS_S, shield=True):
                await ctx.leases.settlements.write_all()
                with contextlib.suppress(RedisAway):
                    await ctx.leases.refusals.write()
                    await ctx.own_errors.write()
                await upstreams.aclose()


async def serve(
    settings: Settings,
    *,
    task_status: trio.TaskStatus[tuple[Context, str]] = trio.TASK_STATUS_IGNORED,
    stop: trio.Event | None = None,
) -> None:
    """Serve until a signal (or `stop`) says to end; then drain and return.

    Raises:
        listener.ListenError: the port cannot be had.
        store.RedisAway: Redis refuses us, or does not come up.
    """
    stop = trio.Event() if stop is None else stop
    # The port first: a second relay by mistake must not start anything else.
    listeners = await listener.open_listeners(settings.host, settings.port)
    async with context(settings) as ctx, trio.open_nursery() as nursery:
        if not await _has_begun(ctx):
            nursery.start_soon(_begin_later, ctx)
        # Here, so that no other command waits for what only pages need.
        if settings.web_enabled:
            from relay.admin import AdminApi
            from relay.web import Live, console

            live = Live(ctx)
            app = App(ctx, console(ctx, live, stop), AdminApi(ctx, live))
        else:
            app = App(ctx)
        nursery.start_soon(jobs.run, jobs.table(ctx))
        nursery.start_soon(ctx.checks.watch_suspects)
        nursery.start_soon(ctx.leases.call_up)
        nursery.start_soon(_stop_on_signal, stop, nursery.cancel_scope)
        closing = trio.Event()
        nursery.start_soon(_lead, settings, stop, closing, app)
        urls = await nursery.start(_listen, ctx, app, listeners, closing, nursery.cancel_scope)
        # What start-up made lives to the end; the collector need not look at it again.
        gc.collect()
        gc.freeze()
        sys.stderr.write(f"relay {relay.__version__} listening on {urls[0]}\n")
        sys.stderr.flush()
        systemd.notify(settings.notify_socket, systemd.READY)
        task_status.started((ctx, urls[0]))


async def _has_begun(ctx: Context) -> bool:
    """Store what a start stores, unless Redis does not hold this relay's database.

    Raises:
        store.RedisAway: Redis refuses us, or does not come up.
    """
    try:
        await ctx.store.confirm(_REDIS_PATIENCE_S)
    except DatabaseLost:
        return False
    await ctx.tariff.follow()
    await ctx.models.follow()
    await _ensure_admin(ctx)
    await ctx.alerts.begin()
    return True


async def _begin_later(ctx: Context) -> None:
    """Begin once a database was restored or accepted; the jobs look for it."""
    while True:
        with contextlib.suppress(RedisAway):
            if await _has_begun(ctx):
                return
        await trio.sleep(jobs.CONFIRM_EVERY_S)


async def _ensure_admin(ctx: Context) -> None:
    """At the first start there is a first user of the console; a password made up is shown once."""
    given = ctx.settings.admin_password
    made_up = await ctx.users.ensure_first(given.reveal() if given is not None else "")
    if made_up is not None:
        sys.stderr.write(
            f"The console's first user is {FIRST}, password {made_up} (shown this once; change it"
            f" there or by `relay user password {FIRST}`)\n"
        )


async def _listen(
    ctx: Context,
    app: App,
    listeners: list[trio.SocketListener],
    closing: trio.Event,
    whole: trio.CancelScope,
    *,
    task_status: trio.TaskStatus[list[str]],
) -> None:
    settings = ctx.settings
    limits = listener.Limits(
        write_timeout_s=settings.write_timeout_s,
        keep_alive_s=settings.keep_alive_s,
        headers_timeout_s=settings.headers_timeout_s,
    )
    await listener.serve(
        app,
        listeners,
        limits,
        stop=closing,
        drain_timeout_s=settings.drain_timeout_s,
        refuse=partial(_refuse, ctx.own_errors),
        lane=app.lane if settings.express_lane else None,
        task_status=task_status,
    )
    whole.cancel()


def _refuse(own_errors: OwnErrors, status: int) -> tuple[errors.Headers, bytes]:
    if status == HTTPStatus.INTERNAL_SERVER_ERROR:
        # The application ended without an answer.
        own_errors.count("listener", "internal_error")
    return errors.refusal(status, new_request_id())


async def _lead(settings: Settings, stop: trio.Event, closing: trio.Event, app: App) -> None:
    """Answer /health with 503 for a while before the door closes, so that a proxy looks away."""
    await stop.wait()
    systemd.notify(settings.notify_socket, systemd.STOPPING)
    log.info("stopping: no new requests in %.1f s, running ones may end", settings.drain_lead_s)
    await app.warn(settings.drain_lead_s)
    closing.set()


async def _stop_on_signal(stop: trio.Event, whole: trio.CancelScope) -> None:
    """The first signal drains; a second one ends what still runs."""
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for _ in signals:
            if stop.is_set():
                whole.cancel()
            stop.set()
