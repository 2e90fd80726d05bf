"""Batches that are not booked yet: what is held for each, and who looks at it when."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from relay.store.database import Arg, Database
from relay.store.names import NAMES, name
from relay.store.values import COUNTERS_LIFE_S, PLACES

_FIRST_LOOK_MS = 60_000
_DECISION_LIFE_S = 7 * 24 * 3600
# Longer than an upstream keeps results, so that nothing late books a batch again.
_BOOKED_LIFE_S = 60 * 24 * 3600


@dataclass(frozen=True, slots=True)
class KeptBatch:
    """What is kept of a batch until it is booked.

    Args:
        lease: the request that made it.
        requests: how many are in it.
        models: by the name that was asked for: requests, the micro-dollars that they are likely
            to cost, and their input tokens by size.
        started_at_ms: when it was admitted; it counts on that day.
        is_booked: its cost is on the books.
    """

    id: str
    lease: str
    key_id: str
    key_name: str
    account_id: str
    account_name: str
    client: str
    requests: int
    models: Mapping[str, tuple[int, int, int]]
    started_at_ms: int = 0
    is_booked: bool = False


class BatchTable:
    """What is kept of batches; each is kept and booked by one script."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def keep(self, batch: KeptBatch) -> bool:
        """Let a batch take over its lease's reservation; see lua/batch_keep.lua. Repeatable."""
        args: list[Arg] = [batch.id, batch.lease, _FIRST_LOOK_MS, "key", batch.key_id]
        args += ["key_name", batch.key_name, "account", batch.account_id]
        args += ["account_name", batch.account_name, "client", batch.client]
        args += ["requests", batch.requests, "models", json.dumps(batch.models)]
        return bool(await self._db.run("batch_keep", [NAMES["batches"]], args))

    async def read(self, batch_id: str) -> KeptBatch | None:
        """A batch, also for a while after it was booked."""
        fields = await self._db.hash(name("batch", batch_id))
        if not fields:
            return None
        return KeptBatch(
            id=batch_id,
            lease=fields["lease"],
            key_id=fields["key"],
            key_name=fields["key_name"],
            account_id=fields["account"],
            account_name=fields["account_name"],
            client=fields["client"],
            requests=int(fields["requests"]),
            models={model: tuple(row) for model, row in json.loads(fields["models"]).items()},
            started_at_ms=int(fields["started_at"]),
            is_booked="booked" in fields,
        )

    async def due(self, count: int, claim_ms: int) -> list[str]:
        """Batches to look at now; nobody else gets them for `claim_ms`."""
        ids = await self._db.run("batch_due", [NAMES["batches"]], [count, claim_ms])
        return [batch_id.decode() for batch_id in ids]

    async def look_again(self, batch_id: str, at_ms: int) -> None:
        """Have a batch looked at again then, unless it is booked."""
        await self._db.call("ZADD", NAMES["batches"], "XX", at_ms, batch_id)

    async def book(
        self,
        batch_id: str,
        parts: Iterable[tuple[str, bytes, Mapping[str, int]]],
        decision: bytes,
        made: Sequence[str] = (),
    ) -> bool:
        """Book a batch once; see lua/batch_book.lua. Safe to repeat.

        Args:
            parts: for each model: its name, the record, and what that adds by counter.
            made: what its answers named that lives in its account; see homes.entry().
        """
        args: list[Arg] = [batch_id, decision, _DECISION_LIFE_S, COUNTERS_LIFE_S, _BOOKED_LIFE_S]
        args.append("\n".join(made))
        for model, record, amounts in parts:
            text = " ".join(f"{PLACES[counter]}={amount}" for counter, amount in amounts.items())
            args += (model, record, text)
        return bool(await self._db.run("batch_book", [NAMES["batches"]], args))

    async def shares(self, key_id: str, models: list[str]) -> dict[str, tuple[float, int]]:
        """Which part of max_tokens a key's requests to each of these models are expected to use;
        and what one has cost on average (micro-dollars) where no more is known, else 0.

        See lua/shares.lua.
        """
        found = await self._db.run("shares", [NAMES["batches"]], [key_id, *models])
        rows = zip(models, found[::2], found[1::2], strict=True)
        return {model: (share / 1_000_000, int(micros)) for model, share, micros in rows}

    async def open_count(self, account_id: str) -> int:
        """How many batches at an account are not booked yet."""
        count = 0
        for batch_id in await self._db.call("ZRANGE", NAMES["batches"], 0, -1):
            found = await self._db.call("HGET", name("batch", batch_id.decode()), "account")
            count += found == account_id.encode()
        return count
