"""Schemas of answers and tools become what Claude can be held to; the rest is said in words."""

from typing import Any

import hypothesis
import pytest
from hypothesis import strategies as st

from relay.dialects.openai import schemas

from ..simulator import strict
from .histories import CHAT, RESPONSES, Api, Json

apis = pytest.mark.parametrize("api", [CHAT, RESPONSES], ids=lambda api: api.name)
STRING = {"type": "string"}
INTEGER = {"type": "integer"}


def closed(properties: Json, **more: Any) -> Json:
    return {"type": "object", "properties": properties, "additionalProperties": False, **more}


def answering(api: Api, schema: Json) -> Json:
    """Claude's request for an answer by a schema."""
    if api is CHAT:
        wanted = {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}
        more: Json = {"response_format": wanted}
    else:
        more = {"text": {"format": {"type": "json_schema", "name": "a", "schema": schema}}}
    return api.translate(api.asking([("user", "a")], **more)).body


def with_tools(api: Api, *parameters: Json, strict: bool = True, **more: Any) -> Json:
    """Claude's request with tools of these parameters."""
    functions = [{"name": f"t{place}", "parameters": schema, "strict": strict}
                 for place, schema in enumerate(parameters)]  # fmt: skip
    listed = [{"type": "function", "function": one} if api is CHAT else {"type": "function", **one}
              for one in functions]  # fmt: skip
    return api.translate(api.asking([("user", "a")], tools=listed, **more)).body


def held(api: Api, schema: Json) -> Json | None:
    """The schema that Claude is held to, or None where it is only asked."""
    body = answering(api, schema)
    strict.check(body)
    wanted: Json | None = body.get("output_config", {}).get("format", {}).get("schema")
    return wanted


