"""Where a request of OpenAI's APIs has Claude cache its prompt."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay import errors
from relay.dialects.chat.request import translate as of_chat
from relay.dialects.openai import caching
from relay.dialects.openai.asked import Choices
from relay.dialects.responses.request import translate as of_responses

Json = dict[str, Any]

MODEL = "claude-opus-5-5"
MARK = {"type": "ephemeral"}
ON = Choices(marks_cache=True)
TOOLS = [{"type": "function", "function": {"name": name}} for name in ("a", "b")]
SYSTEM = {"role": "system", "content": "Be short."}


def user(text: str, **more: Any) -> Json:
    return {"role": "user", "content": [{"type": "text", "text": text, **more}]}


def assistant(text: str) -> Json:
    return {"role": "assistant", "content": text}


def chat(*messages: Json, choices: Choices = ON, **more: Any) -> Json:
    return of_chat({"model": MODEL, "messages": [*messages], **more}, choices).body


def marked(body: Json) -> list[str]:
    """What carries a mark, in the order of the prompt: a name of a tool, or a text."""
    blocks = [*body.get("tools", ()), *body.get("system", ())]
    blocks += [block for message in body["messages"] for block in message["content"]]
    return [
        block.get("name") or block.get("text") or block["type"]
        for block in blocks
        if "cache_control" in block
    ]


def test_a_conversation_is_marked_where_it_ends_and_where_the_turn_before_ended():
    body = chat(SYSTEM, user("1"), assistant("2"), user("3"), assistant("4"), user("5"),
                tools=TOOLS)  # fmt: skip
    assert marked(body) == ["b", "Be short.", "3", "5"]


@pytest.mark.parametrize(
    ("more", "found"),
    [
        ({}, []),
        ({"tools": TOOLS}, ["b", "hello"]),
        ({"prompt_cache_key": "k"}, ["hello"]),
        ({"prompt_cache_key": ""}, []),
        ({"messages": [user("hello"), assistant("yes"), user("go on")]}, ["hello", "go on"]),
        ({"messages": [user("hello"), assistant("yes")]}, ["hello", "yes"]),
        ({"tools": TOOLS, "prompt_cache_options": {"mode": "explicit"}}, []),
        ({"tools": TOOLS, "prompt_cache_options": {"mode": "implicit"}}, ["b", "hello"]),
    ],
)
def test_what_may_go_on_is_marked_at_its_end(more: Json, found: list[str]):
    assert marked(chat(**{"messages": [user("hello")], **more})) == found


def test_nothing_is_marked_where_the_operator_wants_none():
    assert marked(chat(SYSTEM, user("hello"), tools=TOOLS, choices=Choices())) == []


def test_a_clients_own_marks_are_all_there_are():
    body = chat(SYSTEM, user("1", cache_control=MARK), assistant("2"), user("3"), tools=TOOLS)
    assert marked(body) == ["1"]


def test_a_client_that_marks_may_have_the_servers_mark_beside_its_own_last_three():
    said = [user(str(number), prompt_cache_breakpoint={"mode": "explicit"}) for number in range(5)]
    body = chat(*said, assistant("yes"), user("end"), prompt_cache_options={"mode": "implicit"})
    assert marked(body) == ["2", "3", "4", "end"]


def test_an_hours_mark_of_the_client_stands_before_ours_of_five_minutes():
    said = user("long", cache_control={"type": "ephemeral", "ttl": "1h"})
    body = chat(said, assistant("yes"), user("end"), prompt_cache_options={"mode": "implicit"})
    blocks = [block for message in body["messages"] for block in message["content"]]
    assert [block.get("cache_control") for block in blocks] == [
        {"type": "ephemeral", "ttl": "1h"}, None, MARK]  # fmt: skip


def test_a_mode_that_there_is_not_is_refused_by_its_name():
    with pytest.raises(errors.BadRequest, match=r"^prompt_cache_options\.mode: must be"):
        chat(user("hello"), prompt_cache_options={"mode": "both"})


def test_results_of_calls_are_marked():
    call = {"type": "function_call", "call_id": "c", "name": "a", "arguments": "{}"}
    output = {"type": "function_call_output", "call_id": "c", "output": "done"}
    said = [{"role": "user", "content": "go"}, call, output]
    body = of_responses({"model": MODEL, "input": said}, ON).body
    assert marked(body) == ["go", "tool_result"]


BLOCKS = st.sampled_from(["text", "thinking", "redacted_thinking", "tool_use", "tool_result"])
BODIES = st.fixed_dictionaries(
    {
        "messages": st.lists(
            st.builds(
                lambda role, kinds, marks: {
                    "role": role,
                    "content": [
                        {"type": kind, **({"cache_control": dict(MARK)} if is_marked else {})}
                        for kind, is_marked in zip(kinds, marks, strict=False)
                    ],
                },
                st.sampled_from(["user", "assistant"]),
                st.lists(BLOCKS, min_size=1, max_size=4),
                st.lists(st.booleans(), min_size=4, max_size=4),
            ),
            min_size=1,
            max_size=6,
        )
    },
    optional={
        "tools": st.just([{"name": "a"}]).map(lambda tools: [dict(tool) for tool in tools]),
        "system": st.just([{"text": "s"}]).map(lambda texts: [dict(text) for text in texts]),
    },
)
FIELDS = st.fixed_dictionaries(
    {},
    optional={
        "prompt_cache_key": st.just("k"),
        "prompt_cache_options": st.sampled_from([{}, {"mode": "implicit"}, {"mode": "explicit"}]),
    },
)


@given(body=BODIES, fields=FIELDS, by_default=st.booleans())
def test_claude_never_gets_more_than_four_marks_and_none_of_ours_at_its_thinking(
    body: Json, fields: Json, by_default: bool
):
    before = [
        "cache_control" in block for message in body["messages"] for block in message["content"]
    ]
    caching.settle_marks(body, fields, by_default=by_default)
    blocks = [block for message in body["messages"] for block in message["content"]]
    beside = [*body.get("tools", ()), *body.get("system", ())]
    assert sum("cache_control" in block for block in [*beside, *blocks]) <= 4
    new = [
        block["type"]
        for block, was in zip(blocks, before, strict=True)
        if "cache_control" in block and not was
    ]
    assert not {"thinking", "redacted_thinking"} & set(new)
