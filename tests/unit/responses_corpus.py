"""Requests of the Responses API with what Claude must be asked instead."""

import base64
from typing import Any

import msgspec

Json = dict[str, Any]

MODEL = "claude-opus-4-6"
OLDER = "claude-sonnet-4-5"
NEWER = "claude-opus-5-5"
PIXEL = base64.b64encode(b"\x89PNG\r\n\x1a\n pixel").decode()
PDF = base64.b64encode(b"%PDF-1.7 page").decode()
NOTE = base64.b64encode(b"a note").decode()
THINKING = {"type": "thinking", "thinking": "Hm. So.", "signature": "c2ln"}
REDACTED = {"type": "redacted_thinking", "data": "b3BhcXVl"}
WEATHER_SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
WEATHER = {
    "type": "function",
    "name": "weather",
    "description": "Tells the weather.",
    "parameters": WEATHER_SCHEMA,
    "strict": True,
}
CLAUDE_WEATHER = {
    "name": "weather",
    "description": "Tells the weather.",
    "input_schema": WEATHER_SCHEMA,
    "strict": True,
}
PATCH = {
    "type": "custom",
    "name": "apply_patch",
    "description": "Edits files.",
    "format": {"type": "grammar", "syntax": "lark", "definition": "start: LINE+"},
}
CLAUDE_PATCH = {
    "name": "apply_patch",
    "description": "Edits files.\n\nThe input follows this lark grammar:\nstart: LINE+",
    "input_schema": {
        "type": "object",
        "properties": {"input": {"type": "string", "description": "The tool's whole input."}},
        "required": ["input"],
        "additionalProperties": False,
    },
}
AGENTS = {
    "type": "namespace",
    "name": "agents",
    "description": "Other agents.",
    "tools": [{"type": "function", "name": "close", "strict": False, "parameters": WEATHER_SCHEMA}],
}


def packed(block: Json) -> str:
    """The opaque string of a reasoning item, made by the format's own words."""
    return "claude1." + base64.b64encode(msgspec.json.encode(block)).decode()


def reasoning(block: Json) -> Json:
    return {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": packed(block)}


def said(role: str, *texts: str) -> Json:
    kind = "output_text" if role == "assistant" else "input_text"
    parts = [{"type": kind, "text": text} for text in texts]
    if role == "assistant":
        parts = [{**part, "annotations": []} for part in parts]
        return {"type": "message", "id": "msg_1", "role": role, "status": "completed",
                "content": parts}  # fmt: skip
    return {"type": "message", "role": role, "content": parts}


def calling(name: str = "weather", arguments: str = '{"city":"Bern"}', **more: Any) -> Json:
    return {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": name,
            "arguments": arguments, **more}  # fmt: skip


def output(value: Any = "sunny", call_id: str = "call_1") -> Json:
    return {"type": "function_call_output", "call_id": call_id, "output": value}


def text(words: str, **more: Any) -> Json:
    return {"type": "text", "text": words, **more}


def user(*blocks: Json) -> Json:
    return {"role": "user", "content": list(blocks)}


def assistant(*blocks: Json) -> Json:
    return {"role": "assistant", "content": list(blocks)}


def using(name: str = "weather", value: Json | None = None, call_id: str = "call_1") -> Json:
    return {"type": "tool_use", "id": call_id, "name": name, "input": value or {"city": "Bern"}}


def result(*blocks: Json, call_id: str = "call_1") -> Json:
    return {"type": "tool_result", "tool_use_id": call_id, "content": list(blocks)}


BREAK = {"prompt_cache_breakpoint": {"mode": "explicit", "ttl": "30m"}}
KEPT = {"cache_control": {"type": "ephemeral", "ttl": "1h"}}
BERN = {"type": "approximate", "city": "Bern", "region": "BE", "country": "CH",
        "timezone": "Europe/Zurich"}  # fmt: skip
SEARCHED = [
    {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "x"}},
    {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": [
        {"type": "web_search_result", "url": "https://x.test", "title": "X",
         "encrypted_content": "ec", "page_age": None}]},
    {"type": "text", "text": "Found.", "citations": [
        {"type": "web_search_result_location", "cited_text": "X", "title": "X",
         "url": "https://x.test", "encrypted_index": "ei"}]},
]  # fmt: skip
SEARCHING = {"type": "web_search_20250305", "name": "web_search", "max_uses": 8}
HELLO = [user(text("hello"))]
ASKED = [said("user", "weather?")]
HAS_WEATHER = {"tools": [CLAUDE_WEATHER]}


