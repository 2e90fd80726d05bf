"""Which price tables may take the place of the one in force."""

import re
from datetime import date
from importlib.resources import files

import pytest

from relay.pricing import Prices, PricesError, accept, days_since_epoch
from relay.pricing.patterns import names_in

SHIPPED = (files("relay.pricing") / "prices.toml").read_text()
RUNNING = Prices.load()
NEWER = SHIPPED.replace('version = "2026-11-28"', 'version = "2026-12-01"')
OPUS_9 = '\n[[row]]\nname = "Opus 9"\nmodels = ["claude-opus-9"]\ninput = "6"\noutput = "30"\n'
SONNET_5 = SHIPPED[SHIPPED.index('[[row]]\nname = "Sonnet 5"\n') :].split("\n\n")[0]


def test_a_newer_table_with_one_more_row_is_accepted():
    offered = accept(NEWER + OPUS_9, RUNNING)
    assert (offered.version, offered.row_of("claude-opus-9")) == ("2026-12-01", "Opus 9")


@pytest.mark.parametrize("version", ["2026-11-27", "2026-11-28", "2026-11-27.9"])
def test_a_table_that_is_not_newer_is_refused(version: str):
    with pytest.raises(PricesError, match="newer"):
        accept(SHIPPED.replace("2026-11-28", version, 2), RUNNING)


@pytest.mark.parametrize("number", ["2", "10"])
def test_a_second_table_of_a_day_is_newer(number: str):
    text = SHIPPED.replace('version = "2026-11-28"', f'version = "2026-11-28.{number}"')
    assert accept(text, RUNNING).version == f"2026-11-28.{number}"


@pytest.mark.parametrize(
    "version", ['"2026-13-01"', '"tomorrow"', '"2026-12-01.0"', "2026-12-01", "5", '""']
)
def test_a_version_that_is_no_day_is_refused(version: str):
    text = NEWER.replace('version = "2026-12-01"', f"version = {version}")
    with pytest.raises(PricesError, match="version"):
        accept(text, RUNNING)


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ('input = "-1"\noutput = "1"', "0 to"),
        ('input = "0"\noutput = "1"', "nothing is free"),
        ('input = "1"\noutput = "0"', "nothing is free"),
        ('input = "0.0000000001"\noutput = "1"\ncache_read = "0"', "nothing is free"),
        ('input = "1"\noutput = "1"\nfast = "0"', "nothing is free"),
        ('input = "1"\noutput = "1"\nus = "0"', "nothing is free"),
        ('input = "1"\noutput = "1"\nabove = { tokens = 5, input = "0", output = "1" }', "free"),
        ('input = "nan"\noutput = "1"', "0 to"),
        ('input = "1e9"\noutput = "1"', "0 to"),
        ('input = "1"', "output is missing"),
        ('input = "1"\noutput = "1"\nprice = "1"', "no field price"),
        ('input = "1"\noutput = "1"\nfrom = "2026-12-01"', "from must be a date"),
        ('input = "1"\noutput = "1"\nfrom = 2026-02-30', "cannot be read"),
        ('input = "1"\noutput = "1"\nfrom = 2026-12-01T00:00:00', "from must be a date"),
    ],
)
def test_a_row_that_is_wrong_anywhere_refuses_the_whole_table(row: str, why: str):
    text = f'{NEWER}\n[[row]]\nname = "X"\nmodels = ["claude-x"]\n{row}\n'
    with pytest.raises(PricesError, match=why):
        accept(text, RUNNING)


@pytest.mark.parametrize("field", ["batch", "web_search", "fast", "us", "cache_write_5m"])
def test_a_factor_of_zero_or_none_at_all_is_refused(field: str):
    line = re.compile(rf'^{field} = ".*"$', re.MULTILINE)
    for text in (line.sub(f'{field} = "0"', NEWER, 1), line.sub("", NEWER, 1)):
        with pytest.raises(PricesError, match=rf"nothing is free|{field} is missing"):
            accept(text, RUNNING)


