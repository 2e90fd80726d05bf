"""Tokens to micro-dollars, by hand-computed figures."""

import logging
import subprocess
import sys
import time
import zipfile
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import relay
from relay.batches.booking import Tally
from relay.pricing import (
    ANY_MODEL,
    Advisor,
    Bill,
    Fallback,
    Part,
    Prices,
    PricesError,
    Reach,
    Tokens,
)

PRICES = Prices.load()
MILLION = 1_000_000

# USD per million tokens: input, output, cache read.
LIST_PRICES = [
    ("claude-fable-5-1", "10", "50", "0.25"),
    ("claude-mythos-5-1", "10", "50", "0.25"),
    ("claude-fable-5", "10", "50", "1.00"),
    ("claude-mythos-5", "10", "50", "1.00"),
    ("claude-opus-5-5", "4", "20", "0.20"),
    ("claude-opus-5", "5", "25", "0.50"),
    ("claude-opus-4-5-20251101", "5", "25", "0.50"),
    ("claude-opus-4-6", "5", "25", "0.50"),
    ("claude-opus-4-1-20250805", "15", "75", "1.50"),
    ("claude-opus-4-20250514", "15", "75", "1.50"),
    ("claude-3-opus-20240229", "15", "75", "1.50"),
    ("claude-3-opus-latest", "15", "75", "1.50"),
    ("claude-sonnet-5-5", "2", "10", "0.10"),
    ("claude-sonnet-5", "2", "10", "0.20"),
    ("claude-sonnet-4-6", "3", "15", "0.30"),
    ("claude-sonnet-4-5-20250929", "3", "15", "0.30"),
    ("claude-sonnet-4-20250514", "3", "15", "0.30"),
    ("claude-3-7-sonnet-latest", "3", "15", "0.30"),
    ("claude-3-5-sonnet-20241022", "3", "15", "0.30"),
    ("claude-3-sonnet-20240229", "3", "15", "0.30"),
    ("claude-haiku-5-5", "0.50", "2.50", "0.05"),
    ("claude-haiku-4-5-20251001", "1", "5", "0.10"),
    ("claude-3-5-haiku-20241022", "0.80", "4", "0.08"),
    ("claude-3-haiku-20240307", "0.25", "1.25", "0.03"),
]


def micros(usd_per_million: str) -> int:
    """What a million tokens cost, in micro-dollars."""
    whole, _, part = usd_per_million.partition(".")
    return int(whole) * MILLION + int(part.ljust(6, "0") or "0")


@pytest.mark.parametrize(("model", "given_", "output", "read"), LIST_PRICES)
def test_each_model_costs_its_list_price(model: str, given_: str, output: str, read: str):
    assert PRICES.row_of(model)
    assert PRICES.cost(model, Tokens(input=MILLION)) == micros(given_)
    assert PRICES.cost(model, Tokens(cache_read=MILLION)) == micros(read)
    # Output alone is no prompt, so a price by the prompt's size is the lower one.
    lower = {"claude-haiku-5-5": "0.50"}.get(model, output)
    assert PRICES.cost(model, Tokens(output=MILLION)) == micros(lower)


@pytest.mark.parametrize(
    "model",
    [
        "anthropic/claude-sonnet-4",
        "anthropic.claude-sonnet-4-20250514-v1:0",
        "us.anthropic.claude-sonnet-4-20250514-v1:0",
        "claude-sonnet-4@20250514",
        "claude-sonnet-4-20250514[1m]",
        "Claude-Sonnet-4-Latest",
    ],
)
def test_a_model_is_known_under_every_providers_name_for_it(model: str):
    assert PRICES.row_of(model)
    assert PRICES.cost(model, Tokens(input=MILLION)) == 3 * MILLION


@pytest.mark.parametrize(("tokens", "cost"), [(100_000, 10_000), (100_001, 50_001)])
def test_a_price_by_prompt_size_changes_above_the_limit(tokens: int, cost: int):
    assert PRICES.cost("claude-haiku-5-5", Tokens(input=tokens)) == cost


