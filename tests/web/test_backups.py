"""A backup is one operation, whoever asks: the audit names it, and webhooks hear of a failure."""

import pytest

from relay import backup
from relay.backup import backups
from relay.store import RedisAway, name
from relay.store.database import pairs

from .conftest import Console


async def _alerts(console: Console) -> list[tuple[str, str]]:
    """The event and title of every alert, oldest first."""
    rows = await console.relay.ctx.store._db.call("XRANGE", name("alerts"), "-", "+")
    told = [pairs(fields) for _, fields in rows]
    return [(one["event"], one["title"]) for one in told]


@pytest.mark.parametrize("asked", ["make", "drill"])
@pytest.mark.parametrize("surface", ["console", "api", "program"])
async def test_whoever_asks_for_a_backup_that_fails_the_webhooks_hear_of_it(
    console: Console, asked: str, surface: str
):
    """The command line calls what `program` calls here."""
    ctx = console.relay.ctx
    if surface == "console":
        async with console.signed_in() as person:
            response = await person.post(f"/web/backups/{asked}")
            assert response.status_code == 422
    elif surface == "api":
        _, token = await ctx.tokens.create("house", "admin")
        path = "/admin/api/v1/backups" + ("/drill" if asked == "drill" else "")
        headers = {"authorization": f"Bearer {token}"}
        async with console.relay.client(headers=headers) as client:
            assert (await client.post(path)).status_code == 409
    else:
        do = {"make": ctx.backups.make, "drill": ctx.backups.drill}[asked]
        with pytest.raises(backup.BackupProblem):
            await do()
    title = "The backup failed" if asked == "make" else "The newest backup cannot be restored"
    assert await _alerts(console) == [("monitor", title)]


async def test_a_backup_that_takes_too_long_is_given_up_and_reported(console: Console):
    ctx = console.relay.ctx
    backup.make_identities(ctx.settings)
    with pytest.raises(backup.BackupProblem, match="was given up"):
        await ctx.backups.make(patience_s=0.001)
    assert await _alerts(console) == [("monitor", "The backup failed")]


async def test_a_failure_that_nobody_foresaw_is_reported_too(
    console: Console, monkeypatch: pytest.MonkeyPatch
):
    async def fail(*_: object, **__: object) -> None:
        raise RuntimeError("of another kind")

    monkeypatch.setattr(backups, "backup", fail)
    with pytest.raises(RuntimeError):
        await console.relay.ctx.backups.make()
    assert await _alerts(console) == [("monitor", "The backup failed")]


async def test_a_failure_reaches_the_webhooks_straight_while_redis_is_away(
    console: Console, monkeypatch: pytest.MonkeyPatch
):
    ctx = console.relay.ctx
    sent: list[str] = []

    async def add(*_: object, **__: object) -> bool:
        raise RedisAway("gone")

    async def send_now(event: str, alert_id: str, title: str, text: str) -> None:
        sent.append(title)

    monkeypatch.setattr(ctx.alerts, "add", add)
    monkeypatch.setattr(ctx.alerts, "send_now", send_now)
    with pytest.raises(backup.BackupProblem):
        await ctx.backups.make()
    assert sent == ["The backup failed"]
