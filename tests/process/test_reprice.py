"""A day booked anew by the command line, of a relay that serves."""

from datetime import UTC, datetime
from importlib.resources import files

import pytest

from .conftest import Home
from .test_usage import on_the_books

pytestmark = pytest.mark.slow


def test_a_newer_table_lets_a_day_be_booked_anew_once(home: Home):
    from ..store.ledger import Ledger
    from ..store.test_reprice import NEW, OLD, ROW, book

    home.serve()
    home.relay("account", "add", "main", "--secret-file", "-", stdin="x\n")

    async def write(ledger: Ledger) -> None:
        await ledger.open(accounts=("acc_1",))
        await book(ledger, at=datetime.now(UTC))

    on_the_books(home, write)
    table = home.folder / "newer.toml"
    text = (files("relay.pricing") / "prices.toml").read_text()
    table.write_text(text.replace('version = "2026-11-28"', 'version = "2099-01-01"') + ROW)
    home.relay("prices", "update", str(table), "--unsigned")
    since = f"{datetime.now(UTC):%Y-%m-%d}"
    shown = home.relay("usage", "reprice", "--from", since, "--dry-run").stdout
    assert f"{NEW}  1         $0.022500  $0.009000  -$0.013500" in shown
    assert f"${OLD / 1_000_000:.6f} becomes $0.009000." in shown
    assert (
        "1 requests are corrected"
        in home.relay("usage", "reprice", "--from", since, "--yes").stdout
    )
    again = home.json("usage", "reprice", "--from", since, "--yes")
    assert isinstance(again, dict)
    assert again["records"] == 0
    assert "agree" in home.relay("usage", "--verify").stdout
    assert "usage.reprice" in home.relay("audit").stdout