def test_what_was_cached_belongs_to_the_prompts_size():
    parts = Tokens(input=1, output=10, cache_read=60_000, cache_write_5m=20_000,
                   cache_write_1h=20_000)  # fmt: skip
    pico = 500_000 + 10 * 2_500_000 + 60_000 * 50_000 + 20_000 * 625_000 + 20_000 * 1_000_000
    assert PRICES.cost("claude-haiku-5-5", parts) == -(-pico // MILLION)


def test_every_kind_of_token_by_hand():
    tokens = Tokens(1000, 200, 50_000, 3000, 400, 2)
    # 1000*5 + 200*25 + 50000*0.5 + 3000*6.25 + 400*10 micro-dollars, and two searches.
    assert PRICES.cost("claude-opus-5", tokens) == 5000 + 5000 + 25_000 + 18_750 + 4000 + 20_000


def test_a_batch_costs_half_and_its_searches_the_whole():
    tokens = Tokens(input=1000, output=200, web_searches=1)
    assert PRICES.cost("claude-opus-5", tokens, batch=True) == (5000 + 5000) // 2 + 10_000


def test_a_fraction_of_a_micro_dollar_is_rounded_up_once():
    # 0.03 each: three parts of a fraction are one micro-dollar, not three.
    assert PRICES.cost("claude-3-haiku-20240307", Tokens(cache_read=1)) == 1
    assert PRICES.cost("claude-3-haiku-20240307", Tokens(input=1, cache_read=1)) == 1
    assert PRICES.cost("claude-3-haiku-20240307", Tokens()) == 0


@pytest.mark.parametrize(
    ("model", "usd"),
    [
        ("claude-opus-9", 15),
        ("claude-opus-4-10", 15),
        ("claude-haiku-7-20300101", 1),
        ("claude-sonnet-9-9", 3),
        ("claude-whatever-1", 5),
        ("gpt-6", 5),
        ("", 5),
    ],
)
def test_an_unknown_model_costs_what_the_dearest_of_its_family_does(model: str, usd: int):
    assert not PRICES.row_of(model)
    assert Prices.load().cost(model, Tokens(input=MILLION)) == usd * MILLION


def test_an_unknown_model_is_warned_of_once(caplog: pytest.LogCaptureFixture):
    prices = Prices.load()
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            prices.cost("claude-opus-9", Tokens(input=1))
    assert caplog.text.count("claude-opus-9") == 1


def override(folder: Path, text: str) -> Path:
    file = folder / "mine.toml"
    file.write_text(text)
    return file


def test_an_operators_rows_win_over_the_built_in_ones(tmp_path: Path):
    rows = '[[row]]\nname = "Ours"\nmodels = ["claude-opus-5"]\ninput = "1"\noutput = 2\n'
    prices = Prices.load(override(tmp_path, rows))
    assert prices.cost("claude-opus-5", Tokens(input=MILLION, cache_read=MILLION)) == 1_100_000
    assert prices.cost("claude-opus-5-5", Tokens(input=MILLION)) == 4 * MILLION
    assert prices.rows()[0].name == "Ours"


def test_a_multiplier_changes_every_price():
    prices = Prices.load(multiplier="1.1")
    assert prices.cost("claude-opus-5", Tokens(input=MILLION, web_searches=1)) == 5_511_000


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("nonsense", "cannot be read"),
        ('[[row]]\nname = "X"\nmodels = ["a"]\noutput = 1', "row 1 (X): input is missing"),
        ('[[row]]\nname = "X"\nmodels = ["a"]\ninput = -1\noutput = 1', "row 1 (X): input must"),
        ('[[row]]\nname = "X"\nmodels = ["a"]\ninput = "x"\noutput = 1', "row 1 (X): input must"),
        ('[[row]]\nname = "X"\ninput = 1\noutput = 1', "row 1 (X): models must"),
        ('[[row]]\nname = "X"\nmodels = ["("]\ninput = 1\noutput = 1', "row 1 (X): models must"),
        ('[[row]]\nname = "X"\nmodels = ["a"]\ninput = 1\noutput = 1\nx = 1', "no field x"),
        ("row = 1", "rows are written as"),
        ("row = [1]", "row 1: must be a table"),
        ('[[rows]]\nname = "X"', "there is no field rows"),
        ('[[row]]\nmodels = ["a"]\ninput = 1\noutput = 1', "row 1: name must be"),
        ('[[row]]\nname = "X"\nmodels = "a"\ninput = 1\noutput = 1', "row 1 (X): models must"),
        ('[[row]]\nname = "X"\nmodels = ["a"]\ninput = "1e99999"\noutput = 1', "input must"),
        ('[[row]]\nname = "X"\nmodels = ["a"]\ninput = true\noutput = 1', "input must"),
        ('[[row]]\nname = "X"\nmodels = ["a"]\ninput = nan\noutput = 1', "input must"),
        ('[[row]]\nname = "X"\nmodels = ["a"]\ninput = 1\noutput = 1\nabove = 5', "above: must be"),
        (
            '[[row]]\nname = "X"\nmodels = ["a"]\ninput = 1\noutput = 1\n'
            "above = { tokens = 1.5, input = 1, output = 1 }",
            "row 1 (X), above: tokens must be",
        ),
        (
            '[[row]]\nname = "X"\nmodels = ["a"]\ninput = 1\noutput = 1\n'
            "above = { tokens = 5, input = 1, output = 1, x = 1 }",
            "above: there is no field x",
        ),
        ("web_search = -1", "outside of the rows: web_search must be"),
        ("[unknown]\ninput = 1", "[unknown]: output is missing"),
        (
            '[[row]]\nname = "X"\nmodels = ["a"]\ninput = 1\noutput = 1\n[row.above]\ninput = 1',
            "row 1 (X), above: tokens",
        ),
    ],
)
def test_a_wrong_table_is_told_with_file_row_and_field(tmp_path: Path, text: str, words: str):
    with pytest.raises(PricesError) as caught:
        Prices.load(override(tmp_path, text))
    assert "mine.toml" in str(caught.value)
    assert words in str(caught.value)


