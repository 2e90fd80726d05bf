"""Container and session hours, which only the cost report knows, on the relay's own books."""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import date

from relay.audit import Audit
from relay.pricing import Prices, Tokens
from relay.reconcile.compare import Day
from relay.reconcile.keys import AdminKey
from relay.reconcile.ledger import Amounts
from relay.reconcile.places import Places
from relay.store import Hours, Store
from relay.usage import HOUR_LINES, RELAY_KEY, Attempt, Record, daily
from relay.usage.periods import midnight
from relay.vault import new_id


async def book(
    store: Store,
    audit: Audit,
    where: Places,
    key: AdminKey,
    days: Sequence[Day],
    ours: Mapping[str, Amounts],
) -> Sequence[str]:
    """Book the hours of days; of those that are booked only what they cost more or less since.

    Each goes to the account of its workspace that spent most on the day, and stays with it.

    Returns the days whose books changed.
    """
    booked = await store.admin_keys.hours()
    names = {one_id: await store.accounts.read(one_id) for one_id in where.links}
    wanted: list[tuple[str, Hours]] = []
    for day in days:
        for field, micros in _fields(day, booked, where, key).items():
            before = booked.get(field, "")
            so_far = before.partition(" ")
            account = so_far[0] or _spender(where, names, ours[day.day], field.split("|")[2])
            difference = micros - int(so_far[2] or 0)
            if account and difference:
                name = names.get(account, {}).get("name", "")
                hours = _hours(day.day, field, before, account, name, micros, difference)
                wanted.append((day.day, hours))
    if wanted:
        sums = {"days": sorted({day for day, _ in wanted})}
        more = sum(hours.micros for _, hours in wanted)
        await audit.note("usage.hours", key.name, None, {**sums, "cost_micros": more})
        await store.admin_keys.book_hours(hours for _, hours in wanted)
    return [day for day, _ in wanted]


def _fields(day: Day, booked: Mapping[str, str], where: Places, key: AdminKey) -> Mapping[str, int]:
    """What each place of the day is to hold, that which the report no longer has at nothing."""
    found = {
        field: 0
        for field, text in booked.items()
        if field.startswith(f"{day.day}|") and text.partition(" ")[0] in where.links
    }
    for (workspace, kind), micros in day.hours.items():
        # The default workspace of each organisation has no id.
        owner = "" if workspace else key.organization_id or key.name
        found[f"{day.day}|{kind}|{workspace}|{owner}"] = micros
    return found


def _spender(
    where: Places, names: Mapping[str, Mapping[str, str]], ours: Amounts, workspace: str
) -> str:
    """The account of a workspace, of those that are there, that spent most; empty for none."""
    spent = dict.fromkeys((one for one in where.accounts(workspace) if names.get(one)), 0)
    for (account, _), amounts in ours.items():
        if account in spent:
            spent[account] += amounts.get("cost_micros", 0)
    return max(spent, key=lambda account: (spent[account], account), default="")


def _hours(
    day: str, field: str, before: str, account: str, name: str, micros: int, difference: int
) -> Hours:
    """What is booked, as a record that counts as no request and has no tokens."""
    start = midnight(date.fromisoformat(day))
    line = HOUR_LINES[field.split("|")[1]]
    attempt = Attempt(account, name, "booked", None, "", Tokens(), difference, False, None, 0)
    record = Record(
        request_id=new_id("req"), time=start.isoformat(timespec="milliseconds"), key_id=RELAY_KEY,
        key_name=RELAY_KEY, session="", agent="", client=RELAY_KEY, dialect="anthropic", model=line,
        model_served=line, stream=False, status=None, stop_reason="", error="", affinity="",
        cost_micros=difference, first_byte_ms=None, duration_ms=0, attempts=(attempt,),
        kind="hours", part=1,
    )  # fmt: skip
    return Hours(
        field, before, f"{account} {micros}", RELAY_KEY, account, line,
        int(start.timestamp() * 1000), difference, record.to_json(),
    )  # fmt: skip


async def report_anew(store: Store, prices: Prices, days: Iterable[str]) -> None:
    """Replace the stored reports of days whose books changed."""
    stored = await store.usage.reports()
    for day in sorted(set(days)):
        if day in stored:
            made = await daily(store, prices, date.fromisoformat(day))
            await store.usage.replace_report(day, json.dumps(made))
