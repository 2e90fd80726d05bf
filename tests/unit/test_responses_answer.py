"""Claude's answers become Response objects and events that OpenAI's own types accept."""

import json
from typing import Any

import msgspec
import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai import omit
from openai.lib.streaming.responses._responses import ResponseStreamState
from openai.types.responses import Response, ResponseStreamEvent

from relay import sse
from relay.dialects.openai.asked import parse
from relay.dialects.responses import carried, request, stream
from relay.dialects.responses.answer import Frame
from relay.dialects.responses.custom import InputReader
from relay.simulator import answers, events

from .claude_answers import CITED, CLOSED, FOUND, PATCHED, SEARCH, USED, claude_events, message
from .responses_corpus import (
    AGENTS,
    CASES,
    MODEL,
    PATCH,
    REDACTED,
    THINKING,
    WEATHER,
    Json,
    text,
)
from .spec_fields import check_known

NOW = 1_800_000_000
_event = pydantic.TypeAdapter(ResponseStreamEvent)
_response = pydantic.TypeAdapter(Response)
TOOLS = [WEATHER, PATCH, AGENTS]
EDITORS = {"type": "namespace", "name": "n", "description": "Editors.",
           "tools": [{"type": "custom", "name": "edit"}]}  # fmt: skip
SEARCHING = [{"type": "web_search"}]


def frame_for(**fields: Any) -> Frame:
    fields = {"model": MODEL, "input": "hello", **fields}
    # As a client's JSON would come: nothing that only Python has.
    asked = request.translate(parse(json.dumps(fields).encode()))
    return Frame("req_abc", asked, now=lambda: NOW)


def streamed(frame: Frame, answer: Json, size: int = 3) -> list[Json]:
    """The Responses events of a Claude answer."""
    one = stream.Stream(frame)
    out = b"".join(
        one.event(name.encode(), json.dumps({"type": name, **fields}).encode())
        for name, fields in claude_events(answer, size)
    )
    return parsed(out)


def parsed(out: bytes) -> list[Json]:
    framer = sse.Framer()
    found = [(frame.event, json.loads(frame.data)) for frame in framer.feed(out)]
    assert framer.at_boundary
    assert all(event.decode() == data["type"] for event, data in found)
    return [data for _, data in found]


def check_events(found: list[Json]) -> None:
    """OpenAI's types, numbers and accumulating stream helper accept the events."""
    assert [one["sequence_number"] for one in found] == list(range(len(found)))
    state: Any = ResponseStreamState(input_tools=[], text_format=omit)
    for one in found:
        plain = dict(one)
        if one["type"] == "error":
            # The object is what makes the SDKs raise.
            del plain["error"]
        event = _event.validate_json(json.dumps(plain), strict=True)
        check_known(event)
        if one["type"] != "error":
            state.handle_event(event)


def types(found: list[Json]) -> list[str]:
    return [one["type"].removeprefix("response.") for one in found]


ANSWERS: list[tuple[str, Json, Json]] = [
    ("text", {}, message(text("Hello there."))),
    ("two texts", {}, message(text("One."), text("Two."))),
    ("nothing", {}, message()),
    ("thinking shown", {"reasoning": {"effort": "high", "summary": "auto"}},
     message(THINKING, REDACTED, text("Hi."))),
    ("thinking not shown", {"reasoning": {"effort": "high"}}, message(THINKING, text("Hi."))),
    ("thinking left out", {"reasoning": {"summary": "auto"}},
     message({**THINKING, "thinking": ""}, text("Hi."))),
    ("tools", {"tools": TOOLS, "reasoning": {"summary": "auto"}},
     message(THINKING, text("Let me."), USED, PATCHED, CLOSED, stop_reason="tool_use")),
    ("a custom tool of a namespace", {"tools": [EDITORS]},
     message({**PATCHED, "name": "n__edit"}, stop_reason="tool_use")),
    ("cut in a text", {}, message(text("Hello th"), stop_reason="max_tokens")),
    ("window full", {}, message(text("Hel"), stop_reason="model_context_window_exceeded")),
    ("cut in a call", {"tools": TOOLS}, message(text("Let me."), USED, stop_reason="max_tokens")),
    ("refused", {}, message(text("I"), stop_reason="refusal", stop_details={
        "type": "refusal", "category": "bio", "explanation": "This is dangerous."})),
    ("refused without words", {}, message(stop_reason="refusal")),
    ("search", {"tools": SEARCHING, "include": ["web_search_call.action.sources"]},
     message(text("I'll look."), SEARCH, FOUND, text("So: "), CITED, text(" Done."))),
    ("search that failed", {"tools": SEARCHING}, message(SEARCH, {**FOUND, "content": {
        "type": "web_search_tool_result_error", "error_code": "unavailable"}}, text("No."))),
    ("search that goes on", {"tools": SEARCHING}, message(SEARCH, stop_reason="pause_turn")),
]  # fmt: skip


