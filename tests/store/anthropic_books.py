"""A server that answers Anthropic's Usage & Cost Admin API by its documented schema.

Sources: platform.claude.com/docs/en/api/admin/usage_report/retrieve_messages, …/cost_report, and
…/api_keys: buckets of a day, results by `group_by[]`, pages by `has_more` and `next_page`.
"""

import contextlib
import itertools
import json
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal
from functools import partial
from typing import Any
from urllib.parse import parse_qs, urlsplit

import h11
import trio

ADMIN_KEY = "sk-ant-admin01-the-books-of-an-organisation"
ORGANIZATION = "3f8e2c1a-0000-4000-8000-000000000001"
_KNOWN = {"starting_at", "ending_at", "bucket_width", "limit", "page", "group_by[]"}
_COST_FIELDS = ("description", "cost_type", "model", "token_type", "service_tier", "context_window")


@dataclass
class Answer:
    """What comes instead of the next good answer."""

    status: int = 200
    body: object = None
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass
class AnthropicBooks:
    """The books of an organisation: what was used and what it cost, by day.

    Attributes:
        page_days: the days of one page at most.
        faults: come first, one for each request.
        asked: the path and query of each request.
    """

    port: int = 0
    used: list[dict[str, Any]] = field(default_factory=list)
    costs: list[dict[str, Any]] = field(default_factory=list)
    keys: list[dict[str, Any]] = field(default_factory=list)
    page_days: int = 31
    faults: deque[Answer] = field(default_factory=deque)
    asked: list[str] = field(default_factory=list)
    credentials: set[str] = field(default_factory=set)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def use(
        self,
        day: str,
        model: str,
        cents: str,
        *,
        workspace: str | None = None,
        api_key: str | None = None,
        tier: str = "standard",
        token_type: str = "output_tokens",
        **tokens: int,
    ) -> None:
        """Tokens of a day, and what they cost: one line of each report.

        Args:
            cents: of all of them; empty for none in the cost report.
            tokens: by the usage report's names, cache_creation's with a dot as `five` and `one`.
        """
        self.used.append(
            {
                "day": day, "model": model, "workspace_id": workspace, "api_key_id": api_key,
                "service_tier": tier, "tokens": tokens,
            }
        )  # fmt: skip
        if cents:
            self.cost(
                day, cents, workspace=workspace, cost_type="tokens", model=model,
                token_type=token_type, service_tier=tier, context_window="0-200k",
                description=f"{model} Usage - {token_type}",
            )  # fmt: skip

    def cost(self, day: str, cents: str, *, workspace: str | None = None, **fields: Any) -> None:
        """A line of the cost report."""
        self.costs.append({"day": day, "amount": cents, "workspace_id": workspace, **fields})

    def answer(self, path: str, query: Mapping[str, list[str]]) -> Answer:
        if path == "/v1/organizations/me":
            return Answer(body={"id": ORGANIZATION, "type": "organization", "name": "Acme"})
        if path == "/v1/organizations/api_keys":
            return Answer(body={"data": self.keys, "has_more": False, "last_id": None})
        reports = {
            "/v1/organizations/usage_report/messages": self._usage_results,
            "/v1/organizations/cost_report": self._cost_results,
        }
        if path not in reports:
            return Answer(404, _error("not_found_error", "Not found"))
        unknown = set(query) - _KNOWN
        if unknown or query["bucket_width"] != ["1d"] or not 1 <= int(query["limit"][0]) <= 31:
            return Answer(400, _error("invalid_request_error", f"bad parameters {unknown}"))
        first, end = (date.fromisoformat(query[name][0][:10]) for name in
                      ("starting_at", "ending_at"))  # fmt: skip
        days = [first + timedelta(days=number) for number in range((end - first).days)]
        start = int(query.get("page", ["page_0"])[0].removeprefix("page_"))
        size = min(self.page_days, int(query["limit"][0]))
        buckets = [
            {
                "starting_at": f"{day}T00:00:00Z",
                "ending_at": f"{day + timedelta(days=1)}T00:00:00Z",
                "results": reports[path](f"{day}", query.get("group_by[]", [])),
            }
            for day in days[start : start + size]
        ]
        has_more = start + size < len(days)
        next_page = f"page_{start + size}" if has_more else None
        return Answer(body={"data": buckets, "has_more": has_more, "next_page": next_page})

    def _usage_results(self, day: str, groups: list[str]) -> list[dict[str, Any]]:
        fields = ("api_key_id", "workspace_id", "model", "service_tier")
        found: dict[tuple[Any, ...], dict[str, int]] = {}
        for one in self.used:
            if one["day"] == day:
                place = tuple(one[name] if name in groups else None for name in fields)
                sums = found.setdefault(place, {})
                for name, amount in one["tokens"].items():
                    sums[name] = sums.get(name, 0) + amount
        return [
            {
                **dict(zip(fields, place, strict=True)),
                "uncached_input_tokens": sums.get("uncached_input_tokens", 0),
                "cache_creation": {
                    "ephemeral_5m_input_tokens": sums.get("five", 0),
                    "ephemeral_1h_input_tokens": sums.get("one", 0),
                },
                "cache_read_input_tokens": sums.get("cache_read_input_tokens", 0),
                "output_tokens": sums.get("output_tokens", 0),
                "server_tool_use": {"web_search_requests": sums.get("searches", 0)},
                "context_window": None,
                "inference_geo": "global" if "inference_geo" in groups else None,
            }
            for place, sums in found.items()
        ]

    def _cost_results(self, day: str, groups: list[str]) -> list[dict[str, Any]]:
        rows = []
        for one in self.costs:
            if one["day"] == day:
                told = {name: one.get(name) for name in _COST_FIELDS}
                if "description" not in groups:
                    told = dict.fromkeys(_COST_FIELDS)
                workspace = one["workspace_id"] if "workspace_id" in groups else None
                rows.append({**told, "workspace_id": workspace, "amount": one["amount"]})

        def place(row: dict[str, Any]) -> str:
            return json.dumps({**row, "amount": ""}, sort_keys=True)

        return [
            {
                **json.loads(key),
                "amount": str(sum(Decimal(row["amount"]) for row in group)),
                "currency": "USD",
            }
            for key, group in itertools.groupby(sorted(rows, key=place), place)
        ]

    async def serve(self, stream: trio.abc.Stream) -> None:
        # A client that is cancelled goes away in the middle.
        with contextlib.suppress(trio.BrokenResourceError, h11.RemoteProtocolError):
            await self._serve(stream)

    async def _serve(self, stream: trio.abc.Stream) -> None:
        connection = h11.Connection(h11.SERVER)
        head: h11.Request | None = None
        async with stream:
            while True:
                event = connection.next_event()
                if event is h11.NEED_DATA:
                    connection.receive_data(await stream.receive_some(65536))
                elif isinstance(event, h11.Request):
                    head = event
                elif isinstance(event, h11.EndOfMessage):
                    assert head is not None
                    await self._send(connection, stream, self._answered(head))
                    if connection.our_state is h11.MUST_CLOSE:
                        return
                    connection.start_next_cycle()
                else:
                    return

    def _answered(self, head: h11.Request) -> Answer:
        target = head.target.decode()
        self.asked.append(target)
        headers = dict(head.headers)
        key = headers.get(b"x-api-key", b"").decode()
        self.credentials.add(key)
        if self.faults:
            return self.faults.popleft()
        if key != ADMIN_KEY or headers.get(b"anthropic-version") != b"2023-06-01":
            return Answer(401, _error("authentication_error", "invalid x-api-key"))
        parts = urlsplit(target)
        return self.answer(parts.path, parse_qs(parts.query))

    async def _send(
        self, connection: h11.Connection, stream: trio.abc.Stream, answer: Answer
    ) -> None:
        body = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
        headers = [*answer.headers.items(), ("content-length", str(len(body)))]
        parts = [
            h11.Response(status_code=answer.status, headers=headers),
            h11.Data(data=body),
            h11.EndOfMessage(),
        ]
        await stream.send_all(b"".join(connection.send(part) or b"" for part in parts))


def _error(kind: str, message: str) -> dict[str, object]:
    return {"type": "error", "error": {"type": kind, "message": message}}


@asynccontextmanager
async def anthropic_books() -> AsyncIterator[AnthropicBooks]:
    """The server, for as long as the block runs."""
    books = AnthropicBooks()
    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        books.port = listener.socket.getsockname()[1]
        await nursery.start(partial(trio.serve_listeners, books.serve, [listener]))
        yield books
        nursery.cancel_scope.cancel()
