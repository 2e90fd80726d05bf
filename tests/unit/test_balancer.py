"""What each failure of an upstream means for the request and for the account."""

import errno
import json
import socket
from datetime import UTC, datetime, timedelta

import pytest
import trio

from relay import balancer, delivery
from relay.call import Call
from relay.upstream import AnswerTooLargeError, UpstreamError, UpstreamTimeoutError
from relay.upstream.errors import Stage, is_local, is_ours, was_held_up

CAPPED = "You have reached your specified API usage limits."
ACCOUNTS_FAULTS = [
    CAPPED,
    "You have reached your specified workspace API usage limits.",
    "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing.",
    "This organization has been disabled.",
]


def body_of(error_type: str, message: str, **details: str) -> bytes:
    error = {"type": error_type, "message": message, **({"details": details} if details else {})}
    return json.dumps({"type": "error", "error": error}).encode()


def in_two_hours() -> str:
    return (datetime.now(UTC) + timedelta(hours=2)).isoformat(timespec="seconds")


@pytest.mark.parametrize(
    ("status", "headers", "state", "rest_s"),
    [
        (429, [(b"retry-after", b"30")], "cooling", 30),
        (429, [(b"retry-after", b"nonsense")], "overloaded", 10),
        (429, [(b"retry-after", b"0")], "overloaded", 10),
        (429, [], "overloaded", 10),
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


@pytest.mark.parametrize(
    ("status", "headers"),
    [(429, []), (500, []), (502, []), (503, []), (504, []), (529, []),
     (529, [(b"retry-after", b"2")]), (503, [(b"retry-after", b"2")])],
)  # fmt: skip
def test_what_states_no_cooldown_concerns_the_request_until_a_share_of_several_fails(
    status: int, headers: list[tuple[bytes, bytes]]
):
    verdict = balancer.of_reply(status, headers, b"{}", "claude-opus-5")
    assert verdict.repeats
    assert verdict.least >= 5
    assert verdict.pause_s == (2 if headers else 0)
    assert verdict.model_class == ("opus" if status in (429, 529) else "")


def dated(seconds: float, layout: str) -> bytes:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).strftime(layout).encode()


DATES = [
    "%a, %d %b %Y %H:%M:%S GMT",
    "%A, %d-%b-%y %H:%M:%S GMT",
    "%a, %d %b %Y %H:%M:%S +0000",
]


@pytest.mark.parametrize("layout", DATES)
def test_a_retry_after_may_be_a_date(layout: str):
    headers = [(b"retry-after", dated(90, layout))]
    verdict = balancer.of_reply(429, headers, b"{}")
    assert verdict.state == "cooling"
    assert verdict.rest_s == pytest.approx(90, abs=5)
    past = balancer.of_reply(429, [(b"retry-after", dated(-90, layout))], b"{}")
    assert past.state == "overloaded"


FAST_LEFT = (b"anthropic-fast-output-tokens-remaining", b"0")
SOON = (b"retry-after", b"7")


@pytest.mark.parametrize("model", ["claude-opus-5-5", "us.anthropic.claude-opus-5-5-v1:0"])
@pytest.mark.parametrize("headers", [[FAST_LEFT, SOON], [FAST_LEFT]], ids=["stated", "unstated"])
def test_fast_modes_own_limit_is_about_the_fast_lane_alone(
    model: str, headers: list[tuple[bytes, bytes]]
):
    body = body_of("rate_limit_error", "Rate limited.")
    assert balancer.of_reply(429, headers, body, model, is_fast=True).model_class == "opus-fast"
    # A request that is not fast cannot be meant, nor can one that has met another limit as well.
    assert "fast" not in balancer.of_reply(429, headers, body, model).model_class
    both = [*headers, (b"anthropic-ratelimit-requests-remaining", b"0")]
    assert "fast" not in balancer.of_reply(429, both, body, model, is_fast=True).model_class


def test_fast_mode_of_a_model_without_a_class_has_a_lane_too():
    verdict = balancer.of_reply(429, [FAST_LEFT, SOON], b"{}", "own-model", is_fast=True)
    assert (verdict.state, verdict.model_class) == ("cooling", "fast")


@pytest.mark.parametrize(
    "message",
    [
        "Extra usage is required for long context requests.",
        "Extra usage is required for long context requests. Enable it in your settings.",
        "Extra usage is required for 1M context · enable it",
    ],
)
@pytest.mark.parametrize("headers", [[], [SOON]], ids=["unstated", "stated"])
def test_a_429_of_what_a_request_asks_for_says_nothing_of_its_account(
    message: str, headers: list[tuple[bytes, bytes]]
):
    verdict = balancer.of_reply(429, headers, body_of("rate_limit_error", message), "claude-opus-5")
    assert (verdict.moves_on, verdict.state, verdict.repeats) == (True, "", False)


@pytest.mark.parametrize(
    ("error_type", "message"),
    [
        ("rate_limit_error", "tools: Extra usage is required for long context requests"),
        ("overloaded_error", "Extra usage is required for long context requests"),
    ],
)
def test_words_elsewhere_make_a_limit_no_requests_own(error_type: str, message: str):
    verdict = balancer.of_reply(429, [SOON], body_of(error_type, message), "claude-opus-5")
    assert (verdict.state, verdict.rest_s) == ("cooling", 7)


def test_a_529_of_one_feature_is_no_evidence():
    body = body_of("overloaded_error", "No.", error_code="compaction_unavailable")
    verdict = balancer.of_reply(529, [], body)
    assert (verdict.moves_on, verdict.repeats, verdict.state) == (True, True, "")


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


def test_a_spend_cap_lasts_until_the_day_that_it_states():
    day = (datetime.now(UTC) + timedelta(days=1)).date()
    message = f"Reached. You will regain access on {day} at 00:00 UTC."
    body = body_of("rate_limit_error", message, error_code="enforced_spend_limit_reached")
    verdict = balancer.of_reply(429, [], body)
    assert (verdict.moves_on, verdict.state) == (True, "exhausted")
    assert 0 < verdict.rest_s <= 24 * 3600


@pytest.mark.parametrize("day", ["2999-12-31", "9999-12-31"])
def test_no_spend_cap_lasts_beyond_the_first_of_the_next_month(day: str):
    message = f"Reached. You will regain access on {day} at 00:00 UTC."
    body = body_of("rate_limit_error", message, error_code="enforced_spend_limit_reached")
    now = datetime.now(UTC)
    until = now + timedelta(seconds=balancer.of_reply(429, [], body).rest_s)
    assert until.day == 1 or (until + timedelta(minutes=1)).day == 1
    assert until - now <= timedelta(days=31, minutes=1)


@pytest.mark.parametrize("end", ["", " until 9999-99-99", " You will regain access on 2000-01-01."])
def test_a_spend_cap_that_states_no_coming_day_is_tried_again_after_an_hour(end: str):
    body = body_of("rate_limit_error", f"x{end}", error_code="enforced_spend_limit_reached")
    verdict = balancer.of_reply(429, [], body)
    assert (verdict.state, verdict.rest_s) == ("exhausted", 3600)


@pytest.mark.parametrize("message", ACCOUNTS_FAULTS)
def test_a_400_that_is_the_accounts_moves_on_and_is_asked_about(message: str):
    verdict = balancer.of_reply(400, [], body_of("invalid_request_error", message))
    assert (verdict.moves_on, verdict.may_be_exhausted, verdict.state) == (True, True, "")


ECHOES = [
    "Unexpected value(s) `{}` for the `anthropic-beta` header.",
    "messages.0.content: Input tag '{}' found using 'type' does not match any of the expected tags",
    "tools.0.custom.name: String should match pattern '^[a-zA-Z0-9_-]{{1,128}}$', not '{}'",
    "model: {}",
    "metadata.user_id: {} is too long",
    " {}",
    '"{}": Extra inputs are not permitted',
]


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 422, 429])
@pytest.mark.parametrize("echo", ECHOES)
@pytest.mark.parametrize("words", [*ACCOUNTS_FAULTS, "enforced_spend_limit_reached"])
def test_a_clients_own_words_do_nothing_to_an_account(status: int, echo: str, words: str):
    words = f"{words} until 2999-12-29. You will regain access on 2999-12-29"
    types = {401: "authentication_error", 403: "permission_error", 404: "not_found_error",
             429: "rate_limit_error"}  # fmt: skip
    headers = [(b"retry-after", b"2")] if status == 429 else []
    body = body_of(types.get(status, "invalid_request_error"), echo.format(words))
    verdict = balancer.of_reply(status, headers, body, "claude-opus-5")
    plain = balancer.of_reply(
        status, headers, body_of(types.get(status, "invalid_request_error"), "no"), "claude-opus-5"
    )
    assert verdict == plain
    assert not verdict.may_be_exhausted


