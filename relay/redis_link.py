"""Redis on one trio socket: commands of concurrent callers are pipelined by themselves.

redis-py has no trio client, so hiredis packs and parses and this module owns the socket.
It alone reconnects, with back-off; a caller sees an answer, a ReplyError, or RedisAway within
its deadline. It knows nothing of what the commands mean.
"""

import contextlib
import logging
import math
import ssl
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

import hiredis
import outcome
import trio
from redis.connection import SSLConnection, parse_url

from relay.settings import SettingsError

log = logging.getLogger("relay.redis")

# A healthy Redis answers in under a millisecond; a client should hear within two seconds that
# it is away.
CALL_DEADLINE_S = 1.8
CONNECT_DEADLINE_S = 2.0
# How often overdue answers are looked for, so how late a deadline may be noticed.
_LOOK_EVERY_S = 0.2
_SILENT = "Redis does not answer"
_FIRST_PAUSE_S = 0.05
# Short, because service must resume within a second of Redis' return.
_LONGEST_PAUSE_S = 0.4
_RECEIVE_BYTES = 64 * 1024

# Replies by which Redis says "not now" rather than "wrong".
_AWAY_PREFIXES = (
    "LOADING",
    "READONLY",
    "MASTERDOWN",
    "CLUSTERDOWN",
    "OOM",
    "MISCONF",
    "NOREPLICAS",
)

Arg = str | bytes | int | float


class RedisAway(Exception):
    """Redis cannot be reached, or cannot take commands now.

    `maybe_done` tells that the command was on its way and may have been carried out.
    """

    def __init__(self, reason: str, *, maybe_done: bool = False) -> None:
        super().__init__(reason)
        self.maybe_done = maybe_done


class ReplyError(Exception):
    """Redis answered with an error; `code` is its first word."""

    @property
    def code(self) -> str:
        return str(self).partition(" ")[0]


class _Waiter:
    """One command whose answer is awaited; `task` is None once its caller gave up."""

    __slots__ = ("deadline", "task")

    def __init__(self, task: trio.lowlevel.Task, deadline: float) -> None:
        self.task: trio.lowlevel.Task | None = task
        self.deadline = deadline


