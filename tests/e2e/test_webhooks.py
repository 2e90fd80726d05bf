"""Alerts reach real receivers, once, whatever those do."""

import dataclasses
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from relay import server, settings
from relay.context import Context
from relay.settings import Webhook
from relay.store import name
from relay.store import opened as open_store

from .conftest import BODY, UPSTREAM_KEY, relay_running
from .receiver import SECRET, Taken, receiving

SOON_S = 30.0


async def until(what: str, is_true: object) -> None:
    """Wait for an async condition."""
    with trio.move_on_after(SOON_S):
        while not await is_true():  # type: ignore[operator]  # noqa: ASYNC110
            await trio.sleep(0.05)
        return
    raise AssertionError(f"in vain: {what}")


async def add(ctx: Context, *titles: str) -> None:
    for title in titles:
        await ctx.alerts.add("report", title)


def titles(taken: list[Taken]) -> list[object]:
    return [one.json["title"] for one in taken]


async def delivered(ctx: Context) -> bool:
    """Whether nothing waits any more."""
    return all(one.waiting == 0 for one in await ctx.alerts.standings())


async def test_a_limit_and_a_budget_that_fill_up_are_told_once_and_signed(
    redis_url: str, tmp_path: Path
):
    scope: dict[str, object] = {}
    docs = (Path(__file__).parents[2] / "docs" / "webhooks.md").read_text()
    exec(docs.partition("```python\n")[2].partition("```")[0], scope)
    async with (
        receiving() as receiver,
        relay_running(redis_url, tmp_path, webhooks=(receiver.webhook(),)) as relay,
    ):
        await relay.ctx.keys.edit("alice", daily=5, budgets={"monthly": "0.0013"})
        async with relay.client() as client:
            for _ in range(6):
                await client.post("/v1/messages", json=BODY)
        await relay.settled()
        for _ in range(2):
            await relay.ctx.alerts.tell_marks()
        taken = await receiver.got(2)
        await until("all delivered", lambda: delivered(relay.ctx))
        events = sorted(str(one.json["event"]) for one in taken)
        assert events == ["budget", "daily_limit"]
        for one in taken:
            assert scope["is_genuine"](SECRET, one.headers, one.body)  # type: ignore[operator]
            assert one.headers["x-relay-event-id"] == one.json["id"]
            assert one.headers["x-relay-event"] == one.json["event"]
        assert len({one.json["id"] for one in taken}) == 2


async def test_an_accounts_trouble_and_its_end_are_told(redis_url: str, tmp_path: Path):
    async with (
        receiving() as receiver,
        relay_running(redis_url, tmp_path, webhooks=(receiver.webhook(),)) as relay,
    ):
        await relay.ctx.accounts.edit("main", secret="wrong")
        await relay.ctx.checks.check_all()
        await receiver.got(1)
        await relay.ctx.accounts.edit("main", secret=UPSTREAM_KEY)
        taken = await receiver.got(2)
        assert titles(taken) == [
            "Account main does not serve: it is unauthorized",
            "Account main serves again",
        ]


async def test_a_receiver_that_fails_and_recovers_gets_everything_once(
    redis_url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.DEBUG)
    hidden = "path-that-is-a-secret"
    async with receiving(500) as receiver:
        webhook = receiver.webhook(url=receiver.url + hidden)
        async with relay_running(redis_url, tmp_path, webhooks=(webhook,)) as relay:
            await add(relay.ctx, "a", "b")
            await receiver.got(3)
            await until("all delivered", lambda: delivered(relay.ctx))
            (standing,) = await relay.ctx.alerts.standings()
    by_id: dict[object, int] = {}
    for one in receiver.taken:
        by_id[one.json["id"]] = by_id.get(one.json["id"], 0) + 1
    assert sorted(by_id.values()) == [1, 2]
    assert (standing.failures, standing.error) == (0, "")
    assert "answers with status 500" in caplog.text
    logs = [one.getMessage() for one in caplog.records if one.name.startswith("relay")]
    assert not any(hidden in line or SECRET in line for line in logs)
    assert hidden not in repr(standing)


async def test_redirects_are_not_followed(redis_url: str, tmp_path: Path):
    async with receiving() as inside, receiving(*[302] * 20) as receiver:
        receiver.answer_headers = {"location": inside.url}
        async with relay_running(redis_url, tmp_path, webhooks=(receiver.webhook(),)) as relay:
            await add(relay.ctx, "a")
            await receiver.got(2)
            outcome = await relay.ctx.alerts.test("ops")
    assert (outcome.ok, outcome.status) == (False, 302)
    assert outcome.error == "It redirects (status 302), which is not followed."
    assert inside.taken == []


