"""When failures make an account cool down: by their share, and never for what hits all alike."""

import pytest

from relay.balancer import of_break, of_reply
from relay.call import Call
from relay.store import Rest, Store, name
from relay.upstream import UpstreamError, UpstreamTimeoutError

from .test_limits import admit, settle
from .test_store import with_account, with_key

CALL = Call("messages", "POST", b"/v1/messages", stream=True)
SLOW = of_break(CALL, UpstreamTimeoutError("headers", "x")).rest("slow")
BROKEN = of_break(CALL, UpstreamError("connect", "x", never_left=True)).rest("broken")
ERROR = of_reply(500, [], b"{}").rest("status_500")
KINDS = pytest.mark.parametrize("rest", [SLOW, BROKEN, ERROR], ids=lambda rest: rest.reason)


@pytest.fixture
async def ready(opened: Store) -> Store:
    """Two accounts; the first goes first."""
    await with_account(opened, priority="1")
    await with_account(opened, "acc_2", priority="2")
    await with_key(opened)
    return opened


async def fails(opened: Store, rest: Rest, account: str = "acc_1") -> None:
    """A request that fails at an account, whichever serves it then."""
    await admit(opened, "r", bound=account)
    await opened.leases.move_on("r", rest, [account])
    await settle(opened, "r")


async def serves(opened: Store, account: str = "acc_1", *, is_well: bool = True) -> None:
    await admit(opened, "r", bound=account)
    await settle(opened, "r", is_well=is_well)


async def state(opened: Store, account: str = "acc_1") -> str:
    return (await opened.accounts.read(account)).get("state", "ok")


@KINDS
async def test_an_account_cools_down_when_enough_requests_were_seen(ready: Store, rest: Rest):
    for _ in range(rest.least - 1):
        await fails(ready, rest)
        assert await state(ready) == "ok"
    await fails(ready, rest)
    assert await state(ready) == "failing"


@KINDS
async def test_an_account_that_serves_more_than_it_fails_goes_on(ready: Store, rest: Rest):
    """Twelve slow requests of one client, among thirty that are answered."""
    for _ in range(6):
        await serves(ready)
    for _ in range(12):
        await fails(ready, rest)
        await serves(ready)
        await serves(ready)
    assert await state(ready) == "ok"


async def test_an_account_that_fails_as_often_as_it_serves_cools_down(ready: Store):
    for _ in range(2):
        await serves(ready)
    for _ in range(2):
        await fails(ready, BROKEN)
    assert await state(ready) == "failing"


@KINDS
async def test_the_last_account_never_cools_down(ready: Store, rest: Rest):
    await ready.accounts.change("acc_2", {"enabled": "0"})
    for _ in range(20):
        await fails(ready, rest)
    assert await state(ready) == "ok"


@pytest.mark.parametrize("rest", [SLOW, BROKEN], ids=lambda rest: rest.reason)
async def test_what_hits_all_accounts_at_once_counts_against_none(ready: Store, rest: Rest):
    for _ in range(20):
        await fails(ready, rest)
        await fails(ready, rest, "acc_2")
    assert [await state(ready), await state(ready, "acc_2")] == ["ok", "ok"]


async def test_an_error_of_each_upstream_itself_leaves_the_last_account_alone(ready: Store):
    for _ in range(20):
        await fails(ready, ERROR)
        await fails(ready, ERROR, "acc_2")
    assert [await state(ready), await state(ready, "acc_2")] == ["failing", "ok"]


async def test_failures_of_more_than_five_minutes_ago_are_forgotten(ready: Store):
    for _ in range(2):
        await fails(ready, BROKEN)
    (key,) = await ready._db.call("KEYS", name("health", "acc_1", "*"))
    kind, _, minute = key.decode().rpartition(":")
    assert 0 < int(await ready._db.call("PTTL", key)) <= 6 * 60_000
    await ready._db.call("RENAME", key, f"{kind}:{int(minute) - 5}")
    await fails(ready, BROKEN)
    assert await state(ready) == "ok"


async def over(opened: Store) -> None:
    await opened._db.call("HSET", name("account", "acc_1"), "state_until", 1)


async def test_after_a_cooldown_one_request_decides_and_an_account_starts_afresh(ready: Store):
    for _ in range(3):
        await fails(ready, BROKEN)
    await over(ready)
    await fails(ready, BROKEN)
    assert await state(ready) == "failing"
    await over(ready)
    await serves(ready)
    await fails(ready, BROKEN)
    assert await state(ready) == "ok"


async def test_a_last_account_whose_trial_fails_is_not_given_up(ready: Store):
    for _ in range(3):
        await fails(ready, BROKEN)
    await ready.accounts.change("acc_2", {"enabled": "0"})
    await over(ready)
    await fails(ready, BROKEN)
    assert await state(ready) == "ok"


@pytest.mark.parametrize("changes", [{"is_well": False}], ids=["cancelled"])
async def test_what_ends_otherwise_counts_neither_way(ready: Store, changes: dict[str, bool]):
    """A client that leaves, our own drain, a refusal that belongs to the request."""
    await serves(ready, **changes)
    await fails(ready, Rest())
    assert await ready._db.call("KEYS", name("health", "acc_1", "*")) == []


async def test_a_stored_health_that_is_none_stops_nothing(ready: Store):
    await fails(ready, BROKEN)
    (key,) = await ready._db.call("KEYS", name("health", "acc_1", "*"))
    await ready._db.call("HSET", key, "failed", "x", "ok", "nan")
    for _ in range(3):
        await fails(ready, BROKEN)
    assert await state(ready) == "failing"
