"""The ledger beside Anthropic's books: what equals, what drifts, and hours that are booked once."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trio

from relay.accounts import Accounts, kinds
from relay.alerts import Alerts
from relay.audit import Actor, Audit, acting
from relay.monitor import stored
from relay.pricing import Part, Prices, Tokens
from relay.reconcile import AdminKeyProblem, AdminKeys, ReconcileProblem, Reconciler, Result
from relay.store import Booking, Store
from relay.upstream import Upstreams
from relay.usage import Archive, Attempt, Record, Share, counters, report, verify
from relay.usage.report import Ask
from relay.vault import Vault

from .anthropic_books import ADMIN_KEY, ORGANIZATION, Answer, AnthropicBooks, anthropic_books
from .ledger import Ledger

DEADLINE_S = 60.0
MODEL = "claude-opus-5"
NOW = datetime.now(UTC)
DAY = timedelta(days=1)
YESTERDAY = NOW.replace(hour=12, minute=0, second=0, microsecond=0) - DAY
TOKENS = Tokens(input=1000, output=2000)
PRICES = Prices.load()
COST = PRICES.cost(MODEL, TOKENS)
ENCRYPT_KEY, JWT_SECRET = "e" * 32, "j" * 32
SECRET = "sk-ant-api03-R2DabcdefghijklmnopqrstuvwxyzigAA"
HINT = "sk-ant-api03-R2D...igAA"
WORKSPACE = "wrkspc_01JwQvzr7rXLA5AGx3HKfFUJ"


def day(back: int = 0) -> str:
    return f"{YESTERDAY - back * DAY:%Y-%m-%d}"


def cents(micros: int) -> str:
    return f"{micros / 10_000:.4f}"


@dataclass
class Office:
    """A relay's books with those of Anthropic beside them."""

    store: Store
    ledger: Ledger
    books: AnthropicBooks
    accounts: Accounts
    keys: AdminKeys
    reconciler: Reconciler
    archive: Archive
    account: str = ""
    waits: list[float] = field(default_factory=list)

    async def booked(
        self, *, at: datetime = YESTERDAY, account: str = "", **figures: object
    ) -> None:
        """A request on our books alone."""
        given = {"model": MODEL, "tokens": TOKENS, "cost": COST, **figures}
        await self.ledger.used(account or self.account, at=at, **given)

    def theirs(self, back: int = 0, cost: int = COST, **fields: object) -> None:
        """The same request on Anthropic's books."""
        self.books.use(
            day(back), MODEL, cents(cost), uncached_input_tokens=TOKENS.input,
            output_tokens=TOKENS.output, **{"workspace": WORKSPACE, **fields},
        )  # fmt: skip

    async def alerts(self) -> list[dict[str, str]]:
        rows = await self.store._db.call("XRANGE", "{relay}:alerts", "-", "+")
        found = []
        for _, row in rows:
            texts = [part.decode() for part in row]
            found.append(dict(zip(texts[::2], texts[1::2], strict=True)))
        return found

    async def hours(self) -> dict[str, int]:
        """What is booked as hours, by the line's name and account."""
        found = await report(self.store, Ask(YESTERDAY - 10 * DAY, by=("model", "account")))
        return {
            f"{row.model} {row.account_name}": row.counters["cost_micros"]
            for row in found.rows
            if row.model.endswith("-hours")
        }


@asynccontextmanager
async def office_at(store: Store, folder: Path) -> AsyncIterator[Office]:
    vault = Vault(ENCRYPT_KEY, JWT_SECRET)
    upstreams = Upstreams()
    accounts = Accounts(store, vault, kinds.table(None, ()))
    async with anthropic_books() as books:
        keys = AdminKeys(store, vault, accounts, books.url)
        waits: list[float] = []

        async def wait(seconds: float) -> None:
            waits.append(seconds)
            await trio.lowlevel.checkpoint()

        archive = Archive(folder)
        alerts = Alerts(store, (), "", None)  # type: ignore[arg-type]
        reconciler = Reconciler(
            store, keys, accounts, upstreams, PRICES, alerts, Audit(store, vault),
            wait=wait,
        )  # fmt: skip
        ledger = Ledger(store)
        await ledger.open(accounts=())
        office = Office(store, ledger, books, accounts, keys, reconciler, archive, waits=waits)
        office.account = (await accounts.add("main", base_url=books.url, secret=SECRET)).id
        books.keys.append({"id": "apikey_main", "workspace_id": WORKSPACE,
                           "partial_key_hint": HINT})  # fmt: skip
        await keys.add("acme", ADMIN_KEY)
        yield office
        await upstreams.aclose()