@pytest.mark.parametrize(
    ("status", "error_type"),
    [(400, "api_error"), (400, ""), (401, "invalid_request_error"), (429, "rate_limit_error"),
     (404, "invalid_request_error"), (500, "invalid_request_error")],
)  # fmt: skip
def test_the_text_alone_is_nothing_without_its_status_and_type(status: int, error_type: str):
    assert not balancer.of_reply(status, [], body_of(error_type, CAPPED)).may_be_exhausted


@pytest.mark.parametrize(
    ("model", "message", "limited"),
    [
        ("claude-opus-5", "Rate limit of claude-opus-5 reached.", "opus"),
        ("claude-3-5-haiku-20241022", "Rate limit of Haiku reached.", "haiku"),
        ("us.anthropic.claude-sonnet-4-6-v1:0", "the limit for sonnet", "sonnet"),
        ("claude-haiku-4-5-opus", "Rate limit of claude-haiku-4-5-opus reached.", "haiku"),
        ("opus/claude-haiku-4-5", "Rate limit of opus/claude-haiku-4-5.", "haiku"),
        ("my-opus", "Rate limit of my-opus reached.", ""),
        ("claude-opus-5", "Rate limit reached; tools.haiku", ""),
    ],
)
def test_a_limit_is_narrowed_to_the_class_of_the_requests_own_model_at_most(
    model: str, message: str, limited: str
):
    body = body_of("rate_limit_error", message)
    assert balancer.of_reply(429, [SOON], body, model).model_class == limited


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
    kind = UpstreamTimeoutError if was_timeout else UpstreamError
    verdict = balancer.of_break(call, kind("headers", "x", never_left=not has_left))
    assert verdict.moves_on is moves_on


