"""A history that OpenAI's APIs take is never refused, and never makes Claude refuse."""

from typing import Any

import hypothesis
import pytest
from hypothesis import strategies as st

from ..simulator import strict
from . import chat_corpus, responses_corpus
from .histories import CASES, CHAT, RESPONSES, Api, Json, Step, assistant, text, user
from .responses_corpus import reasoning
from .test_responses_request import check_claude

BLANKS = (" ", "\n\n", "\t \r\n", "\u3000")
apis = pytest.mark.parametrize("api", [CHAT, RESPONSES], ids=lambda api: api.name)


@apis
@pytest.mark.parametrize(("steps", "turns"), [case[1:] for case in CASES],
                         ids=[case[0][:50] for case in CASES])  # fmt: skip
def test_an_odd_history_becomes_claudes(api: Api, steps: list[Step], turns: list[Json]):
    body = api.translate(api.asking(steps, tools=[api.tool()])).body

    assert body["messages"] == turns
    check_claude(body)
    strict.check(body)


@pytest.mark.parametrize("blank", BLANKS)
def test_blank_instructions_are_no_system_prompt(blank: str):
    asked = {"model": "claude-opus-4-6", "instructions": blank, "input": "a"}
    assert "system" not in RESPONSES.translate(asked).body


@apis
def test_a_blank_part_is_left_out_and_the_others_stay(api: Api):
    kind = "text" if api is CHAT else "input_text"
    parts = [{"type": kind, "text": words} for words in (" ", " a ", "\n")]
    assert api.claudes(("user", parts)) == [user(" a ")]


def test_instructions_alone_are_followed():
    body = RESPONSES.translate(
        {"model": "claude-opus-4-6", "instructions": "Say hello.", "input": []}
    ).body
    assert body["system"] == [text("Say hello.")]
    assert body["messages"] == [user("Begin.")]


def test_blank_texts_of_a_turn_that_comes_back_are_left_out():
    blocks = [text("\n\n"), {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search",
                             "input": {}}, text("Found.")]  # fmt: skip
    turn = reasoning({"type": "turn", "content": blocks})
    said = [{"role": "user", "content": "a"}, turn, {"role": "user", "content": "b"}]

    body = RESPONSES.translate({"model": "claude-opus-4-6", "input": said}).body

    assert body["messages"] == [user("a"), assistant(*blocks[1:]), user("b")]


@pytest.mark.parametrize("block", [{"type": "text"}, {"type": "tool_use", "id": "a"},
                                   {"type": "tool_use", "name": "a", "input": {}}])  # fmt: skip
def test_a_turn_that_nobody_made_is_passed_over(block: Json):
    turn = reasoning({"type": "turn", "content": [block]})
    said = [{"role": "user", "content": "a"}, turn, {"role": "user", "content": "b"}]

    body = RESPONSES.translate({"model": "claude-opus-4-6", "input": said}).body

    assert body["messages"] == [user("a", "b")]


IDS = st.sampled_from(["c", "c_2", "c.2", "", "d"])
WORDS = st.sampled_from(["a", " b\n", "", *BLANKS])
ARGUMENTS = st.sampled_from(["{}", '{"a": 1}', '{"a', "null", "[1]", '"a"', ""])
STEPS = st.lists(
    st.tuples(st.sampled_from(["user", "system", "developer"]), WORDS)
    | st.tuples(st.just("assistant"), WORDS | st.none())
    | st.tuples(st.just("call"), IDS, ARGUMENTS)
    | st.tuples(st.just("result"), IDS, WORDS),
    min_size=1,
    max_size=12,
)


def blocks_of(body: Json) -> list[tuple[str, Any]]:
    """What a prompt holds, in its order, whatever is marked for the cache in it."""
    return [
        (turn["role"], {name: value for name, value in block.items() if name != "cache_control"})
        for turn in [{"role": "system", "content": body.get("system", [])}, *body["messages"]]
        for block in turn["content"]
    ]


@apis
@hypothesis.settings(max_examples=80, deadline=None)
@hypothesis.given(steps=STEPS)
def test_any_history_is_taken_and_one_that_grows_begins_as_it_did(api: Api, steps: list[Step]):
    whole = api.translate(api.asking([*steps, ("user", "end")])).body
    strict.check(whole)
    check_claude(whole)
    for length, (kind, *_) in enumerate(steps):
        # A request was made where the assistant speaks next.
        if not length or kind not in ("assistant", "call"):
            continue
        if steps[length - 1][0] in ("assistant", "call"):
            continue
        begun = blocks_of(api.translate(api.asking(steps[:length])).body)
        assert blocks_of(whole)[: len(begun)] == begun


CORPUS = [(CHAT, case[0], {"messages": chat_corpus.ASKED, **case[1]}) for case in chat_corpus.CASES]
CORPUS += [(RESPONSES, case[0], case[1]) for case in responses_corpus.CASES]


@pytest.mark.parametrize(("api", "asked"), [(api, asked) for api, _, asked in CORPUS],
                         ids=[f"{api.name}: {name}" for api, name, _ in CORPUS])  # fmt: skip
def test_claude_refuses_nothing_of_the_corpus(api: Api, asked: Json):
    strict.check(api.translate({"model": "claude-opus-4-6", **asked}).body)
