"""Redis as a program that is looked after: its snapshots, its folder, its state, its notes."""

from pathlib import Path

import trio

from relay.redis_link import ReplyError
from relay.store.database import Database
from relay.store.names import NAMES

_POLL_S = 0.1
_PROBE_LIFE_S = 60


class UpkeepTable:
    """What Redis tells of itself, and what is noted of its backups and of the monitor's runs."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def snapshot(self) -> Path:
        """Let Redis write a snapshot; returns the file once it is whole.

        Raises:
            ReplyError: Redis cannot, and says why.
        """
        while not await self._begin():
            await self._idle()
        if (await self._idle())["rdb_last_bgsave_status"] != "ok":
            raise ReplyError("ERR the snapshot failed; Redis' log says why")
        return await self.data_folder() / await self._config("dbfilename")

    async def _begin(self) -> bool:
        """Whether a snapshot was begun; not while another one is being made."""
        try:
            await self._db.call("BGSAVE")
        except ReplyError as error:
            if "in progress" not in str(error):
                raise
            return False
        return True

    async def _idle(self) -> dict[str, str]:
        """Redis' own words once it writes neither a snapshot nor its append-only file anew."""
        while True:
            told = await self._info("persistence")
            if told["rdb_bgsave_in_progress"] == told["aof_rewrite_in_progress"] == "0":
                return told
            await trio.sleep(_POLL_S)

    async def data_folder(self) -> Path:
        """The folder of Redis' data, as Redis names it."""
        return Path(await self._config("dir"))

    async def _config(self, option: str) -> str:
        return str((await self._db.call("CONFIG", "GET", option))[1].decode())

    async def lasting_count(self) -> int:
        """How many keys there are that do not expire."""
        told = (await self._info("keyspace")).get("db0", "keys=0,expires=0")
        parts = dict(part.split("=") for part in told.split(","))
        return int(parts["keys"]) - int(parts["expires"])

    async def _info(self, section: str) -> dict[str, str]:
        text = (await self._db.call("INFO", section)).decode()
        return dict(line.split(":", 1) for line in text.splitlines() if ":" in line)

    async def note_backup(self, what: str, when: str, file: str) -> None:
        """Keep that a backup was `made` or `drilled`, when (ISO, UTC) and which file."""
        await self._db.call("HSET", NAMES["backup"], what, when, f"{what}_file", file)

    async def note_kept(self, kept: str) -> None:
        """Keep which backups there are (JSON), for those who may not look into their folder."""
        await self._db.call("HSET", NAMES["backup"], "kept", kept)

    async def backup_notes(self) -> dict[str, str]:
        """When a backup was last made and drilled, and which; and which are `kept`, as JSON."""
        return await self._db.hash(NAMES["backup"])

    async def figures(self) -> dict[str, str]:
        """What Redis tells of its memory, its persistence and its version, by Redis' own names."""
        found: dict[str, str] = {}
        for section in ("server", "memory", "persistence"):
            found |= await self._info(section)
        return found

    async def try_writing(self) -> None:
        """Raise RedisAway or ReplyError unless Redis takes something that is new."""
        await self._db.call("SET", NAMES["probe"], "1", "EX", _PROBE_LIFE_S)

    async def now_ms(self) -> int:
        """The time by Redis' clock, Unix ms."""
        seconds, micros = await self._db.call("TIME")
        return int(seconds) * 1000 + int(micros) // 1000

    async def note_monitor(self, notes: str, last_run: str | None = None) -> None:
        """Keep what the monitor must remember, and the result of its run (both JSON)."""
        last = () if last_run is None else ("last", last_run)
        await self._db.call("HSET", NAMES["monitor"], "notes", notes, *last)

    async def monitor_notes(self) -> dict[str, str]:
        """What the monitor remembers (`notes`) and the result of its last run (`last`), as JSON."""
        return await self._db.hash(NAMES["monitor"])
