"""What a model can do: by its entry in an upstream's list, else by its name."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.dialects import models
from relay.simulator.objects import MODELS

# Source: platform.claude.com/docs, extended thinking and what is new in each model.
BY_NAME = [
    # name, thinking, takes a forced call, goes on with its own turn, takes temperature
    ("claude-fable-5-2", "always", False, False, False),
    ("claude-mythos-5-1", "always", False, False, False),
    ("claude-fable-5", "always", True, False, False),
    ("claude-opus-5-5", "always", False, False, False),
    ("claude-sonnet-5-5", "always", False, False, False),
    ("claude-sonnet-5-5-20260915", "always", False, False, False),
    ("claude-haiku-5-5", "adaptive", True, False, False),
    ("claude-opus-5", "adaptive", True, False, False),
    ("claude-opus-4-8", "adaptive", True, False, False),
    ("claude-opus-4-6", "adaptive", True, False, True),
    ("claude-sonnet-4-5-20250929", "budget", True, True, True),
    ("claude-haiku-4-5", "budget", True, True, True),
    ("claude-3-haiku-20240307", "none", True, True, True),
    ("claude-opus-9", "always", False, False, False),
    ("our-best", "adaptive", False, False, False),
]


@pytest.mark.parametrize(("name", "thinking", "forced", "continues", "samples"), BY_NAME)
def test_a_name_tells_what_no_list_says(
    name: str, thinking: str, forced: bool, continues: bool, samples: bool
):
    known = models.traits(name)
    assert (known.thinking, known.takes_forced, known.continues, known.samples) == (
        thinking, forced, continues, samples,
    )  # fmt: skip


def entry(**capabilities: Any) -> dict[str, Any]:
    return {"id": "claude-opus-4-6", "max_tokens": 1234, "capabilities": capabilities}


def yes(**inner: bool) -> dict[str, Any]:
    return {"supported": True, **{name: {"supported": value} for name, value in inner.items()}}


def test_a_list_says_more_than_the_name():
    told = models.told(
        entry(
            effort=yes(low=True, medium=False, high=True),
            thinking={"supported": True, "types": yes(adaptive=True, disabled=False)},
            structured_outputs={"supported": False},
        )
    )
    assert (told.max_output, told.efforts) == (1234, ("low", "high"))
    assert (told.thinking, told.structures, told.samples) == ("always", False, True)


@pytest.mark.parametrize(
    ("types", "thinking"),
    [
        (yes(adaptive=True, disabled=True), "adaptive"),
        (yes(adaptive=True), "adaptive"),
        (yes(adaptive=False, enabled=True), "budget"),
        (yes(enabled=True), "budget"),
        ({}, "adaptive"),
        (None, "adaptive"),
    ],
)
def test_the_kinds_of_thinking_are_those_that_are_listed(types: Any, thinking: str):
    assert models.told(entry(thinking={"supported": True, "types": types})).thinking == thinking


def test_a_model_that_is_said_not_to_think_does_not():
    assert models.told(entry(thinking={"supported": False})).thinking == "none"
    assert models.told(entry(effort={"supported": False})).efforts == ()


_ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["supported", "types", "adaptive", "effort", "thinking", "low", "x"]),
            inner,
            max_size=4,
        )
    ),
)


@given(_ANYTHING, _ANYTHING, _ANYTHING)
def test_no_entry_is_too_odd_to_be_read(name: Any, most: Any, capabilities: Any):
    told = models.told({"id": name, "max_tokens": most, "capabilities": capabilities})
    assert told.max_output > 0
    assert told.thinking in ("none", "budget", "adaptive", "always")


def test_the_simulator_lists_what_its_models_names_say():
    assert len(MODELS) > 3
    for listed in MODELS:
        assert models.told(listed) == models.traits(listed["id"])