# Name, request without the model, Claude's request without model and max_tokens.
def spoken(kind: str) -> str:
    return f'<{kind}>\n{{"name":"a"}}\n</{kind}>'


CASES: list[tuple[str, Json, Json]] = [
    ("text", {"input": "hello"}, {"messages": HELLO}),
    ("no type", {"input": [{"role": "user", "content": "hello"}]}, {"messages": HELLO}),
    ("message", {"input": [said("user", "hello")]}, {"messages": HELLO}),
    (
        "instructions and developer",
        {"instructions": "Be brief.", "input": [said("developer", "Be kind.", "Rhyme."),
                                                 said("system", "Sing."), said("user", "hello")]},
        {"system": [text("Be brief."), text("Be kind."), text("Rhyme."), text("Sing.")],
         "messages": HELLO},
    ),
    (
        "instruction in the middle",
        {"input": [said("user", "hello"), said("assistant", "Hi."), said("developer", "Rhyme."),
                   said("user", "go")]},
        {"messages": [user(text("hello")), assistant(text("Hi.")),
                      user(text("<system>\nRhyme.\n</system>"), text("go"))]},
    ),
    (
        "several turns",
        {"input": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"},
                   {"role": "user", "content": "c"}, {"role": "user", "content": "d"}]},
        {"messages": [user(text("a")), assistant(text("b")), user(text("c"), text("d"))]},
    ),
    (
        "refusal in the history",
        {"input": [said("user", "a"),
                   {"type": "message", "role": "assistant", "id": "msg_1", "status": "completed",
                    "content": [{"type": "refusal", "refusal": "No."}]}, said("user", "b")]},
        {"messages": [user(text("a")), assistant(text("No.")), user(text("b"))]},
    ),
    ("empty texts", {"input": [said("user", "", "hello"), said("user", "")]}, {"messages": HELLO}),
    (
        "image in the request",
        {"input": [{"role": "user", "content": [
            {"type": "input_image", "detail": "auto",
             "image_url": f"data:image/png;base64,{PIXEL}"}]}]},
        {"messages": [user({"type": "image", "source": {
            "type": "base64", "media_type": "image/png", "data": PIXEL}})]},
    ),
    (
        "image by address",
        {"input": [{"role": "user", "content": [
            {"type": "input_image", "detail": "high", "image_url": "https://x.test/cat.png"}]}]},
        {"messages": [user({"type": "image", "source": {
            "type": "url", "url": "https://x.test/cat.png"}})]},
    ),
    (
        "PDF",
        {"input": [{"role": "user", "content": [
            {"type": "input_file", "filename": "a.pdf",
             "file_data": f"data:application/pdf;base64,{PDF}"}]}]},
        {"messages": [user({"type": "document", "title": "a.pdf", "source": {
            "type": "base64", "media_type": "application/pdf", "data": PDF}})]},
    ),
    (
        "text file without a data address",
        {"input": [{"role": "user", "content": [
            {"type": "input_file", "filename": "note.txt", "file_data": NOTE}]}]},
        {"messages": [user({"type": "document", "title": "note.txt", "source": {
            "type": "text", "media_type": "text/plain", "data": "a note"}})]},
    ),
    (
        "file by address",
        {"input": [{"role": "user", "content": [
            {"type": "input_file", "file_url": "https://x.test/a.pdf"}]}]},
        {"messages": [user({"type": "document", "source": {
            "type": "url", "url": "https://x.test/a.pdf"}})]},
    ),
    (
        "marks of the cache",
        {"input": [{"role": "user", "content": [
            {"type": "input_text", "text": "a", "prompt_cache_breakpoint": {"mode": "explicit"}},
            {"type": "input_text", "text": "b",
             "prompt_cache_breakpoint": {"mode": "explicit", "ttl": "30m"}}]}]},
        {"messages": [user(text("a", cache_control={"type": "ephemeral"}),
                           text("b", cache_control={"type": "ephemeral", "ttl": "1h"}))]},
    ),
    ("function", {"input": ASKED, "tools": [WEATHER]},
     {"messages": [user(text("weather?"))], **HAS_WEATHER}),
    (
        "function without parameters",
        {"input": "hello", "tools": [
            {"type": "function", "name": "now", "parameters": None, "strict": None}]},
        {"messages": HELLO,
         "tools": [{"name": "now", "input_schema": {"type": "object", "properties": {}}}]},
    ),
    ("custom tool", {"input": "hello", "tools": [PATCH]},
     {"messages": HELLO, "tools": [CLAUDE_PATCH]}),
    ("namespace", {"input": "hello", "tools": [AGENTS]},
     {"messages": HELLO, "tools": [{"name": "agents__close", "input_schema": WEATHER_SCHEMA}]}),
    (
        "search of the web",
        {"input": "hello", "max_tool_calls": 3, "tools": [
            {"type": "web_search", "filters": {"allowed_domains": ["x.test"]},
             "user_location": BERN}]},
        {"messages": HELLO, "tools": [
            {"type": "web_search_20250305", "name": "web_search", "max_uses": 3,
             "allowed_domains": ["x.test"],
             "user_location": BERN}]},
    ),
    ("search without the live web", {"input": "hello", "tools": [
        {"type": "web_search", "external_web_access": False}]}, {"messages": HELLO}),
    ("no tool allowed", {"input": "hello", "tools": [WEATHER], "tool_choice": "none"},
     {"messages": HELLO, **HAS_WEATHER, "tool_choice": {"type": "none"}}),
    ("some tool required", {"input": "hello", "tools": [WEATHER], "tool_choice": "required"},
     {"messages": HELLO, **HAS_WEATHER, "tool_choice": {"type": "any"}}),
    (
        "one tool required, no two at once",
        {"input": "hello", "tools": [WEATHER], "parallel_tool_calls": False,
         "tool_choice": {"type": "function", "name": "weather"}},
        {"messages": HELLO, **HAS_WEATHER,
         "tool_choice": {"type": "tool", "name": "weather", "disable_parallel_tool_use": True}},
    ),
    (
        "some of the tools allowed",
        {"input": "hello", "tools": [WEATHER, PATCH], "tool_choice": {
            "type": "allowed_tools", "mode": "required",
            "tools": [{"type": "function", "name": "weather"}]}},
        {"messages": HELLO, **HAS_WEATHER, "tool_choice": {"type": "any"}},
    ),
    ("choice without tools", {"input": "hello", "tool_choice": "auto"}, {"messages": HELLO}),
    (
        "call and its output",
        {"input": [*ASKED, calling(), output()], "tools": [WEATHER]},
        {"messages": [user(text("weather?")), assistant(using()), user(result(text("sunny")))],
         **HAS_WEATHER},
    ),
    (
        "output with an image, words before it",
        {"input": [*ASKED, calling(), said("user", "well?"), output([
            {"type": "input_text", "text": "see"},
            {"type": "input_image", "detail": "auto", "image_url": "https://x.test/sky.png"},
            {"type": "input_file", "file_url": "https://x.test/sky.pdf"}])],
         "tools": [WEATHER]},
        {"messages": [user(text("weather?")), assistant(using()), user(
            result(text("see"), {"type": "image", "source": {
                "type": "url", "url": "https://x.test/sky.png"}}, {
                    "type": "document", "source": {
                        "type": "url", "url": "https://x.test/sky.pdf"}}), text("well?"))],
         **HAS_WEATHER},
    ),
    (
        "two calls at once",
        {"input": [*ASKED, calling(), calling(call_id="call_2"), output(),
                   output("rain", "call_2")], "tools": [WEATHER]},
        {"messages": [user(text("weather?")), assistant(using(), using(call_id="call_2")),
                      user(result(text("sunny")), result(text("rain"), call_id="call_2"))],
         **HAS_WEATHER},
    ),
    (
        "custom call and its output",
        {"input": [*ASKED, {"type": "custom_tool_call", "call_id": "call_1", "name": "apply_patch",
                            "input": "*** Begin"},
                   {"type": "custom_tool_call_output", "call_id": "call_1", "output": "done"}],
         "tools": [PATCH]},
        {"messages": [user(text("weather?")),
                      assistant(using("apply_patch", {"input": "*** Begin"})),
                      user(result(text("done")))],
         "tools": [CLAUDE_PATCH]},
    ),
    (
        "call in a namespace, id of another maker",
        {"input": [*ASKED, calling("close", namespace="agents", call_id="close:0"),
                   output(call_id="close:0")], "tools": [AGENTS]},
        {"messages": [user(text("weather?")), assistant(using("agents__close", call_id="close_0")),
                      user(result(text("sunny"), call_id="close_0"))],
         "tools": [{"name": "agents__close", "input_schema": WEATHER_SCHEMA}]},
    ),
    (
        "thinking brought back",
        {"input": [*ASKED, reasoning(THINKING), reasoning(REDACTED), calling(), output()],
         "tools": [WEATHER]},
        {"messages": [user(text("weather?")), assistant(THINKING, REDACTED, using()),
                      user(result(text("sunny")))], **HAS_WEATHER},
    ),
    (
        "thinking of another model",
        {"input": [*ASKED, {"type": "reasoning", "id": "rs_1", "summary": [],
                            "encrypted_content": "gAAAAB"}, said("assistant", "Hi."),
                   said("user", "go")]},
        {"messages": [user(text("weather?")), assistant(text("Hi.")), user(text("go"))]},
    ),
    (
        "a search brought back",
        {"input": [*ASKED, reasoning({"type": "turn", "content": SEARCHED}), said("user", "so?")]},
        {"messages": [user(text("weather?")), assistant(*SEARCHED), user(text("so?"))]},
    ),
    ("effort", {"input": "hello", "reasoning": {
        "effort": "high", "summary": "auto", "context": "auto", "mode": "standard"}},
     {"messages": HELLO, "output_config": {"effort": "high"},
      "thinking": {"type": "adaptive", "display": "summarized"}}),
    ("no effort", {"input": "hello", "temperature": 0, "reasoning": {"effort": "none"}},
     {"messages": HELLO, "thinking": {"type": "disabled"}, "temperature": 0}),
    ("no effort where it is always on", {"model": NEWER, "input": "hello",
                                         "reasoning": {"effort": "none"}},
     {"messages": HELLO, "output_config": {"effort": "low"}}),
    ("effort of an older model", {"model": OLDER, "input": "hello", "max_output_tokens": 10_000,
                                  "temperature": 0.5, "reasoning": {"effort": "medium"}},
     {"messages": HELLO, "thinking": {"type": "enabled", "budget_tokens": 4000}}),
    (
        "an older model whose thinking did not come back",
        {"model": OLDER, "input": [*ASKED, calling(), output()], "tools": [WEATHER],
         "reasoning": {"effort": "medium"}},
        {"messages": [user(text("weather?")), assistant(using()), user(result(text("sunny")))],
         **HAS_WEATHER},
    ),
    (
        "an older model whose thinking came back at the turn's beginning",
        {"model": OLDER, "input": [*ASKED, reasoning(THINKING), calling(), output(),
                                   calling(call_id="call_2"), output(call_id="call_2")],
         "tools": [WEATHER], "reasoning": {"effort": "low"}, "max_output_tokens": 10_000},
        {"messages": [user(text("weather?")), assistant(THINKING, using()),
                      user(result(text("sunny"))), assistant(using(call_id="call_2")),
                      user(result(text("sunny"), call_id="call_2"))],
         **HAS_WEATHER, "thinking": {"type": "enabled", "budget_tokens": 2000}},
    ),
    ("no room to think", {"model": OLDER, "input": "hello", "max_output_tokens": 1000,
                          "reasoning": {"effort": "medium"}}, {"messages": HELLO}),
    ("sampling", {"input": "hello", "temperature": 1.7, "top_p": 0.9},
     {"messages": HELLO, "temperature": 1.0}),
    ("top_p", {"input": "hello", "top_p": 0.9}, {"messages": HELLO, "top_p": 0.9}),
    ("sampling of a newer model", {"model": NEWER, "input": "hello", "temperature": 0.2},
     {"messages": HELLO}),
    (
        "JSON by a schema",
        {"input": "hello", "text": {"format": {"type": "json_schema", "name": "w", "strict": True,
                                               "schema": {"type": "object", "properties": {
                                                   "a": {"type": "object", "properties": {}}}}}}},
        {"messages": HELLO, "output_config": {"format": {"type": "json_schema", "schema": {
            "type": "object", "additionalProperties": False, "properties": {
                "a": {"type": "object", "properties": {}, "additionalProperties": False}}}}}},
    ),
    ("any JSON", {"input": "hello", "text": {"format": {"type": "json_object"}}},
     {"messages": HELLO, "system": [text(
         "Answer with a single JSON object and nothing else: no words around it, no fence.")]}),
    ("person and price", {"input": "hello", "safety_identifier": "u-1", "user": "u-2",
                          "service_tier": "default", "metadata": {"a": "b"}},
     {"messages": HELLO, "metadata": {"user_id": "u-1"}, "service_tier": "standard_only"}),
    (
        "what changes nothing",
        {"input": "hello", "store": True, "truncation": "auto", "background": False,
         "prompt_cache_key": "k", "prompt_cache_retention": "24h", "top_logprobs": 0,
         "include": ["reasoning.encrypted_content"], "conversation": None,
         "stream_options": {"include_obfuscation": True}, "access_programs": {"cyber": "a"},
         "background_options": {"completion_window": "24h"}, "image": {"context_compression": "a"},
         "context_management": [{"type": "compaction", "compact_threshold": 9}],
         "prompt_cache_options": {"ttl": "30m", "comparison_response_id": "a"},
         "previous_response_id": None, "client_metadata": {"a": 1}},
        {"messages": HELLO},
    ),
    ("a stream", {"input": "hello", "stream": True}, {"messages": HELLO, "stream": True}),
    ("the sources of a search", {"input": "hello", "include": ["web_search_call.action.sources"]},
     {"messages": HELLO}),
    (
        "marks of the client's own only",
        {"input": "hello", "prompt_cache_key": "k", "prompt_cache_options": {"mode": "explicit"}},
        {"messages": HELLO},
    ),
    (
        "a conversation's name", {"input": "hello", "prompt_cache_key": "talk"}, {"messages": HELLO}
    ),
    (
        "JSON by a schema that is described",
        {"input": "hello", "text": {"verbosity": "low", "format": {
            "type": "json_schema", "name": "w", "description": "The weather.",
            "schema": {"type": "string"}}}},
        {"messages": HELLO, "output_config": {"format": {"type": "json_schema", "schema": {
            "type": "string", "description": "The weather."}}}},
    ),
    ("thinking shown, by the older word", {"input": "hello", "reasoning": {
        "effort": "high", "generate_summary": "auto"}},
     {"messages": HELLO, "output_config": {"effort": "high"},
      "thinking": {"type": "adaptive", "display": "summarized"}}),
    (
        "files in a message",
        {"input": [{"type": "message", "role": "user", "content": [
            {"type": "input_file", "filename": "a.pdf", "detail": "high", **BREAK,
             "file_data": f"data:application/pdf;base64,{PDF}"},
            {"type": "input_image", "detail": "low", "image_url": "https://x.test/cat.png"},
            {"type": "input_file", "file_url": "https://x.test/a.pdf"}]}]},
        {"messages": [user(
            {"type": "document", "title": "a.pdf", "source": {
                "type": "base64", "media_type": "application/pdf", "data": PDF}, **KEPT},
            {"type": "image", "source": {"type": "url", "url": "https://x.test/cat.png"}},
            {"type": "document", "source": {"type": "url", "url": "https://x.test/a.pdf"}})]},
    ),
    (
        "what an item says of itself",
        {"input": [{"type": "message", "role": "user", "content": [
                        {"type": "input_text", "text": "hello"}], "id": "msg_0", "phase": "a"},
                   {**said("assistant", "Hi."), "phase": "final_answer"},
                   {**reasoning(THINKING), "status": "completed",
                    "summary": [{"type": "summary_text", "text": "Hm."}],
                    "content": [{"type": "reasoning_text", "text": "Hm."}]},
                   {"type": "web_search_call", "id": "ws_1", "status": "completed",
                    "action": {"type": "search", "query": "a"}},
                   calling(status="completed", caller={"type": "direct"}, **{"async": False}),
                   {**output(), "id": "fco_1", "status": "completed", "name": "weather",
                    "namespace": "a", "caller": {"type": "direct"}},
                   {"type": "custom_tool_call", "id": "ctc_1", "call_id": "call_2", "name": "edit",
                    "namespace": "n", "input": "x"},
                   {"type": "custom_tool_call_output", "id": "cto_1", "call_id": "call_2",
                    "output": "done"}],
         "tools": [WEATHER]},
        {"messages": [*HELLO, assistant(text("Hi."), THINKING, using()),
                      user(result(text("sunny"))),
                      assistant(using("n__edit", {"input": "x"}, "call_2")),
                      user(result(text("done"), call_id="call_2"))], **HAS_WEATHER},
    ),
    (
        "what Claude's answer said of its texts",
        {"input": [said("user", "hello"), {**said("assistant"), "content": [
            {"type": "output_text", "text": "Hi.", "logprobs": [], "annotations": [
                {"type": "url_citation", "url": "https://x.test", "title": "X",
                 "start_index": 0, "end_index": 3}]}]}, said("user", "go")]},
        {"messages": [*HELLO, assistant(text("Hi.")), user(text("go"))]},
    ),
    (
        "more tools on the way",
        {"input": [said("user", "hello"), {
            "type": "additional_tools", "id": "at_1", "role": "developer", "tools": [WEATHER]}]},
        {"messages": HELLO, **HAS_WEATHER},
    ),
    (
        "what OpenAI says of its tools",
        {"input": "hello", "tools": [
            {**WEATHER, "async": True, "allowed_callers": ["direct"], "defer_loading": True,
             "output_schema": {"type": "string"}}]},
        {"messages": HELLO, **HAS_WEATHER},
    ),
    (
        "a search by a dated word",
        {"input": "hello", "tools": [
            {"type": "web_search_2025_08_26", "search_context_size": "high"}]},
        {"messages": HELLO, "tools": [SEARCHING]},
    ),
    (
        "a search by an older word",
        {"input": "hello", "tools": [
            {"type": "web_search_preview", "search_content_types": ["text"]}]},
        {"messages": HELLO, "tools": [SEARCHING]},
    ),
    ("a search by the oldest word", {"input": "hello", "tools": [
        {"type": "web_search_preview_2025_03_11"}]}, {"messages": HELLO, "tools": [SEARCHING]}),
]  # fmt: skip

