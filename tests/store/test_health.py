"""When failures make an account cool down: by their share, and never for what hits all alike."""

import time

import pytest

from relay.balancer import of_break, of_reply
from relay.call import Call
from relay.store import Admitted, Again, Moved, Refused, Rest, Store, Waiting, name
from relay.upstream import UpstreamError, UpstreamTimeoutError

from .test_limits import admit, settle
from .test_store import with_account, with_key

CALL = Call("messages", "POST", b"/v1/messages", stream=True)
SLOW = of_break(CALL, UpstreamTimeoutError("headers", "x")).rest("slow")
BROKEN = of_break(CALL, UpstreamError("connect", "x", never_left=True)).rest("broken")
ERROR = of_reply(500, [], b"{}").rest("status_500")
OVERLOADED = of_reply(529, [], b"{}").rest("status_529")
LIMITED = of_reply(429, [], b"{}").rest("status_429")
KINDS = pytest.mark.parametrize(
    "rest", [SLOW, BROKEN, ERROR, OVERLOADED, LIMITED], ids=lambda rest: rest.reason
)


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
    assert await state(ready) == rest.state


@KINDS
async def test_an_account_that_serves_more_than_it_fails_goes_on(ready: Store, rest: Rest):
    """Twelve slow requests of one client, among thirty that are answered."""
    for _ in range(6):
        await serves(ready)
    for _ in range(12):
        await fails(ready, rest)
        assert await state(ready) == "ok"
        await serves(ready)
        await serves(ready)


async def test_an_account_that_fails_as_often_as_it_serves_cools_down(ready: Store):
    for _ in range(4):
        await serves(ready)
    for _ in range(4):
        await fails(ready, BROKEN)
    assert await state(ready) == "failing"


@KINDS
async def test_the_last_account_never_cools_down(ready: Store, rest: Rest):
    await ready.accounts.change("acc_2", {"enabled": "0"})
    for _ in range(20):
        await fails(ready, rest)
    assert await state(ready) == "ok"


@pytest.mark.parametrize("rest", [SLOW, BROKEN, OVERLOADED, LIMITED], ids=lambda rest: rest.reason)
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
    for _ in range(4):
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
    for _ in range(5):
        await fails(ready, BROKEN)
    await over(ready)
    await fails(ready, BROKEN)
    assert await state(ready) == "failing"
    await over(ready)
    await serves(ready)
    await fails(ready, BROKEN)
    assert await state(ready) == "ok"


async def test_a_last_account_whose_trial_fails_is_not_given_up(ready: Store):
    for _ in range(5):
        await fails(ready, BROKEN)
    await ready.accounts.change("acc_2", {"enabled": "0"})
    await over(ready)
    await fails(ready, BROKEN)
    assert await state(ready) == "ok"


async def asks(opened: Store, lease: str = "r", **asked: object) -> Admitted | Refused:
    """An admission, whatever comes of it."""
    answer = await opened.leases.admit(lease, "p", "key_1", "h1", kind="messages", **asked)
    assert not isinstance(answer, Waiting)
    return answer


async def test_a_class_that_fails_cools_down_alone(ready: Store):
    opus = of_reply(529, [], b"{}", "claude-opus-5").rest("status_529")
    for _ in range(5):
        await admit(ready, "r", bound="acc_1", model="claude-opus-5", model_class="opus")
        await ready.leases.move_on("r", opus, ["acc_1"])
        await settle(ready, "r")
    fields = await ready.accounts.read("acc_1")
    assert (fields.get("state"), fields["state:opus"]) == (None, "overloaded")
    haiku = await asks(ready, model="claude-haiku-4-5", model_class="haiku")
    assert isinstance(haiku, Admitted)
    assert haiku.account_id == "acc_1"


async def test_the_fast_lane_cools_down_alone(ready: Store):
    await ready.accounts.change("acc_2", {"enabled": "0"})
    headers = [(b"retry-after", b"30"), (b"anthropic-fast-input-tokens-remaining", b"0")]
    fast = of_reply(429, headers, b"{}", "claude-opus-5", is_fast=True).rest("status_429")
    await admit(ready, "r", model="claude-opus-5", model_class="opus-fast")
    await ready.leases.move_on("r", fast, ["acc_1"])
    await settle(ready, "r")
    assert isinstance(await asks(ready, "a", model_class="opus"), Admitted)
    refused = await asks(ready, "b", model_class="opus-fast")
    assert isinstance(refused, Refused)
    assert refused.code == "account_cooling"


async def test_what_rests_a_class_rests_its_fast_lane(ready: Store):
    await ready.accounts.change("acc_2", {"enabled": "0"})
    await admit(ready, "r", model_class="opus")
    await ready.leases.move_on("r", Rest("cooling", "opus", "x", 30_000), ["acc_1"])
    await settle(ready, "r")
    assert isinstance(await asks(ready, "a", model_class="opus-fast"), Refused)


