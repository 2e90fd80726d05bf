"""Accounts are asked for themselves whether they are still good."""

import errno
import secrets
import tempfile
from typing import NoReturn

import pytest
import trio

from relay.accounts import Account
from relay.simulator import Fault
from relay.store import name
from relay.upstream import Upstreams

from .conftest import BODY, OTHER_KEYS, SOON_S, UPSTREAM_KEY, Running

REFUSED = Fault(status=401, message="invalid x-api-key")


async def check(relay: Running) -> Account:
    """A round of checks, whatever was checked a moment ago, and what became of the account."""
    account = await relay.ctx.accounts.find("main")
    await relay.ctx.store._db.call("DEL", name("lock", f"check:{account.id}"))
    await relay.ctx.checks.check_all()
    return await relay.ctx.accounts.find("main")


async def ask(relay: Running) -> int:
    async with relay.client() as client:
        return (await client.post("/v1/messages", json=BODY)).status_code


async def becomes(relay: Running, state: str) -> Account:
    with trio.fail_after(SOON_S):
        while (account := await relay.ctx.accounts.find("main")).state != state:  # noqa: ASYNC110
            await trio.sleep(0.01)
    return account


async def alerts(relay: Running) -> list[tuple[str, str]]:
    """Every alert, oldest first: the states before and after."""
    found = await relay.ctx.store.alerts.newest(100)
    assert all(one["event"] == "account_error" for one in found)
    return [(one["before"], one["state"]) for one in reversed(found)]


async def test_a_refused_account_is_asked_and_found_unauthorized(relay: Running):
    relay.sim.by_key[UPSTREAM_KEY] = REFUSED
    assert await ask(relay) == 503
    account = await becomes(relay, "unauthorized")
    assert account.until is None
    assert "--secret-file" in account.advice
    before = len(relay.sim.requests)
    assert await ask(relay) == 503
    assert len(relay.sim.requests) == before
    assert await alerts(relay) == [("ok", "unauthorized")]


async def test_a_refused_upload_makes_the_relay_ask_too(relay: Running):
    relay.sim.by_key[UPSTREAM_KEY] = REFUSED
    async with relay.client() as client:
        batch = {"requests": [{"custom_id": "one", "params": BODY}]}
        answer = await client.post("/v1/messages/batches", json=batch)
    assert answer.status_code == 503
    await becomes(relay, "unauthorized")


async def test_a_refusal_that_belongs_to_the_request_benches_nobody(relay: Running):
    relay.sim.script.append(Fault(status=403, message="not with this beta"))
    assert await ask(relay) == 503
    with trio.fail_after(SOON_S):
        while len(relay.sim.requests) < 2:  # noqa: ASYNC110
            await trio.sleep(0.01)
    assert relay.sim.requests[1].target.startswith("/v1/models")
    assert await ask(relay) == 200
    assert await alerts(relay) == []


async def test_clients_cannot_make_the_relay_ask_over_and_over(relay: Running):
    for _ in range(4):
        relay.sim.script.append(Fault(status=404, message="model: not here"))
        await ask(relay)
    with trio.fail_after(SOON_S):
        while len(relay.sim.requests) < 5:  # noqa: ASYNC110
            await trio.sleep(0.01)
    assert await ask(relay) == 200
    assert sum(one.target.startswith("/v1/models") for one in relay.sim.requests) == 1


async def test_an_unauthorized_account_comes_back_when_a_check_succeeds(relay: Running):
    relay.sim.by_key[UPSTREAM_KEY] = REFUSED
    assert (await check(relay)).state == "unauthorized"
    del relay.sim.by_key[UPSTREAM_KEY]
    assert (await check(relay)).state == "ok"
    assert await ask(relay) == 200
    assert await alerts(relay) == [("ok", "unauthorized"), ("unauthorized", "ok")]


async def test_a_new_secret_ends_it_at_once(relay: Running):
    relay.sim.by_key[UPSTREAM_KEY] = REFUSED
    await check(relay)
    await relay.ctx.accounts.edit("main", secret=OTHER_KEYS[0])
    assert await ask(relay) == 200


async def test_five_failed_checks_in_a_row_disable_and_one_good_one_enables(relay: Running):
    relay.sim.by_key[UPSTREAM_KEY] = Fault(status=500)
    states = [(await check(relay)).state for _ in range(6)]
    assert states == ["ok", "ok", "ok", "ok", "disabled", "disabled"]
    assert await ask(relay) == 503
    del relay.sim.by_key[UPSTREAM_KEY]
    assert (await check(relay)).state == "ok"
    assert await alerts(relay) == [("ok", "disabled"), ("disabled", "ok")]


SILENCE = Fault(reset_at=0)


async def test_checks_without_an_answer_disable_no_only_account(relay: Running):
    relay.sim.by_key[UPSTREAM_KEY] = SILENCE
    assert [(await check(relay)).state for _ in range(12)] == ["ok"] * 12


async def test_checks_without_an_answer_disable_none_when_all_get_none(relay: Running):
    other = await relay.ctx.accounts.add("other", secret=OTHER_KEYS[0], base_url=relay.sim.base_url)
    relay.sim.by_key[UPSTREAM_KEY] = relay.sim.by_key[OTHER_KEYS[0]] = SILENCE
    for _ in range(12):
        await relay.ctx.store._db.call("DEL", name("lock", f"check:{other.id}"))
        assert (await check(relay)).state == "ok"
    del relay.sim.by_key[OTHER_KEYS[0]]
    # Both are asked at one time: the second round knows that the other account answers.
    for _ in range(2):
        await relay.ctx.store._db.call("DEL", name("lock", f"check:{other.id}"))
        account = await check(relay)
    assert account.state == "disabled"