@pytest.mark.parametrize(("asked", "answer"), [case[1:] for case in ANSWERS],
                         ids=[case[0] for case in ANSWERS])  # fmt: skip
def test_an_answer_is_valid_and_the_same_whole_or_in_events(asked: Json, answer: Json) -> None:
    found = streamed(frame_for(**asked), answer)
    whole = stream.whole(frame_for(**asked), answer)

    check_events(found)
    check_known(_response.validate_json(json.dumps(whole), strict=True))
    last = found[-1]["response"]
    assert _normal(last) == _normal(whole)
    assert found[-1]["type"] == f"response.{whole['status']}"
    assert [one["item"] for one in found if one["type"] == "response.output_item.done"] == (
        last["output"]
    )


def _normal(response: Json) -> Json:
    """The arguments of calls decoded: their spaces are the stream's own."""
    copied: Json = json.loads(json.dumps(response))
    for item in copied["output"]:
        if item["type"] == "function_call":
            item["arguments"] = json.loads(item["arguments"])
        if item.get("encrypted_content"):
            item["encrypted_content"] = _unpacked(item["encrypted_content"])
    return copied


def _unpacked(text: str) -> Any:
    return carried.unpack(text)


def known_to_openai(tool: Json) -> Json:
    """A tool of the corpus without the field that only one of its kinds has."""
    return {name: value for name, value in tool.items()
            if name != "server_label" or tool["type"] == "mcp"}  # fmt: skip


@pytest.mark.parametrize(("asked", "expected"), [case[1:] for case in CASES],
                         ids=[case[0] for case in CASES])  # fmt: skip
def test_every_request_of_the_corpus_gets_an_answer_in_openais_form(
    asked: Json, expected: Json
) -> None:
    asked = {**asked, "tools": [known_to_openai(tool) for tool in asked.get("tools") or []]}
    frame = frame_for(**asked)
    answer = answers.answer(frame.asked.body, 1, answers.Steering())
    one = stream.Stream(frame)
    framer = sse.Framer()
    out = b"".join(
        one.event(event.event, event.data)
        for event in framer.feed(b"".join(events.frames(answer, 4)))
    )

    found = parsed(out)
    check_events(found)
    whole = stream.whole(frame_for(**asked), answer.to_json())
    check_known(_response.validate_json(json.dumps(whole), strict=True))
    assert _normal(found[-1]["response"]) == _normal(whole)


def test_a_text_streams_as_the_sdk_expects_it() -> None:
    found = streamed(frame_for(), message(text("Hello!")))

    assert types(found) == [
        "created", "in_progress", "output_item.added", "content_part.added",
        "output_text.delta", "output_text.delta", "output_text.done", "content_part.done",
        "output_item.done", "completed",
    ]  # fmt: skip
    assert [one["delta"] for one in found if "delta" in one] == ["Hel", "lo!"]


def test_thinking_streams_as_a_summary_and_carries_its_signature() -> None:
    found = streamed(frame_for(reasoning={"summary": "auto"}), message(THINKING, text("Hi.")), 100)

    assert types(found)[2:8] == [
        "output_item.added", "reasoning_summary_part.added", "reasoning_summary_text.delta",
        "reasoning_summary_text.done", "reasoning_summary_part.done", "output_item.done",
    ]  # fmt: skip
    assert found[7]["item"]["summary"] == [{"type": "summary_text", "text": "Hm. So."}]
    assert _unpacked(found[7]["item"]["encrypted_content"]) == ([THINKING], False)