@pytest.fixture
async def office(opened: Store, tmp_path: Path) -> AsyncIterator[Office]:
    with trio.fail_after(DEADLINE_S):
        async with office_at(opened, tmp_path) as made:
            yield made


async def run(office: Office, **given: object) -> dict[str, Result]:
    return {one.day: one for one in await office.reconciler.run("acme", **given)}


async def test_equal_books_are_equal_up_to_yesterday(office: Office):
    await office.booked()
    await office.booked(at=YESTERDAY - 2 * DAY)
    office.theirs(api_key="apikey_main")
    office.theirs(2, api_key="apikey_main")
    found = await run(office)
    assert list(found) == [day(2), day(1), day(0)]
    assert not any(one.differs for one in found.values())
    assert (found[day()].ours, found[day()].theirs) == (COST, COST)
    (standing,) = await office.reconciler.standings()
    assert standing.equal_until == day()
    assert standing.key.organization_id == ORGANIZATION
    assert standing.key.error == ""
    assert await office.alerts() == []
    assert office.books.credentials == {ADMIN_KEY}


async def test_days_on_several_pages_are_all_read(office: Office):
    office.books.page_days = 2
    for back in range(7):
        await office.booked(at=YESTERDAY - back * DAY)
        office.theirs(back, api_key="apikey_main")
    found = await run(office)
    assert [one.differs for one in found.values()] == [False] * 7
    assert sum("page=page_" in path for path in office.books.asked) == 6


async def test_tokens_that_drift_are_reported_once_with_their_model_and_class(office: Office):
    await office.booked()
    office.theirs(api_key="apikey_main")
    more = Tokens(output=1000)
    office.books.use(
        day(), MODEL, cents(PRICES.cost(MODEL, more)), workspace=WORKSPACE,
        api_key="apikey_main", output_tokens=1000,
    )  # fmt: skip
    found = await run(office)
    (line,) = found[day()].lines
    assert (line["account"], line["model"]) == ("main", MODEL)
    assert (line["tokenClass"], line["because"]) == ("output", "tokens")
    assert (line["ourTokens"], line["theirTokens"]) == (2000, 3000)
    await run(office)
    (alert,) = await office.alerts()
    assert alert["event"] == "reconcile"
    assert (alert["day"], alert["model"], alert["tokenClass"]) == (day(), MODEL, "output")
    assert "output drifts most: 2000 here, 3000 there" in alert["text"]
    (standing,) = await office.reconciler.standings()
    assert standing.equal_until == ""
    assert standing.difference == PRICES.cost(MODEL, more)


async def test_a_price_that_drifts_is_told_from_tokens_that_do(office: Office):
    await office.booked()
    office.theirs(cost=2 * COST, api_key="apikey_main", token_type="output_tokens")
    (line,) = (await run(office))[day()].lines
    assert (line["tokenClass"], line["because"]) == ("output", "price")


@pytest.mark.parametrize(
    ("ours", "more", "differs"),
    [
        (100_000_000, 500_000, False),
        (100_000_000, 500_001, True),
        (100_000_000, -500_001, True),
        (1_000_000, 10_000, False),
        (1_000_000, 10_200, True),
        (1_000_000, -10_000, True),
        (500, 12, False),
        (500, 100, True),
    ],
)
async def test_over_one_percent_or_fifty_cents_is_a_difference(
    office: Office, ours: int, more: int, differs: bool
):
    await office.booked(cost=ours)
    office.theirs(cost=ours + more, api_key="apikey_main")
    assert (await run(office))[day()].differs is differs


async def test_late_data_makes_a_day_equal_that_differed(office: Office):
    await office.booked()
    assert (await run(office))[day()].differs
    office.theirs(api_key="apikey_main")
    assert not (await run(office))[day()].differs
    assert (await office.reconciler.standings())[0].equal_until == day()


