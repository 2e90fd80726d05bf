"""Reads an organisation's usage and cost from Anthropic's Usage & Cost Admin API.

Source: platform.claude.com/docs/en/api/admin/usage_report and …/cost_report. What an answer says
is judged before it is used: a figure that is none, or a page that leads nowhere, ends the reading.
"""

import email.utils
import re
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from typing import Annotated, Any, TypeVar
from urllib.parse import urlencode

import msgspec
import trio

import relay
from relay.upstream import UpstreamError, Upstreams

USAGE, COST = "/v1/organizations/usage_report/messages", "/v1/organizations/cost_report"
_ME, _API_KEYS = "/v1/organizations/me", "/v1/organizations/api_keys"
_VERSION = b"2023-06-01"
_GROUPS = ("api_key_id", "workspace_id", "model", "service_tier")
# The most days of one page.
_DAYS_A_PAGE = 31
_MOST_PAGES = 500
_LARGEST_PAGE = 16 * 1024 * 1024
_TIMEOUT_S = 60.0
_TRIES = 5
_LONGEST_WAIT_S = 120.0
_MOST_SAID = 200
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


class _Used(msgspec.Struct):
    uncached_input_tokens: Count | None = None
    cache_read_input_tokens: Count | None = None
    output_tokens: Count | None = None
    cache_creation: _CacheCreation | None = None
    server_tool_use: _Searches | None = None
    api_key_id: str | None = None
    workspace_id: str | None = None
    model: str | None = None
    service_tier: str | None = None


class _Cost(msgspec.Struct):
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


class _Page(msgspec.Struct):
    data: list[_Bucket]
    has_more: bool = False
    next_page: str | None = None


class _Key(msgspec.Struct):
    id: str
    workspace_id: str | None = None
    partial_key_hint: str | None = None


class _Keys(msgspec.Struct):
    data: list[_Key]
    has_more: bool = False
    last_id: str | None = None


class _Organization(msgspec.Struct):
    id: str
    name: str = ""


T = TypeVar("T")