@pytest.mark.parametrize("stream", [True, False])
def test_what_this_machine_lacks_is_no_failure_of_an_account(stream: bool):
    call = Call("messages", "POST", b"/v1/messages", stream=stream)
    error = UpstreamError("connect", "x", never_left=True, is_ours=True)
    assert balancer.of_break(call, error).state == ""
    assert delivery.own_error(error).status == 503


# What happened, and whether another account may try, the same one again, and of how many requests
# a share must have failed before the account cools down (0: it never counts).
EVIDENCE = [
    ("no files", UpstreamError("connect", "x", never_left=True, is_ours=True), False, False, 0),
    ("no memory", UpstreamError("headers", "x", is_ours=True), False, False, 0),
    ("no network", UpstreamError("connect", "x", never_left=True, is_local=True), True, True, 0),
    ("held up", UpstreamTimeoutError("headers", "x", is_local=True), True, False, 0),
    ("held up", UpstreamTimeoutError("connect", "x", never_left=True, is_local=True),
     True, True, 0),
    ("too large", AnswerTooLargeError("body", "x"), False, False, 0),
    ("no connection", UpstreamTimeoutError("connect", "x", never_left=True), True, True, 5),
    ("no answer", UpstreamTimeoutError("headers", "x"), True, False, 5),
    ("silence", UpstreamTimeoutError("body", "x"), True, False, 5),
    ("refused", UpstreamError("connect", "x", never_left=True), True, True, 5),
    ("broken off", UpstreamError("headers", "x"), True, False, 5),
]  # fmt: skip


@pytest.mark.parametrize(
    ("error", "moves_on", "repeats", "least"),
    [row[1:] for row in EVIDENCE],
    ids=[f"{row[0]}-{row[1].stage}" for row in EVIDENCE],
)
def test_what_a_broken_request_says_of_its_account(
    error: UpstreamError, moves_on: bool, repeats: bool, least: int
):
    verdict = balancer.of_break(Call("messages", "POST", b"/v1/messages", stream=True), error)
    assert (verdict.moves_on, verdict.repeats) == (moves_on, repeats)
    assert verdict.state == ("failing" if least else "")
    if least:
        assert (verdict.least, verdict.may_be_shared) == (least, True)


@pytest.mark.parametrize("kind", [UpstreamError, UpstreamTimeoutError])
@pytest.mark.parametrize("stage", ["connect", "send", "headers", "body"])
@pytest.mark.parametrize("never_left", [True, False])
def test_only_what_may_have_left_may_have_been_carried_out(
    kind: type[UpstreamError], stage: Stage, never_left: bool
):
    message = delivery.own_error(kind(stage, "x", never_left=never_left)).message
    assert ("Nothing was sent" in message) == never_left
    if never_left:
        assert "may have been" not in message


def test_a_want_of_ours_is_found_behind_what_trio_makes_of_it():
    cause = OSError(errno.EMFILE, "too many open files")
    outer = OSError("all attempts to connect failed")
    outer.__cause__ = ExceptionGroup("several", [ConnectionRefusedError(), cause])
    assert is_ours(outer)
    assert not is_ours(ConnectionRefusedError(errno.ECONNREFUSED, "no"))


ODD = [
    b"inf",
    b"-inf",
    b"nan",
    b"1e400",
    b"1e-320",
    b"-5",
    b"",
    b"x",
    b"9" * 400,
    b"1_000",
    b"\xff",
]
ODD_TIMES = [b"9999-12-31T23:59:59-23:59", b"9999-12-31T23:59:59Z", b"0001-01-01T00:00:00+23:59",
             b"2099", b"", b"soon", b"1e400", b"99999-01-01"]  # fmt: skip


