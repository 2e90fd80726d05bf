"""The anthropic SDKs, today's and an older one of each language, through the relay.

sdk.py and sdk.mjs act out the same scenarios and tell what the program saw; here it is judged.
"""

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from .installed import needed, node, run
from .relays import Relay, Upstream

# One process an SDK plays all its scenarios, which takes seconds.
pytestmark = pytest.mark.slow

HERE = Path(__file__).parent
OLDER_PYTHON = Path(sys.prefix, "older-sdk")
MODELS = ["claude-opus-5-5", "claude-opus-5", "claude-sonnet-5-5", "claude-sonnet-4-5-20250929",
          "claude-haiku-5-5", "claude-haiku-4-5"]  # fmt: skip


@dataclass
class Sdk:
    """One SDK in one generation, what it told, and the names of its keys."""

    name: str
    user_agent: str
    key: str
    told: dict[str, Any]

    def __getitem__(self, scenario: str) -> dict[str, Any]:
        found: dict[str, Any] = self.told[scenario]
        assert "failed" not in found, found["failed"]
        return found


def python() -> tuple[list[str], dict[str, str]]:
    return [sys.executable, str(HERE / "sdk.py")], {}


def older_python() -> tuple[list[str], dict[str, str]]:
    needed(OLDER_PYTHON / "anthropic")
    return python()[0], {"PYTHONPATH": str(OLDER_PYTHON)}


def typescript(package: str) -> tuple[list[str], dict[str, str]]:
    return [node(), str(HERE / "sdk.mjs"), package], {}


SDKS: dict[str, tuple[str, Callable[[], tuple[list[str], dict[str, str]]]]] = {
    "python": ("Anthropic/Python 2.", python),
    "older-python": ("Anthropic/Python 0.", older_python),
    "typescript": ("Anthropic/JS 1.", partial(typescript, "@anthropic-ai/sdk")),
    "older-typescript": ("Anthropic/JS 0.", partial(typescript, "anthropic-sdk-older")),
}


@pytest.fixture(scope="session")
def other_key(relay: Relay) -> str:
    return relay.key("other")


