"""The page of every field says what the code does, and leaves no field of a specification out."""

import copy
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from openai.types.chat.completion_create_params import CompletionCreateParamsStreaming
from openai.types.responses.response_create_params import ResponseCreateParamsStreaming

from relay import errors
from relay.dialects.chat import request as chat
from relay.dialects.openai.asked import Choices, Translated
from relay.dialects.responses import request as responses

from . import chat_corpus, responses_corpus, spec_fields
from .responses_corpus import MODEL, Json
from .spec_fields import lies_below, stands_for

Translate = Callable[[Json, Choices], Translated]

CHOICES = Choices(marks_cache=True)
DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "openai-fields.md").read_text()
# They tell the kinds of a list's objects apart, and stand in the brackets.
_MARK = re.compile(r"\]\.(type|role)$")


def chat_requests(cases: list[tuple[str, Json, Any]]) -> list[Json]:
    return [{"model": MODEL, "messages": chat_corpus.ASKED, **case[1]} for case in cases]


def responses_requests(cases: list[tuple[str, Json, Any]]) -> list[Json]:
    return [{"model": MODEL, **case[1]} for case in cases]


def outcome(translate: Translate, asked: Json) -> Any:
    """What becomes of a request, as far as anybody could tell."""
    try:
        done = translate(asked, CHOICES)
    except errors.BadRequest as refusal:
        return refusal.message
    # An answer repeats the tools as they are: that is no use of what they say.
    echo = {name: value for name, value in done.echo.items() if name != "tools"}
    return done.body, echo, done.session, done.box, done.shows_thinking, done.names_sources


class Asked:
    """A specification's requests, what the docs say of their fields, and what is so."""

    def __init__(self, page: str, heading: str, params: Any, cases: list[Json],
                 refused: list[Json], translate: Translate) -> None:  # fmt: skip
        top = spec_fields.table((DOCS / page).read_text(), "Fields")
        self.rows = top | spec_fields.table(PAGE, heading)
        self.fields = spec_fields.paths(params)
        self.counts = spec_fields.counting(
            copy.deepcopy(cases), lambda one: outcome(translate, one)
        )
        self.plain = cases[0]
        self.refused = refused
        self.translate = translate

    def covered(self, path: str) -> bool:
        """Whether a field is inside of one of which all is said."""
        closed = [row for row, said in self.rows.items() if said != "translated"]
        return any(lies_below(row, path) for row in closed)

    def meant(self, row: str) -> dict[str, bool]:
        """The corpus' fields of a row, those inside of it too where it is for all, and
        whether each counts."""
        matches = stands_for if self.rows[row] == "translated" else lies_below
        found = {path: counts for path, counts in self.counts.items()
                 if matches(row, path) and not _MARK.search(path)}  # fmt: skip
        nearer = [one for one in self.rows if one.count("*") < row.count("*")]
        return {path: counts for path, counts in found.items()
                if not any(stands_for(one, path) for one in nearer)}  # fmt: skip


@pytest.fixture(scope="module", params=["chat", "responses"])
def asked(request: pytest.FixtureRequest) -> Asked:
    if request.param == "chat":
        return Asked(
            "openai-chat.md", "Chat Completions, the request", CompletionCreateParamsStreaming,
            chat_requests(chat_corpus.CASES), chat_requests(chat_corpus.REFUSED), chat.translate,
        )  # fmt: skip
    return Asked(
        "openai-responses.md", "Responses API, the request", ResponseCreateParamsStreaming,
        responses_requests(responses_corpus.CASES), responses_requests(responses_corpus.REFUSED),
        responses.translate,
    )  # fmt: skip


def test_every_field_of_a_request_stands_on_the_page(asked: Asked):
    fields = [path for path in asked.fields if not _MARK.search(path) and not asked.covered(path)]
    assert [path for path in fields
            if not any(stands_for(row, path) for row in asked.rows)] == []  # fmt: skip


def test_every_row_is_about_a_field(asked: Asked):
    known = asked.fields | set(asked.counts)
    assert [row for row in asked.rows
            if not any(lies_below(row, path) for path in known)] == []  # fmt: skip


def test_a_translated_field_makes_a_difference(asked: Asked):
    rows = [row for row, said in asked.rows.items() if said == "translated"]
    assert [row for row in rows if not any(asked.meant(row).values())] == []


def test_an_ignored_field_makes_none(asked: Asked):
    rows = [row for row, said in asked.rows.items() if said == "ignored"]
    assert {row: asked.meant(row) for row in rows
            if not asked.meant(row) or any(asked.meant(row).values())} == {}  # fmt: skip


def test_a_field_that_is_like_others_makes_a_difference_as_they_do(asked: Asked):
    rows = [row for row, said in asked.rows.items() if said == "alike"]
    counting = [path for path, counts in asked.counts.items() if counts]
    assert [row for row in rows if not any(lies_below(row, path) for path in counting)] == []


def test_a_refused_field_is_refused_by_its_name(asked: Asked):
    refused = {path for one in asked.refused for path in refused_fields(asked, one)}
    rows = [row for row, said in asked.rows.items() if said == "refused"]
    assert [row for row in rows if not any(lies_below(row, path) for path in refused)] == []


def refused_fields(asked: Asked, one: Json) -> list[str]:
    """The field that a request is refused for; for a type, the fields of the object as well."""
    refusal = outcome(asked.translate, one)
    assert isinstance(refusal, str), one
    value: Any = one
    path, holder, name = "", one, ""
    for name, index in re.findall(r"(\w+)|\[(\d+)\]", refusal.partition(": ")[0]):
        if index:
            value = value[int(index)]
            path += f"[{spec_fields.kind_of(value)}]"
        else:
            holder, value = value, value.get(name)
            path += f".{name}" if path else name
    if name != "type":
        return [path]
    return [path.removesuffix("type") + other for other in holder]


# A value of the wrong kind: docs/openai-fields.md says that these are refused, not how.
_OF_KINDS = re.compile(r"must |this field is required|holds at most")


def test_every_reason_of_a_refusal_stands_on_the_page(asked: Asked):
    section = PAGE.partition("## What is refused")[2].partition("\n## ")[0]
    reasons = [re.escape(one).replace("…", ".+") for one in re.findall("`([^`]+)`", section)]
    told = [outcome(asked.translate, one).partition(": ")[2] for one in asked.refused]
    assert [sentence for sentence in told if not _OF_KINDS.match(sentence)
            and not any(re.fullmatch(reason, sentence) for reason in reasons)] == []  # fmt: skip


def test_a_translated_field_of_the_wrong_kind_is_refused_by_its_name(asked: Asked):
    for row, said in asked.rows.items():
        if said == "translated" and row.isidentifier():
            # A choice among functions needs some.
            more = {"functions": [{"name": "a"}]} if row == "function_call" else {}
            refusal = outcome(asked.translate, {**asked.plain, **more, row: object()})
            assert refusal.startswith(row)
