"""The page of every field says what answers tell, and what Claude is asked for."""

import copy
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from anthropic.types import ContentBlock, Message, MessageCreateParams
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.responses import Response, ResponseStreamEvent

from relay.dialects.chat import answer as chat_answer
from relay.dialects.chat import request as chat_request
from relay.dialects.openai.asked import Choices
from relay.dialects.responses import request as responses_request
from relay.dialects.responses import stream as responses_stream

from . import chat_corpus, responses_corpus, spec_fields, test_chat, test_responses_answer
from .claude_answers import USAGE, USED, message
from .responses_corpus import MODEL, Json, text
from .spec_fields import lies_below, stands_for

PAGE = (Path(__file__).parents[2] / "docs" / "openai-fields.md").read_text()
_MARK = re.compile(r"\]\.(type|role)$")


def told_in(values: list[Json]) -> set[str]:
    """The fields that say something."""
    return {
        path
        for value in values
        for path, holder, name in spec_fields.values(value)
        if holder[name] is not None
    }


def chat_answers() -> list[Json]:
    told = []
    for _, asked, said, _ in test_chat.ANSWERS:
        told.append(chat_answer.whole(test_chat.frame_for(**asked), said))
        told += test_chat.chunks_of(test_chat.streamed(test_chat.frame_for(**asked), said))
    return told


def responses_events() -> list[Json]:
    told = []
    for _, asked, said in test_responses_answer.ANSWERS:
        told += test_responses_answer.streamed(test_responses_answer.frame_for(**asked), said)
    return told + test_responses_answer.broken_off()


def responses_answers() -> list[Json]:
    told = [event["response"] for event in responses_events() if "response" in event]
    for _, asked, _ in responses_corpus.CASES:
        frame = test_responses_answer.frame_for(**asked)
        told.append(responses_stream.whole(frame, message(text("Hi."))))
    return told


def claude_requests() -> list[Json]:
    marked = Choices(marks_cache=True)
    chats = [{"model": MODEL, "messages": chat_corpus.ASKED, **case[1]}
             for case in chat_corpus.CASES]  # fmt: skip
    others = [{"model": MODEL, **case[1]} for case in responses_corpus.CASES]
    sent = [chat_request.translate(one, choices).body
            for one in chats for choices in (Choices(), marked)]  # fmt: skip
    return sent + [responses_request.translate(one).body for one in others]


KINDS: list[tuple[str, list[Any], Any]] = [
    ("Chat Completions, the answer", [ChatCompletion, ChatCompletionChunk], chat_answers),
    ("Responses API, the answer", [Response], responses_answers),
    ("Claude, the request", [MessageCreateParams], claude_requests),
]


@pytest.mark.parametrize(("heading", "kinds", "made"), KINDS, ids=[one[0] for one in KINDS])
class TestFields:
    def test_every_field_stands_on_the_page(self, heading: str, kinds: list[Any], made: Any):
        rows = spec_fields.table(PAGE, heading)
        whole = [row for row, said in rows.items() if said == "never" or said.endswith("whole")]
        fields = {path for kind in kinds for path in spec_fields.paths(kind)
                  if not _MARK.search(path)}  # fmt: skip
        assert sorted(path for path in fields
                      if not any(lies_below(row, path) for row in whole)
                      and not any(stands_for(row, path) for row in rows)) == []  # fmt: skip

    def test_every_row_is_as_it_says(self, heading: str, kinds: list[Any], made: Any):
        rows = spec_fields.table(PAGE, heading)
        found = {path.replace("tools[].", "tools[custom].") for path in told_in(made())}
        kept = {row for row in rows if any(lies_below(row, path) for path in found)}
        assert {row: said for row, said in rows.items()
                if (row in kept) != (said != "never")} == {}  # fmt: skip


def test_every_event_of_the_responses_api_is_told_or_listed():
    rows = spec_fields.table(PAGE, "Responses API, the events")
    told = {event["type"] for event in responses_events()}
    known = spec_fields.kinds(ResponseStreamEvent)
    others = [row for row, said in rows.items() if said == "never"]
    never = {kind for kind in known if any(lies_below(row, kind) for row in others)}
    assert told == set(rows) - set(others)
    assert told | never == known
    assert told & never == set()


def claude_answers() -> list[Json]:
    """Messages with a block of each kind, and every figure."""
    said = [case[2] for case in test_chat.ANSWERS]
    told = {block["type"] for one in said for block in one["content"]}
    more = {"id": "a", "name": "web_search", "tool_use_id": "a", "content": {"type": "x"},
            "caller": {"type": "direct"}, "input": {"query": "x"}}  # fmt: skip
    other = [message({"type": kind, **more}) for kind in spec_fields.kinds(ContentBlock) - told]
    used = {**USED, "caller": {"type": "direct"}, "toolset_name": "a"}
    figures = {**USAGE, "cache_creation": {"ephemeral_1h_input_tokens": 1}, "inference_geo": "eu",
               "server_tool_use": {"web_search_requests": 1}, "service_tier": "priority",
               "speed": "fast"}  # fmt: skip
    full = message(text("Hi."), used, container={"id": "a"}, diagnostics={"a": 1})
    return copy.deepcopy([*said, *other, {**full, "usage": figures}])


def in_chat(said: Json) -> Json:
    return chat_answer.whole(test_chat.frame_for(), said)


def in_responses(said: Json) -> Json:
    wanted = {"tools": [{"type": "web_search"}], "reasoning": {"summary": "auto"}}
    return responses_stream.whole(test_responses_answer.frame_for(**wanted), said)


@pytest.mark.parametrize(("column", "told"), [(1, in_chat), (2, in_responses)],
                         ids=["chat", "responses"])  # fmt: skip
def test_every_field_of_claudes_answer_is_told_or_listed(column: int, told: Callable[[Json], Json]):
    rows = spec_fields.table(PAGE, "Claude, the answer", column)
    counts = spec_fields.counting(claude_answers(), told)
    fields = [path for path in spec_fields.paths(Message) if not _MARK.search(path)]
    whole = [row for row, said in rows.items() if said != "told"]

    assert [path for path in fields if path not in rows
            and not any(lies_below(row, path) for row in whole)] == []  # fmt: skip
    for row, said in rows.items():
        found = {path: counts[path] for path in counts
                 if lies_below(row, path) and not _MARK.search(path)}  # fmt: skip
        assert found, row
        assert any(found.values()) == (said != "never"), row