def test_a_file_that_is_not_there_is_told(tmp_path: Path):
    with pytest.raises(PricesError, match=r"none\.toml cannot be read"):
        Prices.load(tmp_path / "none.toml")


@pytest.mark.parametrize("multiplier", ["x", "-1", "nan"])
def test_a_wrong_multiplier_is_told(multiplier: str):
    with pytest.raises(PricesError, match="multiplier"):
        Prices.load(multiplier=multiplier)


COUNTS = st.integers(0, 10**7)
TOKENS = st.builds(Tokens, COUNTS, COUNTS, COUNTS, COUNTS, COUNTS, st.integers(0, 100))
MODELS = st.sampled_from([row[0] for row in LIST_PRICES] + ["claude-unknown"])


@given(MODELS, TOKENS, st.sampled_from(Tokens.__slots__), st.booleans())
def test_more_of_anything_never_costs_less(model: str, tokens: Tokens, kind: str, batch: bool):
    values = {name: getattr(tokens, name) for name in Tokens.__slots__}
    more = Tokens(**{**values, kind: values[kind] + 1})
    cost = PRICES.cost(model, tokens, batch=batch)
    assert 0 <= cost <= PRICES.cost(model, more, batch=batch)


@given(MODELS.filter(lambda model: model != "claude-haiku-5-5"), TOKENS, TOKENS)
def test_two_parts_cost_at_least_the_whole(model: str, first: Tokens, second: Tokens):
    whole = Tokens(*(getattr(first, name) + getattr(second, name) for name in Tokens.__slots__))
    parts = PRICES.cost(model, first) + PRICES.cost(model, second)
    assert parts - 1 <= PRICES.cost(model, whole) <= parts