def test_a_call_streams_its_arguments() -> None:
    found = streamed(frame_for(tools=TOOLS), message(USED, stop_reason="tool_use"), 100)

    assert types(found)[2:6] == [
        "output_item.added", "function_call_arguments.delta", "function_call_arguments.done",
        "output_item.done",
    ]  # fmt: skip
    assert json.loads(found[4]["arguments"]) == {"city": "Bern"}
    assert found[5]["item"]["call_id"] == "toolu_1"


def test_a_custom_tools_input_streams_without_the_json_around_it() -> None:
    found = streamed(frame_for(tools=TOOLS), message(PATCHED), 1)

    deltas = [one["delta"] for one in found if one["type"].endswith("input.delta")]
    assert "".join(deltas) == PATCHED["input"]["input"]
    assert len(deltas) > 10
    assert found[-2]["item"] == {
        "id": "ctc_abc_0", "type": "custom_tool_call", "call_id": "toolu_2", "name": "apply_patch",
        "input": PATCHED["input"]["input"],
    }  # fmt: skip


def test_a_tool_of_a_namespace_is_called_by_the_clients_names() -> None:
    call = stream.whole(frame_for(tools=TOOLS), message(CLOSED))["output"][0]

    assert (call["namespace"], call["name"], call["arguments"]) == ("agents", "close", "{}")


def test_a_search_and_the_pages_it_found_are_told() -> None:
    _, asked, answer = next(case for case in ANSWERS if case[0] == "search")
    output = stream.whole(frame_for(**asked), answer)["output"]

    assert [item["type"] for item in output] == [
        "message", "web_search_call", "message", "reasoning",
    ]  # fmt: skip
    assert output[1]["action"] == {
        "type": "search", "query": "rust", "sources": [{"type": "url", "url": "https://rust.test/2"}],
    }  # fmt: skip
    assert output[2]["content"][1]["annotations"] == [
        {"type": "url_citation", "url": "https://rust.test/2", "title": "Rust",
         "start_index": 0, "end_index": 7}
    ]  # fmt: skip


def test_usage_counts_what_was_read_from_the_cache_as_input() -> None:
    assert stream.whole(frame_for(), message())["usage"] == {
        "input_tokens": 35,
        "input_tokens_details": {"cached_tokens": 20, "cache_write_tokens": 5},
        "output_tokens": 7,
        "output_tokens_details": {"reasoning_tokens": 3},
        "total_tokens": 42,
    }


@pytest.mark.parametrize(
    ("stop_reason", "status", "details"),
    [
        ("end_turn", "completed", None),
        ("tool_use", "completed", None),
        ("max_tokens", "incomplete", {"reason": "max_output_tokens"}),
        ("refusal", "incomplete", {"reason": "content_filter"}),
    ],
)
def test_the_status_says_how_the_answer_ended(
    stop_reason: str, status: str, details: Json | None
) -> None:
    response = stream.whole(frame_for(), message(text("a"), stop_reason=stop_reason))

    assert (response["status"], response["incomplete_details"]) == (status, details)
    is_cut = stop_reason == "max_tokens"
    assert response["output"][0]["status"] == ("incomplete" if is_cut else "completed")


def test_the_response_repeats_what_was_asked() -> None:
    asked = {"instructions": "Be brief.", "metadata": {"a": "b"}, "temperature": 0.5, "user": "u",
             "safety_identifier": "s",
             "tools": TOOLS, "tool_choice": "required", "parallel_tool_calls": False,
             "max_output_tokens": 100}  # fmt: skip
    response = stream.whole(frame_for(**asked), message())

    assert {name: response[name] for name in asked} == asked
    assert (response["id"], response["created_at"], response["model"]) == (
        "resp_abc", NOW, "claude-opus-4-6-x",
    )  # fmt: skip


