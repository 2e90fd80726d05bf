"""Several accounts: one that fails is left for another, rests, and comes back by one request."""

import json
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from relay.simulator import Fault
from relay.store import name

from .conftest import BODY, OTHER_KEYS, SOON_S, UPSTREAM_KEY, Running, relay_running

STREAM = {**BODY, "stream": True}
LIMITED = Fault(status=429, headers={"retry-after": "30"}, error_type="rate_limit_error")
OVERLOADED = Fault(status=529, error_type="overloaded_error")


async def with_accounts(relay: Running, count: int = 2) -> None:
    """`main` rested shortest, so that it is chosen last among equals; the others come first."""
    for number, secret in enumerate(OTHER_KEYS[: count - 1], 2):
        await relay.ctx.accounts.add(
            f"account-{number}", secret=secret, base_url=relay.sim.base_url
        )


def fails_first(relay: Running, fault: Fault) -> None:
    """The account that is asked first fails."""
    relay.sim.script.append(fault)


async def ask(relay: Running, body: dict = BODY) -> tuple[int, dict, str]:
    """A request of a conversation of its own, so that none is drawn to an account."""
    own = {"x-claude-code-session-id": uuid.uuid4().hex}
    async with relay.client() as client:
        answer = await client.post("/v1/messages", json=body, headers=own)
    is_json = answer.headers["content-type"].startswith("application/json")
    return answer.status_code, answer.json() if is_json else {}, answer.text


@asynccontextmanager
async def unused_port() -> AsyncIterator[int]:
    """A port at which nobody listens, and nobody else will."""
    with trio.socket.socket() as taken:
        await taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


async def last_record(relay: Running) -> dict:
    await relay.settled()
    return json.loads((await relay.ctx.store.usage.records(1))[0])


async def states(relay: Running) -> Counter[str]:
    return Counter(account.state for account in await relay.ctx.accounts.list())


@pytest.mark.parametrize(
    ("fault", "state"),
    [
        (LIMITED, "cooling"),
        (OVERLOADED, "ok"),
        (Fault(status=429), "ok"),
        (Fault(status=402), "exhausted"),
        (Fault(status=500), "ok"),
        (Fault(status=401), "ok"),
        (Fault(status=403), "ok"),
        (Fault(status=404), "ok"),
        (Fault(reset_at=0), "ok"),
        (Fault(cut_at=0), "ok"),
        (Fault(garbage_at=0), "ok"),
    ],
    ids=lambda value: str(value)[:40],
)
@pytest.mark.parametrize("body", [BODY, STREAM], ids=["whole", "stream"])
async def test_a_failure_before_the_first_byte_is_not_seen_by_the_client(
    relay: Running, fault: Fault, state: str, body: dict
):
    await with_accounts(relay)
    fails_first(relay, fault)
    status, _, text = await ask(relay, body)
    assert status == 200
    assert body is BODY or "event: message_stop" in text
    record = await last_record(relay)
    assert [attempt["account_name"] for attempt in record["attempts"]] in (
        ["main", "account-2"],
        ["account-2", "main"],
    )
    assert [attempt["outcome"] == "ok" for attempt in record["attempts"]] == [False, True]
    assert record["error"] == ""
    assert (await states(relay))[state] >= 1


async def test_a_resting_account_gets_no_request(relay: Running):
    await with_accounts(relay)
    fails_first(relay, LIMITED)
    for _ in range(6):
        assert (await ask(relay))[0] == 200
    assert len(relay.sim.requests) == 7


@pytest.mark.parametrize("status", [429, 500, 529])
async def test_five_failures_are_needed_before_an_account_leaves_the_rotation(
    relay: Running, status: int
):
    await with_accounts(relay)
    relay.sim.by_key[UPSTREAM_KEY] = Fault(status=status)
    for _ in range(16):
        assert (await ask(relay))[0] == 200
    failed = [one for one in relay.sim.requests if one.header("x-api-key") == UPSTREAM_KEY]
    assert len(failed) == 5
    accounts = await relay.ctx.accounts.list()
    found = [state for one in accounts for state in (one.state, *one.class_states.values())]
    assert set(found) == {"ok", "failing" if status == 500 else "overloaded"}