@pytest.mark.parametrize(
    ("model", "same_as"),
    [
        ("claude-opus-4-0", "claude-opus-4"),
        ("claude-opus-4-1@20250805", "claude-opus-4"),
        ("claude-opus-4-5-20251101[1m]", "claude-opus-5"),
        ("claude-opus-5-20260201", "claude-opus-5"),
        ("claude-3-5-sonnet-v2@20241022", "claude-sonnet-4"),
        ("anthropic.claude-3-5-haiku-20241022-v1:0", "claude-haiku-3-5"),
        ("anthropic.claude-3-haiku-20240307-v1:0:48k", "claude-3-haiku"),
        (
            "arn:aws:bedrock:us-east-1:1:inference-profile/us.anthropic.claude-opus-5-20260201-v1:0",
            "claude-opus-5",
        ),
        ("anthropic/claude-opus-4.5", "claude-opus-5"),
        ("anthropic/claude-3.5-haiku", "claude-haiku-3-5"),
        ("publishers/anthropic/models/claude-sonnet-5-5", "claude-sonnet-5-5"),
    ],
)
def test_the_spellings_of_a_model_have_one_price(model: str, same_as: str) -> None:
    tokens = Tokens(1000, 100, 10_000)
    assert PRICES.row_of(model)
    assert PRICES.cost(model, tokens) == PRICES.cost(same_as, tokens)


@pytest.mark.parametrize(
    "model",
    ["claude-opus-4-15-20270101", "claude-opus-4-51", "claude-opus-5-50", "claude-opus-45",
     "claude-opus-4-5-2025", "my-claude-opus-5-5", "claude-opus-5-5-tuned"],
)  # fmt: skip
def test_a_longer_version_is_another_model(model: str) -> None:
    assert not PRICES.row_of(model)
    assert PRICES.cost(model, Tokens(input=1000)) == 15_000


@pytest.mark.parametrize("model", ["claude-fable-6", "claude-fable-5-9"])
def test_of_two_rows_the_dearer_cache_read_is_the_dearer(model: str) -> None:
    assert PRICES.cost(model, Tokens(cache_read=MILLION)) == MILLION


def test_invented_ids_fill_neither_the_memory_nor_the_log(caplog: pytest.LogCaptureFixture) -> None:
    prices = Prices.load()
    assert prices.cost("x" * MILLION, Tokens(1)) == prices.cost("x" * MILLION + "y", Tokens(1))
    assert len(caplog.records) == 1
    for number in range(4200):
        prices.cost(f"invented-{number}", Tokens(1))
    assert len(caplog.records) == 4096
    assert prices.cost("claude-opus-5-5", Tokens(1)) == 4


OURS = '[[row]]\nname = "Ours"\nmodels = ["{}"]\ninput = "{}"\noutput = 70\n'


@pytest.mark.parametrize(
    "pattern", ["CLAUDE-opus-4-5-20251101", "claude-opus-4-5", "claude-opus-.*"]
)
def test_an_operators_pattern_may_be_a_whole_id(tmp_path: Path, pattern: str) -> None:
    prices = Prices.load(override(tmp_path, OURS.format(pattern, "7")))
    assert prices.cost("claude-opus-4-5-20251101", Tokens(input=1000)) == 7000
    assert prices.cost("anthropic/claude-opus-4-5-20251101", Tokens(input=1000)) == 7000


def test_an_operators_row_counts_for_its_family(tmp_path: Path) -> None:
    prices = Prices.load(override(tmp_path, OURS.format("claude-opus-9", "99")))
    assert prices.cost("claude-opus-10", Tokens(input=1000)) == 99_000


def test_what_an_operator_says_outside_of_rows_counts_for_all(tmp_path: Path) -> None:
    text = 'web_search = "0.02"\nbatch = 1\n[unknown]\ninput = 50\noutput = 60\n'
    prices = Prices.load(override(tmp_path, text))
    tokens = Tokens(input=1000, web_searches=1)
    assert prices.cost("claude-opus-5", tokens, batch=True) == 5000 + 20_000
    assert prices.cost("somebody-else", Tokens(input=1000)) == 50_000


def test_a_price_too_small_to_hold_is_rounded_up_not_away() -> None:
    assert Prices.load(multiplier="1e-30").cost("claude-opus-5", Tokens(web_searches=1)) == 1


