"""Requests of Chat Completions with what Claude must be asked instead."""

from typing import Any

from .responses_corpus import (
    BREAK,
    CLAUDE_WEATHER,
    HAS_WEATHER,
    HELLO,
    KEPT,
    NEWER,
    NOTE,
    OLDER,
    PDF,
    PIXEL,
    WEATHER_SCHEMA,
    Json,
    assistant,
    result,
    text,
    user,
    using,
)

ASKED = [{"role": "user", "content": "hello"}]
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Tells the weather.",
        "parameters": WEATHER_SCHEMA,
        "strict": True,
    },
}
TIME = {"type": "function", "function": {"name": "time"}}
CLAUDE_TIME = {"name": "time", "input_schema": {"type": "object", "properties": {}}}
OLD_WEATHER = {name: WEATHER["function"][name] for name in ("name", "description", "parameters")}
CLAUDE_OLD_WEATHER = {name: CLAUDE_WEATHER[name] for name in CLAUDE_WEATHER if name != "strict"}
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}
CLOSED = {**SCHEMA, "additionalProperties": False}
ONLY_JSON = "Answer with a single JSON object and nothing else: no words around it, no fence."
IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}}


def asking(*parts: Json | str, role: str = "user", **more: Any) -> Json:
    """A message of these parts; words alone are a text."""
    told = [{"type": "text", "text": one} if isinstance(one, str) else one for one in parts]
    return {"role": role, "content": told, **more}


def picture(url: str = f"data:image/png;base64,{PIXEL}", **more: Any) -> Json:
    return {"type": "image_url", "image_url": {"url": url}, **more}


def file(data: str, name: str, **more: Any) -> Json:
    return {"type": "file", "file": {"file_data": data, "filename": name}, **more}


def calling(*names: str, arguments: str = '{"city":"Bern"}', **more: Any) -> Json:
    """A turn that calls these functions; the n-th call's id is call_n."""
    calls = [
        {"id": f"call_{n}", "type": "function", "function": {"name": name, "arguments": arguments}}
        for n, name in enumerate(names, 1)
    ]
    return {"role": "assistant", "content": None, "tool_calls": calls, **more}


def output(content: Any = "sunny", call_id: str = "call_1") -> Json:
    return {"role": "tool", "tool_call_id": call_id, "content": content}


def document(data: str, media_type: str, title: str, **more: Any) -> Json:
    kind = "text" if media_type == "text/plain" else "base64"
    source = {"type": kind, "media_type": media_type, "data": data}
    return {"type": "document", "title": title, "source": source, **more}


EMPTY = {"type": "tool_result", "tool_use_id": "call_1"}
ROUND = [*ASKED, calling("weather"), output()]
TALK: list[Json] = [*HELLO, assistant(using()), user(result(text("sunny")))]
THINKS = {"thinking": {"type": "adaptive", "display": "summarized"}}

