"""Models that retire soon: which keys used them, and who is told how often."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from relay import retirements
from relay.alerts import Alerts, post
from relay.known_models import KnownModels
from relay.monitor import doctor
from relay.store import Store

from .ledger import Ledger

NOW = datetime.now(UTC)
SOON, LATER = NOW + timedelta(days=9), NOW + timedelta(days=40)
OLD, DATED = "claude-sonnet-4-5", "claude-sonnet-4-5-20250929"


def entry(name: str = OLD, when: datetime | None = SOON, **fields: Any) -> dict[str, Any]:
    """A model of an upstream's list."""
    told = None if when is None else when.isoformat()
    return {"id": name, "lifecycle": "deprecated", "retires_at": told, **fields}


async def knowing(store: Store, *entries: dict[str, Any], account: str = "acc_1") -> KnownModels:
    """What an account's list says."""
    known = KnownModels(store)
    await known.learn(account, json.dumps({"data": entries}).encode())
    await known.follow()
    return known


async def told(store: Store) -> list[dict[str, str]]:
    """The alerts about retirements, oldest first."""
    newest = await store.alerts.newest(100)
    return [one for one in reversed(newest) if one["event"] == "model_retiring"]


async def test_a_model_that_retires_soon_names_the_keys_that_used_it(ledger: Ledger):
    known = await knowing(ledger.store, entry())
    for key in ("key_2", "key_1", "key_1"):
        await ledger.used(key=key, model=OLD)

    (found,) = await retirements.near(ledger.store, known)

    assert (found.model, found.day, found.keys) == (OLD, f"{SOON:%Y-%m-%d}", ("1", "2"))


@pytest.mark.parametrize(
    "listed",
    [
        entry(when=LATER),
        entry(when=None),
        entry(lifecycle="retired"),
        entry("claude-sonnet-4-6"),
        {"id": OLD, "retires_at": 5},
        {"id": OLD},
    ],
)
async def test_nobody_is_warned_of_other_models(ledger: Ledger, listed: dict[str, Any]):
    known = await knowing(ledger.store, listed)
    await ledger.used(model=OLD)

    assert await retirements.near(ledger.store, known) == []


async def test_a_key_that_used_it_over_a_week_ago_is_not_warned(ledger: Ledger):
    known = await knowing(ledger.store, entry())
    await ledger.used(key="key_1", model=OLD, at=NOW - timedelta(days=6))
    await ledger.used(key="key_2", model=OLD, at=NOW - timedelta(days=8))

    (found,) = await retirements.near(ledger.store, known)

    assert found.keys == ("1",)


async def test_a_model_that_is_overdue_is_still_near(ledger: Ledger):
    known = await knowing(ledger.store, entry(when=NOW - timedelta(days=3)))
    await ledger.used(model=OLD)

    (found,) = await retirements.near(ledger.store, known)

    assert retirements.sentence(found).startswith("It was to retire on ")


@pytest.mark.parametrize(
    ("listed", "served"),
    [(DATED, OLD), (OLD, DATED), (OLD, f"{OLD}[1m]"), (OLD, f"{OLD}@20250929")],
)
async def test_a_name_with_a_date_is_the_same_model(ledger: Ledger, listed: str, served: str):
    known = await knowing(ledger.store, entry(listed))
    await ledger.used(model=served)

    assert [one.model for one in await retirements.near(ledger.store, known)] == [listed]


async def test_the_list_of_the_account_that_served_counts(ledger: Ledger):
    await knowing(ledger.store, entry())
    known = await knowing(ledger.store, entry(when=LATER), account="acc_2")
    await ledger.used("acc_2", model=OLD)
    assert await retirements.near(ledger.store, known) == []

    await ledger.used("acc_1", model=OLD)
    assert len(await retirements.near(ledger.store, known)) == 1


async def test_the_webhooks_hear_of_a_model_and_a_set_of_keys_once(ledger: Ledger):
    store = ledger.store
    known, alerts = await knowing(store, entry(), entry("claude-x-1")), Alerts(store, (), "", post)
    await ledger.used(key="key_1", model=OLD)
    for _ in range(3):
        await retirements.report(store, known, alerts)
        await ledger.used(key="key_1", model=OLD)
    (first,) = await told(store)
    assert (first["model"], first["keys"]) == (OLD, "1")
    assert first["until"] == str(int(SOON.timestamp()) * 1000)

    await ledger.used(key="key_2", model=OLD)
    await ledger.used(key="key_1", model="claude-x-1")
    for _ in range(2):
        await retirements.report(store, known, alerts)

    assert [(one["model"], one["keys"]) for one in (await told(store))[1:]] == [
        ("claude-sonnet-4-5", "1, 2"),
        ("claude-x-1", "1"),
    ]


async def test_doctor_warns_of_keys_whose_model_retires_soon(ledger: Ledger):
    (unread,) = await doctor.models_retiring(ledger.store)
    await knowing(ledger.store, entry())
    (well,) = await doctor.models_retiring(ledger.store)
    await ledger.used(key="key_2", model=OLD)
    (found,) = await doctor.models_retiring(ledger.store)

    assert [one.level for one in (unread, well, found)] == ["unseen", "ok", "warning"]
    assert (found.check, found.subject) == ("retirement", OLD)
    assert f"retires on {SOON:%Y-%m-%d}, and was used in the last 7 days by 2." in found.text
    assert f"--map {OLD}=MODEL" in found.mend


async def test_many_keys_are_named_in_part(opened: Store):
    names = tuple(f"k{number}" for number in range(25))
    one = retirements.Retirement(OLD, SOON, names, names)

    assert one.named.endswith("k19 and 5 more")