class RedisLink:
    """The connection that a process shares.

    Args:
        url: redis://, rediss:// or unix://, as redis-py reads them; of settings/redis_url.py.
        on_connect: called with the link on each new connection, before anybody else's command.
        allow: called before each command is sent; raises what must reach its caller instead.
    """

    def __init__(
        self,
        url: str,
        on_connect: Callable[["RedisLink"], Awaitable[None]] | None = None,
        allow: Callable[[], None] | None = None,
    ) -> None:
        self._target: dict[str, Any] = parse_url(url)  # type: ignore[no-untyped-call]
        is_tls = self._target.get("connection_class") is SSLConnection
        self._tls = _tls(self._target) if is_tls else None
        self._on_connect = on_connect
        self._allow = allow
        self._out: list[bytes] = []
        self._waiting: deque[_Waiter] = deque()
        self._kick = trio.Event()
        self._news = trio.Event()
        self._connection: trio.CancelScope | None = None
        self.is_up = False
        # How many there have been; a change tells that one was lost.
        self.connections = 0
        self.refused: str | None = None
        # Why a Redis that was reached serves nobody yet, in its own words.
        self._not_yet = ""
        # Why no encrypted connection comes about.
        self._not_tls = ""

    async def call(
        self,
        *args: Arg,
        deadline_s: float = CALL_DEADLINE_S,
        always: bool = False,
        bound: bool = False,
    ) -> Any:
        """Redis' answer to one command.

        Args:
            deadline_s: kept to _LOOK_EVERY_S.
            always: send it whatever `allow` says.
            bound: do not give up when cancelled: end with the answer or by the deadline.

        Raises:
            ReplyError: Redis says that the command is wrong.
            RedisAway: no answer within `deadline_s`.
        """
        deadline = trio.current_time() + deadline_s
        if not self.is_up:
            with trio.CancelScope(deadline=deadline, shield=bound):
                while not self.is_up:
                    if self.refused is not None:
                        raise RedisAway(self.refused)
                    await self._news.wait()
            if not self.is_up:
                raise RedisAway(self._not_yet or _SILENT)
        if self._allow is not None and not always:
            self._allow()
        return await self._exchange(args, deadline, bound=bound)

    def _tell_the_waiting(self) -> None:
        news, self._news = self._news, trio.Event()
        news.set()

    async def _exchange(
        self, args: tuple[Arg, ...], deadline: float = math.inf, *, bound: bool = False
    ) -> Any:
        waiter = _Waiter(trio.lowlevel.current_task(), deadline)
        self._out.append(hiredis.pack_command(args))  # type: ignore[arg-type]  # any number of them
        self._waiting.append(waiter)
        self._kick.set()

        def give_up(_: object) -> trio.lowlevel.Abort:
            if bound:
                return trio.lowlevel.Abort.FAILED
            waiter.task = None
            return trio.lowlevel.Abort.SUCCEEDED

        return await trio.lowlevel.wait_task_rescheduled(give_up)

    async def run(self) -> None:
        """Keep the connection up until cancelled."""
        pause = _FIRST_PAUSE_S
        while True:
            try:
                with trio.fail_after(CONNECT_DEADLINE_S):
                    stream = await self._open()
            except (OSError, trio.TooSlowError, trio.BrokenResourceError) as error:
                log.debug("cannot connect to Redis: %s", error)
            else:
                if await self._serve(stream):
                    pause = _FIRST_PAUSE_S
                    log.warning("lost the connection to Redis; reconnecting")
            await trio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE_S)

    async def _serve(self, stream: trio.abc.Stream) -> bool:
        """Use `stream` until it breaks. Returns whether it was ever good for a command."""
        was_up = False
        try:
            async with trio.open_nursery() as nursery:
                self._connection = nursery.cancel_scope
                nursery.start_soon(self._read, stream)
                nursery.start_soon(self._write, stream)
                nursery.start_soon(self._watch)
                with trio.fail_after(CONNECT_DEADLINE_S):
                    await self._greet()
                self.refused = None
                self._not_yet = self._not_tls = ""
                self.is_up = was_up = True
                self.connections += 1
                self._tell_the_waiting()
        except* (OSError, trio.BrokenResourceError, trio.TooSlowError, RedisAway) as broken:
            first = broken.exceptions[0]
            log.debug("Redis connection: %s", first)
            cause = first.__cause__
            if isinstance(cause, ssl.SSLError) and not isinstance(cause, ssl.SSLEOFError):
                # Trying again does not mend it, though another certificate there may.
                self._note_tls(cause)
            is_word = isinstance(first, RedisAway) and not first.maybe_done
            self._not_yet = str(first) if is_word else self._not_tls
        except* ReplyError as refused:
            self._note_refusal(refused.exceptions[0])
        finally:
            self._drop_everything()
            with trio.move_on_after(1, shield=True):
                await trio.aclose_forcefully(stream)
        return was_up

    def _note_tls(self, error: ssl.SSLError) -> None:
        reason = getattr(error, "verify_message", "") or error.reason or "it ended"
        sentence = f"TLS with Redis fails: {reason}"
        if sentence != self._not_tls:
            log.error("%s", sentence)
        self._not_tls = sentence

    def _note_refusal(self, error: BaseException) -> None:
        sentence = f"Redis refuses the connection: {error}"
        if sentence != self.refused:
            log.error("%s", sentence)
        self.refused = sentence
        self._tell_the_waiting()

    async def _open(self) -> trio.abc.Stream:
        target = self._target
        if "path" in target:
            return await trio.open_unix_socket(target["path"])
        host, port = target.get("host", "127.0.0.1"), target.get("port", 6379)
        if self._tls is not None:
            return await trio.open_ssl_over_tcp_stream(host, port, ssl_context=self._tls)
        return await trio.open_tcp_stream(host, port)

    async def _greet(self) -> None:
        target = self._target
        if target.get("password"):
            user = target.get("username")
            secret = target["password"]
            await self._exchange(("AUTH", user, secret) if user else ("AUTH", secret))
        if target.get("db"):
            await self._exchange(("SELECT", target["db"]))
        if self._on_connect is not None:
            await self._on_connect(self)

    async def now(self, *args: Arg) -> Any:
        """A command on a connection that is not up yet: for `on_connect` alone."""
        return await self._exchange(args)

    async def _watch(self) -> None:
        """Look for overdue answers: one clock for all, as a scope for each call costs more."""
        while True:
            await trio.sleep(_LOOK_EVERY_S)
            now = trio.current_time()
            overdue = [waiter for waiter in self._waiting if waiter.deadline <= now]
            for waiter in overdue:
                if waiter.task is not None:
                    task, waiter.task = waiter.task, None
                    error = RedisAway(_SILENT, maybe_done=True)
                    trio.lowlevel.reschedule(task, outcome.Error(error))
            if overdue and self._connection is not None:
                # Whatever is queued behind it is late too: start afresh.
                self.is_up = False
                self._connection.cancel()

    async def _write(self, stream: trio.abc.Stream) -> None:
        while True:
            await self._kick.wait()
            self._kick = trio.Event()
            if self._out:
                data, self._out = b"".join(self._out), []
                await stream.send_all(data)

    async def _read(self, stream: trio.abc.Stream) -> None:
        reader = hiredis.Reader(protocolError=ReplyError, replyError=_reply_error)
        while data := await stream.receive_some(_RECEIVE_BYTES):
            reader.feed(bytes(data))
            while (reply := reader.gets()) is not False:
                self._answer(reply)
        raise trio.BrokenResourceError("Redis closed the connection")

    def _answer(self, reply: Any) -> None:
        task = self._waiting.popleft().task
        if task is None:
            return
        failed = isinstance(reply, Exception)
        trio.lowlevel.reschedule(task, outcome.Error(reply) if failed else outcome.Value(reply))

    def _drop_everything(self) -> None:
        self.is_up = False
        self._connection = None
        self._out = []
        waiting, self._waiting = self._waiting, deque()
        for waiter in waiting:
            if waiter.task is not None:
                error = RedisAway("the connection to Redis broke", maybe_done=True)
                trio.lowlevel.reschedule(waiter.task, outcome.Error(error))