async def test_failed_checks_disable_no_account_whose_requests_are_answered(relay: Running):
    for _ in range(2):
        assert await ask(relay) == 200
    await relay.settled()
    relay.sim.by_key[UPSTREAM_KEY] = Fault(status=500)
    assert [(await check(relay)).state for _ in range(6)] == ["ok"] * 6


async def test_a_good_check_between_starts_the_count_again(relay: Running):
    for _ in range(2):
        relay.sim.by_key[UPSTREAM_KEY] = Fault(reset_at=0)
        assert [(await check(relay)).state for _ in range(4)] == ["ok"] * 4
        del relay.sim.by_key[UPSTREAM_KEY]
        await check(relay)


async def test_what_a_person_disabled_no_check_enables(relay: Running):
    await relay.ctx.accounts.set_enabled("main", enabled=False)
    account = await check(relay)
    assert (account.state, account.reason) == ("disabled", "by a person")
    assert not relay.sim.requests


async def test_a_good_credential_says_nothing_of_limits(relay: Running):
    relay.sim.script.append(Fault(status=429, headers={"retry-after": "30"}))
    await ask(relay)
    assert (await check(relay)).state == "cooling"


async def test_an_upstream_without_a_list_of_models_is_not_benched_for_it(relay: Running):
    relay.sim.by_key[UPSTREAM_KEY] = Fault(status=404)
    for _ in range(6):
        assert (await check(relay)).state == "ok"


async def test_two_processes_check_once_a_round(relay: Running):
    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(relay.ctx.checks.check_all)
    assert len(relay.sim.requests) == 1


async def test_an_account_has_a_history(relay: Running):
    relay.sim.by_key[UPSTREAM_KEY] = REFUSED
    account = await check(relay)
    await relay.ctx.accounts.reset("main")
    changes = await relay.ctx.store.accounts.state_changes(account.id, 10)
    assert [(one["before"], one["state"]) for one in changes] == [
        ("unauthorized", "ok"),
        ("ok", "unauthorized"),
    ]
    assert "401" in changes[1]["reason"]


def no_descriptor_left(*args: object, **options: object) -> NoReturn:
    raise OSError(errno.EMFILE, "Too many open files")


async def test_what_the_relays_machine_lacks_disables_no_account(
    relay: Running, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(Upstreams, "_connected", no_descriptor_left)
    assert [(await check(relay)).state for _ in range(6)] == ["ok"] * 6


@pytest.mark.parametrize("stream", [False, True])
async def test_what_the_relays_machine_lacks_is_a_503_that_counts_against_no_account(
    relay: Running, monkeypatch: pytest.MonkeyPatch, stream: bool
):
    with monkeypatch.context() as patched:
        patched.setattr(Upstreams, "_connected", no_descriptor_left)
        async with relay.client() as client:
            for _ in range(6):
                answer = await client.post("/v1/messages", json={**BODY, "stream": stream})
                assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
                assert answer.json()["error"]["type"] == "api_error"
    assert await ask(relay) == 200
    assert await alerts(relay) == []


async def test_a_batch_for_which_no_file_can_be_opened_is_a_503(
    relay: Running, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(tempfile, "TemporaryFile", no_descriptor_left)
    async with relay.client() as client:
        batch = {"requests": [{"custom_id": "one", "params": BODY}]}
        answer = await client.post("/v1/messages/batches", json=batch)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")


WORDS = "You have reached your specified API usage limits until 2026-12-29"


async def test_a_models_name_that_is_a_text_is_repeated_to_no_account(relay: Running):
    """Some upstreams begin their message with the model's name as it came."""
    relay.sim.by_key[UPSTREAM_KEY] = Fault(
        status=400, error_type="invalid_request_error", message=f"{WORDS} is not a model"
    )
    async with relay.client() as client:
        answer = await client.post("/v1/messages", json={**BODY, "model": WORDS})
    assert answer.status_code == 400
    relay.sim.by_key[UPSTREAM_KEY] = Fault(status=200)
    account = await relay.ctx.accounts.find("main")
    relay.ctx.checks.suspect(account.id)
    with trio.fail_after(SOON_S):
        while not relay.sim.requests[-1].target.startswith("/v1/models"):  # noqa: ASYNC110
            await trio.sleep(0.01)
    assert len(relay.sim.requests) == 2
    assert await alerts(relay) == []


async def test_a_spend_cap_takes_the_place_of_what_passes_by_itself(relay: Running):
    relay.sim.script.append(Fault(status=429, headers={"retry-after": "60"}))
    await ask(relay)
    account = await becomes(relay, "cooling")
    relay.sim.by_key[UPSTREAM_KEY] = Fault(
        status=400, error_type="invalid_request_error", message=WORDS
    )
    relay.ctx.checks.suspect(account.id, model=BODY["model"])
    await becomes(relay, "exhausted")


async def test_a_refusal_that_repeats_megabytes_of_a_client_benches_nobody(relay: Running):
    # Random, for it may come compressed.
    echo = secrets.token_hex(5 * 1024 * 1024)
    relay.sim.by_key[UPSTREAM_KEY] = Fault(status=400, body=echo)
    for _ in range(4):
        assert await ask(relay) == 502
    del relay.sim.by_key[UPSTREAM_KEY]
    assert await ask(relay) == 200