SPOKEN = (
    "apply_patch_call", "apply_patch_call_output", "code_interpreter_call", "computer_call",
    "computer_call_output", "file_search_call", "image_generation_call", "local_shell_call",
    "local_shell_call_output", "mcp_approval_request", "mcp_approval_response", "mcp_call",
    "mcp_list_tools", "program", "program_output", "shell_call", "shell_call_output",
    "tool_search_call", "tool_search_output",
)  # fmt: skip
SILENT = ("compaction", "compaction_trigger", "configuration_update")
ELSEWHERE = (
    "apply_patch", "code_interpreter", "computer", "computer_use_preview", "file_search",
    "image_generation", "local_shell", "mcp", "programmatic_tool_calling", "shell", "tool_search",
)  # fmt: skip
# What these tools cannot do without.
NEEDED: dict[str, Json] = {
    "code_interpreter": {"container": "cntr_1"},
    "computer_use_preview": {"display_height": 1, "display_width": 1, "environment": "browser"},
    "file_search": {"vector_store_ids": ["vs_1"]},
}
CASES += [
    (
        f"the item {kind}",
        {"input": [said("user", "hello"), {"type": kind, "id": "i_1", "status": "completed",
                                           "name": "a"}, said("user", "go")]},
        {"messages": [user(text("hello"), text(spoken(kind)), text("go"))]
         if kind.endswith(("_output", "_response")) else
         [*HELLO, assistant(text(spoken(kind))), user(text("go"))]},
    )
    for kind in SPOKEN
]  # fmt: skip
CASES += [
    (f"the item {kind}", {"input": [said("user", "hello"), {
        "type": kind, "id": "i_1", "encrypted_content": "abc"}]}, {"messages": HELLO})
    for kind in SILENT
]  # fmt: skip
CASES += [
    (f"the tool {kind}", {"input": "hello", "tools": [
        {"type": kind, "server_label": "a", **NEEDED.get(kind, {})}]},
     {"messages": HELLO})
    for kind in ELSEWHERE
]  # fmt: skip