async def test_streams_that_run_well_count_before_their_end(ready: Store):
    for number in range(12):
        await admit(ready, f"stream_{number}", bound="acc_1")
    for _ in range(6):
        await fails(ready, OVERLOADED)
    assert await state(ready) == "ok"


async def rests(opened: Store, account: str, **changes: str) -> None:
    later = str(int(time.time() * 1000) + 60_000)
    fields = {"state": "failing", "state_since": "1", "state_until": later, **changes}
    await opened.accounts.change(account, fields)


@pytest.mark.parametrize("kind", ["failing", "overloaded"])
async def test_an_account_that_left_by_evidence_serves_while_no_other_can(ready: Store, kind: str):
    """One trial at a time; the others hear when to ask again, and soon."""
    await rests(ready, "acc_1", state=kind)
    await ready.accounts.change("acc_2", {"enabled": "0"})
    trial = await asks(ready, "a")
    assert isinstance(trial, Admitted)
    assert (trial.account_id, trial.is_trial) == ("acc_1", True)
    other = await asks(ready, "b")
    assert isinstance(other, Refused)
    assert (other.code, other.back_s) == (f"account_{kind}", "1")
    assert 0 < other.back_ms <= 1000
    await ready.leases.served("a")
    assert await state(ready) == "ok"
    assert isinstance(await asks(ready, "b"), Admitted)


async def test_it_does_not_serve_while_another_can(ready: Store):
    await rests(ready, "acc_1")
    for number in range(5):
        granted = await asks(ready, f"r{number}")
        assert isinstance(granted, Admitted)
        assert (granted.account_id, granted.is_trial) == ("acc_2", False)


@pytest.mark.parametrize("kind", ["cooling", "exhausted"])
async def test_what_the_upstream_stated_holds_for_the_last_account_too(ready: Store, kind: str):
    await rests(ready, "acc_1", state=kind)
    await ready.accounts.change("acc_2", {"enabled": "0"})
    assert isinstance(await asks(ready), Refused)


async def test_a_lease_moves_to_one_that_left_before_it_asks_its_own_again(ready: Store):
    await rests(ready, "acc_1")
    await admit(ready, "r")
    moved = await ready.leases.move_on("r", OVERLOADED, ["acc_2"], most_pause_ms=5000)
    assert isinstance(moved, Moved)
    assert (moved.account_id, moved.is_trial) == ("acc_1", True)


async def test_a_trial_that_takes_long_locks_nobody_out(ready: Store):
    await rests(ready, "acc_1")
    await ready.accounts.change("acc_2", {"enabled": "0"})
    assert isinstance(await asks(ready, "a"), Admitted)
    await ready._db.call("HINCRBY", name("account", "acc_1"), "probe_at", -1001)
    assert isinstance(await asks(ready, "b"), Admitted)


async def again(opened: Store, rest: Rest, lease: str, most_pause_ms: int = 60_000) -> Again | None:
    """A failure at the only account."""
    step = await opened.leases.move_on(lease, rest, ["acc_1"], most_pause_ms=most_pause_ms)
    assert not isinstance(step, Moved | Waiting)
    return step


@KINDS
async def test_requests_come_back_at_a_pace_to_an_account_that_fails(ready: Store, rest: Rest):
    await ready.accounts.change("acc_2", {"enabled": "0"})
    for number in range(12):
        await admit(ready, f"r{number}")
    found = [await again(ready, rest, f"r{number}") for number in range(12)]
    pauses = [step.pause_ms for step in found if step]
    assert pauses[: rest.least - 1] == [0] * (rest.least - 1)
    assert pauses[-1] > 1000
    # Who cannot wait for so long hears of the failure at once.
    assert await again(ready, rest, "r0", most_pause_ms=100) is None


async def test_one_that_mostly_serves_has_no_pace(ready: Store):
    await ready.accounts.change("acc_2", {"enabled": "0"})
    for _ in range(20):
        await serves(ready)
    for number in range(9):
        await admit(ready, f"r{number}")
        step = await again(ready, OVERLOADED, f"r{number}")
        assert step == Again(0)


async def test_who_waits_for_a_stated_cooldown_is_its_trial(ready: Store):
    await ready.accounts.change("acc_2", {"enabled": "0"})
    stated = of_reply(429, [(b"retry-after", b"2")], b"{}").rest("status_429")
    await admit(ready, "r")
    assert await again(ready, stated, "r") == Again(0)
    fields = await ready.accounts.read("acc_1")
    assert (fields["state"], fields["probe"]) == ("cooling", "r")
    await settle(ready, "r", is_well=True)
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
    for _ in range(5):
        await fails(ready, BROKEN)
    assert await state(ready) == "failing"