async def test_a_day_that_changes_afterwards_differs_and_is_reported(office: Office):
    await office.booked(at=YESTERDAY - 3 * DAY)
    office.theirs(3, api_key="apikey_main")
    assert not any(one.differs for one in (await run(office)).values())
    office.theirs(3, api_key="apikey_main")
    assert (await run(office))[day(3)].differs
    (standing,) = await office.reconciler.standings()
    assert [one.day for one in standing.differing] == [day(3)]
    assert len(await office.alerts()) == 1


async def test_what_lies_on_both_sides_of_midnight_is_no_difference(office: Office):
    await office.booked(at=YESTERDAY - DAY)
    office.theirs(0, api_key="apikey_main")
    assert not any(one.differs for one in (await run(office)).values())


async def test_a_neighbour_that_is_only_large_hides_no_difference(office: Office):
    await office.booked(at=YESTERDAY - DAY, cost=100_000_000)
    office.theirs(1, cost=99_999_000, api_key="apikey_main")
    await office.booked(cost=COST)
    office.theirs(0, cost=COST * 2, api_key="apikey_main")
    found = await run(office)
    assert [found[day(1)].differs, found[day()].differs] == [False, True]


async def test_accounts_of_one_workspace_are_compared_each_by_its_key(office: Office):
    other = await office.accounts.add(
        "second", base_url=office.books.url, secret="sk-ant-api03-QQQzzzzzzzzzzzzzzzzzzzzzz9xAA"
    )
    office.books.keys.append({"id": "apikey_second", "workspace_id": WORKSPACE,
                              "partial_key_hint": "sk-ant-api03-QQQ...9xAA"})  # fmt: skip
    for account in (office.account, other.id):
        await office.booked(account=account)
    for key, output in (("apikey_main", 2500), ("apikey_second", 1500), ("apikey_else", 9000)):
        tokens = Tokens(TOKENS.input, output)
        office.books.use(
            day(), MODEL, "", workspace=WORKSPACE, api_key=key,
            uncached_input_tokens=TOKENS.input, output_tokens=output,
        )  # fmt: skip
        for name, part in (("uncached_input_tokens", Tokens(input=TOKENS.input)),
                           ("output_tokens", Tokens(output=output))):  # fmt: skip
            assert tokens.any
            office.books.cost(
                day(), cents(PRICES.cost(MODEL, part)), workspace=WORKSPACE, cost_type="tokens",
                model=MODEL, token_type=name, service_tier="standard",
            )  # fmt: skip
    lines = (await run(office))[day()].lines
    assert {line["account"]: (line["ourTokens"], line["theirTokens"]) for line in lines} == {
        "main": (2000, 2500),
        "second": (2000, 1500),
    }


async def test_other_workspaces_are_nobodys_business(office: Office):
    await office.booked()
    office.theirs(api_key="apikey_main")
    office.theirs(workspace="wrkspc_other", api_key="apikey_other")
    office.books.cost(day(), "500", workspace="wrkspc_other", cost_type="code_execution",
                      description="Code Execution Usage")  # fmt: skip
    assert not (await run(office))[day()].differs
    assert await office.hours() == {}


async def test_batches_searches_and_priority_are_compared_as_they_are_billed(office: Office):
    half = PRICES.charge((Part(MODEL, TOKENS),), batch=True)
    searched = Tokens(input=1000, output=2000, web_searches=3)
    await office.booked(cost=half)
    await office.booked(tokens=searched, cost=PRICES.cost(MODEL, searched))
    await office.booked()
    office.theirs(cost=half, tier="batch", api_key="apikey_main")
    office.theirs(api_key="apikey_main", searches=3)
    office.books.cost(day(), "3", workspace=WORKSPACE, cost_type="web_search",
                      description="Web Search Usage")  # fmt: skip
    office.books.use(
        day(), MODEL, "", workspace=WORKSPACE, api_key="apikey_main", tier="priority",
        uncached_input_tokens=TOKENS.input, output_tokens=TOKENS.output,
    )  # fmt: skip
    found = (await run(office))[day()]
    assert not found.differs, found
    assert found.theirs == found.ours