class AdminApi:
    """The reports of one organisation.

    Args:
        wait: how a pause before another try is made.
    """

    def __init__(
        self,
        upstreams: Upstreams,
        base_url: str,
        secret: str,
        proxy: str | None = None,
        wait: Callable[[float], Awaitable[object]] = trio.sleep,
    ) -> None:
        self._upstreams = upstreams
        self._base_url = base_url
        self._secret = secret
        self._proxy = proxy
        self._wait = wait

    async def usage(self, first: date, last: date) -> Sequence[UsageRow]:
        """The tokens of each day from `first` to `last`. Raises AdminApiProblem."""
        return [
            _usage_row(day, _decoded(result, _Used))
            for day, result in await self._days(USAGE, first, last, _GROUPS)
        ]

    async def cost(self, first: date, last: date) -> Sequence[CostRow]:
        """What each day cost, from `first` to `last`. Raises AdminApiProblem."""
        return [
            _cost_row(day, _decoded(result, _Cost))
            for day, result in await self._days(COST, first, last, ("workspace_id", "description"))
        ]

    async def organization(self) -> tuple[str, str]:
        """The organisation's id and name. Raises AdminApiProblem."""
        found = _decoded(await self._get(_ME, []), _Organization)
        return found.id, found.name

    async def api_keys(self) -> Sequence[ApiKey]:
        """The organisation's keys, by their beginnings and ends. Raises AdminApiProblem."""
        found: list[ApiKey] = []
        query, seen = [("limit", "1000")], {""}
        for _ in range(_MOST_PAGES):
            page = _decoded(await self._get(_API_KEYS, query), _Keys)
            for key in page.data:
                begins, _, ends = (key.partial_key_hint or "").partition("...")
                found.append(ApiKey(key.id, key.workspace_id or "", begins, ends))
            if not page.has_more:
                return found
            query = [("limit", "1000"), ("after_id", _next(page.last_id, seen))]
        raise AdminApiProblem("The Admin API's list of keys does not end.")

    async def _days(
        self, path: str, first: date, last: date, groups: Sequence[str]
    ) -> list[tuple[str, msgspec.Raw]]:
        """Every result of a report, with its day; what belongs to no day asked for is left out."""
        asked = [
            ("starting_at", f"{first}T00:00:00Z"),
            ("ending_at", f"{last + timedelta(days=1)}T00:00:00Z"),
            ("bucket_width", "1d"),
            ("limit", str(_DAYS_A_PAGE)),
            *(("group_by[]", group) for group in groups),
        ]
        found: list[tuple[str, msgspec.Raw]] = []
        query, seen = asked, {""}
        for _ in range(_MOST_PAGES):
            page = _decoded(await self._get(path, query), _Page)
            for bucket in page.data:
                day = _day(bucket.starting_at)
                if f"{first}" <= day <= f"{last}":
                    found += ((day, result) for result in bucket.results)
            if not page.has_more:
                return found
            query = [*asked, ("page", _next(page.next_page, seen))]
        raise AdminApiProblem("The Admin API's report does not end.")

    async def _get(self, path: str, query: Sequence[tuple[str, str]]) -> bytes:
        """The body of a good answer; what passes by itself is tried again."""
        target = f"{path}?{urlencode(query)}" if query else path
        said = ""
        for number in range(_TRIES):
            pause_s = 2.0**number
            try:
                status, body, after = await self._ask(target.encode())
            except UpstreamError as error:
                said = str(error)
            else:
                if status == 200:
                    return body
                said = f"It answered with status {status}{_message(body)}."
                if status in (401, 403):
                    raise AdminApiProblem(
                        f"The Admin API refuses the admin key (status {status}{_message(body)}).",
                        is_refused=True,
                    )
                if status != 429 and status < 500:
                    break
                pause_s = max(pause_s, after)
            if number == _TRIES - 1 or pause_s > _LONGEST_WAIT_S:
                break
            await self._wait(pause_s)
        raise AdminApiProblem(f"The Admin API's report could not be read: {said}")

    async def _ask(self, target: bytes) -> tuple[int, bytes, float]:
        """Status and body of an answer, and how many seconds it says to wait."""
        headers = [
            (b"x-api-key", self._secret.encode()),
            (b"anthropic-version", _VERSION),
            (b"accept", b"application/json"),
            (b"accept-encoding", b"identity"),
            (b"user-agent", f"claude-relay/{relay.__version__}".encode()),
        ]
        async with self._upstreams.send(
            self._base_url, "GET", target, headers, b"",
            headers_timeout_s=_TIMEOUT_S, silence_timeout_s=_TIMEOUT_S, proxy=self._proxy,
        ) as reply:  # fmt: skip
            parts, size = [], 0
            while data := await reply.receive():
                size += len(data)
                if size > _LARGEST_PAGE:
                    raise AdminApiProblem("The Admin API's answer is too large.")
                parts.append(data)
            return reply.status, b"".join(parts), _retry_after(reply.headers)


def _retry_after(headers: Sequence[tuple[bytes, bytes]]) -> float:
    text = next((value for name, value in headers if name == b"retry-after"), b"").decode("latin-1")
    if re.fullmatch(r"\d{1,9}", text.strip()):
        return float(text)
    given = email.utils.parsedate_tz(text)
    return max(0.0, email.utils.mktime_tz(given) - time.time()) if given else 0.0


def _message(body: bytes) -> str:
    """What an error says, shortened, after a colon."""
    try:
        error = msgspec.json.decode(body)["error"]["message"]
    except (msgspec.DecodeError, KeyError, TypeError, UnicodeDecodeError):
        return ""
    text = "".join(letter for letter in str(error) if letter.isprintable())[:_MOST_SAID]
    return f": {text}" if text else ""


def _decoded(text: bytes | msgspec.Raw, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(text, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise AdminApiProblem(f"The Admin API's answer has an odd shape: {error}.") from None


def _next(page: str | None, seen: set[str]) -> str:
    """The token of the next page, which leads on."""
    if page is None or page in seen:
        raise AdminApiProblem("The Admin API says that there is more, and not where.")
    seen.add(page)
    return page


def _day(text: str) -> str:
    """The UTC day in which a bucket begins."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise AdminApiProblem(
            f"The Admin API's answer has an odd shape: {text[:40]!r} is no time."
        ) from None
    return f"{(at.astimezone(UTC) if at.tzinfo else at):%Y-%m-%d}"


def _usage_row(day: str, used: _Used) -> UsageRow:
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


def _cost_row(day: str, cost: _Cost) -> CostRow:
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