# Name, request without the model and a plain message, Claude's request without model, max_tokens
# and that message.
CASES: list[tuple[str, Json, Json]] = [
    ("text", {}, {}),
    ("text in a part", {"messages": [asking("hello")]}, {}),
    ("two parts", {"messages": [asking("a", "b")]}, {"messages": [user(text("a"), text("b"))]}),
    ("empty parts", {"messages": [asking("", "hello")]}, {}),
    ("a name", {"messages": [{**ASKED[0], "name": "Ada"}]}, {}),
    (
        "system and developer",
        {"messages": [{"role": "system", "content": "Be brief.", "name": "a"},
                      {"role": "developer", "content": "Rhyme.", "name": "b"}, *ASKED]},
        {"system": [text("Be brief."), text("Rhyme.")]},
    ),
    (
        "system in parts, marked",
        {"messages": [asking({"type": "text", "text": "Be brief.", **BREAK}, role="system"),
                      asking({"type": "text", "text": "Rhyme.", **BREAK}, role="developer"),
                      *ASKED]},
        {"system": [text("Be brief.", **KEPT), text("Rhyme.", **KEPT)]},
    ),
    (
        "an instruction in the middle",
        {"messages": [*ASKED, {"role": "assistant", "content": "Hi."},
                      {"role": "system", "content": "Rhyme."}, {"role": "user", "content": "go"}]},
        {"messages": [*HELLO, assistant(text("Hi.")),
                      user(text("<system>\nRhyme.\n</system>"), text("go"))]},
    ),
    (
        "several turns",
        {"messages": [*ASKED, {"role": "assistant", "content": "Hi.", "name": "Claude"},
                      {"role": "user", "content": "a"}, {"role": "user", "content": "b"}]},
        {"messages": [*HELLO, assistant(text("Hi.")), user(text("a"), text("b"))]},
    ),
    (
        "an answer in parts",
        {"messages": [*ASKED, asking("Hi.", {"type": "text", "text": "There.", **BREAK},
                                     role="assistant"), {"role": "user", "content": "go"}]},
        {"messages": [*HELLO, assistant(text("Hi."), text("There.", **KEPT)), user(text("go"))]},
    ),
    (
        "a refusal in the history",
        {"messages": [*ASKED, {"role": "assistant", "content": None, "refusal": "No."},
                      {"role": "user", "content": "why"}]},
        {"messages": [*HELLO, assistant(text("No.")), user(text("why"))]},
    ),
    (
        "a refusal as a part",
        {"messages": [*ASKED, asking({"type": "refusal", "refusal": "No."}, role="assistant"),
                      {"role": "user", "content": "why"}]},
        {"messages": [*HELLO, assistant(text("No.")), user(text("why"))]},
    ),
    ("the beginning of the answer", {"messages": [*ASKED, {"role": "assistant", "content": "{"}]},
     {"messages": [*HELLO, assistant(text("{")), user(text("Continue."))]}),
    ("the beginning of an older model's answer",
     {"model": OLDER, "messages": [*ASKED, {"role": "assistant", "content": "{ "}]},
     {"messages": [*HELLO, assistant(text("{"))]}),
    ("an image", {"messages": [asking("see", picture())]},
     {"messages": [user(text("see"), IMAGE)]}),
    ("an image by its address", {"messages": [asking(picture("https://x.test/cat.png"))]},
     {"messages": [user({"type": "image", "source": {"type": "url",
                                                     "url": "https://x.test/cat.png"}})]}),
    ("an image with a detail", {"messages": [asking({"type": "image_url", "image_url": {
        "url": f"data:image/png;base64,{PIXEL}", "detail": "low"}})]}, {"messages": [user(IMAGE)]}),
    ("an image that is a text", {"messages": [asking({
        "type": "image_url", "image_url": f"data:image/png;base64,{PIXEL}"})]},
     {"messages": [user(IMAGE)]}),
    ("an image, marked", {"messages": [asking(picture(**BREAK))]},
     {"messages": [user({**IMAGE, **KEPT})]}),
    ("a PDF", {"messages": [asking(file(f"data:application/pdf;base64,{PDF}", "a.pdf"))]},
     {"messages": [user(document(PDF, "application/pdf", "a.pdf"))]}),
    ("a PDF without a data address, marked", {"messages": [asking(file(PDF, "a.pdf", **BREAK))]},
     {"messages": [user(document(PDF, "application/pdf", "a.pdf", **KEPT))]}),
    ("a text file", {"messages": [asking(file(f"data:text/markdown;base64,{NOTE}", "n.md"))]},
     {"messages": [user(document("a note", "text/plain", "n.md"))]}),
    ("a file that is an image", {"messages": [asking(file(
        f"data:image/png;base64,{PIXEL}", "p.png"))]}, {"messages": [user(IMAGE)]}),
    ("cache marks in Claude's own words", {"messages": [asking({
        "type": "text", "text": "a", "cache_control": {"type": "ephemeral", "ttl": "5m"}}, "b")]},
     {"messages": [user(text("a", cache_control={"type": "ephemeral", "ttl": "5m"}), text("b"))]}),
    ("a mark in a part", {"messages": [asking({"type": "text", "text": "hello", **BREAK})]},
     {"messages": [user(text("hello", **KEPT))]}),
    ("a function", {"tools": [WEATHER]}, HAS_WEATHER),
    ("two functions", {"tools": [WEATHER, TIME]}, {"tools": [CLAUDE_WEATHER, CLAUDE_TIME]}),
    ("choice without tools", {"tool_choice": "auto", "tools": []}, {}),
    ("any tool or none", {"tools": [WEATHER], "tool_choice": "auto"}, HAS_WEATHER),
    ("no tool", {"tools": [WEATHER], "tool_choice": "none"},
     {**HAS_WEATHER, "tool_choice": {"type": "none"}}),
    ("some tool", {"tools": [WEATHER], "tool_choice": "required"},
     {**HAS_WEATHER, "tool_choice": {"type": "any"}}),
    ("one tool", {"tools": [WEATHER, TIME],
                  "tool_choice": {"type": "function", "function": {"name": "time"}}},
     {"tools": [CLAUDE_WEATHER, CLAUDE_TIME], "tool_choice": {"type": "tool", "name": "time"}}),
    ("one of some tools", {"tools": [WEATHER, TIME], "tool_choice": {
        "type": "allowed_tools", "allowed_tools": {
            "mode": "required", "tools": [{"type": "function", "function": {"name": "time"}}]}}},
     {"tools": [CLAUDE_TIME], "tool_choice": {"type": "any"}}),
    ("no two calls at once", {"tools": [WEATHER], "parallel_tool_calls": False},
     {**HAS_WEATHER, "tool_choice": {"type": "auto", "disable_parallel_tool_use": True}}),
    ("two calls at once", {"tools": [WEATHER], "parallel_tool_calls": True}, HAS_WEATHER),
    ("a call and its result", {"messages": ROUND, "tools": [WEATHER]},
     {"messages": TALK, **HAS_WEATHER}),
    ("a call with words before it", {"messages": [
        *ASKED, {**calling("weather"), "content": "Let me see."}, output()], "tools": [WEATHER]},
     {"messages": [*HELLO, assistant(text("Let me see."), using()), TALK[-1]], **HAS_WEATHER}),
    ("a call of which an older client left out the kind", {"messages": [*ASKED, {
        "role": "assistant", "content": "", "tool_calls": [
            {"id": "call_1", "function": {"name": "weather", "arguments": '{"city":"Bern"}'}}]},
        output()], "tools": [WEATHER]}, {"messages": TALK, **HAS_WEATHER}),
    ("a call without arguments", {"messages": [
        *ASKED, calling("time", arguments=""), output()], "tools": [TIME]},
     {"messages": [*HELLO, assistant({**using("time"), "input": {}}), TALK[-1]],
      "tools": [CLAUDE_TIME]}),
    ("two calls and their results", {"messages": [
        *ASKED, calling("weather", "weather"), output(), output("rain", "call_2")],
        "tools": [WEATHER]},
     {"messages": [*HELLO, assistant(using(), using(call_id="call_2")),
                   user(result(text("sunny")), result(text("rain"), call_id="call_2"))],
      **HAS_WEATHER}),
    ("a result and a question", {"messages": [*ROUND, {"role": "user", "content": "so?"}],
                                 "tools": [WEATHER]},
     {"messages": [*TALK[:2], user(result(text("sunny")), text("so?"))], **HAS_WEATHER}),
    ("a result in parts", {"messages": [
        *ROUND[:2], output([{"type": "text", "text": "sunny", **BREAK}])], "tools": [WEATHER]},
     {"messages": [*TALK[:2], user(result(text("sunny", **KEPT)))], **HAS_WEATHER}),
    ("a result with an image", {"messages": [
        *ROUND[:2], output([{"type": "text", "text": "sunny"}, picture()])], "tools": [WEATHER]},
     {"messages": [*TALK[:2], user(result(text("sunny"), IMAGE))], **HAS_WEATHER}),
    ("a result that is empty", {"messages": [*ROUND[:2], output("")], "tools": [WEATHER]},
     {"messages": [*TALK[:2], user(EMPTY)], **HAS_WEATHER}),
    ("a result that is null", {"messages": [*ROUND[:2], output(None)], "tools": [WEATHER]},
     {"messages": [*TALK[:2], user(EMPTY)], **HAS_WEATHER}),
    ("a call's id of another maker", {"messages": [
        *ASKED, {"role": "assistant", "tool_calls": [{"id": "weather:0", "type": "function",
                 "function": {"name": "weather", "arguments": '{"city":"Bern"}'}}]},
        output(call_id="weather:0")], "tools": [WEATHER]},
     {"messages": [*HELLO, assistant(using(call_id="weather_0")),
                   user(result(text("sunny"), call_id="weather_0"))], **HAS_WEATHER}),
    ("an older function", {"functions": [OLD_WEATHER]},
     {"tools": [CLAUDE_OLD_WEATHER],
      "tool_choice": {"type": "auto", "disable_parallel_tool_use": True}}),
    ("no older function", {"functions": [OLD_WEATHER], "function_call": "none"},
     {"tools": [CLAUDE_OLD_WEATHER], "tool_choice": {"type": "none"}}),
    ("one older function", {"functions": [OLD_WEATHER], "function_call": {"name": "weather"}},
     {"tools": [CLAUDE_OLD_WEATHER],
      "tool_choice": {"type": "tool", "name": "weather", "disable_parallel_tool_use": True}}),
    ("an older function's result", {"functions": [OLD_WEATHER], "messages": [
        *ASKED, {"role": "assistant", "content": None,
                 "function_call": {"name": "weather", "arguments": '{"city":"Bern"}'}},
        {"role": "function", "name": "weather", "content": "sunny"}]},
     {"messages": [*HELLO, assistant(using(call_id="function_1")),
                   user(result(text("sunny"), call_id="function_1"))],
      "tools": [CLAUDE_OLD_WEATHER],
      "tool_choice": {"type": "auto", "disable_parallel_tool_use": True}}),
    ("any JSON", {"response_format": {"type": "json_object"}}, {"system": [text(ONLY_JSON)]}),
    ("JSON by a schema", {"response_format": {"type": "json_schema", "json_schema": {
        "name": "a", "description": "An a.", "strict": True, "schema": SCHEMA}}},
     {"output_config": {"format": {
         "type": "json_schema", "schema": {**CLOSED, "description": "An a."}}}}),
    ("words", {"response_format": {"type": "text"}}, {}),
    ("effort", {"reasoning_effort": "high"}, {"output_config": {"effort": "high"}, **THINKS}),
    ("little effort", {"reasoning_effort": "minimal"},
     {"output_config": {"effort": "low"}, **THINKS}),
    ("effort and a schema", {"reasoning_effort": "low", "response_format": {
        "type": "json_schema", "json_schema": {"name": "a", "schema": SCHEMA}}},
     {"output_config": {"effort": "low", "format": {"type": "json_schema", "schema": CLOSED}},
      **THINKS}),
    ("no effort", {"reasoning_effort": "none", "temperature": 0},
     {"thinking": {"type": "disabled"}, "temperature": 0}),
    ("effort of an older model", {"model": OLDER, "reasoning_effort": "medium",
                                  "max_completion_tokens": 10_000},
     {"thinking": {"type": "enabled", "budget_tokens": 4000}}),
    ("effort of an older model after a result", {
        "model": OLDER, "reasoning_effort": "medium", "messages": ROUND, "tools": [WEATHER]},
     {"messages": TALK, **HAS_WEATHER}),
    ("temperature", {"temperature": 1.7}, {"temperature": 1.0}),
    ("temperature before top_p", {"temperature": 0.2, "top_p": 0.9}, {"temperature": 0.2}),
    ("top_p", {"top_p": 0.9}, {"top_p": 0.9}),
    ("temperature of a newer model", {"model": NEWER, "temperature": 0.2}, {}),
    ("one stop", {"stop": "END"}, {"stop_sequences": ["END"]}),
    ("two stops", {"stop": ["END", "\nUser:"]}, {"stop_sequences": ["END", "\nUser:"]}),
    ("no stop", {"stop": []}, {}),
    ("a stream", {"stream": True, "stream_options": {
        "include_usage": True, "include_obfuscation": False}}, {"stream": True}),
    ("no stream", {"stream": False}, {}),
    ("a bound", {"max_completion_tokens": 50, "max_tokens": 60}, {}),
    ("an older bound", {"max_tokens": 60}, {}),
    ("a person", {"user": "u-2", "safety_identifier": "u-1"}, {"metadata": {"user_id": "u-1"}}),
    ("a person in the older word", {"user": "u-2"}, {"metadata": {"user_id": "u-2"}}),
    ("the usual price", {"service_tier": "default"}, {"service_tier": "standard_only"}),
    ("any price", {"service_tier": "auto"}, {"service_tier": "auto"}),
    ("a tier that Claude has not", {"service_tier": "flex"}, {}),
    ("a conversation's name", {"prompt_cache_key": "talk 1"}, {}),
    ("marks of the client's own only", {
        "prompt_cache_key": "talk 1", "prompt_cache_options": {"mode": "explicit"}}, {}),
    (
        "what changes nothing",
        {"frequency_penalty": 0.5, "presence_penalty": 0.5, "seed": 7, "store": True,
         "metadata": {"a": "b"}, "verbosity": "low", "prompt_cache_retention": "24h",
         "prompt_cache_options": {"ttl": "30m", "comparison_response_id": "a", "prewarm": True},
         "n": 1, "logprobs": False, "top_logprobs": 0, "logit_bias": {},
         "modalities": ["text"], "audio": None,
         "prediction": {"type": "content", "content": "hello"}, "new_of_tomorrow": {"a": 1}},
        {},
    ),
]  # fmt: skip

