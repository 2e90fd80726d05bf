"""What the Usage & Cost Admin API answers, and the rows that are made of it.

Every answer is judged before it is used: a figure that is none, an amount that is no decimal, a
time or a currency that cannot be meant end the reading.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from fractions import Fraction
from typing import Annotated, Any, TypeVar

import msgspec

_MICROS_A_CENT = 10_000
# Cents, as a decimal.
_AMOUNT = re.compile(r"-?\d{1,15}(?:\.\d{1,20})?")

# How the reports name a class of tokens, and how Relay does.
USAGE_CLASSES = {
    "uncached_input_tokens": "input",
    "output_tokens": "output",
    "cache_read_input_tokens": "cache_read",
}
COST_CLASSES = {
    **USAGE_CLASSES,
    "cache_creation.ephemeral_5m_input_tokens": "cache_write_5m",
    "cache_creation.ephemeral_1h_input_tokens": "cache_write_1h",
}


T = TypeVar("T")


class AdminApiProblem(Exception):
    """A sentence about why the reports could not be read.

    Args:
        is_refused: the API refuses the admin key itself.
    """

    def __init__(self, sentence: str, *, is_refused: bool = False) -> None:
        super().__init__(sentence)
        self.is_refused = is_refused


@dataclass(frozen=True, slots=True)
class UsageRow:
    """Tokens of a day (UTC) by class, and searches, as the usage report has them."""

    day: str
    workspace: str
    api_key: str
    model: str
    tier: str
    tokens: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class CostRow:
    """What a day (UTC) cost, as the cost report has it; exact micro-dollars.

    Args:
        kind: tokens, web_search, code_execution, session_usage, or what else there is.
        class_name: one of Relay's, or the report's own word for what Relay does not know.
    """

    day: str
    workspace: str
    model: str
    tier: str
    kind: str
    class_name: str
    micros: Fraction


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key of the organisation: its id and workspace, and how it begins and ends."""

    id: str
    workspace: str
    begins: str
    ends: str


Count = Annotated[int, msgspec.Meta(ge=0, le=10**15)]


class _CacheCreation(msgspec.Struct):
    ephemeral_5m_input_tokens: Count | None = None
    ephemeral_1h_input_tokens: Count | None = None


class _Searches(msgspec.Struct):
    web_search_requests: Count | None = None


class Used(msgspec.Struct):
    """A result of the usage report."""

    uncached_input_tokens: Count | None = None
    cache_read_input_tokens: Count | None = None
    output_tokens: Count | None = None
    cache_creation: _CacheCreation | None = None
    server_tool_use: _Searches | None = None
    api_key_id: str | None = None
    workspace_id: str | None = None
    model: str | None = None
    service_tier: str | None = None


class Cost(msgspec.Struct):
    """A result of the cost report; `amount` is cents as a decimal."""

    amount: str | int | float
    currency: str | None = None
    cost_type: str | None = None
    token_type: str | None = None
    model: str | None = None
    service_tier: str | None = None
    workspace_id: str | None = None


class _Bucket(msgspec.Struct):
    starting_at: str
    results: list[msgspec.Raw]


class ReportPage(msgspec.Struct):
    """A page of a report."""

    data: list[_Bucket]
    has_more: bool = False
    next_page: str | None = None


class _Key(msgspec.Struct):
    id: str
    workspace_id: str | None = None
    partial_key_hint: str | None = None


class KeysPage(msgspec.Struct):
    """A page of the organisation's keys."""

    data: list[_Key]
    has_more: bool = False
    last_id: str | None = None


class Organization(msgspec.Struct):
    """The organisation of the admin key."""

    id: str
    name: str = ""


def decoded(text: bytes | msgspec.Raw, kind: type[T]) -> T:
    """An answer, or a part of one, by its schema. Raises AdminApiProblem."""
    try:
        return msgspec.json.decode(text, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise AdminApiProblem(f"The Admin API's answer has an odd shape: {error}.") from None


def day_of(text: str) -> str:
    """The UTC day in which a bucket begins. Raises AdminApiProblem."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise AdminApiProblem(
            f"The Admin API's answer has an odd shape: {text[:40]!r} is no time."
        ) from None
    return f"{(at.astimezone(UTC) if at.tzinfo else at):%Y-%m-%d}"


def usage_row(day: str, used: Used) -> UsageRow:
    """A result of the usage report as a row."""
    written, tools = used.cache_creation or _CacheCreation(), used.server_tool_use or _Searches()
    plain: dict[str, Any] = {ours: getattr(used, theirs) for theirs, ours in USAGE_CLASSES.items()}
    tokens = {
        **plain,
        "cache_write_5m": written.ephemeral_5m_input_tokens,
        "cache_write_1h": written.ephemeral_1h_input_tokens,
        "web_searches": tools.web_search_requests,
    }
    return UsageRow(
        day,
        used.workspace_id or "",
        used.api_key_id or "",
        used.model or "",
        used.service_tier or "",
        {name: amount for name, amount in tokens.items() if amount},
    )


def cost_row(day: str, cost: Cost) -> CostRow:
    """A result of the cost report as a row. Raises AdminApiProblem."""
    if cost.currency not in (None, "USD"):
        raise AdminApiProblem(f"The cost report is in {cost.currency!r}, not in US dollars.")
    text = f"{cost.amount:.10f}" if isinstance(cost.amount, float) else str(cost.amount)
    if not _AMOUNT.fullmatch(text):
        raise AdminApiProblem(
            f"The Admin API's answer has an odd shape: {text[:40]!r} is no amount."
        )
    kind = cost.cost_type or ("tokens" if cost.token_type else "unknown")
    class_name = COST_CLASSES.get(cost.token_type or "", cost.token_type or kind)
    return CostRow(
        day,
        cost.workspace_id or "",
        cost.model or "",
        cost.service_tier or "",
        kind,
        class_name if kind == "tokens" else kind,
        Fraction(text) * _MICROS_A_CENT,
    )
