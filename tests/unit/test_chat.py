"""Chat requests become Claude's, and Claude's answers chat completions."""

import json
import re
import typing
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai import omit
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.chat.completion_create_params import CompletionCreateParamsStreaming

from relay import errors, sse
from relay.dialects.chat import answer, request, stream
from relay.dialects.openai.answered import Frame
from relay.simulator import answers, events

from .chat_corpus import ASKED, CASES, REFUSED, TIME, WEATHER
from .claude_answers import CITED, CLOSED, USED, claude_events, message
from .responses_corpus import HELLO, MODEL, REDACTED, THINKING, Json, text
from .spec_fields import check_known
from .test_responses_request import check_claude

_FIELDS = sorted(typing.get_type_hints(CompletionCreateParamsStreaming))


def frame_for(**asked: Any) -> Frame:
    fields = {"model": MODEL, "messages": ASKED, **asked}
    return Frame("req_1", request.translate(fields), now=lambda: 1_800_000_000)


@pytest.mark.parametrize(("asked", "expected"), [case[1:] for case in CASES],
                         ids=[case[0] for case in CASES])  # fmt: skip
def test_a_request_becomes_claudes(asked: Json, expected: Json) -> None:
    body = request.translate({"model": MODEL, "messages": ASKED, **asked}).body

    sent = {name: value for name, value in body.items() if name not in ("model", "max_tokens")}
    assert sent == {"messages": HELLO, **expected}
    check_claude(body)


@pytest.mark.parametrize(("asked", "place"), [case[1:] for case in REFUSED],
                         ids=[case[0] for case in REFUSED])  # fmt: skip
def test_what_claude_cannot_do_is_refused_by_the_fields_name(asked: Json, place: str) -> None:
    with pytest.raises(errors.BadRequest) as caught:
        request.translate({"model": MODEL, "messages": ASKED, **asked})
    assert caught.value.message.startswith(f"{place}: ")


@pytest.mark.parametrize(("asked", "most"), [
    ({}, 128_000), ({"max_tokens": 7}, 7), ({"max_tokens": 7, "max_completion_tokens": 9}, 9),
])  # fmt: skip
def test_an_answers_bound_is_the_models_own_where_none_is_given(asked: Json, most: int) -> None:
    assert (
        request.translate({"model": MODEL, "messages": ASKED, **asked}).body["max_tokens"] == most
    )


def chunks_of(out: bytes) -> list[Json]:
    """The chunks of a stream that ended as it should."""
    *told, done = [frame.data for frame in sse.Framer().feed(out)]
    assert done == b"[DONE]"
    return [json.loads(one) for one in told]


def added_up(chunks: list[Json]) -> Json:
    """What the SDK makes of chunks, each of which its types know to the last field."""
    state: Any = ChatCompletionStreamState(input_tools=omit, response_format=omit)
    for one in chunks:
        chunk = ChatCompletionChunk.model_validate_json(json.dumps(one), strict=True)
        check_known(chunk)
        state.handle_chunk(chunk)
    completion: Json = state.current_completion_snapshot.model_dump(mode="json", exclude_none=True)
    return completion


def in_both_ways(asked: Json, told: Json, out: bytes) -> None:
    """An answer that came whole is what the chunks of its stream add up to."""
    check_known(ChatCompletion.model_validate_json(json.dumps(told), strict=True))
    found = added_up(chunks_of(out))
    (choice,), (streamed,) = told["choices"], found["choices"]
    for name in ("id", "model", "created"):
        assert found[name] == told[name]
    assert streamed["finish_reason"] == choice["finish_reason"]
    for name, value in choice["message"].items():
        if value is not None and name != "reasoning_content":
            assert _plain(name, streamed["message"][name]) == _plain(name, value)
    if (asked.get("stream_options") or {}).get("include_usage"):
        assert found["usage"] == told["usage"]


def _plain(name: str, value: Any) -> Any:
    """Arguments decoded: their spaces are the stream's own."""
    calls = value if name == "tool_calls" else []
    functions = [value] if name == "function_call" else [call["function"] for call in calls]
    if not functions:
        return value
    return [(one["name"], json.loads(one["arguments"])) for one in functions]


@pytest.mark.parametrize("asked", [case[1] for case in CASES], ids=[case[0] for case in CASES])
def test_every_request_of_the_corpus_gets_an_answer_in_openais_form(asked: Json) -> None:
    frame = frame_for(**asked)
    simulated = answers.answer(frame.asked.body, 1, answers.Steering())
    one = stream.Stream(frame)
    out = b"".join(
        one.event(event.event, event.data)
        for event in sse.Framer().feed(b"".join(events.frames(simulated, 4)))
    )

    in_both_ways(asked, answer.whole(frame_for(**asked), simulated.to_json()), out)


BOTH = {"tools": [WEATHER, TIME]}
OLDER = {"functions": [{"name": "weather"}]}
ASKS_USAGE = {"stream_options": {"include_usage": True}}
AGAIN = {**USED, "id": "toolu_9", "name": "time", "input": {}}
DECLINED = {"type": "refusal", "category": "bio", "explanation": "This is dangerous."}