# A property's schema, and what becomes of it.
PROPERTIES: list[tuple[str, Json, Json]] = [
    ("a bound", {**INTEGER, "minimum": 0},
     {**INTEGER, "description": "{minimum: 0}"}),
    ("bounds and a description", {"type": "number", "exclusiveMinimum": 0, "multipleOf": 0.5,
                                  "description": "Half."},
     {"type": "number", "description": "Half.\n\n{exclusiveMinimum: 0, multipleOf: 0.5}"}),
    ("lengths and a pattern", {**STRING, "minLength": 1, "maxLength": 3, "pattern": "^a"},
     {**STRING, "description": '{minLength: 1, maxLength: 3, pattern: "^a"}'}),
    ("a format that Claude takes", {**STRING, "format": "date"}, {**STRING, "format": "date"}),
    ("another format", {**STRING, "format": "byte"},
     {**STRING, "description": '{format: "byte"}'}),
    ("sizes of a list", {"type": "array", "items": STRING, "minItems": 2, "maxItems": 3,
                         "uniqueItems": True},
     {"type": "array", "items": STRING,
      "description": "{minItems: 2, maxItems: 3, uniqueItems: true}"}),
    ("a list that is not empty", {"type": "array", "items": STRING, "minItems": 1},
     {"type": "array", "items": STRING, "minItems": 1}),
    ("a bound in a list", {"type": "array", "items": {**INTEGER, "maximum": 3}},
     {"type": "array", "items": {**INTEGER, "description": "{maximum: 3}"}}),
    ("a bound in alternatives", {"anyOf": [{**INTEGER, "maximum": 3}, {"type": "null"}],
                                 "default": None, "title": "A"},
     {"anyOf": [{**INTEGER, "description": "{maximum: 3}"}, {"type": "null"}],
      "default": None, "title": "A"}),
    ("exclusive alternatives", {"oneOf": [STRING, INTEGER]}, {"anyOf": [STRING, INTEGER]}),
    ("a list of types", {"type": ["integer", "null"], "minimum": 0},
     {"type": ["integer", "null"], "description": "{minimum: 0}"}),
    ("an object or null", {"type": ["object", "null"], "properties": {"b": STRING}},
     closed({"b": STRING}, type=["object", "null"])),
    ("an object that is open beside its properties", {
        "type": "object", "properties": {"b": STRING}, "additionalProperties": True},
     closed({"b": STRING})),
    ("an object without its type", {"properties": {"b": STRING}, "required": ["b", "c"]},
     closed({"b": STRING}, required=["b"])),
    ("an object in an object", closed({"b": {"type": "object", "properties": {
        "c": {**STRING, "maxLength": 2}}}}),
     closed({"b": closed({"c": {**STRING, "description": "{maxLength: 2}"}})})),
    ("properties called like keywords", closed({
        "minimum": {**INTEGER, "minimum": 1}, "pattern": STRING, "$ref": STRING, "anyOf": STRING,
        "properties": closed({"type": STRING})}),
     closed({"minimum": {**INTEGER, "description": "{minimum: 1}"}, "pattern": STRING,
             "$ref": STRING, "anyOf": STRING, "properties": closed({"type": STRING})})),
    ("an enumeration", {**STRING, "enum": ["a", None]}, {**STRING, "enum": ["a", None]}),
    ("one without a type", {"enum": [1, "a"]}, {"enum": [1, "a"]}),
    ("one of objects", {"type": "object", "properties": {}, "enum": [{"a": 1}]},
     closed({}, description='{enum: [{"a":1}]}')),
    ("a constant", {"const": "a", "type": "string"}, {"const": "a", "type": "string"}),
    ("nullable", {**STRING, "nullable": True}, {"type": ["string", "null"]}),
    ("one that all are of", {"allOf": [{**STRING, "maxLength": 2}], "title": "A"},
     {**STRING, "title": "A", "description": "{maxLength: 2}"}),
    ("several that all are of", {"allOf": [closed({"b": STRING}, required=["b"]),
                                           closed({"c": INTEGER})]},
     closed({"b": STRING, "c": INTEGER}, required=["b"])),
    ("a tuple", {"type": "array", "prefixItems": [STRING, INTEGER], "minItems": 2},
     {"type": "array", "items": {"anyOf": [STRING, INTEGER]},
      "description": '{prefixItems: [{"type":"string"},{"type":"integer"}], minItems: 2}'}),
    ("a condition", {**STRING, "if": {"const": "a"}, "then": {"const": "b"}},
     {**STRING, "description": '{if: {"const":"a"}, then: {"const":"b"}}'}),
    ("remarks", {**STRING, "$comment": "a", "deprecated": True}, STRING),
    ("types and alternatives of formats", {**STRING, "anyOf": [{"format": "date"}]},
     {**STRING, "format": "date"}),
    ("alternatives that say what is needed", {
        "type": "object", "properties": {"b": STRING, "c": STRING},
        "anyOf": [{"required": ["b"]}, {"required": ["c"]}]},
     closed({"b": STRING, "c": STRING},
            description='{anyOf: [{"required":["b"]},{"required":["c"]}]}')),
]  # fmt: skip

# Schemas that nothing can be held to.
OPEN: list[tuple[str, Json]] = [
    ("an object of anything", {"type": "object"}),
    ("a map", {"type": "object", "additionalProperties": INTEGER}),
    ("a map beside properties", {
        "type": "object", "properties": {"b": STRING}, "additionalProperties": INTEGER}),
    ("patterns of names", {"type": "object", "properties": {},
                           "patternProperties": {"^a": STRING}}),
    ("anything", {}),
    ("a list of anything", {"type": "array"}),
    ("a reference elsewhere", {"$ref": "https://x.test/a.json"}),
    ("a reference to nothing", {"$ref": "#/$defs/nothing"}),
    ("a reference into the schema", {"$ref": "#/properties/b"}),
    ("a type unknown", {"type": "any"}),
]  # fmt: skip


@apis
@pytest.mark.parametrize(("schema", "fitted"), [case[1:] for case in PROPERTIES],
                         ids=[case[0] for case in PROPERTIES])  # fmt: skip
def test_what_claude_does_not_take_is_said_in_the_description(api: Api, schema: Json, fitted: Json):
    assert held(api, closed({"a": schema}, required=["a"])) == closed({"a": fitted}, required=["a"])


@apis
def test_definitions_are_fitted_too(api: Api):
    limited = {**INTEGER, "maximum": 3}
    schema = closed({"a": {"$ref": "#/$defs/minimum"},
                     "b": {"$ref": "#/$defs/minimum", "description": "B."}},
                    **{"$defs": {"minimum": limited}})  # fmt: skip
    assert held(api, schema) == closed(
        {"a": {"$ref": "#/$defs/minimum"},
         "b": {"anyOf": [{"$ref": "#/$defs/minimum"}], "description": "B."}},
        **{"$defs": {"minimum": {**INTEGER, "description": "{maximum: 3}"}}},
    )  # fmt: skip