def test_rows_are_shown_in_usd_per_million() -> None:
    low, high = (row for row in PRICES.rows() if row.name == "Haiku 5.5")
    assert (low.above_tokens, high.above_tokens) == (None, 100_000)
    assert (low.input, high.input, high.cache_write_5m) == (
        Decimal("0.1"), Decimal("0.5"), Decimal("0.625"),
    )  # fmt: skip


def test_the_table_is_found_within_an_archive(tmp_path: Path) -> None:
    package = Path(relay.__file__).parent
    with zipfile.ZipFile(tmp_path / "relay.zip", "w") as archive:
        archive.write(package / "__init__.py", "relay/__init__.py")
        for path in (package / "pricing").glob("*.*"):
            archive.write(path, f"relay/pricing/{path.name}")
    code = "from relay.pricing import *; print(Prices.load().cost('claude-opus-5', Tokens(7)))"
    ran = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": str(tmp_path / "relay.zip")},
        cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert ran.stdout == "35\n"


def test_the_most_that_a_call_can_cost_counts_its_tools_and_their_findings() -> None:
    """Opus 5: $10 per million tokens written to the cache for an hour, $25 of output; a tenth more
    in the US."""
    plain, searches = Reach(geo="global"), Reach(geo="global", tool_uses=2)
    assert PRICES.most("claude-opus-5", 1000, 100, plain) == 10_000 + 2_500
    most = 10_000 + 3 * 2_500 + 2 * (10_000_000 + 10_000)
    assert PRICES.most("claude-opus-5", 1000, 100, searches) == most


def test_a_request_may_be_held_to_the_us_unless_it_or_its_account_says_otherwise() -> None:
    assert PRICES.most("claude-opus-5", 1000, 100) == 13_750
    assert PRICES.most("claude-opus-5", 1000, 100, is_global=True) == 12_500
    assert PRICES.most("claude-opus-5", 1000, 100, Reach(geo="us"), is_global=True) == 13_750


ALSO: list[tuple[Reach, int]] = [
    # Haiku 4.5 at $2 and $5 takes 1,000 tokens and puts out 100: 2,000 + 500.
    (Reach(is_fast=True), 2 * 2_500),
    # Fable 5 at $20 and $50 goes on with what Haiku has said.
    (Reach(fallbacks=(Fallback("claude-fable-5", 10),)), 2_500 + 1_100 * 20 + 10 * 50),
    (Reach(fallbacks=(Fallback("claude-fable-5"),)), 2_500 + 1_100 * 20 + 100 * 50),
    # The dearest of the table is Mythos Preview, at $50 and $125.
    (Reach(fallbacks=(Fallback(ANY_MODEL),)), 2_500 + 1_100 * 50 + 100 * 125),
    # Opus 5 at $10 and $25 reads all of it, and Haiku goes on with its advice.
    (Reach(advisors=(Advisor("claude-opus-5", 1, 2_000),)),
     (1_000 + 3_100) * 2 + 200 * 5 + (3_100 + 4_096) * 10 + 2_000 * 25),
    (Reach(compacts=1), 2_500 + 1_000_000 * 2 + 500),
    (Reach(compacts=None), 2_500 + 1_000_000 * 2 + 500),
    (Reach(summarizes=True), 2 * 2_500 + 4_096 * 2),
    (Reach(hidden_tokens=500), 2_500 + 500 * 2),
    (Reach(hidden_tokens=5_000_000), 1_000_000 * 2 + 500),
]  # fmt: skip


@pytest.mark.parametrize(("reach", "most"), ALSO)
def test_the_most_that_a_call_can_cost_is_the_sum_of_all_that_it_names(
    reach: Reach, most: int
) -> None:
    reach = replace(reach, geo="global")
    assert PRICES.most("claude-haiku-4-5", 1000, 100, reach) == most


def test_a_name_that_says_nothing_of_its_model_is_held_at_the_dearest() -> None:
    held = PRICES.most("our-deployment", 1000, 100, is_global=True)
    assert held == 1000 * 50 + 100 * 125


