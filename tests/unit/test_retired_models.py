"""When models retired, by their names."""

import pytest

from relay.dialects.retired import retired_on


@pytest.mark.parametrize(
    ("model", "day"),
    [
        ("claude-3-sonnet-20240229", "2025-07-21"),
        ("claude-3-haiku@20240307", "2026-04-20"),
        ("anthropic.claude-3-5-haiku-20241022-v1:0", "2026-02-19"),
        ("us.anthropic.claude-3-7-sonnet-20250219-v1:0", "2026-02-19"),
        ("claude-3-5-sonnet-latest", "2025-10-28"),
        ("claude-3-opus-latest", "2026-01-05"),
        ("claude-sonnet-4-20250514", "2026-06-15"),
        ("claude-sonnet-4-20250514[1m]", "2026-06-15"),
        ("claude-opus-4-0", "2026-06-15"),
        ("claude-opus-4-1-20250805", "2026-08-05"),
        ("claude-2.1", "2025-07-21"),
        ("claude-instant-1.2", "2024-11-06"),
    ],
)
def test_a_retired_model_is_known_however_its_name_is_written(model: str, day: str):
    assert str(retired_on(model)) == day


@pytest.mark.parametrize(
    "model",
    [
        "claude-opus-4-5-20251101", "claude-sonnet-4-6", "claude-opus-5", "claude-haiku-4-5",
        "claude-opus-5-5", "claude-3-5-sonnet-20241022-mine", "claude-20", "gpt-4o", "",
        "my-claude-2", "claude-opus-4-10",
    ],
)  # fmt: skip
def test_no_other_name_is_taken_for_a_retired_model(model: str):
    assert retired_on(model) is None