async def test_an_unknown_kind_of_cost_is_a_difference_of_its_own(office: Office):
    await office.booked()
    office.theirs(api_key="apikey_main")
    office.books.cost(day(), "120", workspace=WORKSPACE, cost_type="quantum_hours")
    (line,) = (await run(office))[day()].lines
    assert (line["model"], line["theirsMicros"]) == ("quantum_hours", 1_200_000)


async def test_an_advisors_tokens_are_compared_with_the_advisors_model(office: Office):
    haiku = "claude-haiku-4-5"
    own, advice = Part(haiku, Tokens(100, 200)), Part(MODEL, TOKENS, kind="advisor_message")
    costs = [PRICES.charge((part,)) for part in (own, advice)]
    attempt = Attempt(
        office.account, "main", "ok", 200, "", own.tokens.plus(advice.tokens), sum(costs), False,
        1, 2, parts=(own, advice),
        shares=tuple(
            Share(part.model, part.tokens, cost)
            for part, cost in zip((own, advice), costs, strict=True)
        ),
    )  # fmt: skip
    lease = await office.ledger.admit(at=YESTERDAY)
    record = Record(
        request_id=lease, time="", key_id="key_1", key_name="", session="", agent="", client="",
        dialect="anthropic", model=haiku, model_served=haiku, stream=False, status=200,
        stop_reason="", error="", affinity="", cost_micros=sum(costs), first_byte_ms=1,
        duration_ms=2, attempts=(attempt,),
    )  # fmt: skip
    booking = Booking(lease, "settled", haiku, counters(record, haiku), record.to_json())
    assert await office.store.leases.settle(booking)
    for part in (own, advice):
        office.books.use(
            day(), part.model, cents(PRICES.charge((part,))), workspace=WORKSPACE,
            api_key="apikey_main", uncached_input_tokens=part.tokens.input,
            output_tokens=part.tokens.output,
        )  # fmt: skip
    found = (await run(office))[day()]
    assert not found.differs, found.lines


# Hours, which only the cost report knows.


def hours(office: Office, amount: str, kind: str = "code_execution", back: int = 0) -> None:
    office.books.cost(day(back), amount, workspace=WORKSPACE, cost_type=kind,
                      description="Code Execution Usage")  # fmt: skip


async def test_hours_are_booked_to_the_account_once_however_often_it_runs(office: Office):
    await office.booked()
    office.theirs(api_key="apikey_main")
    hours(office, "250.5")
    hours(office, "80", "session_usage")
    for _ in range(3):
        found = (await run(office))[day()]
    assert not found.differs
    assert found.hours == 3_305_000
    assert await office.hours() == {
        "container-hours main": 2_505_000,
        "session-hours main": 800_000,
    }
    spent = await office.store._db.hash(f"{{relay}}:spend:account:{office.account}")
    assert int(spent[day()]) == COST + 3_305_000
    relay = await office.store._db.hash("{relay}:spend:relay")
    assert int(relay[day()]) == COST + 3_305_000
    verdict = await verify(office.store, office.archive)
    assert verdict.differences == ()
    requests = await report(office.store, Ask(YESTERDAY - 5 * DAY, by=("day",)))
    assert requests.total["requests"] == 1
    assert await stored._requests(office.store) == (1, 0)


@pytest.mark.parametrize("after", ["400", "100.25", "0", ""])
async def test_hours_that_change_afterwards_are_booked_by_the_difference(
    office: Office, after: str
):
    await office.booked()
    office.theirs(api_key="apikey_main")
    hours(office, "250")
    await run(office)
    office.books.costs = [one for one in office.books.costs if one["cost_type"] == "tokens"]
    if after:
        hours(office, after)
    await run(office)
    await run(office)
    wanted = round(float(after or 0) * 10_000)
    assert (await office.hours()).get("container-hours main", 0) == wanted
    assert (await verify(office.store, office.archive)).differences == ()


async def test_two_runs_at_once_book_hours_once(office: Office):
    await office.booked()
    office.theirs(api_key="apikey_main")
    hours(office, "250")
    problems = []

    async def one() -> None:
        try:
            await office.reconciler.run("acme")
        except ReconcileProblem as problem:
            problems.append(str(problem))

    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(one)
    assert set(problems) == {"The books of acme are being compared already."}
    assert await office.hours() == {"container-hours main": 2_500_000}