@pytest.fixture(
    scope="session",
    params=[
        "python",
        pytest.param("older-python"),
        pytest.param("typescript", marks=pytest.mark.npm),
        pytest.param("older-typescript", marks=pytest.mark.npm),
    ],
)
def sdk(
    request: pytest.FixtureRequest,
    relay: Relay,
    other_key: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Sdk:
    """All scenarios are acted out in one run, for a start of Python or Node is dear."""
    name: str = request.param
    user_agent, command_of = SDKS[name]
    command, env = command_of()
    keys = {"KEY": relay.key(name), "LEAVING_KEY": relay.key(f"{name}-leaving")}
    folder = tmp_path_factory.mktemp(name)
    done = run([*command, relay.url], folder, **env, **keys, OTHER_KEY=other_key)
    assert done.returncode == 0, done.stderr
    return Sdk(name, user_agent, keys["KEY"], json.loads(done.stdout))


def test_a_message_is_answered_and_booked_as_the_upstream_counted_it(sdk: Sdk, relay: Relay):
    answer = sdk["message"]
    assert answer["text"] == "Simulated answer to: hello"
    assert (answer["stop_reason"], answer["input_tokens"], answer["output_tokens"]) == (
        "end_turn",
        1000,
        200,
    )
    counters = relay.usage(sdk.name)["claude-opus-5"]
    assert (counters["requests"], counters["cost_micros"]) == (1, 1000 * 5 + 200 * 25)


def test_the_request_id_leads_to_the_decision(sdk: Sdk, relay: Relay):
    decision: Any = relay.home.json("why", sdk["message"]["request_id"])
    assert (decision["key_name"], decision["chosen"]) == (sdk.name, "main")


def test_a_stream_comes_piece_by_piece_and_adds_up(sdk: Sdk):
    stream = sdk["stream"]
    assert len(stream["pieces"]) == 4
    assert "".join(stream["pieces"]) == stream["final"] == "Simulated answer to: tell me"
    assert stream["output_tokens"] == 7


def test_thinking_is_streamed(sdk: Sdk):
    assert sdk["thinking"]["kinds"] == ["thinking", "text"]


def test_a_tool_is_called_and_its_result_taken(sdk: Sdk):
    assert sdk["tools"] == {
        "stop_reason": "tool_use",
        "name": "shout",
        "input": {"text": "please use tool"},
        "text": "Simulated answer to: go on",
    }


def test_tokens_are_counted(sdk: Sdk):
    assert sdk["count_tokens"]["tokens"] > 0


def test_models_are_listed_over_several_pages_and_told_one_by_one(sdk: Sdk):
    assert sdk["models"] == {"ids": MODELS, "one": "Claude Opus 5"}


def test_a_wrong_key_is_an_authentication_error_and_not_tried_again(sdk: Sdk):
    error = sdk["wrong_key"]
    assert "AuthenticationError" in error["classes"]
    assert (error["status"], error["type"]) == (401, "authentication_error")
    assert "Invalid API key" in error["message"]
    assert error["request_id"].startswith("req_")
    assert error["requests"] == 1


def test_an_unknown_model_is_not_found_and_the_key_s_models_are_named(sdk: Sdk):
    error = sdk["unknown_model"]
    assert "NotFoundError" in error["classes"]
    assert error["type"] == "not_found_error"
    assert error["message"].startswith("model: gpt-of-old is a model that the upstream does not")
    assert error["request_id"].startswith("req_")


def test_a_rate_limit_of_the_upstream_keeps_its_class_and_its_wait(sdk: Sdk):
    error = sdk["rate_limited"]
    assert "RateLimitError" in error["classes"]
    assert (error["message"], error["retry_after"]) == ("Slowly.", "0")
    assert error["request_id"].startswith("req_")


def test_an_overloaded_upstream_keeps_its_class(sdk: Sdk):
    error = sdk["overloaded"]
    assert {"OverloadedError", "InternalServerError"} & set(error["classes"])
    assert (error["status"], error["type"]) == (529, "overloaded_error")
    assert error["request_id"].startswith("req_")


def test_an_error_within_a_stream_is_raised(sdk: Sdk):
    error = sdk["error_event"]
    assert "APIError" in error["classes"]
    assert (error["type"], error["message"]) == ("overloaded_error", "Busy.")


def test_a_cut_stream_is_no_answer(sdk: Sdk):
    assert sdk["cut_stream"].keys() == {"raised"}


def test_leaving_mid_stream_ends_the_upstreams_work_and_books_the_floor(
    sdk: Sdk, relay: Relay, upstream: Upstream
):
    received = upstream.received(f"leave {sdk.key[-9:]}")
    upstream.wait_until_left(received)
    assert sdk["leaving"]["first"].startswith("Simulated answer")
    (record,) = relay.records(f"{sdk.name}-leaving")
    (attempt,) = record["attempts"]
    assert attempt["is_estimated"]
    assert received.usage is not None
    assert attempt["tokens"]["input"] == received.usage["input_tokens"]
    assert 0 < attempt["tokens"]["output"] < 1000
    (counters,) = relay.usage(f"{sdk.name}-leaving").values()
    assert (counters["requests"], counters["estimated"]) == (1, 1)
    assert counters["cost_micros"] == record["cost_micros"] > 0


def test_what_the_sdk_says_of_itself_reaches_the_upstream(sdk: Sdk, upstream: Upstream):
    received = upstream.received(f"leave {sdk.key[-9:]}")
    assert received.header("user-agent").startswith(sdk.user_agent)
    assert received.header("x-stainless-lang") in ("python", "js")
    assert received.header("anthropic-version") == (
        "2023-06-01" if "older" in sdk.name else "2026-10-21"
    )


def test_a_batch_goes_through_its_life_unseen_by_other_keys(sdk: Sdk):
    batch = sdk["batch"]
    assert batch["status"] == "ended"
    assert batch["is_listed"]
    assert batch["others"] == []
    assert "NotFoundError" in batch["others_error"]["classes"]
    assert batch["deleted"] == "message_batch_deleted"


def test_a_batchs_results_come_through_the_relay(sdk: Sdk):
    assert sdk["batch_results"] == {"one": "Simulated answer to: in bulk"}


def test_a_file_goes_through_its_life_unseen_by_other_keys(sdk: Sdk):
    file = sdk["file"]
    assert (file["name"], file["content"]) == ("notes.txt", "some notes")
    assert file["is_listed"]
    assert file["others"] == []
    assert "NotFoundError" in file["others_error"]["classes"]
    assert file["deleted"]


def test_no_key_of_the_relay_reaches_the_upstream(sdk: Sdk, upstream: Upstream):
    for received in upstream.journal():
        assert sdk.key not in str(received.headers), f"{received.method} {received.target}"
