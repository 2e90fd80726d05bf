"""The relay's data in Redis: every key name and every script stands in here and nowhere else.

The other rooms see tables of typed methods. Scripts lie in lua/ and decide atomically.
"""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from relay.redis_link import CALL_DEADLINE_S, RedisAway, RedisLink, ReplyError, linked
from relay.store.accounts import AccountTable
from relay.store.admin_keys import AdminKeyTable, Hours
from relay.store.alerts import AlertTable, Dead, Handed
from relay.store.audit import AuditTable
from relay.store.batches import BatchTable, KeptBatch
from relay.store.database import Database, scripts
from relay.store.keys import KeyTable
from relay.store.leases import LeaseTable
from relay.store.marker import DatabaseLost, Marker
from relay.store.models import ModelTable
from relay.store.names import NAMES, name
from relay.store.objects import ObjectTable
from relay.store.owners import OwnerTable
from relay.store.prices import PriceTable
from relay.store.records import NameTaken
from relay.store.shares import SHARES, SHORT_PERCENT
from relay.store.signins import SigninTable
from relay.store.tokens import TokenTable
from relay.store.upkeep import UpkeepTable
from relay.store.usage import UsageTable
from relay.store.users import UserTable
from relay.store.values import (
    COUNTERS,
    NO_LIMITS,
    NOBODY,
    NOTHING,
    OTHER_MODEL,
    OWN_ERRORS_LIFE_S,
    REFUSALS,
    Admitted,
    Again,
    Booking,
    BrokenLease,
    Caller,
    Cell,
    Correction,
    Counted,
    Entry,
    Estimate,
    Moved,
    Orphan,
    Refused,
    RelayLimits,
    Rest,
    Waiting,
)

__all__ = [
    "COUNTERS", "NOBODY", "NOTHING", "NO_LIMITS", "OTHER_MODEL", "OWN_ERRORS_LIFE_S",
    "REFUSALS", "SHARES", "SHORT_PERCENT",
    "Admitted", "Again", "Booking", "BrokenLease", "Caller", "Cell", "Correction", "Counted",
    "DatabaseLost",
    "Dead", "Entry", "Estimate", "Handed", "Hours", "KeptBatch", "Moved",
    "NameTaken", "Orphan", "RedisAway",
    "Refused", "RelayLimits", "ReplyError", "Rest", "Store", "Waiting", "name", "opened",
]  # fmt: skip

SCHEMA_VERSION = "1"


class Store:
    """The tables of the relay. Every method raises RedisAway when Redis cannot serve."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self.leases = LeaseTable(db)
        self.keys = KeyTable(db)
        self.accounts = AccountTable(db)
        self.owners = OwnerTable(db)
        self.objects = ObjectTable(db)
        self.batches = BatchTable(db)
        self.signins = SigninTable(db)
        self.usage = UsageTable(db)
        self.alerts = AlertTable(db)
        self.audit = AuditTable(db)
        self.upkeep = UpkeepTable(db)
        self.users = UserTable(db)
        self.tokens = TokenTable(db)
        self.prices = PriceTable(db)
        self.admin_keys = AdminKeyTable(db)
        self.models = ModelTable(db)

    @property
    def is_up(self) -> bool:
        return self._db.is_up

    @property
    def connections(self) -> int:
        """How many connections to Redis there have been."""
        return self._db.connections

    async def ping(self, patience_s: float = CALL_DEADLINE_S) -> None:
        """Raise RedisAway unless Redis answers within `patience_s`; at once if it refuses us."""
        await self._db.call("PING", deadline_s=patience_s)

    async def confirm(self, patience_s: float = CALL_DEADLINE_S) -> None:
        """Make sure that Redis holds this relay's database, before its silence is believed.

        Raises:
            DatabaseLost: it is empty or another one; every later call raises that too, until
                a confirm() finds the right one.
            RedisAway: Redis does not answer within `patience_s`.
        """
        await self._db.confirm(patience_s)

    async def accept_database(self) -> None:
        """Take what Redis holds now for this relay's database, whatever it is."""
        await self._db.accept()

    async def fsync(self) -> None:
        """Return once everything written so far would survive a power cut."""
        await self._db.fsync()

    async def lock(self, what: str, owner: str, life_ms: int) -> bool:
        """Whether `owner` has the lock now; it ends by itself after `life_ms`."""
        command = ("SET", name("lock", what), owner, "NX", "PX", life_ms)
        return await self._db.call(*command) is not None

    async def unlock(self, what: str, owner: str) -> None:
        """Give a lock back, unless it has gone to somebody else."""
        await self._db.run("unlock", [name("lock", what)], [owner])


@contextlib.asynccontextmanager
async def opened(url: str, home: Path | None = None) -> AsyncIterator[Store]:
    """A Store over the Redis at `url`; connects by itself and reconnects when it must.

    Args:
        home: the RELAY_HOME that names the database which Redis must hold; None takes any.
    """
    known = scripts()
    marker = Marker(home)

    async def prepare(link: RedisLink) -> None:
        await marker.compare(link.now)
        # A full Redis still answers what it is asked, but takes nothing more.
        schema = await link.now("GET", NAMES["schema"])
        if schema is None and not marker.is_lost:
            schema = await link.now("SET", NAMES["schema"], SCHEMA_VERSION, "NX", "GET")
        if schema not in (None, SCHEMA_VERSION.encode()):
            raise ReplyError(
                f"SCHEMA the data is of schema {schema.decode()}, this relay reads {SCHEMA_VERSION}"
            )
        for script in known.values():
            await link.now("SCRIPT", "LOAD", script.text)

    async with linked(url, prepare, marker.allow) as link:
        yield Store(Database(link, known, marker))
