"""What answers to both of OpenAI's APIs have in common."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from relay.dialects.openai.asked import Translated
from relay.dialects.openai.fields import Json

_DECLINED = "Claude declined to answer."


@dataclass
class Frame:
    """What all that is told of one answer has in common.

    Args:
        request_id: the relay's own id of the request; the ids of the answer follow from it.
        now: seconds since the epoch.
    """

    request_id: str
    asked: Translated
    now: Callable[[], float] = time.time
    model: str = ""
    usage: Json = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.stem = self.request_id.removeprefix("req_")
        self.created_at = int(self.now())
        self.model = self.model or str(self.asked.body["model"])

    def begin(self, message: Json) -> None:
        """Note what an answer says of itself at its start."""
        self.model = str(message.get("model") or self.model)
        self.add_usage(message.get("usage"))

    def add_usage(self, figures: Any) -> None:
        """Note figures; the last word on each of them counts."""
        known = {name: value for name, value in as_object(figures).items() if value is not None}
        self.usage |= known


def as_object(value: Any) -> Json:
    """What an answer holds at a place where an object belongs."""
    return value if isinstance(value, dict) else {}


def as_objects(value: Any) -> list[Json]:
    """The objects that an answer holds at a place where a list of them belongs."""
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def refused(details: Any) -> str:
    """What is said where Claude declined to answer."""
    return str(as_object(details).get("explanation") or _DECLINED)


def usage(figures: Json) -> Json:
    """OpenAI's usage: input counts what was read from a cache and written to it."""
    read, written, fresh, output = (
        _count(figures, name)
        for name in (
            "cache_read_input_tokens",
            "cache_creation_input_tokens",
            "input_tokens",
            "output_tokens",
        )
    )
    thought = _count(as_object(figures.get("output_tokens_details")), "thinking_tokens")
    return {
        "input_tokens": fresh + read + written,
        "input_tokens_details": {"cached_tokens": read, "cache_write_tokens": written},
        "output_tokens": output,
        "output_tokens_details": {"reasoning_tokens": thought},
        "total_tokens": fresh + read + written + output,
    }


def _count(figures: Json, name: str) -> int:
    value = figures.get(name)
    return value if type(value) is int and value >= 0 else 0
