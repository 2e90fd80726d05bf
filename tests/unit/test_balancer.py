"""What each failure of an upstream means for the request and for the account."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from relay import balancer
from relay.call import Call

SPEND_CAP = {"error": {"details": {"error_code": "enforced_spend_limit_reached"}, "message": "x"}}
SELF_SET = {"error": {"message": "You have reached your specified API usage limits. Regain access"}}


def in_two_hours() -> str:
    return (datetime.now(UTC) + timedelta(hours=2)).isoformat(timespec="seconds")


@pytest.mark.parametrize(
    ("status", "headers", "state", "rest_s"),
    [
        (429, [(b"retry-after", b"30")], "cooling", 30),
        (429, [(b"retry-after", b"nonsense")], "cooling", 60),
        (429, [], "cooling", 60),
        (429, [(b"retry-after", b"9999999")], "cooling", 24 * 3600),
        (402, [], "exhausted", 3600),
        (529, [], "overloaded", 10),
        (500, [], "failing", 30),
        (503, [], "failing", 30),
        (401, [], "", 0),
        (403, [], "", 0),
        (404, [], "", 0),
    ],
)
def test_a_status_that_moves_on_and_how_long_its_account_rests(
    status: int, headers: list[tuple[bytes, bytes]], state: str, rest_s: float
):
    verdict = balancer.of_reply(status, headers, b"{}")
    assert verdict.moves_on
    assert (verdict.state, verdict.rest_s) == (state, rest_s)


@pytest.mark.parametrize("status", [400, 405, 413, 422])
def test_every_other_refusal_belongs_to_the_request(status: int):
    assert not balancer.of_reply(status, [], b"{}").moves_on


def test_a_rate_limit_without_retry_after_lasts_until_its_reset():
    headers = [
        (b"anthropic-ratelimit-requests-remaining", b"10"),
        (b"anthropic-ratelimit-requests-reset", b"2099-01-01T00:00:00Z"),
        (b"anthropic-ratelimit-tokens-remaining", b"0"),
        (b"anthropic-ratelimit-tokens-reset", in_two_hours().encode()),
    ]
    assert balancer.of_reply(429, headers, b"{}").rest_s == pytest.approx(7200, abs=5)


@pytest.mark.parametrize(("status", "error"), [(429, SPEND_CAP), (400, SELF_SET)])
def test_a_spend_cap_lasts_until_the_date_that_it_states(status: int, error: dict):
    day = (datetime.now(UTC) + timedelta(days=3)).date()
    message = f"{error['error']['message']} on {day} at 00:00 UTC."
    body = json.dumps({"error": {**error["error"], "message": message}}).encode()
    verdict = balancer.of_reply(status, [], body)
    assert (verdict.moves_on, verdict.state) == (True, "exhausted")
    assert 2 * 24 * 3600 <= verdict.rest_s <= 3 * 24 * 3600


def test_a_spend_cap_that_states_no_date_is_looked_at_again_after_an_hour():
    verdict = balancer.of_reply(429, [], json.dumps(SPEND_CAP).encode())
    assert (verdict.state, verdict.rest_s) == ("exhausted", 3600)


@pytest.mark.parametrize(
    ("stream", "was_timeout", "has_left", "moves_on"),
    [
        (True, False, True, True),
        (False, False, True, True),
        (True, True, True, True),
        (False, True, True, False),
        (False, True, False, True),
    ],
)
def test_a_slow_whole_answer_alone_is_not_asked_for_again(
    stream: bool, was_timeout: bool, has_left: bool, moves_on: bool
):
    call = Call("messages", "POST", b"/v1/messages", stream=stream)
    verdict = balancer.of_break(call, was_timeout=was_timeout, has_left=has_left)
    assert verdict.moves_on is moves_on
