"""Requests on the books as tests want them: admitted at any time, settled by the real scripts."""

import itertools
from datetime import datetime

from relay.pricing import Tokens
from relay.store import Admitted, Booking, Store, name
from relay.usage import Attempt, Record, counters

OPUS, HAIKU = "claude-opus-5", "claude-haiku-4-5"
FEW = Tokens(10, 5)


class Ledger:
    """Books requests in a store that has keys and accounts of these ids."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._numbers = itertools.count(1)

    async def open(
        self,
        keys: tuple[str, ...] = ("key_1", "key_2"),
        accounts: tuple[str, ...] = ("acc_1", "acc_2"),
    ) -> None:
        for key_id in keys:
            fields = {"name": key_id[4:], "hash": f"h{key_id}", "enabled": "1", "expires_at": ""}
            await self.store.keys.add(key_id, {**fields, "models": "", "note": "", "hint": "",
                                               "created_at": "0"})  # fmt: skip
        for account_id in accounts:
            await self.store.accounts.add(account_id, {"name": account_id, "enabled": "1"})

    async def admit(self, key: str = "key_1", *, at: datetime | None = None) -> str:
        """An open lease's id; admitted now or `at` a time."""
        lease = f"req_{next(self._numbers)}"
        key_hash = (await self.store.keys.read(key))["hash"]
        answer = await self.store.leases.admit(
            lease, "p1", key, key_hash, kind="messages", model=OPUS
        )
        assert isinstance(answer, Admitted)
        if at is not None:
            started = ("started_at", int(at.timestamp() * 1000))
            await self.store._db.call("HSET", name("lease", lease), *started)
        return lease

    async def settle(
        self,
        lease: str,
        *accounts: str,
        key: str = "key_1",
        model: str = OPUS,
        client: str = "claude-cli/2.1 (external)",
        state: str = "settled",
        tokens: Tokens = FEW,
        cost: int = 100,
        error: str = "",
        affinity: str = "",
    ) -> None:
        """Settle a lease by a record of one attempt at each account, all with these figures."""
        is_estimated = state == "recovered"
        attempts = tuple(
            Attempt(account, account, "ok", 200, "", tokens, cost, is_estimated, 1, 2)
            for account in accounts or ("acc_1",)
        )
        record = Record(
            request_id=lease, time="", key_id=key, key_name="", session="", agent="",
            client=client, dialect="anthropic", model=model, model_served="", stream=False,
            status=200, stop_reason="", error=error, affinity=affinity,
            cost_micros=cost * len(attempts), first_byte_ms=1, duration_ms=2, attempts=attempts,
        )  # fmt: skip
        booking = Booking(lease, state, model, counters(record, model), record.to_json())
        assert await self.store.leases.settle(booking)

    async def used(
        self, *accounts: str, key: str = "key_1", at: datetime | None = None, **figures: object
    ) -> str:
        """A request from admission to settlement; its id."""
        lease = await self.admit(key, at=at)
        await self.settle(lease, *accounts, key=key, **figures)  # type: ignore[arg-type]
        return lease
