"""`relay usage` and `relay report`: what people, spreadsheets and programs are given."""

import csv
import io
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
import trio

from relay import store, usage
from relay.pricing import Prices, Tokens
from relay.store import name

from ..store.ledger import HAIKU, OPUS, Ledger
from .conftest import Home, wait_until

pytestmark = pytest.mark.slow

DAY = timedelta(days=1)
YESTERDAY = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - DAY
DATE = f"{YESTERDAY:%Y-%m-%d}"
FORMULA = '=cmd|" /C calc"!A0'


def on_the_books(home: Home, write: Callable[[Ledger], Awaitable[None]]) -> None:
    """Write into the Redis of a relay that serves."""

    async def run() -> None:
        socket = Path(home.env["RELAY_HOME"], "redis.sock")
        async with store.opened(f"unix://{socket}") as opened:
            await write(Ledger(opened))

    trio.run(run)


@pytest.fixture(scope="module")
def used(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """A relay that serves, with three requests of yesterday on the books."""
    home = Home(tmp_path_factory.mktemp("used"))
    home.serve()
    ids: dict[str, str] = {}
    for key in ("alice", FORMULA):
        made = home.json("key", "create", "--name", key)
        assert isinstance(made, dict)
        ids[key] = made["id"]
    home.relay("account", "add", "main", "--secret-file", "-", stdin="x\n")
    (account,) = home.json("account", "list")  # type: ignore[misc]

    async def write(ledger: Ledger) -> None:
        tokens = Tokens(100, 20, 3000, 40, 5)
        for key, model, cost in (
            ("alice", OPUS, 4210), ("alice", OPUS, 1_000_000), (FORMULA, HAIKU, 7),
        ):  # fmt: skip
            await ledger.used(
                account["id"], key=ids[key], model=model, cost=cost, tokens=tokens, at=YESTERDAY
            )
        await ledger.store.usage.count_refused({(ids["alice"], OPUS, "refused_rate"): 2})

    on_the_books(home, write)
    yield home
    home.end()


def test_people_are_shown_a_table_with_its_total(used: Home):
    lines = used.relay("usage", "--since", DATE, "--until", DATE).stdout.splitlines()
    assert lines[0] == f"Usage from {DATE} 00:00 to {YESTERDAY + DAY:%Y-%m-%d} 00:00 UTC"
    assert [line.split() for line in (*lines[1:3], lines[4])] == [
        ["KEY", "MODEL", "REQUESTS", "ERRORS", "REFUSED", "IN", "OUT",
         "CACHE", "READ", "CACHE", "WRITE", "COST"],
        ["alice", OPUS, "2", "0", "0", "200", "40", "6000", "90", "$1.004210"],
        ["total", "3", "0", "0", "300", "60", "9000", "135", "$1.004217"],
    ]  # fmt: skip


def test_the_refused_of_today_stand_in_the_table(used: Home):
    lines = used.relay("usage").stdout.splitlines()
    assert lines[2].split() == ["alice", OPUS, "0", "0", "2", "0", "0", "0", "0", "$0.000000"]


def test_spreadsheets_are_given_csv_without_formulas(used: Home):
    text = used.relay("usage", "--since", DATE, "--until", DATE, "--by", "key", "--csv").stdout
    head, *rows = csv.reader(io.StringIO(text))
    assert head == [
        "key_id", "key_name", "cost_micros", "requests", "errors", "estimated", "affinity_moves",
        "input_tokens", "output_tokens", "cache_read_tokens", "cache_write_5m_tokens",
        "cache_write_1h_tokens", "web_searches", "refused", "cost_usd",
    ]  # fmt: skip
    assert [row[1:] for row in rows] == [
        ["alice", "1004210", "2", "0", "0", "0", "200", "40", "6000", "80", "10", "0", "0",
         "1.004210"],
        ["'" + FORMULA, "7", "1", "0", "0", "0", "100", "20", "3000", "40", "5", "0", "0",
         "0.000007"],
    ]  # fmt: skip
    assert '"\'=cmd|"" /C calc""!A0"' in text


def test_programs_are_given_stable_names(used: Home):
    found = used.json("usage", "--since", DATE, "--until", DATE, "--by", "model", "--by", "day")
    counters = {
        "requests": 1, "errors": 0, "estimated": 0, "affinity_moves": 0, "input_tokens": 100,
        "output_tokens": 20, "cache_read_tokens": 3000, "cache_write_5m_tokens": 40,
        "cache_write_1h_tokens": 5, "web_searches": 0, "cost_micros": 7, "refused": 0,
    }  # fmt: skip
    assert isinstance(found, dict)
    assert found.keys() == {"since", "until", "by", "rows", "total"}
    assert found["since"] == f"{DATE}T00:00:00+00:00"
    assert found["rows"][1] == {
        "day": DATE, "model": HAIKU, "counters": counters, "refusals": {},
    }  # fmt: skip
    assert found["total"]["cost_micros"] == 1_004_217


def test_a_part_can_be_asked_for_by_name_and_by_client(used: Home):
    asked = ("usage", "--since", DATE, "--key", "alice", "--account", "main", "--by", "client")
    found = used.json(*asked, "--model", "claude-opus-*")
    assert isinstance(found, dict)
    (row,) = found["rows"]
    assert (row["client"], row["counters"]["requests"]) == ("claude-cli", 2)


def test_the_counters_are_verified(used: Home):
    done = used.relay("usage", "--verify", "--since", "3d")
    assert done.stdout.startswith("The counters agree with 3 records from ")

    hour, elsewhere = name("count_hour", f"{DATE}T00"), name("count_hour", "elsewhere")
    on_the_books(used, lambda ledger: ledger.store._db.call("RENAME", hour, elsewhere))
    done = used.relay("usage", "--verify", "--since", "3d", check=False)
    told = used.relay("usage", "--verify", "--since", "3d", "--json", check=False)
    on_the_books(used, lambda ledger: ledger.store._db.call("RENAME", elsewhere, hour))
    assert done.returncode == told.returncode == 1
    assert done.stdout.startswith("14 counters differ from 3 records ")
    assert f"{DATE}T00" in done.stdout
    assert '"of_records": 1004210' in told.stdout


def test_a_relay_moves_records_to_files_and_every_reader_finds_them_there(home: Home):
    key = home.account_and_key()
    _, url = home.serve()
    answer = httpx.post(
        f"{url}/v1/messages",
        headers={"x-api-key": key, "user-agent": "my-tool/1.0"},
        json={"model": HAIKU, "max_tokens": 9, "messages": [{"role": "user", "content": "x"}]},
    )
    assert answer.status_code == 200
    home.env["RELAY_CONFIG"] = str(home.folder / "relay.toml")
    Path(home.env["RELAY_CONFIG"]).write_text("[usage]\nmaxMemory = 1\n")
    _, _ = home.serve()
    folder = Path(home.env["RELAY_HOME"], "usage")
    wait_until("a file of records", lambda: list(folder.glob("*.jsonl.gz")))
    found = home.json("usage", "--by", "client")
    assert isinstance(found, dict)
    assert [(row["client"], row["counters"]["requests"]) for row in found["rows"]] == [
        ("my-tool", 1)
    ]
    assert "agree with 1 records" in home.relay("usage", "--verify").stdout


def test_the_report_of_yesterday_is_shown_and_kept(used: Home):
    made = used.json("report")
    assert made == {
        "date": DATE,
        "totalRequests": 3,
        "totalTokens": 3 * 3165,
        "uniqueUsers": 2,
        "errorRate": 0.0,
        "cost": 1.004217,
        "topModels": [
            {"model": OPUS, "requests": 2, "tokens": 6330, "cost": 1.00421},
            {"model": HAIKU, "requests": 1, "tokens": 3165, "cost": 0.000007},
        ],
        "unpricedModels": [],
    }
    assert used.json("report", "--date", DATE) == made
    assert "$1.004210" in used.relay("report").stdout
    due = YESTERDAY + DAY + timedelta(minutes=5)
    on_the_books(used, lambda ledger: usage.save_due(ledger.store, Prices.load(), due))
    assert used.json("report", "--list") == [made]


@pytest.mark.parametrize(
    ("args", "status", "words"),
    [
        (("usage", "--since", "soon"), 2, "is not a time"),
        (("usage", "--by", "colour"), 2, "colour"),
        (("usage", "--csv", "--json"), 2, "Either --csv or --json"),
        (("usage", "--verify", "--by", "key"), 2, "--verify goes with"),
        (("report", "--date", "yesterday"), 2, "use YYYY-MM-DD"),
        (("usage", "reprice"), 2, "--from"),
        (("usage", "reprice", "--from", "7d"), 2, "use YYYY-MM-DD"),
        (("usage", "reprice", "--from", DATE, "--json"), 2, "--dry-run or --yes"),
        (("usage", "--key", "nobody"), 1, "no key with the name"),
        (("usage", "--since", "2026-02", "--until", "2026-01"), 1, "ends before it begins"),
        (("report", "--date", "2001-01-01"), 1, "no report of 2001-01-01"),
    ],
)
def test_what_cannot_be_told_is_a_sentence(
    used: Home, args: tuple[str, ...], status: int, words: str
):
    done = used.relay(*args, check=False)
    assert done.returncode == status
    assert words in done.stderr