@pytest.mark.parametrize(
    "text",
    ["", "version =", "[[row]]", "\x00", 'version = "2026-12-01"', "row = 5\n" + NEWER,
     NEWER.replace("[unknown]", "[unheard]"), NEWER.split("[[row]]")[0], NEWER + "#" * 300_000],
)  # fmt: skip
def test_what_is_no_whole_table_is_refused(text: str):
    with pytest.raises((PricesError, KeyError)) as error:
        accept(text, RUNNING)
    assert error.type is PricesError


def test_a_table_that_loses_a_model_is_refused_unless_the_model_is_named():
    text = NEWER.replace(SONNET_5, "")
    with pytest.raises(PricesError, match=r"no row for claude-sonnet-5\b"):
        accept(text, RUNNING)
    assert not accept(text, RUNNING, ["Claude-Sonnet-5"]).row_of("claude-sonnet-5")


def test_one_name_of_a_pattern_is_missed_as_well():
    text = NEWER.replace("claude-opus-4-[5-9]", "claude-opus-4-[5-8]")
    with pytest.raises(PricesError, match="claude-opus-4-9"):
        accept(text, RUNNING)


def test_a_model_keeps_a_price_for_the_days_before():
    text = NEWER.replace(SONNET_5, SONNET_5.replace("input =", "from = 2026-12-01\ninput ="))
    with pytest.raises(PricesError, match="claude-sonnet-5"):
        accept(text, RUNNING)


def test_a_new_price_from_a_day_on_is_accepted_and_holds_from_then():
    later = SONNET_5.replace("input =", "from = 2026-12-05\ninput =").replace('"2"', '"4"')
    offered = accept(NEWER.replace(SONNET_5, f"{later}\n\n{SONNET_5}"), RUNNING)
    for day, price in ((date(2026, 12, 4), 2), (date(2026, 12, 5), 4)):
        (row,) = [one for one in offered.rows(days_since_epoch(day)) if one.name == "Sonnet 5"]
        assert row.input == price


def test_a_row_that_never_counts_is_refused():
    later = SONNET_5.replace("input =", "from = 2026-12-05\ninput =")
    with pytest.raises(PricesError, match="never counts"):
        accept(NEWER.replace(SONNET_5, f"{SONNET_5}\n\n{later}"), RUNNING)


def test_the_built_in_table_passes_its_own_check():
    accept(NEWER, RUNNING)


def test_the_rows_of_a_day_are_those_that_hold_on_it():
    def read(day: date) -> list[str]:
        rows = RUNNING.rows(days_since_epoch(day))
        return [str(row.cache_read) for row in rows if row.name == "Sonnet 5.5"]

    assert (read(date(2026, 10, 6)), read(date(2026, 10, 7))) == (["0.2"], ["0.1"])
    assert len(RUNNING.rows()) == len(RUNNING.rows(days_since_epoch(date(2026, 10, 7)))) + 1


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("claude-opus-5", {"claude-opus-5"}),
        ("a(b|c)?-[5-7]", {"a-5", "a-6", "a-7", "ab-5", "ab-6", "ab-7", "ac-5", "ac-6", "ac-7"}),
        (r"4\.5(?:-x|)", {"4.5-x", "4.5"}),
        ("[-a]", {"-", "a"}),
        ("A", {"a"}),
        (".*", None),
        ("a+", None),
        ("a{2}", None),
        (r"\d", None),
        ("[^a]", None),
        ("(?i:a)", None),
        ("(?=a)a", None),
    ],
)
def test_the_names_of_a_pattern_are_listed_where_they_can_be(pattern: str, names: set[str] | None):
    found = names_in(re.compile(pattern))
    assert found == names
    assert all(re.fullmatch(pattern, name, re.IGNORECASE) for name in found or ())
