"""Requests of the Responses API become what Claude's API takes, or are refused by name."""

import contextlib
import copy
import json
import typing
from typing import Any, cast

import hypothesis
import pydantic
import pytest
from anthropic.types import MessageCreateParams
from hypothesis import settings
from hypothesis import strategies as st
from openai.types.responses.response_create_params import ResponseCreateParamsStreaming

from relay import errors
from relay.dialects.openai import asked as common
from relay.dialects.openai import tools
from relay.dialects.responses import request

from .responses_corpus import CASES, HELLO, MODEL, REFUSED, Json, reasoning, said

# Version 2023-06-01 has these, which the newest SDK's types no longer name.
_OF_OLDER_VERSIONS = ("temperature", "top_p")
_FIELDS = sorted(typing.get_type_hints(ResponseCreateParamsStreaming))
_claude = pydantic.TypeAdapter(MessageCreateParams)


def check_claude(body: Json) -> None:
    """Claude's own types accept every field of the request, and know it."""
    known = {name: value for name, value in body.items() if name not in _OF_OLDER_VERSIONS}
    assert plain(_claude.validate_json(json.dumps(known), strict=True)) == known


def plain(value: Any) -> Any:
    """What was validated, with pydantic's models and lazy sequences walked through."""
    if isinstance(value, pydantic.BaseModel):
        value = value.model_dump(exclude_unset=True)
    if isinstance(value, dict):
        return {name: plain(one) for name, one in value.items()}
    if isinstance(value, str | int | float | None):
        return value
    return [plain(one) for one in value]


def refusal_of(fields: Json) -> str:
    with pytest.raises(errors.BadRequest) as caught:
        request.translate(fields)
    return caught.value.message


@pytest.mark.parametrize(("asked", "expected"), [case[1:] for case in CASES],
                         ids=[case[0] for case in CASES])  # fmt: skip
def test_a_request_becomes_claudes(asked: Json, expected: Json) -> None:
    body = request.translate({"model": MODEL, **asked}).body

    assert {k: v for k, v in body.items() if k not in ("model", "max_tokens")} == expected
    check_claude(body)


@pytest.mark.parametrize(("asked", "place"), [case[1:] for case in REFUSED],
                         ids=[case[0] for case in REFUSED])  # fmt: skip
def test_what_claude_cannot_do_is_refused_by_the_fields_name(asked: Json, place: str) -> None:
    assert refusal_of({"model": MODEL, **asked}).startswith(f"{place}: ")


@pytest.mark.parametrize(
    ("model", "most"),
    [
        ("claude-3-haiku-20240307", 4096), ("claude-3-5-haiku-20241022", 8192),
        ("claude-opus-4-20250514", 32_000), ("claude-sonnet-4-5-20250929", 64_000),
        ("claude-haiku-4-5", 64_000), ("claude-sonnet-4-6", 64_000),
        ("claude-opus-5-5", 128_000), ("my-own-name", 128_000),
    ],
)  # fmt: skip
def test_an_answers_bound_is_the_models_own_where_none_is_given(model: str, most: int) -> None:
    assert request.translate({"model": model, "input": "a"}).body["max_tokens"] == most
    bounded = request.translate({"model": model, "input": "a", "max_output_tokens": 7})
    assert bounded.body["max_tokens"] == 7


def test_only_the_last_four_marks_of_the_cache_are_kept() -> None:
    mark = {"prompt_cache_breakpoint": {"mode": "explicit"}}
    parts = [{"type": "input_text", "text": str(number), **mark} for number in range(6)]

    body = request.translate({"model": MODEL, "input": [{"role": "user", "content": parts}]}).body

    marked = [b["text"] for b in body["messages"][0]["content"] if "cache_control" in b]
    assert marked == ["2", "3", "4", "5"]


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"a": "\xff"}', b'{"a": NaN}', b"[" * 10**5])
def test_a_body_that_is_no_object_is_refused(body: bytes) -> None:
    with pytest.raises(errors.BadRequest):
        common.parse(body)


_scalars = (
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats(width=16) | st.text(max_size=5)
)
_json = st.recursive(
    _scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)
_ASKED = [case[1] for case in CASES]


def _paths(value: Any) -> list[list[Any]]:
    """The way to every value inside of this one."""
    steps = range(len(value)) if isinstance(value, list) else value
    if not isinstance(value, list | dict):
        return [[]]
    return [[], *([step, *rest] for step in steps for rest in _paths(value[step]))]


def _deep(whole: Json) -> list[list[Any]]:
    return [way for way in _paths(whole) if len(way) > 1 and way[1] != "model"] or [["", "input"]]


@st.composite
def _request(draw: st.DrawFn) -> Json:
    """A request of the corpus in which a few values, anywhere, are something else or missing."""
    whole: Json = {"": {"model": MODEL, **copy.deepcopy(draw(st.sampled_from(_ASKED)))}}
    for _ in range(draw(st.integers(1, 2))):
        *way, last = draw(st.sampled_from(_deep(whole)))
        value: Any = whole
        for step in way:
            value = value[step]
        donor = {"": draw(st.sampled_from(_ASKED))}
        found: Any = donor
        for step in draw(st.sampled_from(_paths(donor))):
            found = found[step]
        if draw(st.booleans()):
            value[last] = draw(_json) if draw(st.booleans()) else copy.deepcopy(found)
        elif isinstance(value, list):
            value.insert(last, copy.deepcopy(found))
        else:
            value.pop(last, None)
    return cast("Json", whole[""])


@settings(max_examples=400, deadline=None)
@hypothesis.given(_request())
def test_any_request_is_refused_by_a_fields_name_or_becomes_one_that_claude_takes(
    fields: Json,
) -> None:
    try:
        body = request.translate(fields).body
    except errors.BadRequest as error:
        place = error.message.partition(":")[0]
        assert place.partition("[")[0].partition(".")[0] in _FIELDS
    else:
        check_claude(body)


@settings(max_examples=200, deadline=None)
@hypothesis.given(_json | st.dictionaries(st.sampled_from(_FIELDS), _json))
def test_any_json_at_all_is_refused_or_becomes_a_request(value: Any) -> None:
    fields = value if isinstance(value, dict) else {"input": value, "model": MODEL}
    with contextlib.suppress(errors.BadRequest):
        check_claude(request.translate(fields).body)


def test_a_turn_that_was_kept_whole_takes_the_place_of_its_items() -> None:
    blocks = [
        {
            "type": "server_tool_use",
            "id": "srvtoolu_1",
            "name": "web_search",
            "input": {"query": "x"},
        },
        {"type": "text", "text": "Found."},
    ]
    kept = {"type": "turn", "content": blocks}
    items = [said("user", "hello"), {"type": "web_search_call", "id": "ws_1"},
             said("assistant", "Found."), reasoning(kept), said("assistant", "More.")]  # fmt: skip
    body = request.translate({"model": MODEL, "input": items}).body

    more = {"type": "text", "text": "More."}
    assert body["messages"][:2] == [*HELLO, {"role": "assistant", "content": [*blocks, more]}]


def test_a_tool_that_claude_calls_is_the_clients_by_its_own_name() -> None:
    space = {"type": "namespace", "name": "n", "tools": [{"type": "custom", "name": "c"}]}
    box = request.translate({"model": MODEL, "input": "a", "tools": [space]}).box

    assert box.tool("n__c") == tools.Tool("custom", "c", "n")
    assert box.tool("unknown") == tools.Tool("function", "unknown")
