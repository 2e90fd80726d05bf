"""Which stored state a request names, and which an answer."""

import json
from typing import Any

import msgspec
import pytest

from relay import errors
from relay.body import fields_of
from relay.call import Named
from relay.dialects import state


def named(body: bytes) -> tuple[Named, ...]:
    return state.named_by(fields_of(body))


@pytest.mark.parametrize(
    ("fields", "kind", "place"),
    [
        ({"container": "x"}, "container", "container"),
        ({"container": {"id": "x", "skills": []}}, "container", "container.id"),
        ({"thread": {"type": "continue", "previous_message_id": "x"}}, "thread",
         "thread.previous_message_id"),
        ({"thread": {"previous_message_id": "x"}}, "thread", "thread.previous_message_id"),
        ({"fallback_credit_token": "x"}, "credit", "fallback_credit_token"),
        ({"fallback_credit_token": {"token": "x", "mode": "strict"}}, "credit",
         "fallback_credit_token.token"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("indent", [None, 2])
def test_each_shape_of_a_field_names_its_id(
    fields: dict[str, Any], kind: str, place: str, indent: int | None
):
    body = json.dumps(fields, indent=indent)
    assert named(body.encode()) == (Named(kind, "x", place),)
    escaped = body.replace('"x"', r'"\u0078"').replace('"id"', r'"\u0069d"')
    assert named(escaped.encode()) == (Named(kind, "x", place),)


@pytest.mark.parametrize(
    "fields",
    [
        {}, {"container": None}, {"container": {}}, {"container": {"id": None}}, {"thread": None},
        {"thread": {"type": "create"}}, {"fallback_credit_token": None},
        {"messages": [{"container": "x", "thread": {"previous_message_id": "x"}}]},
    ],
)  # fmt: skip
def test_what_names_nothing_is_found_to_name_nothing(fields: dict[str, Any]):
    assert named(json.dumps(fields).encode()) == ()


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b'{"container": {"id": "a", "id": "b"}}', "container: id"),
        (rb'{"container": {"id": "a", "\u0069d": "b"}}', "container: id"),
        (b'{"thread": {"previous_message_id": "a", "previous_message_id": "b"}}', "thread: prev"),
        (b'{"fallback_credit_token": {"token": 1}}', "fallback_credit_token.token"),
        (b'{"container": 1}', "container"),
        (b'{"container": ["x"]}', "container"),
        (b'{"container": true}', "container"),
        (b'{"thread": "x"}', "thread"),
        (b'{"thread": ["x"]}', "thread"),
        (b'{"thread": 1}', "thread"),
        (b'{"container": {"id": {"id": "x"}}}', "container.id"),
        (b'{"container": "%s"}' % (b"x" * 5000), "container"),
        (b'{"container": {"id": "x", "y": "%s"}}' % (b"y" * 70_000), "container"),
    ],
)
def test_what_the_upstream_might_read_otherwise_is_refused_by_its_field(body: bytes, field: str):
    with pytest.raises(errors.BadRequest) as refused:
        named(body)
    assert refused.value.message.startswith(field)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (("msg_1", None, None), [("thread", "msg_1")]),
        (("msg_1", {"id": "c"}, None), [("thread", "msg_1"), ("container", "c")]),
        ((None, None, {"fallback_credit_token": "t"}), [("credit", "t")]),
        ((1, {"id": ["c"]}, {"fallback_credit_token": 1}), []),
        (("", [], "x"), []),
        (("x" * 5000, {}, {}), []),
    ],
)
def test_an_answer_names_what_later_requests_may_name(answer: Any, expected: list[Any]):
    assert list(state.made_by(*answer, "")) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b'{"type": "thinking", "thinking": "x", "signature": "c2lnbmF0dXJl"}', ["c2lnbmF0dXJl"]),
        (b'{"type":"redacted_thinking","data":"cmVkYWN0ZWQ="}', ["cmVkYWN0ZWQ="]),
        (b'[{"signature" :"b2xkb2xkb2xk"}, {"signature":\n"bmV3bmV3bmV3"}]',
         ["bmV3bmV3bmV3", "b2xkb2xkb2xk"]),
        (b'[{"signature": "b2xkb2xkb2xk"}, {"signature": {"of": "a tool"}}]', ["b2xkb2xkb2xk"]),
        (rb'{"signature": "YS9i\/2M+ZA\u003d\u003d"}', ["YS9i/2M+ZA=="]),
        (b'[{"signature": ""}, "signature", {"signature": null}]', []),
        (rb'{"text": "{\"signature\": \"b2xkb2xkb2xk\"}"}', []),
        (b'{"thinking": {"type": "adaptive"}}', []),
    ],
)  # fmt: skip
def test_the_newest_signatures_of_thinking_come_first(text: bytes, expected: list[str]):
    assert list(state.signatures(text, 8)) == expected


def test_a_named_field_is_read_without_decoding_the_rest():
    assert state.named_by({"messages": msgspec.Raw(b"not json"), "container": msgspec.Raw(b'"x"')})


def test_custom_skills_are_named_with_their_container():
    skills = [
        {"type": "anthropic", "skill_id": "pptx"},
        {"type": "custom", "skill_id": "skill_1", "version": "latest"},
        {"type": "of tomorrow", "skill_id": "skill_2"},
    ]
    fields = {"container": {"id": "c", "skills": skills}}
    assert named(json.dumps(fields).encode()) == (
        Named("container", "c", "container.id"),
        Named("skill", "skill_1", "container.skills[1].skill_id"),
        Named("skill", "skill_2", "container.skills[2].skill_id"),
    )


@pytest.mark.parametrize(
    ("skills", "field"),
    [
        ('{"a": 1}', "container.skills"),
        ('["x"]', "container.skills[0]"),
        ('[{"type": "custom"}]', "container.skills[0].skill_id"),
        ('[{"skill_id": "x"}]', "container.skills[0].type"),
        ('[{"type": "anthropic", "type": "custom", "skill_id": "x"}]', "container.skills[0]: type"),
        ('[{"type": "custom", "skill_id": "x", "skill_id": "y"}]', "container.skills[0]: skill_id"),
        (str([{}] * 100).replace("{}", '{"type": "anthropic"}'), "container.skills[64]"),
    ],
)
def test_skills_that_could_be_read_otherwise_are_refused(skills: str, field: str):
    with pytest.raises(errors.BadRequest) as refused:
        named(f'{{"container": {{"skills": {skills}}}}}'.encode())
    assert refused.value.message.startswith(field)