# Name, request without the model and a plain message, the path that the refusal begins with.
REFUSED: list[tuple[str, Json, str]] = [
    ("no messages", {"messages": None}, "messages"),
    ("nothing said", {"messages": []}, "messages"),
    ("a message that is no object", {"messages": ["hello"]}, "messages[0]"),
    ("a role unknown", {"messages": [{"role": "critic", "content": "a"}]}, "messages[0].role"),
    ("no role", {"messages": [{"content": "a"}]}, "messages[0].role"),
    ("a content that is a number", {"messages": [{"role": "user", "content": 3}]},
     "messages[0].content"),
    ("no model", {"model": None}, "model"),
    ("more than one answer", {"n": 2}, "n"),
    ("probabilities", {"logprobs": True}, "logprobs"),
    ("more probabilities", {"top_logprobs": 2}, "top_logprobs"),
    ("weights", {"logit_bias": {"1": 5}}, "logit_bias"),
    ("sound", {"modalities": ["text", "audio"]}, "modalities"),
    ("a voice", {"audio": {"voice": "alloy", "format": "mp3"}}, "audio"),
    ("moderation", {"moderation": {"model": "m"}}, "moderation"),
    ("a search", {"web_search_options": {}}, "web_search_options"),
    ("sound in a message", {"messages": [asking({
        "type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}})]},
     "messages[0].content[0].type"),
    ("a sound heard before", {"messages": [*ASKED, {"role": "assistant", "audio": {"id": "a"}}]},
     "messages[1].audio"),
    ("a file by its id", {"messages": [asking({"type": "file", "file": {"file_id": "f"}})]},
     "messages[0].content[0].file.file_id"),
    ("a file of nothing", {"messages": [asking(file("", "a.txt"))]},
     "messages[0].content[0].file.file_data"),
    ("an image of an unknown kind", {"messages": [asking(picture(
        "data:image/tiff;base64,SUkqAAgAAAA="))]}, "messages[0].content[0].image_url"),
    ("an image of this machine", {"messages": [asking(picture("file:///etc/passwd"))]},
     "messages[0].content[0].image_url"),
    ("an image of nobody", {"messages": [asking({"type": "image_url"})]},
     "messages[0].content[0].image_url"),
    ("a custom tool", {"tools": [{"type": "custom", "custom": {"name": "patch"}}]},
     "tools[0].type"),
    ("a custom tool's call", {"messages": [*ASKED, {"role": "assistant", "tool_calls": [
        {"id": "a", "type": "custom", "custom": {"name": "patch", "input": "a"}}]},
        output(call_id="a")]}, "messages[1].tool_calls[0].type"),
    ("a custom tool chosen", {"tools": [WEATHER], "tool_choice": {
        "type": "custom", "custom": {"name": "patch"}}}, "tool_choice.type"),
    ("two tools of one name", {"tools": [TIME, TIME]}, "tools[1].function.name"),
    ("a name that Claude does not take", {"tools": [
        {"type": "function", "function": {"name": ""}}]}, "tools[0].function.name"),
    ("parameters that are no object", {"tools": [
        {"type": "function", "function": {"name": "a", "parameters": {"type": "array"}}}]},
     "tools[0].function.parameters"),
    ("a tool required of none", {"tool_choice": "required"}, "tool_choice"),
    ("a tool that is not there", {"tools": [TIME], "tool_choice": {
        "type": "function", "function": {"name": "weather"}}}, "tool_choice"),
    ("a choice unknown", {"tools": [TIME], "tool_choice": "maybe"}, "tool_choice"),
    ("a result of no call in particular", {"messages": [*ASKED, {"role": "tool", "content": "a"}]},
     "messages[1].tool_call_id"),
    ("no tokens", {"max_completion_tokens": 0}, "max_completion_tokens"),
    ("less than no tokens", {"max_tokens": -1}, "max_tokens"),
    ("a temperature too high", {"temperature": 2.1}, "temperature"),
    ("a temperature in words", {"temperature": "hot"}, "temperature"),
    ("a top_p too high", {"top_p": 1.1}, "top_p"),
    ("an effort unknown", {"reasoning_effort": "huge"}, "reasoning_effort"),
    ("five stops", {"stop": list("abcde")}, "stop"),
    ("a stop of white space", {"stop": "\n"}, "stop"),
    ("a stop that is a number", {"stop": 3}, "stop"),
    ("a format unknown", {"response_format": {"type": "xml"}}, "response_format.type"),
    ("a format without a kind", {"response_format": {}}, "response_format.type"),
    ("a schema left out", {"response_format": {
        "type": "json_schema", "json_schema": {"name": "a"}}},
     "response_format.json_schema.schema"),
    ("a stream in words", {"stream": "yes"}, "stream"),
    ("options in words", {"stream": True, "stream_options": "usage"}, "stream_options"),
]  # fmt: skip