async def test_hours_stay_booked_once_when_the_admin_key_is_added_anew(office: Office):
    await office.booked()
    office.theirs(api_key="apikey_main")
    hours(office, "250")
    await run(office)
    await office.keys.remove("acme")
    await office.keys.add("acme", ADMIN_KEY)
    await run(office)
    assert await office.hours() == {"container-hours main": 2_500_000}


# What the API answers instead.


@pytest.mark.parametrize("status", [429, 500, 503, 529])
async def test_what_passes_by_itself_is_asked_again(office: Office, status: int):
    await office.booked()
    office.theirs(api_key="apikey_main")
    office.books.faults += [Answer(status, {}, {"retry-after": "7"}), Answer(status, b"no JSON")]
    assert not (await run(office))[day()].differs
    assert office.waits == [7.0, 2.0]


async def test_an_api_that_stays_away_is_reported_once_a_day_and_asked_again_in_an_hour(
    office: Office,
):
    await office.booked()
    for _ in range(2):
        office.books.faults.extend([Answer(500, {})] * 60)
        with pytest.raises(ReconcileProblem, match="status 500"):
            await run(office)
    office.books.faults.clear()
    (alert,) = await office.alerts()
    assert "could not be compared" in alert["title"]
    (standing,) = await office.reconciler.standings()
    assert "status 500" in standing.key.error
    asked, now = len(office.books.asked), datetime.now(UTC)
    await office.reconciler.run_due(now + timedelta(minutes=50))
    assert len(office.books.asked) == asked
    await office.reconciler.run_due(now + timedelta(minutes=61))
    assert len(office.books.asked) > asked
    assert (await office.reconciler.standings())[0].key.error == ""


@pytest.mark.parametrize("status", [401, 403])
async def test_a_refused_admin_key_is_asked_with_once(office: Office, status: int):
    error = {"type": "error", "error": {"type": "authentication_error", "message": "invalid"}}
    office.books.faults.append(Answer(status, error))
    with pytest.raises(ReconcileProblem, match=f"refuses the admin key .status {status}: invalid"):
        await run(office)
    assert len(office.books.asked) == 1


ODD = {
    "no JSON": b"<html>",
    "a list": [],
    "no data": {"has_more": False},
    "no results": {"data": [{"starting_at": f"{day()}T00:00:00Z"}], "has_more": False},
    "no time": {"data": [{"starting_at": "soon", "results": []}], "has_more": False},
    "more, and not where": {"data": [], "has_more": True, "next_page": None},
    "negative tokens": {"data": [{"starting_at": f"{day()}T00:00:00Z",
                                  "results": [{"output_tokens": -5}]}]},
    "tokens as words": {"data": [{"starting_at": f"{day()}T00:00:00Z",
                                  "results": [{"output_tokens": "many"}]}]},
}  # fmt: skip


@pytest.mark.parametrize("body", ODD.values(), ids=ODD)
async def test_an_odd_usage_report_books_nothing_and_says_so(office: Office, body: object):
    await office.booked()
    hours(office, "250")
    # Before the usage report come the organisation and its keys.
    office.books.faults += [Answer(404, {}), Answer(404, {}), Answer(200, body)]
    await office.keys.link("acme", "main", WORKSPACE, "apikey_main")
    with pytest.raises(ReconcileProblem, match=r"odd shape|and not where"):
        await run(office)
    assert await office.hours() == {}
    assert await office.store.admin_keys.results((await office.keys.find("acme")).id) == {}


@pytest.mark.parametrize("amount", ["abc", "1e999999", "NaN", "", None, [], "1" * 50])
async def test_an_odd_amount_is_no_amount(office: Office, amount: object):
    await office.booked()
    office.theirs(api_key="apikey_main")
    bucket = {"starting_at": f"{day()}T00:00:00Z", "results": [{"amount": amount}]}
    body = {"data": [bucket], "has_more": False}
    await run(office)
    # Usage first, then cost; the organisation and keys were asked for before.
    good = office.books.answer

    def answer(path: str, query: dict[str, list[str]]) -> Answer:
        return Answer(200, body) if path.endswith("cost_report") else good(path, query)

    office.books.answer = answer  # type: ignore[method-assign]
    with pytest.raises(ReconcileProblem, match="odd shape"):
        await run(office)