# Name, request without the model, the path that the refusal begins with.
REFUSED: list[tuple[str, Json, str]] = [
    ("no input", {}, "input"),
    ("no items", {"input": []}, "input"),
    ("an item that is no object", {"input": [1]}, "input[0]"),
    ("a role unknown", {"input": [{"role": "critic", "content": "a"}]}, "input[0].role"),
    ("sound", {"input": [{"role": "user", "content": [{"type": "input_audio"}]}]},
     "input[0].content[0].type"),
    ("a file by its id", {"input": [{"role": "user", "content": [
        {"type": "input_file", "file_id": "file_1"}]}]}, "input[0].content[0].file_id"),
    ("an image by its id", {"input": [{"role": "user", "content": [
        {"type": "input_image", "file_id": "file_1"}]}]}, "input[0].content[0].file_id"),
    ("an image that Claude cannot see", {"input": [{"role": "user", "content": [
        {"type": "input_image", "image_url": "data:image/tiff;base64,SUkqAAgAAAA="}]}]},
     "input[0].content[0].image_url"),
    ("a file from this machine", {"input": [{"role": "user", "content": [
        {"type": "input_image", "image_url": "file:///etc/passwd"}]}]},
     "input[0].content[0].image_url"),
    ("base64 that is none", {"input": [{"role": "user", "content": [
        {"type": "input_image", "image_url": "data:image/png;base64,@@"}]}]},
     "input[0].content[0].image_url"),
    ("a name that Claude does not take", {"input": "a", "tools": [
        {**WEATHER, "name": ""}]}, "tools[0].name"),
    ("two tools of one name", {"input": "a", "tools": [WEATHER, WEATHER]}, "tools[1].name"),
    ("an item by its id", {"input": [{"type": "item_reference", "id": "a"}]}, "input[0].type"),
    *((f"the tool {kind} chosen", {"input": "a", "tools": [{"type": kind}, WEATHER],
       "tool_choice": {"type": kind}}, "tool_choice.type") for kind in ELSEWHERE),
    ("a server's tool chosen", {"input": "a", "tools": [WEATHER], "tool_choice": {
        "type": "mcp", "server_label": "a"}}, "tool_choice.type"),
    ("a tool required of none", {"input": "a", "tool_choice": "required"}, "tool_choice"),
    ("a tool required that is not there", {"input": "a", "tools": [WEATHER], "tool_choice": {
        "type": "function", "name": "time"}}, "tool_choice"),
    ("no tokens", {"input": "a", "max_output_tokens": 0}, "max_output_tokens"),
    ("a temperature too high", {"input": "a", "temperature": 3}, "temperature"),
    ("an effort unknown", {"input": "a", "reasoning": {"effort": "huge"}}, "reasoning.effort"),
    ("a format unknown", {"input": "a", "text": {"format": {"type": "xml"}}}, "text.format.type"),
    ("a schema left out", {"input": "a", "text": {"format": {"type": "json_schema"}}},
     "text.format.schema"),
    ("background", {"input": "a", "background": True}, "background"),
    ("an earlier response", {"input": "a", "previous_response_id": "resp_1"},
     "previous_response_id"),
    ("a conversation", {"input": "a", "conversation": {"id": "conv_1"}}, "conversation"),
    ("a template", {"input": "a", "prompt": {"id": "pmpt_1"}}, "prompt"),
    ("moderation", {"input": "a", "moderation": {"model": "m"}}, "moderation"),
    ("warming the cache", {"input": "a", "prompt_cache_options": {"prewarm": True}},
     "prompt_cache_options.prewarm"),
    ("logprobs", {"input": "a", "top_logprobs": 2}, "top_logprobs"),
    ("logprobs by include", {"input": "a", "include": ["message.output_text.logprobs"]},
     "include[0]"),
    ("metadata that are no strings", {"input": "a", "metadata": {"n": 1}}, "metadata.n"),
]  # fmt: skip