def test_a_price_that_rises_at_midnight_is_held_the_day_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = '[[row]]\nname = "a"\nmodels = ["a"]\ncache_read = "0"\n'
    dearer = f'{row}from = 2026-12-02\ninput = "10"\noutput = "10"\n'
    (tmp_path / "prices.toml").write_text(f'{dearer}{row}input = "1"\noutput = "1"\n')
    prices = Prices.load(tmp_path / "prices.toml")
    held = []
    for day in (30, 31):
        at = datetime(2026, 11, 30, 12, tzinfo=UTC) + timedelta(days=day - 30)
        monkeypatch.setattr(time, "time", at.timestamp)
        held.append(prices.most("a", 0, 100, is_global=True))
    assert held == [100, 1000]


def test_a_way_of_serving_that_is_cheaper_than_the_list_is_not_held_to(tmp_path: Path) -> None:
    (tmp_path / "prices.toml").write_text(
        '[[row]]\nname = "a"\nmodels = ["a"]\ninput = "1"\noutput = "1"\nfast = "0.5"\nus = "0.5"\n'
        'above = { tokens = 100, input = "0.5", output = "0.5", cache_read = "9" }\n'
    )
    prices = Prices.load(tmp_path / "prices.toml")
    assert prices.most("a", 1000, 100, Reach(is_fast=True)) == 9_000 + 100


def test_the_cache_saves_the_difference_to_fresh_input_and_costs_its_writes():
    model = "claude-opus-5"
    assert PRICES.saved_by_cache(model, Tokens(input=MILLION, output=MILLION)) == 0
    assert PRICES.saved_by_cache(model, Tokens(cache_read=MILLION)) == micros("4.5")
    written = Tokens(cache_write_5m=MILLION)
    assert PRICES.saved_by_cache(model, written) == micros("5") - PRICES.cost(model, written) < 0
    dearer = Tokens(cache_write_1h=MILLION, cache_read=MILLION)
    assert PRICES.saved_by_cache(model, dearer) == micros("10") - PRICES.cost(model, dearer)


def test_the_parts_of_models_without_a_row_are_kept_by_how_they_were_served():
    tally = Tally(PRICES)
    one = Part("claude-opus-9", Tokens(input=5))
    us = Part("claude-opus-9", Tokens(input=7), is_us=True, unknown_tokens=3)
    plain = Part("claude-opus-5-5", Tokens(input=9))
    for parts in ((one, us), (one,), (plain,)):
        tally._add(Bill(parts))
    assert not tally.sums["claude-opus-5-5"].parts
    assert list(tally.sums["claude-opus-9"].parts.values()) == [
        Part("claude-opus-9", Tokens(input=10), pass_tokens=5),
        Part("claude-opus-9", Tokens(input=7), is_us=True, unknown_tokens=3, pass_tokens=7),
    ]


def test_kinds_of_iterations_that_an_upstream_invents_do_not_multiply_the_parts():
    tally = Tally(PRICES)
    for number in range(50):
        tally._add(Bill((Part("claude-opus-9", Tokens(input=1), kind=f"kind_{number}"),)))
    (part,) = tally.sums["claude-opus-9"].parts.values()
    assert part.tokens.input == 50


PARTS = st.lists(
    st.builds(
        Part,
        st.sampled_from(["claude-opus-5", "claude-haiku-4-5", "claude-fable-5-2", "nobody-knows"]),
        st.builds(Tokens, *[st.integers(0, 10**6)] * 5, st.integers(0, 3)),
        st.sampled_from(["message", "advisor_message", "unbilled"]),
        st.booleans(),
        st.booleans(),
    ),
    min_size=1,
    max_size=6,
)


@given(PARTS, st.booleans())
def test_what_the_models_of_an_answer_cost_adds_up_to_its_bill(parts: list[Part], batch: bool):
    shares = PRICES.shares(parts, batch=batch)
    assert [model for model, _ in shares] == list(dict.fromkeys(part.model for part in parts))
    assert sum(micros for _, micros in shares) == PRICES.charge(parts, batch=batch)
    for model, micros in shares:
        alone = PRICES.charge([part for part in parts if part.model == model], batch=batch)
        assert alone - 1 <= micros <= alone + len(shares)