async def test_a_page_that_leads_back_to_itself_ends_the_reading(office: Office):
    page = Answer(200, {"data": [], "has_more": True, "next_page": "page_1"})
    await office.keys.link("acme", "main", WORKSPACE)
    await office.booked()
    office.books.faults += [Answer(404, {}), Answer(404, {}), page, page]
    with pytest.raises(ReconcileProblem, match="and not where"):
        await run(office)


# Which accounts belong to an organisation.


async def test_an_account_that_nobody_knows_is_named_with_the_command_that_links_it(
    office: Office,
):
    office.books.keys.clear()
    await office.keys.add("beta", ADMIN_KEY)
    with pytest.raises(ReconcileProblem, match="relay admin-key link acme ACCOUNT"):
        await run(office)
    await office.keys.link("acme", "main", "default")
    await office.booked()
    office.theirs(workspace=None)
    assert not (await run(office))[day()].differs


async def test_without_any_link_the_only_organisation_is_compared_as_a_whole(office: Office):
    office.books.keys.clear()
    await office.booked()
    office.theirs(workspace="wrkspc_a")
    found = (await run(office))[day()]
    assert not found.differs
    assert found.theirs == COST


@pytest.mark.parametrize(
    ("workspace", "theirs", "is_compared"),
    [
        (WORKSPACE, WORKSPACE, True),
        ("", "wrkspc_any", True),
        (WORKSPACE, "wrkspc_other", False),
    ],
)
async def test_an_account_stands_where_its_answers_say(
    office: Office, workspace: str, theirs: str, is_compared: bool
):
    office.books.keys.clear()
    await office.keys.add("beta", ADMIN_KEY)
    fields = {"organization": ORGANIZATION, "workspace": workspace}
    await office.store.accounts.change(office.account, fields)
    await office.booked()
    office.theirs(workspace=theirs)
    assert (await run(office))[day()].differs is not is_compared


async def test_an_account_of_another_organisation_is_not_compared(office: Office):
    office.books.keys.clear()
    await office.store.accounts.change(office.account, {"organization": "another"})
    with pytest.raises(ReconcileProblem, match="No account is known"):
        await run(office)


async def test_an_account_that_was_removed_stays_where_it_stood(office: Office):
    await office.booked()
    office.theirs(api_key="apikey_main")
    await run(office)
    await office.accounts.remove("main")
    assert not (await run(office))[day()].differs


async def test_two_admin_keys_of_one_organisation_are_one_too_many(office: Office):
    await office.booked()
    await run(office)
    await office.keys.add("beta", ADMIN_KEY)
    with pytest.raises(ReconcileProblem, match="beta is of the same organisation as acme"):
        await office.reconciler.run("beta")


# When it runs, and the admin key itself.


async def test_it_runs_at_once_and_then_daily_after_three(office: Office):
    await office.booked()
    office.theirs(api_key="apikey_main")

    async def asks(now: datetime) -> bool:
        before = len(office.books.asked)
        await office.reconciler.run_due(now)
        return len(office.books.asked) > before

    noon = NOW.replace(hour=12, minute=0, second=0, microsecond=0)
    assert await asks(noon)
    assert not await asks(noon + timedelta(hours=11))
    assert not await asks(noon + timedelta(hours=14, minutes=59))
    assert await asks(noon + timedelta(hours=15, minutes=1))
    assert not await asks(noon + timedelta(hours=20))


async def test_of_several_processes_one_compares(office: Office):
    await office.booked()
    async with trio.open_nursery() as nursery:
        for _ in range(4):
            nursery.start_soon(office.reconciler.run_due)
    assert sum("usage_report" in path for path in office.books.asked) == 1


