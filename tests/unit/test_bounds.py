"""What bounds a request's cost: judged by decoded values, however the JSON spells them."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay import errors
from relay.dialects import chat, messages, responses
from relay.pricing import (
    ANY_MODEL,
    MOST_MICROS,
    MOST_TOKENS,
    MOST_USES,
    Advisor,
    Fallback,
    Prices,
    Reach,
)
from relay.pricing import PLAIN as PLAIN_REACH

PLAIN = {"model": "claude-opus-5", "max_tokens": 5, "messages": [{"role": "user", "content": "a"}]}
SEARCH = {"type": "web_search_20250305", "name": "web_search"}
ADVISOR = {"type": "advisor_20260301", "name": "a", "model": "claude-opus-5", "max_uses": 2}
WORDS = (
    "type", "url", "file", "container_upload", "tool_addition", "mcp_servers", "tools",
    "max_tokens", "fallbacks", "speed", "fast", "web_search_20250305", "advisor_20260301",
    "context_management", "compact_20260112", "edits", "max_uses", "container",
)  # fmt: skip
MORE_WORDS = ("default", "us", "definition", "image", "document", "base64", "tool_addition",
              "summarize", "advisor_20260301", "pause_after_compaction")  # fmt: skip


def read(body: bytes):
    return messages.read("messages", "POST", b"/v1/messages", body, [])


def with_source(source: dict, kind: str = "image") -> dict:
    content = [{"type": kind, "source": source}]
    return {**PLAIN, "messages": [{"role": "user", "content": content}]}


def without(field: str) -> dict:
    return {name: value for name, value in PLAIN.items() if name != field}


UNBOUNDED = [
    ({**PLAIN, "messages": [{"role": "user", "content": [
        {"type": "container_upload", "file_id": "f"}]}]}, "messages"),
    ({**PLAIN, "messages": [{"role": "system", "content": [
        {"type": "tool_addition", "tool": {}}]}]}, "messages"),
    ({**PLAIN, "system": [{"type": "container_upload", "file_id": "f"}]}, "system"),
    ({**PLAIN, "safeguards": [{"type": "dangerous_tool_use"}]}, "safeguards"),
    ({**PLAIN, "mcp_servers": [{"type": "url", "url": "https://example.org", "name": "a"}]},
     "mcp_servers"),
    ({**PLAIN, "tools": [SEARCH]}, "tools"),
    ({**PLAIN, "tools": [{**SEARCH, "max_uses": -1}]}, "tools"),
    ({**PLAIN, "tools": [{"type": "code_execution_20250825", "name": "code_execution"}]}, "tools"),
    ({**PLAIN, "tools": [{"type": "advisor_20260301", "model": "x"}]}, "tools"),
    ({**PLAIN, "tools": [{"type": "advisor_20260301", "max_uses": 1}]}, "tools"),
    ({**PLAIN, "tools": [{**ADVISOR, "max_tokens": -1}]}, "tools"),
    ({**PLAIN, "tools": [{"type": "mcp_toolset", "mcp_server_name": "a"}]}, "tools"),
    ({**PLAIN, "tools": [{"type": "nobody_knows"}]}, "tools"),
    ({**PLAIN, "fallbacks": [{"model": "claude-fable-5", "of_tomorrow": 1}]}, "fallbacks"),
    ({**PLAIN, "fallbacks": [{"model": "claude-fable-5", "speed": "furious"}]}, "fallbacks"),
    ({**PLAIN, "fallbacks": [{"model": "claude-fable-5", "max_tokens": -1}]}, "fallbacks"),
    ({**PLAIN, "fallbacks": [{"model": "a"}] * 17}, "fallbacks"),
    ({**PLAIN, "fallbacks": [{"max_tokens": 5}]}, "fallbacks"),
    ({**PLAIN, "fallbacks": "dearest"}, "fallbacks"),
    ({**PLAIN, "speed": "furious"}, "speed"),
    ({**PLAIN, "inference_geo": "moon"}, "inference_geo"),
    ({**PLAIN, "container": {"skills": [{"type": "anthropic", "skill_id": "pdf"}]}}, "container"),
    ({**PLAIN, "thread": {"type": "continue", "previous_message_id": "msg_1"}}, "thread"),
    ({**PLAIN, "compaction": {"type": "of_tomorrow"}}, "compaction"),
    ({**PLAIN, "compaction": {"type": "summarize", "model": "a"}}, "compaction"),
    ({**PLAIN, "context_management": {"edits": [{"type": "of_tomorrow"}]}}, "context_management"),
    ({**PLAIN, "context_management": {"edits": [{"type": "compact_20260112"}] * 2}},
     "context_management"),
    ({**PLAIN, "context_management": {"edits": [{"type": "compact_20260112", "model": "a"}]}},
     "context_management"),
    ({**PLAIN, "of_tomorrow": True}, "of_tomorrow"),
    (without("max_tokens"), "max_tokens"),
]  # fmt: skip
BOUNDED = [
    PLAIN,
    with_source({"type": "base64", "media_type": "image/png", "data": "aGk="}),
    {**PLAIN, "messages": [{"role": "user", "content": '{"type": "url", "type":"file"}'}]},
    {**PLAIN, "messages": [{"role": "user", "content": '\\"type\\":\\"url\\"'}]},
    {**PLAIN, "tools": [{**SEARCH, "max_uses": 3}]},
    {**PLAIN, "tools": [{"name": "web_search", "input_schema": {"type": "object"}}]},
    {**PLAIN, "tools": [{"type": "custom", "name": "advisor", "input_schema": {"type": "object"}}]},
    {**PLAIN, "tools": [{"type": "bash_20250124", "name": "bash"}]},
    {**PLAIN, "tools": [{"type": None, "name": "a"}]},
    {**PLAIN, "tools": None, "mcp_servers": [], "container": None, "fallbacks": None},
    {**PLAIN, "speed": "standard", "inference_geo": "global"},
    {**PLAIN, "thread": {"type": "create"}, "tags": ["a"], "fallback_credit_token": "a"},
    {**PLAIN, "context_management": {"edits": [{"type": "clear_tool_uses_20250919"}]}},
    {**PLAIN, "max_tokens": 0, "thinking": {"type": "adaptive"}, "temperature": 1.0,
     "metadata": {"user_id": "u"}, "output_config": {"effort": "high"}, "stop_sequences": ["a"],
     "system": [{"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}]},
]  # fmt: skip


def with_addition(definition: dict) -> dict:
    addition = {"type": "tool_addition", "tool": {"definition": definition}}
    return {**PLAIN, "messages": [*PLAIN["messages"], {"role": "system", "content": [addition]}]}


COMPACT = {"type": "compact_20260112", "trigger": {"type": "input_tokens", "value": 50_000}}
TOOLS, SERVER_TOOL = 1024, 4096
PRICED: list[tuple[dict, Reach]] = [
    (PLAIN, PLAIN_REACH),
    ({**PLAIN, "speed": "fast"}, Reach(is_fast=True)),
    ({**PLAIN, "inference_geo": "us"}, Reach(geo="us")),
    ({**PLAIN, "inference_geo": "global"}, Reach(geo="global")),
    ({**PLAIN, "compaction": {"type": "summarize"}}, Reach(summarizes=True)),
    ({**PLAIN, "fallbacks": "default"}, Reach(fallbacks=(Fallback(ANY_MODEL),))),
    ({**PLAIN, "fallbacks": [{"model": "a"}, {"model": "b", "max_tokens": 9, "thinking": {}}]},
     Reach(fallbacks=(Fallback("a"), Fallback("b", 9)))),
    ({**PLAIN, "fallbacks": [{"model": "a", "speed": "fast"}], "speed": "standard"},
     Reach(fallbacks=(Fallback("a"),), is_fast=True)),
    ({**PLAIN, "context_management": {"edits": [{"type": "clear_thinking_20251015"}, COMPACT]}},
     Reach(compacts=None)),
    ({**PLAIN, "context_management": {"edits": [{**COMPACT, "pause_after_compaction": True}]}},
     Reach(compacts=1)),
    ({**PLAIN, "tools": [{"name": "mine", "input_schema": {}}]}, Reach(hidden_tokens=TOOLS)),
    ({**PLAIN, "tools": [{"type": "bash_20250124", "name": "bash"}]},
     Reach(hidden_tokens=2 * TOOLS)),
    ({**PLAIN, "tools": [{"type": "computer_toolset_20260801"}]},
     Reach(hidden_tokens=TOOLS + 8192)),
    ({**PLAIN, "tools": [{**SEARCH, "max_uses": 3}, {**SEARCH, "max_uses": 1}]},
     Reach(hidden_tokens=TOOLS + 2 * SERVER_TOOL, tool_uses=4)),
    ({**PLAIN, "tools": [ADVISOR, {**ADVISOR, "model": "b", "max_tokens": 2048}]},
     Reach(hidden_tokens=TOOLS + 2 * SERVER_TOOL,
           advisors=(Advisor("claude-opus-5", 2, 128_000), Advisor("b", 2, 2048)))),
    (with_addition(ADVISOR),
     Reach(hidden_tokens=TOOLS + SERVER_TOOL, advisors=(Advisor("claude-opus-5", 2, 128_000),))),
    (with_addition({"name": "mine", "input_schema": {}}), Reach(hidden_tokens=TOOLS)),
    (with_source({"type": "base64", "media_type": "image/png", "data": "aGk="}),
     Reach(hidden_tokens=5000)),
    (with_source({"type": "base64", "media_type": "application/pdf", "data": "aGk="}, "document"),
     Reach(hidden_tokens=1_000_000)),
    (with_source({"type": "url", "url": "https://example.org/a.png"}),
     Reach(hidden_tokens=1_005_000)),
    (with_source({"type": "file", "file_id": "file_1"}, "document"),
     Reach(hidden_tokens=1_000_000)),
    ({**PLAIN, "system": [{"type": "document", "source": {"type": "file", "file_id": "f"}}]},
     Reach(hidden_tokens=1_000_000)),
    (with_source({"type": "text", "media_type": "text/plain", "data": "hi"}, "document"),
     PLAIN_REACH),
]  # fmt: skip
UNBOUNDED += [
    (with_addition({**ADVISOR, "max_uses": None}), "messages"),
    (with_addition({"type": "code_execution_20250825"}), "messages"),
    ({**PLAIN, "system": with_addition(ADVISOR)["messages"][1]["content"]}, "messages"),
]


def escaped(text: str, word: str, places: tuple[int, ...], *, upper: bool) -> str:
    """JSON in which letters of a word that stands there are escapes."""
    letters = [
        (f"\\u{ord(letter):04X}" if upper else f"\\u{ord(letter):04x}")
        if place in places
        else letter
        for place, letter in enumerate(word)
    ]
    return re.sub(f'"{word}"', lambda _: f'"{"".join(letters)}"', text)


@pytest.mark.parametrize(("body", "field"), UNBOUNDED)
def test_what_cannot_be_bounded_is_named(body: dict, field: str):
    assert read(json.dumps(body).encode()).unbounded == field


@pytest.mark.parametrize("body", BOUNDED)
def test_what_size_and_max_tokens_bound_is_not(body: dict):
    assert read(json.dumps(body).encode()).unbounded == ""


@pytest.mark.parametrize(("body", "reach"), PRICED)
def test_what_a_request_names_beside_its_size_and_max_tokens_is_read(body: dict, reach: Reach):
    call = read(json.dumps(body).encode())
    assert (call.unbounded, call.reach) == ("", reach)


@given(
    case=st.sampled_from(PRICED),
    word=st.sampled_from((*WORDS, *MORE_WORDS)),
    places=st.sets(st.integers(0, 18), min_size=1),
    upper=st.booleans(),
)
def test_escapes_in_names_and_values_make_nothing_cheaper(
    case: tuple[dict, Reach], word: str, places: set[int], upper: bool
):
    body, reach = case
    text = escaped(json.dumps(body), word, tuple(places), upper=upper)
    assert json.loads(text) == body
    assert read(text.encode()).reach == reach


@given(
    case=st.sampled_from(UNBOUNDED),
    word=st.sampled_from(WORDS),
    places=st.sets(st.integers(0, 18), min_size=1),
    upper=st.booleans(),
    space=st.sampled_from(["", " ", "\n\t "]),
)
def test_escapes_in_names_and_values_hide_nothing(
    case: tuple[dict, str], word: str, places: set[int], upper: bool, space: str
):
    body, field = case
    text = json.dumps(body, separators=(f"{space},", f"{space}:{space}"))
    text = escaped(text, word, tuple(places), upper=upper)
    assert json.loads(text) == body
    assert read(text.encode()).unbounded == field
    batch = f'{{"custom_id":"a","params":{text}}}'
    assert messages.params_of(batch.encode()).unbounded == field


@given(
    case=st.sampled_from(BOUNDED), word=st.sampled_from(WORDS), places=st.sets(st.integers(0, 9))
)
def test_escapes_alone_make_nothing_unbounded(case: dict, word: str, places: set[int]):
    text = escaped(json.dumps(case), word, tuple(places), upper=False)
    assert read(text.encode()).unbounded == ""


def test_text_that_speaks_of_addresses_is_text_however_it_is_spelled():
    content = '"type":"url" \\u0022type\\u0022:\\u0022url\\u0022'
    text = json.dumps(PLAIN).replace('"a"', json.dumps(content).replace('\\"', "\\u0022"))
    assert read(text.replace("url", "\\u0075rl").encode()).unbounded == ""


NUMBERS = [str(10**7 + 1), str(2**63), str(10**19), "1" + "0" * 100, "1" + "0" * 5000, "1e400"]


@pytest.mark.parametrize("number", NUMBERS, ids=lambda number: number[:20])
def test_more_tokens_than_anything_can_have_are_refused(number: str):
    body = json.dumps({**PLAIN, "max_tokens": "@"}).replace('"@"', number).encode()
    with pytest.raises(errors.BadRequest, match=r"^max_tokens: "):
        read(body)


@pytest.mark.parametrize("number", NUMBERS[:4])
def test_more_uses_of_a_tool_than_anything_can_have_are_refused(number: str):
    tools = [{"name": "mine"}, {**SEARCH, "max_uses": "@"}]
    body = json.dumps({**PLAIN, "tools": tools}).replace('"@"', number).encode()
    with pytest.raises(errors.BadRequest, match=r"^tools\[1\]\.max_uses: "):
        read(body)


@pytest.mark.parametrize("number", NUMBERS[:4])
@pytest.mark.parametrize(("more", "place"), [
    ({"fallbacks": [{"model": "a"}, {"model": "b", "max_tokens": "@"}]}, "fallbacks[1].max_tokens"),
    ({"tools": [{**ADVISOR, "max_tokens": "@"}]}, "tools[0].max_tokens"),
    ({"tools": [{**ADVISOR, "max_uses": "@"}]}, "tools[0].max_uses"),
    (with_addition({**ADVISOR, "max_tokens": "@"}),
     "messages[1].content[0].tool.definition.max_tokens"),
])  # fmt: skip
def test_the_bounds_of_other_models_have_the_same_bound(number: str, more: dict, place: str):
    body = json.dumps({**PLAIN, **more}).replace('"@"', number).encode()
    with pytest.raises(errors.BadRequest, match=f"^{re.escape(place)}: "):
        read(body)


@pytest.mark.parametrize("number", [*NUMBERS[4:], "2.5", "true", '"3"'], ids=lambda text: text[:20])
def test_uses_that_are_no_number_bound_nothing(number: str):
    tools = [{**SEARCH, "max_uses": "@"}]
    body = json.dumps({**PLAIN, "tools": tools}).replace('"@"', number).encode()
    assert read(body).unbounded == "tools"


@pytest.mark.parametrize(("dialect", "field"), [
    (chat, "max_tokens"), (chat, "max_completion_tokens"), (responses, "max_output_tokens"),
])  # fmt: skip
@pytest.mark.parametrize(
    "value", [0, -1, MOST_TOKENS + 1, 10**19, 10**400], ids=lambda n: str(n)[:9]
)
def test_openais_fields_have_the_same_bound(dialect, field: str, value: int):
    given = {"model": "claude-opus-5", "reasoning": {"effort": "high"}, field: value}
    given |= {"messages": PLAIN["messages"], "input": "a"}
    with pytest.raises(errors.BadRequest, match=f"^{field}: "):
        dialect.request.translate(given)


def test_no_request_costs_more_than_money_can_be_counted():
    reach = Reach(tool_uses=MOST_USES, advisors=(Advisor("a", MOST_USES, MOST_TOKENS),) * 64)
    most = Prices.load().most("claude-opus-5", 32 * 2**20, MOST_TOKENS, reach)
    assert most == MOST_MICROS


@pytest.mark.parametrize("field", ["temperature", "top_p"])
@pytest.mark.parametrize("value", [-1, 10**400, -(10**400)], ids=lambda n: str(n)[:9])
def test_a_number_too_large_for_a_float_is_refused_by_its_field(field: str, value: int):
    given = {"model": "claude-3-5-haiku", "messages": PLAIN["messages"], field: value}
    with pytest.raises(errors.BadRequest, match=f"^{field}: "):
        chat.request.translate(given)
