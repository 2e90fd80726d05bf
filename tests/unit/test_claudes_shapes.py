"""Claude's own shapes, and what Claude cannot have, in requests of OpenAI's APIs."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay import errors
from relay.dialects.chat import answer
from relay.dialects.chat.request import translate as of_chat
from relay.dialects.openai.answered import Frame
from relay.dialects.openai.asked import Translated
from relay.dialects.openai.tools import claude_name
from relay.dialects.responses.request import translate as of_responses

Json = dict[str, Any]

MODEL = "claude-opus-5"
MARK = {"type": "ephemeral"}
ASKED = {"role": "user", "content": "hello"}
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}}
THOUGHT = {"type": "thinking", "thinking": "Hm.", "signature": "sig"}
CALL = {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {"a": "b"}}
RESULT = {"type": "tool_result", "tool_use_id": "toolu_1",
          "content": [{"type": "text", "text": "seen"}]}  # fmt: skip


def chat(**fields: Any) -> Translated:
    return of_chat({"model": MODEL, "messages": [ASKED], **fields})


def response(**fields: Any) -> Translated:
    return of_responses({"model": MODEL, "input": "hello", **fields})


BOTH = pytest.mark.parametrize("ask", [chat, response])


@BOTH
@pytest.mark.parametrize(
    ("tool", "sent"),
    [
        ({"name": "look", "input_schema": SCHEMA}, {"name": "look", "input_schema": SCHEMA}),
        ({"type": "custom", "name": "look", "input_schema": SCHEMA, "description": "Looks."},
         {"name": "look", "input_schema": SCHEMA, "description": "Looks."}),
        ({"type": "function", "name": "look", "parameters": SCHEMA},
         {"name": "look", "input_schema": SCHEMA}),
        ({"type": "function", "function": {"name": "look", "parameters": SCHEMA}},
         {"name": "look", "input_schema": SCHEMA}),
        ({"type": "bash_20250124", "name": "bash"}, {"type": "bash_20250124", "name": "bash"}),
        ({"type": "web_search_20250305", "name": "web_search", "max_uses": 3},
         {"type": "web_search_20250305", "name": "web_search", "max_uses": 3}),
        ({"name": "look", "input_schema": SCHEMA, "cache_control": MARK},
         {"name": "look", "input_schema": SCHEMA, "cache_control": MARK}),
        ({"type": "function", "function": {"name": "look", "parameters": SCHEMA},
          "cache_control": {"type": "ephemeral", "ttl": "1h"}},
         {"name": "look", "input_schema": SCHEMA,
          "cache_control": {"type": "ephemeral", "ttl": "1h"}}),
        ({"type": "function", "function": {"name": "look", "parameters": SCHEMA,
                                           "cache_control": MARK}},
         {"name": "look", "input_schema": SCHEMA, "cache_control": MARK}),
    ],
)  # fmt: skip
def test_a_tool_in_either_form_is_claudes(ask: Any, tool: Json, sent: Json):
    assert ask(tools=[tool]).body["tools"] == [sent]


@BOTH
@pytest.mark.parametrize(
    ("choice", "sent"),
    [
        ({"type": "auto"}, None),
        ({"type": "auto", "disable_parallel_tool_use": True},
         {"type": "auto", "disable_parallel_tool_use": True}),
        ({"type": "any"}, {"type": "any"}),
        ({"type": "none"}, {"type": "none"}),
        ({"type": "tool", "name": "look"}, {"type": "tool", "name": "look"}),
    ],
)  # fmt: skip
def test_a_choice_of_tools_in_claudes_form_is_taken(ask: Any, choice: Json, sent: Json | None):
    body = ask(
        model="claude-sonnet-4-5", tools=[{"name": "look", "input_schema": SCHEMA}],
        tool_choice=choice,
    ).body  # fmt: skip
    assert body.get("tool_choice") == sent


def test_calls_and_results_in_claudes_form_are_taken():
    said = [ASKED, {"role": "assistant", "content": [{"type": "text", "text": "I look."}, CALL]},
            {"role": "user", "content": [{**RESULT, "content": "seen", "is_error": True}]},
            ]  # fmt: skip
    body = chat(messages=said).body
    assert body["messages"][1]["content"][-1] == CALL
    assert body["messages"][2]["content"] == [{**RESULT, "is_error": True}]


def test_pictures_and_documents_in_claudes_form_are_taken():
    blocks = [
        {"type": "image", "source": {"type": "url", "url": "https://x.test/a.png"}},
        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "a"},
         "citations": {"enabled": True}},
    ]  # fmt: skip
    body = chat(messages=[{"role": "user", "content": blocks}]).body
    assert body["messages"][0]["content"] == blocks


@pytest.mark.parametrize(
    "carried",
    [
        {"content": [THOUGHT, {"type": "text", "text": "Hi."}]},
        {"content": "Hi.", "thinking_blocks": [THOUGHT]},
        {"content": "Hi.", "thinking": THOUGHT},
        {"content": "Hi.", "thinking": "Hm.", "signature": "sig"},
        {"content": "Hi.", "reasoning_content": "Hm.", "reasoning_details": [
            {"type": "reasoning.text", "text": "Hm.", "signature": "sig"}]},
    ],
)  # fmt: skip
def test_thinking_goes_back_wherever_a_client_carries_it(carried: Json):
    done = chat(messages=[ASKED, {"role": "assistant", **carried}, ASKED])
    assert done.body["messages"][1]["content"] == [THOUGHT, {"type": "text", "text": "Hi."}]
    assert done.left_out == ()


@pytest.mark.parametrize(
    ("carried", "place"),
    [
        ({"content": [{"type": "thinking", "thinking": "Hm."}, {"type": "text", "text": "Hi."}]},
         "messages[1].content[0]"),
        ({"content": "Hi.", "reasoning_content": "Hm."}, "messages[1].reasoning_content"),
        ({"content": "Hi.", "thinking_blocks": [{"type": "thinking", "thinking": "Hm."}]},
         "messages[1].thinking_blocks[0]"),
    ],
)  # fmt: skip
def test_thinking_that_claude_cannot_check_is_left_out_and_said(carried: Json, place: str):
    done = chat(messages=[ASKED, {"role": "assistant", **carried}, ASKED])
    assert done.body["messages"][1]["content"] == [{"type": "text", "text": "Hi."}]
    assert done.left_out == (place,)


@pytest.mark.parametrize(
    ("model", "asked", "sent"),
    [
        ("claude-sonnet-4-5", {"type": "enabled", "budget_tokens": 5000},
         {"type": "enabled", "budget_tokens": 5000}),
        ("claude-sonnet-4-5", {"type": "enabled", "budget_tokens": 90_000},
         {"type": "enabled", "budget_tokens": 9999}),
        ("claude-sonnet-4-5", {"type": "disabled"}, None),
        (MODEL, {"type": "enabled", "budget_tokens": 5000},
         {"type": "adaptive", "display": "summarized"}),
        (MODEL, {"type": "adaptive"}, {"type": "adaptive", "display": "summarized"}),
        (MODEL, {"type": "disabled"}, {"type": "disabled"}),
        ("claude-opus-5-5", {"type": "disabled"}, None),
    ],
)  # fmt: skip
def test_thinking_asked_for_in_claudes_words_is_what_the_model_takes(
    model: str, asked: Json, sent: Json | None
):
    assert chat(model=model, max_tokens=10_000, thinking=asked).body.get("thinking") == sent


def test_a_mark_at_a_message_is_at_its_last_block():
    said = [{"role": "system", "content": "Be short.", "cache_control": MARK},
            {**ASKED, "cache_control": MARK}]  # fmt: skip
    body = chat(messages=said).body
    assert body["system"] == [{"type": "text", "text": "Be short.", "cache_control": MARK}]
    assert body["messages"][0]["content"][-1]["cache_control"] == MARK


def test_a_mark_at_a_result_and_at_the_whole_request_is_passed_on():
    call = {"id": "c", "type": "function", "function": {"name": "a", "arguments": "{}"}}
    said = [ASKED, {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "c", "content": "x", "cache_control": MARK},
            ]  # fmt: skip
    body = chat(messages=said, cache_control=MARK).body
    assert body["messages"][2]["content"][0]["cache_control"] == MARK
    assert body["cache_control"] == MARK


def test_the_system_prompt_and_stops_in_claudes_fields_are_taken():
    body = chat(system="Be short.", stop_sequences=["END"]).body
    assert body["system"] == [{"type": "text", "text": "Be short."}]
    assert body["stop_sequences"] == ["END"]


@BOTH
@pytest.mark.parametrize("kind", ["image_generation", "tool_search", "mcp", "tool_of_tomorrow"])
def test_a_tool_that_claude_cannot_have_is_left_out_and_said(ask: Any, kind: str):
    tool = {"type": "function", "function": {"name": "look"}}
    done = ask(tools=[tool, {"type": kind}], tool_choice="auto")
    assert [one["name"] for one in done.body["tools"]] == ["look"]
    assert done.left_out == (f"tools[1] ({kind})",)


@BOTH
@pytest.mark.parametrize("choice", ["required", {"type": "image_generation"}])
def test_a_tool_that_claude_cannot_have_is_refused_where_it_is_demanded(ask: Any, choice: Any):
    with pytest.raises(errors.BadRequest, match=r"^tool_choice"):
        ask(tools=[{"type": "image_generation"}], tool_choice=choice)


def test_a_tool_that_claude_cannot_have_may_be_among_the_allowed_ones():
    done = response(
        tools=[{"type": "function", "name": "look"}, {"type": "image_generation"}],
        tool_choice={"type": "allowed_tools", "mode": "auto", "tools": [
            {"type": "function", "name": "look"}, {"type": "image_generation"}]},
    )  # fmt: skip
    assert [tool["name"] for tool in done.body["tools"]] == ["look"]


@BOTH
@pytest.mark.parametrize("name", ["files.read", "mcp/server.tool", "a b", "zoë", "x" * 200])
def test_a_tools_name_is_mapped_and_back(ask: Any, name: str):
    done = ask(tools=[{"type": "function", "function": {"name": name}}])
    (tool,) = done.body["tools"]
    assert done.box.tool(tool["name"]).name == name
    chosen = ask(
        model="claude-sonnet-4-5", tools=[{"type": "function", "function": {"name": name}}],
        tool_choice={"type": "function", "function": {"name": name}},
    )  # fmt: skip
    assert chosen.body["tool_choice"] == {"type": "tool", "name": tool["name"]}


def test_a_mapped_name_is_the_clients_own_in_the_answer_and_the_history():
    call = {"id": "c", "type": "function", "function": {"name": "files.read", "arguments": "{}"}}
    done = chat(
        messages=[ASKED, {"role": "assistant", "content": None, "tool_calls": [call]},
                  {"role": "tool", "tool_call_id": "c", "content": "x"}],
        tools=[{"type": "function", "function": {"name": "files.read"}}],
    )  # fmt: skip
    assert done.body["messages"][1]["content"][0]["name"] == "files_read"
    used = {"type": "tool_use", "id": "t", "name": "files_read", "input": {}}
    told = answer.whole(Frame("req_1", done), {"content": [used], "stop_reason": "tool_use"})
    assert told["choices"][0]["message"]["tool_calls"][0]["function"]["name"] == "files.read"


def test_two_names_that_are_mapped_alike_stay_two_tools():
    names = ["a.b", "a/b", "a_b"]
    tools = [{"type": "function", "function": {"name": name}} for name in names]
    for order in (tools, tools[::-1]):
        box = chat(tools=order).box
        assert sorted(tool.name for tool in box.known.values()) == sorted(names)


@given(st.text(min_size=1, max_size=300))
def test_every_name_is_mapped_to_one_that_claude_takes(name: str):
    assert set(claude_name(name, "", "tools[0]")) <= set(
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-"
    )
    assert 1 <= len(claude_name(name, "", "tools[0]")) <= 128


@pytest.mark.parametrize(
    ("messages", "place"),
    [
        ([ASKED, {"role": "assistant", "tool_calls": [{"function": {"name": "a"}}]}],
         "messages[1].tool_calls[0].id"),
        ([ASKED, {"role": "assistant", "tool_calls": [{"id": "c", "function": {}}]}],
         "messages[1].tool_calls[0].function.name"),
        ([ASKED, {"role": "tool", "content": "x"}], "messages[1].tool_call_id"),
        ([ASKED, {"role": "tool", "tool_call_id": "c", "content": 5}], "messages[1].content"),
        ([{"role": "user", "content": [{"type": "tool_result"}]}],
         "messages[0].content[0].tool_use_id"),
    ],
)  # fmt: skip
def test_an_error_names_the_clients_own_field(messages: list[Json], place: str):
    with pytest.raises(errors.BadRequest) as caught:
        chat(messages=messages)
    assert caught.value.message.startswith(f"{place}: ")