ANSWERS: list[tuple[str, Json, Json, str]] = [
    ("text", ASKS_USAGE, message(text("Hello there.")), "stop"),
    ("two texts", {}, message(text("One."), text("Two.")), "stop"),
    ("nothing", {}, message(), "stop"),
    ("thinking", {"reasoning_effort": "high"}, message(THINKING, REDACTED, text("Hi.")), "stop"),
    ("words and calls", BOTH, message(text("Let me."), USED, AGAIN, stop_reason="tool_use"),
     "tool_calls"),
    ("a call alone", BOTH, message(CLOSED, stop_reason="tool_use"), "tool_calls"),
    ("an older call", OLDER, message(USED, stop_reason="tool_use"), "function_call"),
    ("cut", {}, message(text("Hello th"), stop_reason="max_tokens"), "length"),
    ("window full", {}, message(text("H"), stop_reason="model_context_window_exceeded"), "length"),
    ("a stop of the client's", {"stop": "E"}, message(text("H"), stop_reason="stop_sequence"),
     "stop"),
    ("declined", {}, message(text("I"), stop_reason="refusal", stop_details=DECLINED),
     "content_filter"),
    ("declined without words", {}, message(stop_reason="refusal"), "content_filter"),
    ("citations", {}, message(CITED), "stop"),
]  # fmt: skip


@pytest.mark.parametrize(("asked", "said", "reason"), [case[1:] for case in ANSWERS],
                         ids=[case[0] for case in ANSWERS])  # fmt: skip
def test_an_answer_is_valid_and_the_same_whole_or_in_chunks(
    asked: Json, said: Json, reason: str
) -> None:
    told = answer.whole(frame_for(**asked), said)

    in_both_ways(asked, told, streamed(frame_for(**asked), said))
    assert told["choices"][0]["finish_reason"] == reason


def streamed(frame: Frame, said: Json) -> bytes:
    one = stream.Stream(frame)
    return b"".join(
        one.event(name.encode(), json.dumps({"type": name, **fields}).encode())
        for name, fields in claude_events(said)
    )


def test_usage_counts_what_a_cache_was_read_and_written_as_prompt() -> None:
    assert answer.whole(frame_for(), message())["usage"] == {
        "prompt_tokens": 35,
        "prompt_tokens_details": {"cached_tokens": 20, "cache_write_tokens": 5},
        "completion_tokens": 7,
        "completion_tokens_details": {"reasoning_tokens": 3},
        "total_tokens": 42,
    }


def test_what_was_thought_is_told_beside_the_answer() -> None:
    said = message(THINKING, text("Hi."))
    chunks = chunks_of(streamed(frame_for(), said))
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]

    assert (
        answer.whole(frame_for(), said)["choices"][0]["message"]["reasoning_content"] == "Hm. So."
    )
    assert "".join(one.get("reasoning_content", "") for one in deltas) == "Hm. So."


def test_a_refusal_says_why() -> None:
    said = message(stop_reason="refusal", stop_details=DECLINED)

    told = answer.whole(frame_for(), said)["choices"][0]["message"]
    assert (told["content"], told["refusal"]) == (None, "This is dangerous.")


def test_a_call_streams_by_index_with_its_id_first() -> None:
    chunks = chunks_of(streamed(frame_for(**BOTH), message(USED, AGAIN, stop_reason="tool_use")))
    calls = [one for chunk in chunks for one in chunk["choices"][0]["delta"].get("tool_calls", ())]

    assert [one["index"] for one in calls if "id" in one] == [0, 1]
    assert [one["index"] for one in calls] == sorted(one["index"] for one in calls)
    assert calls[-1]["function"]["arguments"] == "{}"


def test_a_stream_that_breaks_off_says_so_and_is_not_done() -> None:
    one = stream.Stream(frame_for())
    begun = list(claude_events(message(text("Hello"))))[:4]
    for name, fields in begun:
        one.event(name.encode(), json.dumps(fields).encode())

    end = one.broken("overloaded_error", "busy")
    assert json.loads(end.removeprefix(b"data: "))["error"]["code"] == "server_is_overloaded"
    assert one.event(b"message_stop", b"{}") == b""


_json = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.floats() | st.text(max_size=4)
    | st.sampled_from(["user", "assistant", "tool", "function", "text", "image_url", "auto"]),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(["role", "content", "type", "name", "tool_calls", "function", "id", "url"]),
        inner,
        max_size=4,
    ),
    max_leaves=12,
)  # fmt: skip
_asked = st.dictionaries(st.sampled_from(_FIELDS), _json, max_size=5)


@given(_asked, _json)
@settings(max_examples=300, deadline=None)
def test_any_json_becomes_a_request_or_a_refusal(fields: dict[str, Any], message: Any):
    begun = {"model": MODEL, "messages": ASKED, **fields}
    if isinstance(begun["messages"], list):
        begun["messages"] = [*begun["messages"], message]
    body, refusal = None, ""
    try:
        body = request.translate(begun).body
    except errors.BadRequest as refused:
        refusal = refused.message
    if body is None:
        assert re.match(r"[a-z_]+(\[\d+\]|\.[\w ]+)*: \S", refusal)
    else:
        assert body["messages"]
        check_claude(body)