@pytest.mark.parametrize("remaining", ODD)
@pytest.mark.parametrize("limit", [*ODD, b"1000"])
@pytest.mark.parametrize("reset", ODD_TIMES)
def test_no_figure_of_an_upstream_is_too_odd_to_be_read(
    remaining: bytes, limit: bytes, reset: bytes
):
    kind = b"anthropic-ratelimit-tokens-"
    headers = [(kind + b"remaining", remaining), (kind + b"limit", limit), (kind + b"reset", reset)]
    found = balancer.headroom(headers)
    if found is not None:
        left, until_ms = found
        assert 0 <= left <= 1000
        assert until_ms / 1000 < datetime.now(UTC).timestamp() + 367 * 24 * 3600


@pytest.mark.parametrize("told", ODD)
@pytest.mark.parametrize("reset", ODD_TIMES)
def test_no_odd_retry_after_cools_an_account_down_beyond_a_day(told: bytes, reset: bytes):
    headers = [
        (b"retry-after", told),
        (b"anthropic-ratelimit-tokens-remaining", b"0"),
        (b"anthropic-ratelimit-tokens-reset", reset),
    ]
    assert 0 <= balancer.of_reply(429, headers, b"{}").rest_s <= 24 * 3600


def failed_attempts(*causes: OSError) -> OSError:
    """What trio raises when none of a host's addresses could be connected to."""
    outer = OSError("all attempts to connect failed")
    outer.__cause__ = ExceptionGroup("several", list(causes))
    return outer


NO_ADDRESS = OSError(errno.EADDRNOTAVAIL, "cannot assign requested address")
REFUSED = ConnectionRefusedError(errno.ECONNREFUSED, "refused")


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (OSError(errno.ENFILE, "x"), True),
        (OSError(errno.ENOBUFS, "x"), True),
        (OSError(errno.ENOMEM, "x"), True),
        (failed_attempts(NO_ADDRESS, NO_ADDRESS), True),
        (failed_attempts(NO_ADDRESS, REFUSED), False),
        (socket.gaierror(socket.EAI_MEMORY, "x"), True),
        (socket.gaierror(socket.EAI_NONAME, "x"), False),
        (TimeoutError(errno.ETIMEDOUT, "x"), False),
    ],
)
def test_only_what_this_machine_lacks_is_ours(error: OSError, expected: bool):
    assert is_ours(error) is expected


NO_ROUTE = OSError(errno.ENETUNREACH, "network is unreachable")


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (failed_attempts(NO_ROUTE, NO_ROUTE), True),
        (failed_attempts(NO_ROUTE, NO_ADDRESS), True),
        (failed_attempts(NO_ROUTE, REFUSED), False),
        (failed_attempts(NO_ROUTE, TimeoutError(errno.ETIMEDOUT, "x")), False),
        (OSError(errno.ENETDOWN, "x"), True),
        (PermissionError(errno.EPERM, "a filter of this machine"), True),
        (OSError(errno.EHOSTUNREACH, "x"), False),
        (socket.gaierror(socket.EAI_AGAIN, "x"), True),
        (socket.gaierror(socket.EAI_FAIL, "x"), True),
        (socket.gaierror(socket.EAI_NONAME, "x"), False),
        (ConnectionResetError(errno.ECONNRESET, "x"), False),
        (ValueError("x"), False),
    ],
)
def test_only_what_this_machine_says_of_its_own_network_is_local(error: Exception, expected: bool):
    assert is_local(error) is expected


@pytest.mark.parametrize(("late_s", "expected"), [(0.1, False), (5.0, True)])
async def test_a_deadline_noticed_late_is_no_fault_of_the_upstream(late_s: float, expected: bool):
    assert was_held_up(trio.current_time() - late_s) is expected


def test_what_ran_out_after_sending_may_have_been_carried_out():
    error = UpstreamError("headers", "x", is_ours=True)
    assert delivery.own_error(error).status == 503
    assert "Nothing was sent" not in delivery.own_error(error).message


@pytest.mark.parametrize("stream", [True, False])
def test_a_refusal_too_large_to_read_says_nothing_of_the_account(stream: bool):
    """It may repeat megabytes of what the client sent."""
    call = Call("messages", "POST", b"/v1/messages", stream=stream)
    assert balancer.of_break(call, AnswerTooLargeError("body", "x")) == balancer.STAYS


def test_a_402_with_a_code_of_its_own_belongs_to_the_request():
    body = body_of("billing_error", "No.", error_code="user_profile_not_billable")
    assert balancer.of_reply(402, [], body) == balancer.STAYS


def test_a_date_counts_only_in_the_upstreams_own_sentence():
    day = (datetime.now(UTC) + timedelta(days=1)).date()
    echo = body_of("billing_error", f"`You will regain access on {day}` is not billable.")
    assert balancer.of_reply(402, [], echo).rest_s == balancer.SPEND_CAP_REST_S