async def test_a_lost_attempt_that_may_have_been_paid_for_is_booked_as_estimated(relay: Running):
    await with_accounts(relay)
    fails_first(relay, Fault(reset_at=0))
    await ask(relay)
    record = await last_record(relay)
    lost, good = record["attempts"]
    assert (lost["is_estimated"], good["is_estimated"]) == (True, False)
    assert lost["cost_micros"] > 0
    assert record["cost_micros"] == lost["cost_micros"] + good["cost_micros"]
    assert (await relay.report()).total["cost_micros"] == record["cost_micros"]
    assert (await relay.report()).total["requests"] == 1


async def test_a_lost_attempt_counts_under_the_model_that_its_account_was_asked_for(relay: Running):
    await with_accounts(relay)
    asked = "claude-haiku-4-5"
    await relay.ctx.accounts.edit("main", priority=1, model_map={asked: "claude-opus-5"})
    relay.sim.by_key[UPSTREAM_KEY] = Fault(reset_at=0)
    await ask(relay, {**BODY, "model": asked})
    lost, good = (await last_record(relay))["attempts"]
    rows = {row.model: row.counters for row in (await relay.report()).rows}
    # The lost attempt's upstream named no model, so it has the name of the table's row.
    (opus,) = [model for model in rows if "Opus" in model]
    assert rows[opus]["cost_micros"] == lost["cost_micros"] > 0
    assert (rows[asked]["cost_micros"], rows[asked]["requests"]) == (good["cost_micros"], 1)


async def test_a_refusal_that_belongs_to_the_request_is_not_tried_elsewhere(relay: Running):
    await with_accounts(relay)
    fails_first(relay, Fault(status=400, error_type="invalid_request_error", message="too long"))
    status, body, _ = await ask(relay)
    assert (status, body["error"]["message"]) == (400, "too long")
    assert len(relay.sim.requests) == 1


CAPPED = Fault(
    status=400,
    error_type="invalid_request_error",
    message="You have reached your specified API usage limits. You will regain access later.",
)


async def becomes(relay: Running, state: str, count: int) -> None:
    with trio.fail_after(SOON_S):
        while (await states(relay)).get(state) != count:  # noqa: ASYNC110
            await trio.sleep(0.01)


async def test_a_self_set_spend_limit_moves_on_and_is_asked_about(relay: Running):
    await with_accounts(relay)
    relay.sim.by_key[UPSTREAM_KEY] = CAPPED
    for _ in range(3):
        assert (await ask(relay))[0] == 200
    await becomes(relay, "exhausted", 1)


async def test_a_clients_text_that_an_upstream_repeats_rests_nobody_and_is_booked(relay: Running):
    relay.sim.script.append(CAPPED)
    status, body, _ = await ask(relay)
    assert (status, body["error"]["message"]) == (400, CAPPED.message)
    with trio.fail_after(SOON_S):
        while len(await relay.ctx.store.usage.records(10)) < 2:  # noqa: ASYNC110
            await trio.sleep(0.01)
    assert set(await states(relay)) == {"ok"}
    assert (await ask(relay))[0] == 200
    records = [json.loads(one) for one in await relay.ctx.store.usage.records(10)]
    (own,) = [record for record in records if record["key_id"] == "relay"]
    assert own["cost_micros"] > 0
    total = (await relay.report()).total
    assert total["cost_micros"] == sum(record["cost_micros"] for record in records)


@pytest.mark.parametrize(
    ("faults", "status"),
    [
        ([LIMITED, OVERLOADED], 429),
        ([OVERLOADED, LIMITED], 429),
        ([OVERLOADED, Fault(status=500)], 500),
        ([Fault(status=500), OVERLOADED], 529),
        ([Fault(status=404), Fault(status=500)], 404),
        ([Fault(status=401), Fault(status=404)], 503),
        ([Fault(reset_at=0), Fault(reset_at=0)], 502),
    ],
    ids=lambda value: str(value)[:60],
)
async def test_when_all_fail_the_client_is_told_what_tells_it_most(
    redis_url: str, tmp_path: Path, faults: list[Fault], status: int
):
    async with relay_running(redis_url, tmp_path, max_retries=0) as relay:
        await with_accounts(relay)
        relay.sim.script.extend(faults)
        assert (await ask(relay))[0] == status
        assert len(relay.sim.requests) == 2
        await relay.settled()