def broken_off() -> list[Json]:
    """The events of an answer in which the upstream said that it broke off."""
    one = stream.Stream(frame_for())
    started = list(claude_events(message(text("Hello"))))[:4]
    out = b"".join(
        one.event(name.encode(), json.dumps(fields).encode()) for name, fields in started
    )
    error = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    out += one.event(b"error", json.dumps(error).encode())
    assert one.event(b"message_stop", b"{}") == b""
    return parsed(out)


def test_an_error_in_the_stream_fails_the_response_and_is_raised_by_the_sdk() -> None:
    found = broken_off()

    check_events(found)
    assert types(found)[-2:] == ["failed", "error"]
    assert found[-2]["response"]["error"] == {"code": "server_error", "message": "Overloaded"}
    assert found[-1]["error"]["message"] == "Overloaded"


def test_a_stream_that_breaks_off_before_it_began_says_only_that() -> None:
    found = parsed(stream.Stream(frame_for()).broken("api_error", "It broke."))

    assert types(found) == ["error"]
    check_events(found)


_words = st.text(min_size=1, max_size=12)
_block = st.one_of(
    # A blank text would be refused when it comes back, so it is left out.
    st.builds(text, _words.filter(str.strip)),
    st.builds(lambda t, s: {"type": "thinking", "thinking": t, "signature": s}, st.text(), _words),
    st.builds(lambda d: {"type": "redacted_thinking", "data": d}, _words),
    st.builds(
        lambda number, value: {**USED, "id": f"toolu_{number}", "input": value},
        st.uuids(),
        st.dictionaries(st.text(max_size=5), st.text() | st.integers(-9, 9) | st.none()),
    ),
    st.builds(
        lambda n, t: {**PATCHED, "id": f"toolu_{n}", "input": {"input": t}}, st.uuids(), st.text()
    ),
    st.builds(lambda n: {**CLOSED, "id": f"toolu_{n}"}, st.uuids()),
    st.sampled_from([SEARCH, FOUND, CITED]),
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(st.lists(_block, min_size=1, max_size=5), st.integers(1, 20), st.booleans())
def test_claude_gets_its_own_turn_back_exactly(
    blocks: list[Json], size: int, is_streamed: bool
) -> None:
    """The next request's messages are the first request's, Claude's own turn, and what is new."""
    fields: Json = {"model": MODEL, "tools": [*TOOLS, *SEARCHING], "instructions": "Be brief."}
    first = [{"role": "developer", "content": "Rhyme."}, {"role": "user", "content": "hello"}]
    frame = frame_for(**fields, input=first)
    if is_streamed:
        found = streamed(frame, message(*blocks), size)
        check_events(found)
        output = found[-1]["response"]["output"]
    else:
        output = stream.whole(frame, message(*blocks))["output"]
    calls = [block["id"] for block in blocks if block["type"] == "tool_use"]
    new = [{"type": "function_call_output", "call_id": one, "output": "ok"} for one in calls]

    more = request.translate({**fields, "input": [*first, *output, *new, first[1]]}).body

    before = frame.asked.body
    assert {**more, "messages": []} == {**before, "messages": []}
    assert more["messages"][: len(before["messages"])] == before["messages"]
    assert more["messages"][len(before["messages"])] == {"role": "assistant", "content": blocks}


@settings(max_examples=200, deadline=None)
@given(st.text(), st.booleans(), st.lists(st.integers(1, 9), min_size=1))
def test_a_custom_input_is_read_wherever_its_json_is_cut(
    words: str, is_ascii: bool, sizes: list[int]
) -> None:
    written = json.dumps({"input": words, "more": 1}, ensure_ascii=is_ascii)
    reader, found, at = InputReader(), "", 0
    while at < len(written):
        size = sizes[at % len(sizes)]
        found += reader.feed(written[at : at + size])
        at += size

    assert found == words


def test_half_a_character_in_a_custom_input_does_no_harm() -> None:
    reader = InputReader()

    found = reader.feed('{"input": "a\\ud83d') + reader.feed('"}')

    assert msgspec.json.decode(msgspec.json.encode(found)) == found
    assert found.startswith("a")
