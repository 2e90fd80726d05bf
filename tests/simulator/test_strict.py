"""The strict simulator refuses what Claude refuses, and takes what Claude takes."""

import base64
import json
from functools import partial
from typing import Any

import httpx
import pytest
import trio

from relay.simulator import answers, serve

from . import strict, strict_schemas
from .conftest import BODY, SOON_S

Json = dict[str, Any]

PNG = b"\x89PNG\r\n\x1a\n0000"
MODEL_WITHOUT_PREFILL = "claude-opus-5"
OBJECT: Json = {"type": "object", "properties": {}, "additionalProperties": False}
TOOL: Json = {"name": "look", "input_schema": OBJECT}


def said(*contents: Any, **more: Any) -> Json:
    """A request in which the user and the assistant take turns to say this."""
    roles = ("user", "assistant")
    turns = [{"role": roles[n % 2], "content": content} for n, content in enumerate(contents)]
    return {**BODY, "messages": turns, **more}


def text(words: str, **more: Any) -> Json:
    return {"type": "text", "text": words, **more}


def call(id_: str = "toolu_1", name: str = "look", **more: Any) -> Json:
    return {"type": "tool_use", "id": id_, "name": name, "input": {}, **more}


def result(id_: str = "toolu_1", **more: Any) -> Json:
    return {"type": "tool_result", "tool_use_id": id_, **more}


def image(label: str, data: bytes | str = PNG) -> Json:
    coded = data if isinstance(data, str) else base64.b64encode(data).decode()
    return {"type": "image", "source": {"type": "base64", "media_type": label, "data": coded}}


def document(**source: Any) -> Json:
    return {"type": "document", "source": source}


def held(schema: Json, **more: Any) -> Json:
    """A request whose answer is held to a schema."""
    return said("a", output_config={"format": {"type": "json_schema", "schema": schema}}, **more)


def with_field(schema: Json, **more: Any) -> Json:
    """An answer that has one field."""
    return held({**OBJECT, "properties": {"a": schema}, "required": ["a"], **more})


def fields(count: int, schema: Json, **more: Any) -> Json:
    return {**OBJECT, "properties": {f"a{n}": schema for n in range(count)}, **more}


def strict_tools(count: int, schema: Json = OBJECT) -> list[Json]:
    return [{"name": f"t{n}", "strict": True, "input_schema": schema} for n in range(count)]


STRING = {"type": "string"}
MAYBE = {"anyOf": [STRING, {"type": "null"}]}
RECURSIVE = {"$ref": "#/$defs/node", "$defs": {"node": {
    **OBJECT, "properties": {"next": {"$ref": "#/$defs/node"}}, "required": ["next"]}}}  # fmt: skip
MARK = {"cache_control": {"type": "ephemeral"}}

