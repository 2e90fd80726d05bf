"""Conversations of odd shapes, in the words of both of OpenAI's APIs.

A history is a list of steps: what the user, an instruction or the assistant says (a text, or None),
calls with their ids and arguments, and results by id. Each API writes them in its own way.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from relay.dialects.chat import request as chat
from relay.dialects.openai.asked import Translated
from relay.dialects.responses import request as responses

Json = dict[str, Any]
Step = tuple[Any, ...]

MODEL = "claude-opus-4-6"
TOOL = {"name": "look", "description": "Looks.", "parameters": {"type": "object"}}


@dataclass(frozen=True)
class Api:
    """One of the two APIs: how it writes steps, and its translation."""

    name: str
    path: str
    write: Callable[[list[Step]], list[Json]]
    translate: Callable[[Json], Translated]

    def asking(self, steps: list[Step], **more: Any) -> Json:
        """A request of these steps."""
        said = "messages" if self.name == "chat" else "input"
        return {"model": MODEL, said: self.write(steps), **more}

    def claudes(self, *steps: Step, **more: Any) -> list[Json]:
        """Claude's turns for these steps."""
        turns: list[Json] = self.translate(self.asking(list(steps), **more)).body["messages"]
        return turns

    def tool(self) -> Json:
        """A tool that calls may be of."""
        if self.name == "chat":
            return {"type": "function", "function": TOOL}
        return {"type": "function", **TOOL}


def chats(steps: list[Step]) -> list[Json]:
    """Messages of Chat Completions; calls that follow each other belong to one message."""
    told: list[Json] = []
    for kind, *rest in steps:
        if kind == "call":
            if not told or told[-1]["role"] != "assistant":
                told.append({"role": "assistant", "content": None})
            function = {"name": "look", "arguments": rest[1] if len(rest) > 1 else "{}"}
            call = {"id": rest[0], "type": "function", "function": function}
            told[-1].setdefault("tool_calls", []).append(call)
        elif kind == "result":
            told.append({"role": "tool", "tool_call_id": rest[0], "content": rest[1]})
        else:
            told.append({"role": kind, "content": rest[0]})
    return told


def items(steps: list[Step]) -> list[Json]:
    """Items of the Responses API."""
    told: list[Json] = []
    for kind, *rest in steps:
        if kind == "call":
            arguments = rest[1] if len(rest) > 1 else "{}"
            told.append({"type": "function_call", "call_id": rest[0], "name": "look",
                         "arguments": arguments})  # fmt: skip
        elif kind == "result":
            told.append({"type": "function_call_output", "call_id": rest[0], "output": rest[1]})
        else:
            told.append({"type": "message", "role": kind, "content": rest[0]})
    return told


CHAT = Api("chat", "/openai/claude/v1/chat/completions", chats, chat.translate)
RESPONSES = Api("responses", "/openai/claude/v1/responses", items, responses.translate)


def text(words: str) -> Json:
    return {"type": "text", "text": words}


def user(*blocks: Any) -> Json:
    return {"role": "user", "content": [_block(block) for block in blocks]}


def assistant(*blocks: Any) -> Json:
    return {"role": "assistant", "content": [_block(block) for block in blocks]}


def used(call_id: str, value: Json | None = None) -> Json:
    return {"type": "tool_use", "id": call_id, "name": "look", "input": value or {}}


def result(call_id: str, *words: str) -> Json:
    found: Json = {"type": "tool_result", "tool_use_id": call_id}
    return {**found, "content": [text(one) for one in words]} if words else found


def _block(block: Any) -> Any:
    return text(block) if isinstance(block, str) else block


NOTHING = "(nothing)"
BEGIN = "Begin."
NO_RESULT = "No result came of this call."

