"""The one way to Redis for every table: commands, scripts and the wait for the disk."""

import contextlib
import hashlib
import importlib.resources
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import trio

from relay.redis_link import CALL_DEADLINE_S, Arg, RedisAway, RedisLink, ReplyError
from relay.store.marker import Marker
from relay.store.names import NAMES

__all__ = ["Arg", "Database", "flat", "pairs", "scripts"]

# Each script and what of the shared parts stands before it.
_STATES = ("common", "alert", "states")
_WEBHOOK = ("common", "webhook")
_UNIQUE = ("common", "unique")
_CHOOSE = (*_STATES, "limits", "lines", "buckets", "choose")
_SCRIPTS = {
    "admit": (*_CHOOSE, "history", "homes"),
    "wait": ("common", "lines"),
    "move_on": (*_CHOOSE, "health"),
    "settle": (*_STATES, "limits", "history", "health", "count", "buckets", "homes"),
    "batch_keep": ("common", "limits"),
    "batch_due": ("common",),
    "batch_book": ("common", "limits", "count", "buckets", "homes"),
    "decided": ("common", "buckets"),
    "trim": (),
    "shares": ("common", "history"),
    "standing": ("common", "limits"),
    "budgets": ("common", "limits"),
    "marks": ("common", "alert", "limits"),
    "expiring": ("common", "alert"),
    "tell": ("common", "alert"),
    "claim": _WEBHOOK,
    "outcome": _WEBHOOK,
    "noted": _WEBHOOK,
    "revive": _WEBHOOK,
    "refused": ("common", "count"),
    "own_error": ("common",),
    "counted": ("common",),
    "report": ("common", "alert"),
    "check": (*_STATES, "health"),
    "served": _STATES,
    "reset": _STATES,
    "heartbeat": ("common",),
    "attempt": ("common",),
    "orphans": ("common",),
    "set_aside": ("common", "limits"),
    "create": _UNIQUE,
    "change": _UNIQUE,
    "twins": _UNIQUE,
    "unlock": (),
    "note": (),
    "unpriced": (),
    "price_table": (),
    "reprice": ("common", "limits", "count"),
    "hours": ("common", "limits", "count"),
}
_FSYNC_DEADLINE_S = 5.0


class _Script:
    def __init__(self, name: str, shared: Sequence[str]) -> None:
        folder = importlib.resources.files("relay") / "lua"
        names = ",".join(f"{kind}='{value}'" for kind, value in NAMES.items())
        parts = [folder / f"{part}.lua" for part in (*shared, name)]
        self.text = f"local NAME = {{{names}}}\n" + "\n".join(
            part.read_text(encoding="utf-8") for part in parts
        )
        self.sha = hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()


def scripts() -> dict[str, _Script]:
    """Every script, with the table of key names and the shared parts before it."""
    return {script: _Script(script, shared) for script, shared in _SCRIPTS.items()}


class Database:
    """Commands and scripts at Redis. Raises RedisAway when Redis cannot serve.

    Once Redis was seen without this relay's database nothing is read from it or written into it:
    every call raises DatabaseLost until confirm() or accept() finds it right.
    """

    def __init__(
        self, link: RedisLink, scripts: Mapping[str, _Script], marker: Marker | None = None
    ) -> None:
        self._link = link
        self._scripts = scripts
        self._marker = marker or Marker(None)

    @property
    def is_up(self) -> bool:
        return self._link.is_up

    @property
    def connections(self) -> int:
        """How many connections to Redis there have been."""
        return self._link.connections

    async def call(
        self, *command: Arg, deadline_s: float = CALL_DEADLINE_S, bound: bool = False
    ) -> Any:
        """The reply to one command; `bound`: not even a cancellation ends the wait for it."""
        return await self._link.call(*command, deadline_s=deadline_s, bound=bound)

    async def confirm(self, deadline_s: float = CALL_DEADLINE_S) -> None:
        """Raise DatabaseLost unless Redis holds this relay's database; a new one gets its id."""
        ask = partial(self._link.call, deadline_s=deadline_s, always=True)
        is_known = await self._marker.compare(ask)
        self._marker.allow()
        if not is_known:
            # A Redis that takes nothing new now gets it at a later call.
            with contextlib.suppress(RedisAway, ReplyError):
                await self._marker.create(self._link.call, self.fsync)

    async def accept(self) -> None:
        """Take what Redis holds now for this relay's database."""
        await self._marker.compare(partial(self._link.call, always=True))
        await self._marker.accept(self._link.call, self.fsync)

    async def run(
        self, script_name: str, keys: Sequence[str], args: Iterable[Arg], *, bound: bool = False
    ) -> Any:
        """The reply of a script; loads it again after Redis forgot it. `bound` as in `call`."""
        script = self._scripts[script_name]
        command = (len(keys), *keys, *args)
        try:
            return await self.call("EVALSHA", script.sha, *command, bound=bound)
        except ReplyError as error:
            if error.code != "NOSCRIPT":
                raise
        return await self.call("EVAL", script.text, *command, bound=bound)

    async def hash(self, redis_key: str) -> dict[str, str]:
        """All fields of a hash; none when there is none."""
        return pairs(await self.call("HGETALL", redis_key))

    async def fsync(self) -> None:
        """Return once everything written so far would survive a power cut.

        WAITAOF does it where Redis has it (7.2, Valkey). An older Redis is told to fsync each
        write for the length of one write. Without an AOF there is nothing to wait for.
        """
        try:
            await self.call("WAITAOF", 1, 0, 4000, deadline_s=_FSYNC_DEADLINE_S)
        except ReplyError as error:
            if "unknown command" in str(error):
                await self._fsync_by_writing()

    async def _fsync_by_writing(self) -> None:
        with contextlib.suppress(ReplyError):
            await self.call("CONFIG", "SET", "appendfsync", "always")
            try:
                await self.call("SET", NAMES["fsync"], "1", deadline_s=_FSYNC_DEADLINE_S)
            finally:
                with trio.move_on_after(_FSYNC_DEADLINE_S, shield=True):
                    await self.call("CONFIG", "SET", "appendfsync", "everysec")


def flat(fields: Mapping[str, str]) -> list[str]:
    """A hash's fields as a command takes them."""
    return [part for pair in fields.items() for part in pair]


def pairs(parts: Sequence[bytes]) -> dict[str, str]:
    """A hash's or a stream entry's fields as Redis answers them."""
    texts = [part.decode() for part in parts]
    return dict(zip(texts[::2], texts[1::2], strict=True))