@pytest.mark.parametrize(
    ("name", "secret", "field"),
    [
        ("x", "sk-ant-api03-abc", "secret"),
        ("x", "", "secret"),
        ("x", f"{ADMIN_KEY} ", "secret"),
        ("x", f"{ADMIN_KEY}\n", "secret"),
        ("x", "sk-ant-admin" + "x" * 1000, "secret"),
        ("a b", ADMIN_KEY, "name"),
        ("acme", ADMIN_KEY, "name"),
    ],
)
async def test_an_admin_key_that_is_none_is_refused_by_field(
    office: Office, name: str, secret: str, field: str
):
    with pytest.raises(AdminKeyProblem) as caught:
        await office.keys.add(name, secret)
    assert caught.value.field == field


async def test_no_account_takes_an_admin_key(office: Office):
    for kind, url in (("api_key", "https://api.anthropic.com"), ("api_key", "http://127.0.0.1:1"),
                      ("session_key", "http://127.0.0.1:1")):  # fmt: skip
        with pytest.raises(Exception, match="serves no request"):
            await office.accounts.add("x", kind=kind, base_url=url, secret=ADMIN_KEY)
    with pytest.raises(Exception, match="serves no request"):
        await office.accounts.edit("main", secret=ADMIN_KEY)


async def test_it_is_encrypted_and_rotated_with_all_secrets(office: Office):
    key = await office.keys.find("acme")
    stored = await office.store._db.hash(f"{{relay}}:admin-key:{key.id}")
    assert ADMIN_KEY not in json.dumps(stored)
    later = Vault("n" * 32, JWT_SECRET, ENCRYPT_KEY)
    keys = AdminKeys(office.store, later, office.accounts, office.books.url)
    assert [await keys.rotate(), await keys.rotate()] == [1, 0]
    last = AdminKeys(office.store, Vault("n" * 32, JWT_SECRET), office.accounts, "")
    assert await last.secret(key.id) == ADMIN_KEY


async def test_every_change_is_in_the_audit_and_the_key_is_not(office: Office):
    await office.keys.link("acme", "main", WORKSPACE, "apikey_main")
    await office.keys.link("acme", "main", "")
    await office.keys.remove("acme")
    entries = await Audit(office.store, Vault(ENCRYPT_KEY, JWT_SECRET)).newest(10)
    actions = [entry.action for entry in entries if entry.action.startswith("admin_key")]
    assert actions[::-1] == ["admin_key.add", "admin_key.link", "admin_key.link",
                             "admin_key.remove"]  # fmt: skip
    assert ADMIN_KEY not in str(entries)


async def test_only_the_command_line_names_another_address(office: Office):
    with acting(Actor("user:kim")), pytest.raises(AdminKeyProblem, match="command line"):
        await office.keys.add("beta", ADMIN_KEY, "https://elsewhere.example")
    with pytest.raises(AdminKeyProblem, match="https"):
        await office.keys.add("beta", ADMIN_KEY, "http://elsewhere.example")


@pytest.mark.parametrize(("since", "until"), [(5, 6), (-1, -1), (100, 0)])
async def test_days_that_cannot_be_compared_are_refused(office: Office, since: int, until: int):
    with pytest.raises(ReconcileProblem):
        await run(
            office, since=(YESTERDAY - since * DAY).date(), until=(YESTERDAY - until * DAY).date()
        )


async def test_a_run_that_was_broken_off_is_begun_again_after_an_hour(office: Office):
    await office.booked()
    key = await office.keys.find("acme")
    with trio.CancelScope() as scope:

        def answer(path: str, query: dict[str, list[str]]) -> Answer:
            scope.cancel()
            return Answer(500, {})

        office.books.answer = answer  # type: ignore[method-assign]
        await office.reconciler.run_due(NOW)
    assert scope.cancelled_caught
    asked = len(office.books.asked)
    await office.reconciler.run_due(NOW + timedelta(minutes=59))
    assert len(office.books.asked) == asked
    assert await office.store.lock(f"reconcile:{key.id}", "another", 1000)


async def test_results_of_another_release_are_passed_over(office: Office):
    key = await office.keys.find("acme")
    stored = {"2026-11-01": '{"other": 1}', "2026-11-02": "no JSON"}
    await office.store.admin_keys.store_results(key.id, stored, "")
    (standing,) = await office.reconciler.standings()
    assert (standing.results, standing.equal_until) == ([], "")