REFUSED: list[tuple[str, Json, str]] = [
    ("half a character", said("a\ud83d"), "surrogate"),
    ("a role unknown", {**BODY, "messages": [{"role": "critic", "content": "a"}]}, "role"),
    ("an empty turn", said("a", [], "b"), "non-empty content"),
    ("an empty turn of the user", said([]), "non-empty content"),
    ("an assistant first", said("a", "b", "c") | {"messages": [
        {"role": "assistant", "content": "a"}, {"role": "user", "content": "b"}]}, "first message"),
    ("an empty text", said([text("")]), "must be non-empty"),
    ("a blank text", said(" \n"), "non-whitespace"),
    ("a blank text beside a call", said("a", [text("\n"), call()], [result()]), "non-whitespace"),
    ("a blank text in a result", said("a", [call()], [result(content=[text(" ")])]),
     "non-whitespace"),
    ("blank instructions", said("a", system=" "), "system.0"),
    ("an empty text that is marked", said([text("", **MARK)]), "cache_control cannot be set"),
    ("a blank document", said([document(type="text", media_type="text/plain", data="\n")]),
     "no text"),
    ("a prefill", said("a", "b"), "prefill"),
    ("a prefill that ends in white space", said("a", "b ", model="claude-sonnet-4-5"),
     "trailing whitespace"),
    ("an id twice", said("a", [call()], [result()], [call()], [result()]), "unique"),
    ("an id that Claude does not take", said("a", [call("a.b")], [result("a.b")]), "pattern"),
    ("an empty id", said("a", [call("")], [result("")]), "pattern"),
    ("a call without a result", said("a", [call()], "b"), "without `tool_result`"),
    ("a call at the end", said("a", [call()], model="claude-sonnet-4-5"), "without `tool_result`"),
    ("a result without a call", said("a", "b", [result()]), "unexpected `tool_use_id`"),
    ("a result twice", said("a", [call()], [result(), result()]), "single result"),
    ("words before a result", said("a", [call()], [text("b"), result()]), "before other content"),
    ("a call's name", said("a", [call(name="a.b")], [result()]), "pattern"),
    ("an input that is a list", said("a", [call(input=[])], [result()]), "dictionary"),
    *((f"a tool forced on {model}", said("a", model=model, tools=[TOOL],
                                         tool_choice={"type": "any"}), "not supported")
      for model in ("claude-opus-5-5", "claude-sonnet-5-5", "claude-fable-5-1",
                    "claude-mythos-5-2")),
    ("a tool forced of none", said("a", tool_choice={"type": "any"}), "providing tools"),
    ("an unknown tool forced", said("a", tools=[TOOL], tool_choice={"type": "tool", "name": "x"}),
     "not found"),
    ("a tool forced while thinking", said(
        "a", model="claude-sonnet-4-5", max_tokens=2000, tools=[TOOL],
        tool_choice={"type": "any"}, thinking={"type": "enabled", "budget_tokens": 1024}),
     "Thinking may not"),
    ("thinking switched off", said("a", model="claude-opus-5-5", thinking={"type": "disabled"}),
     "disabled is not supported"),
    ("a budget", said("a", max_tokens=2000, thinking={"type": "enabled", "budget_tokens": 1024}),
     "enabled is not supported"),
    ("a budget over the answer's bound", said(
        "a", model="claude-sonnet-4-5", thinking={"type": "enabled", "budget_tokens": 1024}),
     "budget_tokens"),
    ("adaptive thinking of an older model", said(
        "a", model="claude-sonnet-4-5", thinking={"type": "adaptive"}), "adaptive"),
    ("a temperature", said("a", temperature=0), "temperature"),
    ("a temperature and top_p", said("a", model="claude-sonnet-4-5", temperature=0, top_p=1),
     "cannot both"),
    ("two tools of a name", said("a", tools=[TOOL, TOOL]), "unique"),
    ("a tool's name", said("a", tools=[{**TOOL, "name": "a/b"}]), "pattern"),
    ("a tool of a list", said("a", tools=[{**TOOL, "input_schema": {"type": "array"}}]),
     "'object'"),
    ("alternatives at the top", said("a", tools=[{**TOOL, "input_schema": {
        "type": "object", "anyOf": [OBJECT]}}]), "top level"),
    ("a schema of another draft", said("a", tools=[{**TOOL, "input_schema": {
        "type": "object", "properties": {"a": {"type": "number", "minimum": 0,
                                               "exclusiveMinimum": True}}}}]), "draft"),
    ("a property's name", said("a", tools=[{**TOOL, "input_schema": {
        "type": "object", "properties": {"$top": {}}}}]), "Property keys"),
    *((f"the bound {name}", with_field({"type": kind, name: value}), f"'{name}'")
      for kind, name, value in (
          ("integer", "minimum", 0), ("number", "exclusiveMaximum", 1), ("number", "multipleOf", 2),
          ("string", "maxLength", 3), ("string", "pattern", "a"), ("array", "maxItems", 3),
          ("array", "minItems", 2), ("array", "uniqueItems", True),
          (["string", "null"], "minLength", 3), ("object", "minProperties", 1))),
    ("a bound in an alternative", with_field({"anyOf": [{"type": "integer", "minimum": 0}]}),
     "'minimum'"),
    ("a bound in a definition", with_field({"$ref": "#/$defs/a"}, **{"$defs": {
        "a": {"type": "integer", "minimum": 0}}}), "'minimum'"),
    ("an open object", with_field({"type": "object"}), "additionalProperties"),
    ("an open object or null", with_field({"type": ["object", "null"], "properties": {}}),
     "additionalProperties"),
    ("no type", with_field({}), "must have a 'type'"),
    ("a format unknown", with_field({"type": "string", "format": "byte"}), "format 'byte'"),
    ("an object as a value", with_field({"enum": [{"a": 1}]}), "complex types"),
    ("a recursive schema", held(RECURSIVE), "Recursive"),
    ("a reference elsewhere", with_field({"$ref": "https://x.test/a.json"}), "cannot be resolved"),
    ("a property that is required and missing", held({**OBJECT, "required": ["a"]}), "required"),
    ("21 strict tools", said("a", tools=strict_tools(21)), "Too many strict tools"),
    ("25 optional parameters", said("a", tools=strict_tools(1, fields(25, STRING))),
     "optional parameters"),
    ("17 unions", said("a", tools=strict_tools(17, fields(1, MAYBE, required=["a0"]))),
     "union types"),
    ("a bound in a strict tool", said("a", tools=strict_tools(1, fields(
        1, {"type": "integer", "minimum": 1}))), "'minimum'"),
    ("a label that is none", said([image("image/jpg", b"\xff\xd8\xff00")]), "media_type"),
    ("a label that the bytes contradict", said([image("image/jpeg")]), "appears to be a image/png"),
    ("one in a result", said("a", [call()], [result(content=[image("image/gif")])]),
     "appears to be a image/png"),
    ("line breaks in base64", said([image("image/png", "iVBORw0K\nGgow")]), "valid base64"),
    ("a picture of nothing", said([image("image/png", b"")]), "empty"),
    ("a picture that is none", said([image("image/png", b"<svg/>")]), "Could not process"),
    ("a PDF that is none", said([document(type="base64", media_type="application/pdf",
                                          data="AAAA")]), "PDF"),
    ("five marks", said([text("a", **MARK) for _ in range(5)]), "maximum of 4"),
    ("a stop of white space", said("a", stop_sequences=["\n"]), "non-whitespace"),
]  # fmt: skip

