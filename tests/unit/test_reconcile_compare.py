"""A day by both books: no cost is lost or counted twice, whatever the reports hold."""

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from relay.pricing import Prices
from relay.reconcile.compare import compare
from relay.reconcile.keys import Link
from relay.reconcile.places import Places
from relay.reconcile.reports import CostRow, UsageRow
from relay.usage import HOUR_LINES

DAY = "2026-11-28"
PRICES = Prices.load()
WORKSPACES = ("", "wrkspc_a")
# Few of each, so that rows meet.
SOME = ("output", "web_searches")
MODELS = ("claude-opus-5", "claude-haiku-4-5-20251001")
KINDS = ("tokens", "web_search", "code_execution", "session_usage", "something_new")
_workspaces = st.sampled_from(WORKSPACES)
_models = st.sampled_from(MODELS)
_tiers = st.sampled_from(("standard", ""))
_amounts = st.integers(0, 10**9)
_usage = st.builds(
    UsageRow,
    st.just(DAY),
    _workspaces,
    st.sampled_from(("", "apikey_1", "apikey_2")),
    _models,
    _tiers,
    st.dictionaries(st.sampled_from(SOME), _amounts, min_size=1),
)
_costs = st.builds(
    CostRow,
    st.just(DAY),
    _workspaces,
    _models,
    _tiers,
    st.sampled_from(KINDS),
    st.sampled_from((*SOME, "a_new_class")),
    st.fractions(0, 10**9, max_denominator=10**6),
)
_ours = st.dictionaries(
    st.tuples(st.sampled_from(("acc_1", "acc_2", "acc_else")), _models),
    st.dictionaries(st.sampled_from(("cost_micros", "requests", "output_tokens")), _amounts),
)
_links = st.sampled_from(
    [
        {"acc_1": Link(None), "acc_2": Link("wrkspc_a")},
        {"acc_1": Link(None, "apikey_1")},
        {"acc_1": Link(""), "acc_2": Link("wrkspc_a"), "acc_3": Link("wrkspc_b")},
        {"acc_1": Link("wrkspc_a", "apikey_1"), "acc_2": Link("wrkspc_a")},
        {"acc_1": Link("wrkspc_a"), "acc_2": Link("wrkspc_a"), "acc_3": Link("wrkspc_b")},
    ]
)


@given(_links, _ours, st.lists(_usage, max_size=8), st.lists(_costs, max_size=8))
def test_every_cost_of_the_relays_workspaces_is_on_one_line_or_booked_as_hours(
    links: dict[str, Link],
    ours: dict[tuple[str, str], dict[str, int]],
    usage: list[UsageRow],
    costs: list[CostRow],
):
    places = Places(links)
    found = compare(DAY, places, ours, usage, costs, PRICES)
    known = [row for row in costs if places.has(row.workspace)]
    hours = sum((row.micros for row in known if row.kind in HOUR_LINES), Fraction())
    rest = sum((row.micros for row in known if row.kind not in HOUR_LINES), Fraction())
    assert abs(sum(found.hours.values()) - hours) <= len(known)
    # Here no key belongs to anybody else: each workspace has an account whose key is not known,
    # or all workspaces are one.
    others = {row.api_key for row in usage if places.of_row(row.workspace, row.api_key) is None}
    if not others & {row.api_key for row in usage if places.has(row.workspace)}:
        assert abs(found.theirs - rest) <= len(found.lines) + len(known)
    booked = sum(
        amounts.get("cost_micros", 0) for (account, _), amounts in ours.items() if account in links
    )
    assert found.ours == booked
    for line in found.differing:
        assert line.because in ("tokens", "price", "sum")
        assert line.class_name


@given(_links, st.lists(_usage, max_size=8), st.lists(_costs, max_size=8))
def test_what_the_relay_did_not_send_is_no_line_of_an_account(
    links: dict[str, Link], usage: list[UsageRow], costs: list[CostRow]
):
    found = compare(DAY, Places(links), {}, usage, costs, PRICES)
    assert {line.unit.account for line in found.lines} <= {*links, ""}
