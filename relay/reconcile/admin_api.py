"""Reads an organisation's usage and cost from Anthropic's Usage & Cost Admin API.

Source: platform.claude.com/docs/en/api/admin/usage_report and …/cost_report. What passes by itself
is asked again, what the API says to wait is waited, and a page that leads nowhere ends the reading.
"""

import email.utils
import re
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import date, timedelta
from urllib.parse import urlencode

import msgspec
import trio

import relay
from relay.reconcile.reports import (
    AdminApiProblem,
    ApiKey,
    Cost,
    CostRow,
    KeysPage,
    Organization,
    ReportPage,
    UsageRow,
    Used,
    cost_row,
    day_of,
    decoded,
    usage_row,
)
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
            usage_row(day, decoded(result, Used))
            for day, result in await self._days(USAGE, first, last, _GROUPS)
        ]

    async def cost(self, first: date, last: date) -> Sequence[CostRow]:
        """What each day cost, from `first` to `last`. Raises AdminApiProblem."""
        return [
            cost_row(day, decoded(result, Cost))
            for day, result in await self._days(COST, first, last, ("workspace_id", "description"))
        ]

    async def organization(self) -> tuple[str, str]:
        """The organisation's id and name. Raises AdminApiProblem."""
        found = decoded(await self._get(_ME, []), Organization)
        return found.id, found.name

    async def api_keys(self) -> Sequence[ApiKey]:
        """The organisation's keys, by their beginnings and ends. Raises AdminApiProblem."""
        found: list[ApiKey] = []
        query, seen = [("limit", "1000")], {""}
        for _ in range(_MOST_PAGES):
            page = decoded(await self._get(_API_KEYS, query), KeysPage)
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
            page = decoded(await self._get(path, query), ReportPage)
            for bucket in page.data:
                day = day_of(bucket.starting_at)
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


def _next(page: str | None, seen: set[str]) -> str:
    """The token of the next page, which leads on."""
    if page is None or page in seen:
        raise AdminApiProblem("The Admin API says that there is more, and not where.")
    seen.add(page)
    return page