TAKEN: list[tuple[str, Json]] = [
    ("a plain message", BODY),
    ("white space around words", said(" a\n")),
    ("a whole call", said("a", [text("b"), call()], [result(content=[text("c")]), text("d")])),
    ("a prefill of an older model", said("a", "b", model="claude-sonnet-4-5")),
    ("a tool forced on an older model", said("a", tools=[TOOL], tool_choice={"type": "any"})),
    ("a tool forced on Haiku 5.5", said("a", tools=[TOOL], tool_choice={"type": "any"},
                                        model="claude-haiku-5-5")),
    ("a tool of any schema", said("a", tools=[{**TOOL, "input_schema": {
        "type": "object", "properties": {"a": {"type": "integer", "minimum": 0}}}}])),
    ("a schema", with_field({"type": ["string", "null"], "format": "date", "description": "a"})),
    ("a property called minimum", held({**OBJECT, "properties": {"minimum": STRING}})),
    ("a property called pattern in a tool", said("a", tools=strict_tools(1, {
        **OBJECT, "properties": {"pattern": STRING}}))),
    ("20 strict tools", said("a", tools=strict_tools(20))),
    ("24 optional parameters", said("a", tools=strict_tools(1, fields(24, STRING)))),
    ("16 unions", said("a", tools=strict_tools(16, fields(1, MAYBE, required=["a0"])))),
    ("one element at least", with_field({"type": "array", "items": STRING, "minItems": 1})),
    ("a picture", said([image("image/png")])),
    ("four marks", said([text("a", **MARK) for _ in range(4)])),
]  # fmt: skip


@pytest.mark.parametrize(("asked", "sentence"), [case[1:] for case in REFUSED],
                         ids=[case[0] for case in REFUSED])  # fmt: skip
def test_what_claude_refuses_is_refused(asked: Json, sentence: str):
    with pytest.raises(answers.ApiError) as caught:
        strict.check(asked)
    assert sentence in caught.value.message


@pytest.mark.parametrize("asked", [case[1] for case in TAKEN], ids=[case[0] for case in TAKEN])
def test_what_claude_takes_is_taken(asked: Json):
    strict.check(asked)


def test_each_rule_refuses_something():
    refusing = {rule for rule in strict.RULES for case in REFUSED if list(rule(case[1]))}
    assert refusing == set(strict.RULES)


def test_the_limits_are_claudes():
    limits = (strict_schemas.MOST_STRICT_TOOLS, strict_schemas.MOST_OPTIONAL,
              strict_schemas.MOST_UNIONS)  # fmt: skip
    assert limits == (20, 24, 16)


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/messages/count_tokens"])
async def test_a_simulator_with_rules_answers_400(path: str):
    async with trio.open_nursery() as nursery:
        sim = await nursery.start(partial(serve, check=strict.check))
        async with httpx.AsyncClient(base_url=sim.base_url, timeout=SOON_S) as client:
            refused = await client.post(path, content=json.dumps(said(" ")))
            taken = await client.post(path, json=BODY)
        nursery.cancel_scope.cancel()

    assert (refused.status_code, taken.status_code) == (400, 200)
    assert refused.json()["error"]["type"] == "invalid_request_error"