@apis
def test_a_reference_at_the_top_is_followed(api: Api):
    schema = {"$ref": "#/definitions/a", "definitions": {"a": closed({"b": STRING})}}
    assert held(api, schema) == closed({"b": STRING}, definitions={"a": closed({"b": STRING})})


@apis
@pytest.mark.parametrize("schema", [closed({"a": case[1]}) for case in OPEN],
                         ids=[case[0] for case in OPEN])  # fmt: skip
def test_what_cannot_be_compiled_is_asked_in_the_system_prompt(api: Api, schema: Json):
    assert held(api, schema) is None
    assert "JSON schema:\n{" in answering(api, schema)["system"][-1]["text"]


RECURSIVE = closed({"next": {"$ref": "#/$defs/a"}}, **{"$defs": {
    "a": closed({"b": {"anyOf": [{"$ref": "#/$defs/c"}, {"type": "null"}]}}),
    "c": closed({"d": {"type": "array", "items": {"$ref": "#/$defs/a"}}}),
}})  # fmt: skip


@apis
def test_a_recursive_schema_is_asked_for_and_its_tool_is_not_strict(api: Api):
    assert held(api, RECURSIVE) is None
    body = with_tools(api, RECURSIVE)
    strict.check(body)
    assert body["tools"] == [{"name": "t0", "input_schema": RECURSIVE}]


@apis
@pytest.mark.parametrize("schema", [closed({"a": case[1]}) for case in OPEN],
                         ids=[case[0] for case in OPEN])  # fmt: skip
def test_a_tool_that_cannot_be_compiled_is_not_strict(api: Api, schema: Json):
    (tool,) = with_tools(api, schema)["tools"]
    assert "strict" not in tool


@apis
def test_a_strict_tools_bounds_are_said(api: Api):
    body = with_tools(api, closed({"a": {**INTEGER, "minimum": 0}}, required=["a"]))
    strict.check(body)
    (tool,) = body["tools"]
    assert tool["strict"]
    assert tool["input_schema"]["properties"]["a"]["description"] == "{minimum: 0}"


@apis
def test_another_tool_keeps_its_bounds(api: Api):
    schema = {"type": "object", "properties": {"a": {**INTEGER, "minimum": 0}}}
    (tool,) = with_tools(api, schema, strict=False)["tools"]
    assert tool["input_schema"] == schema


OPTIONAL = closed({f"a{place}": STRING for place in range(10)})
UNION = closed({f"a{place}": {"type": ["string", "null"]} for place in range(7)},
               required=[f"a{place}" for place in range(7)])  # fmt: skip


@apis
@pytest.mark.parametrize(("parameters", "most"), [
    ([closed({})] * 23, 20), ([OPTIONAL] * 3, 2), ([UNION] * 3, 2),
    ([OPTIONAL, OPTIONAL, OPTIONAL, closed({})], 3),
])  # fmt: skip
def test_tools_over_claudes_limits_are_not_strict(api: Api, parameters: list[Json], most: int):
    body = with_tools(api, *parameters)
    strict.check(body)
    assert sum("strict" in tool for tool in body["tools"]) == most


def test_the_answers_schema_has_the_first_part_of_the_limits():
    wanted = {"type": "json_schema", "json_schema": {"name": "a", "schema": OPTIONAL}}
    body = with_tools(CHAT, OPTIONAL, OPTIONAL, response_format=wanted)
    strict.check(body)
    assert "format" in body["output_config"]
    assert ["strict" in tool for tool in body["tools"]] == [True, False]


def test_an_answer_over_the_limits_is_asked_in_the_system_prompt():
    schema = closed({f"a{place}": STRING for place in range(25)})
    body = answering(CHAT, schema)
    assert "output_config" not in body
    assert '"a24"' in body["system"][-1]["text"]