@pytest.mark.parametrize("status", [429, 500, 503, 529])
@pytest.mark.parametrize("body", [BODY, STREAM], ids=["whole", "stream"])
async def test_the_last_account_is_asked_again_after_what_states_no_cooldown(
    relay: Running, status: int, body: dict
):
    fault = Fault(status=status)
    relay.sim.script.extend([fault, fault])
    assert (await ask(relay, body))[0] == 200
    record = await last_record(relay)
    assert [attempt["outcome"] for attempt in record["attempts"]] == [
        f"status_{fault.status}",
        f"status_{fault.status}",
        "ok",
    ]
    assert (await states(relay)) == {"ok": 1}


@pytest.mark.parametrize("status", [429, 500, 529])
async def test_an_account_is_asked_again_three_times_and_no_more(relay: Running, status: int):
    """What the client gets in the end are the upstream's own words, its retry-after if any."""
    headers = {"retry-after": "1"} if status == 529 else {}
    fault = Fault(status=status, message="The upstream's own words.", headers=headers)
    relay.sim.by_key[UPSTREAM_KEY] = fault
    async with relay.client() as client:
        answer = await client.post("/v1/messages", json=BODY)
    assert answer.json()["error"]["message"] == fault.message
    assert (answer.status_code, answer.headers.get("retry-after")) == (
        status,
        headers.get("retry-after"),
    )
    # Of the pauses that the upstream states two fit into a request's patience.
    assert len(relay.sim.requests) == (3 if headers else 4)
    await relay.settled()
    account = await relay.ctx.accounts.find("main")
    # The last account is never given up.
    assert account.state == "ok"
    assert await relay.ctx.store.accounts.open_leases(account.id) == 0


@pytest.mark.parametrize("fault", [Fault(reset_at=0), LIMITED, Fault(status=402)])
async def test_what_may_have_been_paid_for_or_must_rest_is_not_asked_again(
    relay: Running, fault: Fault
):
    fails_first(relay, fault)
    assert (await ask(relay))[0] in (402, 429, 502)
    assert len(relay.sim.requests) == 1


async def test_a_connection_that_is_refused_is_tried_again(relay: Running):
    async with unused_port() as port:
        await relay.ctx.accounts.edit("main", base_url=f"http://127.0.0.1:{port}", secret="s")
        assert (await ask(relay))[0] == 502
        record = await last_record(relay)
        assert len(record["attempts"]) == 4
        assert record["cost_micros"] == 0


async def test_while_all_rest_clients_are_told_when_the_first_is_back(relay: Running):
    await with_accounts(relay)
    relay.sim.script.extend([LIMITED, Fault(status=429, headers={"retry-after": "7"})])
    assert (await ask(relay))[0] == 429
    async with relay.client() as client:
        answer = await client.post("/v1/messages", json=BODY)
    assert answer.status_code == 429
    assert answer.json()["error"]["type"] == "rate_limit_error"
    assert int(answer.headers["retry-after"]) in (6, 7)
    assert len(relay.sim.requests) == 2


async def test_a_stray_529_costs_the_only_account_nothing(relay: Running):
    for _ in range(5):
        relay.sim.script.append(OVERLOADED)
        assert (await ask(relay))[0] == 200
    assert (await states(relay)) == {"ok": 1}


async def test_a_request_waits_for_a_cooldown_that_ends_soon(relay: Running):
    """Its own, and one that another request has met."""
    relay.sim.script.append(Fault(status=429, headers={"retry-after": "1"}))
    codes: list[int] = []

    async def one() -> None:
        codes.append((await ask(relay))[0])

    async with trio.open_nursery() as nursery:
        nursery.start_soon(one)
        await becomes(relay, "cooling", 1)
        for _ in range(3):
            nursery.start_soon(one)
    assert codes == [200] * 4
    assert (await states(relay)) == {"ok": 1}


async def test_a_trials_stream_that_begins_well_ends_the_cooldown(relay: Running):
    account = await relay.ctx.accounts.find("main")
    fields = {"state": "cooling", "state_since": "1", "state_until": "1"}
    await relay.ctx.store.accounts.change(account.id, fields)
    relay.sim.script.append(Fault(silent_at=600, of_body=True))
    async with (
        relay.client() as client,
        client.stream("POST", "/v1/messages", json=STREAM) as answer,
    ):
        assert answer.status_code == 200
        assert (await states(relay)) == {"ok": 1}