def _tls(target: Mapping[str, Any]) -> ssl.SSLContext:
    """How to tell a rediss:// Redis from another, and how to show it who we are.

    Raises:
        SettingsError: a file that the URL names cannot be used.
    """
    context = ssl.create_default_context()
    if target.get("ssl_check_hostname") is False or target.get("ssl_cert_reqs") == "none":
        context.check_hostname = False
    if target.get("ssl_cert_reqs") == "none":
        context.verify_mode = ssl.CERT_NONE
    name = "ssl_ca_certs"
    try:
        if authorities := target.get(name):
            context.load_verify_locations(authorities)
        name = "ssl_certfile"
        if certificate := target.get(name):
            # An encrypted key would ask for its password on a terminal.
            context.load_cert_chain(certificate, target.get("ssl_keyfile"), password="")
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "it holds nothing that TLS can use"
        raise SettingsError(f"REDIS_URL: the file of {name} cannot be used: {why}.") from None
    return context


def _reply_error(text: str) -> Exception:
    # Before 7.0 Redis wraps what a script met: "ERR Error running script (…): … -OOM …".
    _, _, wrapped = text.partition(": -") if text.startswith("ERR Error running") else ("", "", "")
    is_away = text.startswith(_AWAY_PREFIXES) or wrapped.startswith(_AWAY_PREFIXES)
    return RedisAway(text) if is_away else ReplyError(text)


@contextlib.asynccontextmanager
async def linked(
    url: str,
    on_connect: Callable[[RedisLink], Awaitable[None]] | None = None,
    allow: Callable[[], None] | None = None,
) -> AsyncIterator[RedisLink]:
    """A RedisLink that reconnects for as long as the block runs.

    Cancellation: the block's own clean-up may still use the link; it ends after the block.
    """
    link = RedisLink(url, on_connect, allow)
    lifetime = trio.CancelScope(shield=True)

    async def run() -> None:
        with lifetime:
            await link.run()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        try:
            yield link
        finally:
            lifetime.cancel()
