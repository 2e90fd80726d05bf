"""The page of the Responses API says what the code does."""

from pathlib import Path

from relay.dialects.responses import treatment

PAGE = (Path(__file__).parents[2] / "docs" / "openai-responses.md").read_text()


def test_every_field_stands_in_the_docs_with_what_becomes_of_it():
    rows = [line.split("|") for line in PAGE.splitlines() if line.startswith("| `")]

    assert {row[1].strip(" `"): row[2].strip() for row in rows} == treatment.FIELDS