async def rest_is_over(relay: Running) -> None:
    """Let every account's rest end now."""
    for account in await relay.ctx.accounts.list():
        if account.state != "ok":
            await relay.ctx.store._db.call("HSET", name("account", account.id), "state_until", 1)


async def test_a_rested_account_comes_back_by_one_request_alone(relay: Running):
    fails_first(relay, LIMITED)
    assert (await ask(relay))[0] == 429
    await rest_is_over(relay)
    # Nobody waits here, and no second trial begins.
    relay.ctx.leases._patience_s = 0.0
    codes: list[int] = []

    async def one() -> None:
        codes.append((await ask(relay))[0])

    async with trio.open_nursery() as nursery, relay.sim.hold():
        for _ in range(5):
            nursery.start_soon(one)
        with trio.fail_after(SOON_S):
            while len(codes) < 4:  # noqa: ASYNC110
                await trio.sleep(0.01)
        assert codes == [429] * 4
    assert sorted(codes) == [200, 429, 429, 429, 429]
    assert (await states(relay)) == {"ok": 1}
    assert (await ask(relay))[0] == 200


async def test_a_trial_that_fails_is_not_seen_and_the_account_stays_away(relay: Running):
    await with_accounts(relay)
    relay.sim.by_key[UPSTREAM_KEY] = LIMITED
    account = await relay.ctx.accounts.find("main")
    for trials in (1, 2):
        with trio.fail_after(SOON_S):
            while asked_of(relay, UPSTREAM_KEY) < trials:
                assert (await ask(relay))[0] == 200
        fields = await relay.ctx.store.accounts.read(account.id)
        assert int(fields["state_until"]) - int(fields["state_since"]) == 30_000
        await rest_is_over(relay)


def asked_of(relay: Running, key: str) -> int:
    return sum(one.header("x-api-key") == key for one in relay.sim.requests)


async def test_an_operator_may_end_a_rest(relay: Running):
    fails_first(relay, LIMITED)
    await ask(relay)
    await relay.ctx.accounts.reset("main")
    assert (await ask(relay))[0] == 200


async def test_a_stream_that_does_not_begin_in_time_moves_on_and_is_booked(
    redis_url: str, tmp_path: Path
):
    async with relay_running(redis_url, tmp_path, stream_headers_timeout_s=0.2) as relay:
        await with_accounts(relay)
        fails_first(relay, Fault(delay_s=SOON_S))
        status, _, text = await ask(relay, STREAM)
        assert status == 200
        assert "event: message_stop" in text
        record = await last_record(relay)
        assert [attempt["is_estimated"] for attempt in record["attempts"]] == [True, False]


async def test_a_whole_answer_that_is_late_is_a_504_and_not_asked_for_again(
    redis_url: str, tmp_path: Path
):
    async with relay_running(redis_url, tmp_path, request_timeout_s=0.2) as relay:
        await with_accounts(relay)
        fails_first(relay, Fault(delay_s=SOON_S))
        status, body, _ = await ask(relay)
        assert (status, body["error"]["type"]) == (504, "timeout_error")
        assert len(relay.sim.requests) == 1


async def test_after_the_first_byte_nothing_is_sent_twice(relay: Running):
    await with_accounts(relay)
    fails_first(relay, Fault(error_event="overloaded_error", after_events=4))
    status, _, text = await ask(relay, STREAM)
    assert status == 200
    assert "event: error" in text
    assert len(relay.sim.requests) == 1


async def test_one_healthy_account_of_three_serves_everybody(relay: Running):
    await with_accounts(relay, 3)
    relay.sim.by_key[UPSTREAM_KEY] = LIMITED
    relay.sim.by_key[OTHER_KEYS[0]] = Fault(reset_at=0)
    codes: Counter[int] = Counter()
    limit = trio.CapacityLimiter(50)

    async def one() -> None:
        async with limit:
            codes[(await ask(relay))[0]] += 1

    with trio.fail_after(6 * SOON_S):
        async with trio.open_nursery() as nursery:
            for _ in range(200):
                nursery.start_soon(one)
    assert codes == {200: 200}
    served = Counter(one.header("x-api-key") for one in relay.sim.requests)
    assert served[OTHER_KEYS[1]] == 200
    assert served[UPSTREAM_KEY] <= 50
    await relay.settled()
    for account in await relay.ctx.accounts.list():
        assert await relay.ctx.store.accounts.open_leases(account.id) == 0