@apis
@pytest.mark.parametrize("is_strict", [True, False], ids=["strict", "not strict"])
@pytest.mark.parametrize("name", ["anyOf", "oneOf", "allOf"])
def test_alternatives_at_the_top_of_a_tool_become_one_object(api: Api, name: str, is_strict: bool):
    branches = [closed({"a": STRING, "b": STRING}, required=["a", "b"]),
                closed({"a": STRING, "c": STRING}, required=["a"])]  # fmt: skip
    body = with_tools(api, {name: branches}, strict=is_strict)
    strict.check(body)
    schema = body["tools"][0]["input_schema"]
    assert list(schema["properties"]) == ["a", "c", "b"]
    assert schema["required"] == (["a", "b"] if name == "allOf" else ["a"])


@apis
def test_a_tool_of_an_older_draft_is_sent_in_the_newest(api: Api):
    schema = {
        "type": "object",
        "required": True,
        "properties": {
            "a": {"type": "any", "minimum": 0, "exclusiveMinimum": True},
            "b": {"type": "array", "items": [STRING, INTEGER]},
            "c": {"required": True, **STRING},
        },
    }
    body = with_tools(api, schema, strict=False)
    strict.check(body)
    assert body["tools"][0]["input_schema"] == {"type": "object", "properties": {
        "a": {"exclusiveMinimum": 0}, "b": {"type": "array", "prefixItems": [STRING, INTEGER]},
        "c": STRING}}  # fmt: skip


@apis
def test_a_parameter_whose_name_claude_does_not_take_is_said_in_the_description(api: Api):
    schema = closed({"$top": INTEGER, "a": STRING}, required=["$top", "a"])
    body = with_tools(api, schema)
    strict.check(body)
    words = 'It takes these parameters as well: {"$top":{"type":"integer"}}'
    left = closed({"a": STRING}, required=["a"])
    assert body["tools"] == [{"name": "t0", "input_schema": left, "description": words}]


@apis
def test_marks_of_the_cache_do_not_stay_with_tools_that_come_again(api: Api):
    body = with_tools(api, closed({}))
    body["tools"][0]["cache_control"] = {"type": "ephemeral"}
    asked = with_tools(api, closed({}), prompt_cache_options={"mode": "explicit"})
    assert "cache_control" not in asked["tools"][0]


NAMES = ["type", "properties", "required", "items", "anyOf", "oneOf", "allOf", "enum", "const",
         "minimum", "minItems", "format", "pattern", "additionalProperties", "$ref", "description",
         "prefixItems", "patternProperties", "exclusiveMinimum", "nullable", "default", "not",
         "definitions", "$defs"]  # fmt: skip
VALUES = st.sampled_from([
    "object", "array", "string", "integer", ["string", "null"], ["object", "null"], "any", True,
    False, 0, 2, "date", "#/$defs/a", "#/$defs/b", [], {}, ["a"], ["a", 1], [{"a": 1}], None,
])  # fmt: skip
SCHEMAS = st.recursive(
    st.sampled_from([STRING, INTEGER, {**INTEGER, "minimum": 0}, {"$ref": "#/$defs/a"}, {}]),
    lambda inner: st.dictionaries(
        st.sampled_from(NAMES),
        VALUES | inner | st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["a", "b", "minimum"]), inner, max_size=3),
        max_size=5,
    )
    | st.builds(
        lambda named, needed: {"type": "object", "properties": named, "required": needed},
        st.dictionaries(st.sampled_from(["a", "b", "minimum", "type"]), inner, max_size=3),
        st.lists(st.sampled_from(["a", "b", "z"]), max_size=2),
    ),
    max_leaves=8,
)  # fmt: skip


@hypothesis.settings(max_examples=150, deadline=None)
@hypothesis.given(st.lists(SCHEMAS, min_size=1, max_size=4), st.booleans())
def test_any_schema_becomes_what_claude_takes(listed: list[Json], is_strict: bool):
    tools = [
        {"name": f"t{place}", "strict": is_strict, "input_schema": {"properties": {}, **schema,
                                                                    "type": "object"}}
        for place, schema in enumerate(listed[1:])
    ]  # fmt: skip
    shape = {"type": "json_schema", "schema": listed[0]}
    said = [{"role": "user", "content": "a"}]
    body = {"model": "claude-opus-4-6", "max_tokens": 9, "messages": said, "tools": tools,
            "output_config": {"format": shape}}  # fmt: skip

    schemas.settle(body, is_held=True)

    strict.check(body)
