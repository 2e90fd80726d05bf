"""The page of Chat Completions says what the code does, for every field that the SDK knows."""

from pathlib import Path

from openai.types.chat.completion_create_params import (
    CompletionCreateParamsNonStreaming,
    CompletionCreateParamsStreaming,
)

from relay.dialects.chat import treatment

PAGE = (Path(__file__).parents[2] / "docs" / "openai-chat.md").read_text()


def test_every_field_stands_in_the_docs_with_what_becomes_of_it():
    rows = [line.split("|") for line in PAGE.splitlines() if line.startswith("| `")]

    assert {row[1].strip(" `"): row[2].strip() for row in rows} == treatment.FIELDS


def test_every_field_of_the_sdk_is_known():
    kinds = (CompletionCreateParamsNonStreaming, CompletionCreateParamsStreaming)

    assert {name for kind in kinds for name in kind.__annotations__} <= set(treatment.FIELDS)