# Name, steps, Claude's turns.
CASES: list[tuple[str, list[Step], list[Json]]] = [
    ("white space around and in words", [("user", "  a\n\n b \n")], [user("  a\n\n b \n")]),
    ("a blank text of the user", [("user", " ")], [user(NOTHING)]),
    ("line breaks only", [("user", "a"), ("assistant", "b"), ("user", "\n\n")],
     [user("a"), assistant("b"), user(NOTHING)]),
    ("other white space", [("user", "\t\u00a0\u3000"), ("assistant", "b"), ("user", "c")],
     [user(NOTHING), assistant("b"), user("c")]),
    ("a blank text before another", [("user", ""), ("user", "a")], [user("a")]),
    ("a blank text after another", [("user", "a"), ("user", " ")], [user("a")]),
    ("blank instructions", [("system", " "), ("developer", "\n"), ("user", "a")], [user("a")]),
    ("a blank instruction in the middle",
     [("user", "a"), ("assistant", "b"), ("system", " "), ("user", "c")],
     [user("a"), assistant("b"), user("c")]),
    ("a blank text beside a call", [("user", "a"), ("assistant", "\n\n"), ("call", "c1"),
                                    ("result", "c1", "d")],
     [user("a"), assistant(used("c1")), user(result("c1", "d"))]),
    ("a blank result", [("user", "a"), ("call", "c1"), ("result", "c1", " \n")],
     [user("a"), assistant(used("c1")), user(result("c1"))]),
    ("an empty answer", [("user", "a"), ("assistant", None), ("user", "b")], [user("a", "b")]),
    ("an empty answer at the end", [("user", "a"), ("assistant", None)], [user("a")]),
    ("an empty answer to nothing", [("user", " "), ("assistant", ""), ("user", "b")],
     [user(NOTHING, "b")]),
    ("an assistant first", [("assistant", "Hi."), ("user", "a")],
     [user(BEGIN), assistant("Hi."), user("a")]),
    ("only a system message", [("system", "Say hello.")], [user(BEGIN)]),
    ("only a system message, answered",
     [("system", "Say hello."), ("assistant", "Hi."), ("user", "a")],
     [user(BEGIN), assistant("Hi."), user("a")]),
    ("only a system message, and an empty answer",
     [("system", "Say hello."), ("assistant", None), ("user", "a")], [user(BEGIN, "a")]),
    ("only a blank system message", [("system", " ")], [user(BEGIN)]),
    *((f"the arguments {arguments!r}", [("user", "a"), ("call", "c1", arguments),
                                         ("result", "c1", "d")],
       [user("a"), assistant(used("c1", value)), user(result("c1", "d"))])
      for arguments, value in (
          ("", {}), ("null", {}), (" ", {}), (None, {}), ('{"a": 1}', {"a": 1}),
          ({"a": 1}, {"a": 1}), ('{"a": "b', {"INVALID_JSON": '{"a": "b'}),
          ('{"a": 1}}', {"INVALID_JSON": '{"a": 1}}'}), ("[1]", {"INVALID_JSON": "[1]"}),
          ('"a"', {"INVALID_JSON": '"a"'}), ("a", {"INVALID_JSON": "a"}),
          ("3", {"INVALID_JSON": "3"}), ("true", {"INVALID_JSON": "true"}),
          (["a"], {"INVALID_JSON": '["a"]'}), ('{"a": NaN}', {"INVALID_JSON": '{"a": NaN}'}),
          (r'{"a": "\ud83d"}', {"INVALID_JSON": r'{"a": "\ud83d"}'}),
          ("[" * 5000, {"INVALID_JSON": "[" * 5000}))),
    ("an id in two turns",
     [("user", "a"), ("call", "c"), ("result", "c", "1"), ("call", "c"), ("result", "c", "2"),
      ("call", "c"), ("result", "c", "3")],
     [user("a"), assistant(used("c")), user(result("c", "1")), assistant(used("c_2")),
      user(result("c_2", "2")), assistant(used("c_3")), user(result("c_3", "3"))]),
    ("an id that a renamed call has got",
     [("call", "c"), ("result", "c", "1"), ("call", "c"), ("result", "c", "2"),
      ("call", "c_2"), ("result", "c_2", "3")],
     [user(BEGIN), assistant(used("c")), user(result("c", "1")), assistant(used("c_2")),
      user(result("c_2", "2")), assistant(used("c_2_2")), user(result("c_2_2", "3"))]),
    ("an id twice in a turn",
     [("user", "a"), ("call", "c"), ("call", "c"), ("result", "c", "1"), ("result", "c", "2")],
     [user("a"), assistant(used("c"), used("c_2")), user(result("c", "1"), result("c_2", "2"))]),
    ("two ids that are one in Claude's letters",
     [("user", "a"), ("call", "c.1"), ("call", "c:1"), ("result", "c:1", "2"),
      ("result", "c.1", "1")],
     [user("a"), assistant(used("c_1"), used("c_1_2")),
      user(result("c_1_2", "2"), result("c_1", "1"))]),
    ("an empty id", [("user", "a"), ("call", ""), ("result", "", "1")],
     [user("a"), assistant(used("call")), user(result("call", "1"))]),
    ("a call without a result", [("user", "a"), ("call", "c"), ("user", "stop")],
     [user("a"), assistant(used("c")), user(result("c", NO_RESULT), "stop")]),
    ("a call at the end", [("user", "a"), ("call", "c")],
     [user("a"), assistant(used("c")), user(result("c", NO_RESULT))]),
    ("one of two results",
     [("user", "a"), ("call", "c"), ("call", "d"), ("result", "d", "1"), ("assistant", "b"),
      ("user", "e")],
     [user("a"), assistant(used("c"), used("d")),
      user(result("d", "1"), result("c", NO_RESULT)), assistant("b"), user("e")]),
    ("a result without a call", [("user", "a"), ("assistant", "b"), ("result", "c", "1")],
     [user("a"), assistant("b"), user("The result of the tool call c:", "1")]),
    ("a history that was cut in the middle of a call", [("result", "c", "1"), ("user", "a")],
     [user("The result of the tool call c:", "1", "a")]),
    ("a result twice", [("user", "a"), ("call", "c"), ("result", "c", "1"), ("result", "c", "2")],
     [user("a"), assistant(used("c")),
      user(result("c", "1"), "The result of the tool call c:", "2")]),
    ("a result that comes late",
     [("user", "a"), ("call", "c"), ("user", "b"), ("assistant", "d"), ("result", "c", "1")],
     [user("a"), assistant(used("c")), user(result("c", NO_RESULT), "b"), assistant("d"),
      user("The result of the tool call c:", "1")]),
    ("a result after an empty answer",
     [("user", "a"), ("call", "c"), ("user", "b"), ("assistant", None), ("result", "c", "1")],
     [user("a"), assistant(used("c")),
      user(result("c", NO_RESULT), "b", "The result of the tool call c:", "1")]),
    ("words between a call and its result",
     [("user", "a"), ("call", "c"), ("user", "b"), ("result", "c", "1")],
     [user("a"), assistant(used("c")), user(result("c", "1"), "b")]),
]  # fmt: skip