async def test_tests_and_retries_stand_in_the_audit(redis_url: str, tmp_path: Path):
    async with (
        receiving() as receiver,
        relay_running(redis_url, tmp_path, webhooks=(receiver.webhook(),)) as relay,
    ):
        alerts = relay.ctx.alerts
        await alerts.test("ops")
        await alerts.retry(alerts.find("ops"), "alert_1")
        written = (await relay.ctx.audit.newest(2))[::-1]
    assert [(one.action, one.subject, one.after) for one in written] == [
        ("webhook.test", "ops", {"ok": True}),
        ("webhook.retry", "ops", {"alert": "alert_1", "count": 0}),
    ]


async def test_a_slow_receiver_holds_up_nobody_else(redis_url: str, tmp_path: Path):
    async with receiving(is_slow=True) as slow, receiving() as quick:
        webhooks = (slow.webhook(), quick.webhook(name="quick"))
        async with relay_running(redis_url, tmp_path, webhooks=webhooks) as relay:
            await add(relay.ctx, "a")
            await slow.got(1)
            await add(relay.ctx, "b", "c")
            assert titles(await quick.got(3)) == ["a", "b", "c"]
            assert len(slow.taken) == 1
            slow.gate.set()
            assert titles(await slow.got(3)) == ["a", "b", "c"]


async def test_a_private_address_is_not_sent_to_unless_that_is_allowed(
    redis_url: str, tmp_path: Path
):
    async with receiving() as receiver:
        hosts = ("127.0.0.1", "localhost", "2130706433", "0x7f.1", "[::ffff:127.0.0.1]")
        webhooks = tuple(
            receiver.webhook(
                url=f"http://{host}:{receiver.port}/{number}",
                name=f"n{number}",
                allowPrivate=number == len(hosts) - 1,
            )
            for number, host in enumerate((*hosts[:-1], "127.0.0.1"))
        )
        async with relay_running(redis_url, tmp_path, webhooks=webhooks) as relay:
            outcomes = [await relay.ctx.alerts.test(one.name) for one in webhooks]
    assert [one.ok for one in outcomes] == [False, False, False, False, True]
    assert {one.error for one in outcomes[:-1]} == {
        "It lies in a private network or on this machine; allowPrivate = true lets that be."
    }
    assert [one.path for one in receiver.taken] == ["/4"]


async def test_an_address_that_nobody_serves_is_told(redis_url: str, tmp_path: Path):
    async with receiving() as receiver:
        webhook = receiver.webhook()
    async with relay_running(redis_url, tmp_path, webhooks=(webhook,)) as relay:
        outcome = await relay.ctx.alerts.test("ops")
    assert (outcome.ok, outcome.error) == (False, "It cannot be reached.")


async def test_slack_gets_its_own_form(redis_url: str, tmp_path: Path):
    async with receiving() as receiver:
        webhook = receiver.webhook(format="slack")
        async with relay_running(redis_url, tmp_path, webhooks=(webhook,)) as relay:
            await relay.ctx.alerts.add("monitor", "Disk is full", "See to it.")
            (taken,) = await receiver.got(1)
    assert taken.json == {"text": "*Disk is full*\nSee to it."}
    assert "x-relay-signature" not in taken.headers


@asynccontextmanager
async def bare(redis_url: str, home: Path, webhook: Webhook) -> AsyncIterator[Context]:
    """A relay without accounts and keys, to be started again on the same data."""
    chosen = settings.load({"RELAY_HOME": str(home), "REDIS_URL": redis_url})
    chosen = dataclasses.replace(chosen, port=0, webhooks=(webhook,))
    async with trio.open_nursery() as nursery:
        ctx, _ = await nursery.start(server.serve, chosen)
        yield ctx
        nursery.cancel_scope.cancel()


async def test_a_relay_that_ends_in_a_delivery_repeats_it_and_nothing_else(
    redis_url: str, tmp_path: Path
):
    """The first relay ends while the receiver holds its answer back."""
    async with receiving() as receiver:
        webhook = receiver.webhook()
        async with bare(redis_url, tmp_path, webhook) as ctx:
            await add(ctx, "done")
            await receiver.got(1)
            await until("its booking", lambda: delivered(ctx))
            receiver.gate = trio.Event()
            await add(ctx, "held", "later")
            await receiver.got(2)
        receiver.gate.set()
        await release(redis_url, webhook)
        async with bare(redis_url, tmp_path, webhook) as ctx:
            await receiver.got(4)
            await until("their booking", lambda: delivered(ctx))
    assert titles(receiver.taken) == ["done", "held", "held", "later"]
    assert receiver.taken[1].json["id"] == receiver.taken[2].json["id"]


async def release(redis_url: str, webhook: Webhook) -> None:
    """As if the seconds had passed after which a claim ends by itself."""
    async with open_store(redis_url) as store:
        await store._db.call("HSET", name("webhook", webhook.id), "busy_until", "1")
