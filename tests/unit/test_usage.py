"""Times as people write them, the hours and days of a period, and what is counted under what."""

from datetime import UTC, date, datetime

import pytest

from relay import usage
from relay.cli.usage import BY
from relay.usage import UsageProblem, a_day, moment
from relay.usage.periods import covering
from relay.usage.report import program_of

NOW = datetime(2026, 11, 23, 14, 35, 10, tzinfo=UTC)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "begins", "ends"),
    [
        ("2026-11-23", "2026-11-23", "2026-11-24"),
        ("2026-12", "2026-12-01", "2027-01-01"),
        ("today", "2026-11-23", "2026-11-24"),
        ("yesterday", "2026-11-22", "2026-11-23"),
        ("2026-11-23T14:30", "2026-11-23T14:30", "2026-11-23T14:30"),
        ("2026-11-23T14:30:05+02:00", "2026-11-23T12:30:05", "2026-11-23T12:30:05"),
        ("2026-11-23T14:30Z", "2026-11-23T14:30", "2026-11-23T14:30"),
        ("7d", "2026-11-16T14:00", "2026-11-16T14:00"),
        ("12h", "2026-11-23T02:00", "2026-11-23T02:00"),
        ("90m", "2026-11-23T13:05:10", "2026-11-23T13:05:10"),
    ],
)
def test_a_time_is_read_as_people_write_it(text: str, begins: str, ends: str) -> None:
    assert moment(text, NOW) == at(begins)
    assert moment(text, NOW, is_end=True) == at(ends)


def test_a_day_is_read_in_one_form() -> None:
    assert a_day("2026-11-23") == date(2026, 11, 23)


@pytest.mark.parametrize(
    "text", ["", "20261123", "2026-W48-1", "2026-1-5", "2026-02-30", "٢٠٢٦-11-23", "2026-11-23 "]
)
def test_a_day_in_another_form_is_none(text: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        a_day(text)


@pytest.mark.parametrize("text", ["", "now", "7", "7w", "2026-13", "2026-02-30", "-1d"])
def test_what_is_no_time_is_refused_in_a_sentence(text: str) -> None:
    with pytest.raises(UsageProblem, match="is not a time; use"):
        moment(text, NOW)


def test_a_period_is_covered_by_days_and_by_hours_where_they_are_cut() -> None:
    found = covering(at("2026-11-22T22:00"), at("2026-11-25T02:00"))
    assert found == [
        "2026-11-22T22", "2026-11-22T23", "2026-11-23", "2026-11-24", "2026-11-25T00",
        "2026-11-25T01",
    ]  # fmt: skip


def test_a_period_can_be_covered_by_hours_alone() -> None:
    found = covering(at("2026-11-22T00:00"), at("2026-11-23T00:00"), in_hours=True)
    assert (len(found), found[0], found[-1]) == (24, "2026-11-22T00", "2026-11-22T23")


@pytest.mark.parametrize(
    ("user_agent", "program"),
    [
        ("claude-cli/2.1.3 (external, cli)", "claude-cli"),
        ("Anthropic/Python 0.71.0", "Anthropic/Python"),
        ("curl/8.5.0", "curl"),
        ("MyTool", "MyTool"),
        ("", "unknown"),
        ("  ", "unknown"),
    ],
)
def test_a_client_is_counted_under_its_name_without_the_version(
    user_agent: str, program: str
) -> None:
    assert program_of(user_agent) == program


@pytest.mark.parametrize(
    ("code", "counter"),
    [
        ("rate", "refused_rate"),
        ("budget", "refused_budget"),
        ("account_full", "refused_account"),
        ("no_account", "refused_no_account"),
        ("something_new", "refused_other"),
        ("unknown", ""),
        ("void", ""),
    ],
)
def test_a_refusal_is_counted_by_its_reason(code: str, counter: str) -> None:
    assert usage.refusal(code) == counter


def test_the_command_line_offers_every_dimension() -> None:
    assert set(BY) == set(usage.BY)
