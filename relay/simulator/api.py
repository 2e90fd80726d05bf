"""The simulated API without its sockets: which request gets which answer.

It checks what the real API checks, reads the steering headers, and hands a Reply to the
connection. It never waits.
"""

import gzip
import json
import re
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qsl, unquote

import msgspec

from relay.simulator import answers, cache, events, objects, skills, state
from relay.simulator.answers import ApiError, Json, Steering
from relay.simulator.faults import Fault
from relay.simulator.journal import Received

_GZIP = 16 + zlib.MAX_WBITS
_QUOTAS = {"requests": 4000, "tokens": 500_000, "input-tokens": 400_000, "output-tokens": 80_000}
_QUOTA_PERIOD = timedelta(minutes=1)
_ERROR_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer that is ready to be sent; a body of pieces goes out in chunks."""

    status: int
    headers: dict[str, str]
    body: bytes | Iterator[bytes]
    pause_s: float = 0.0
    fault: Fault = field(default_factory=Fault)


# Raises ApiError where a request is refused, beside what answers.check refuses.
Check = Callable[[Json], None]


@dataclass(frozen=True, slots=True)
class _Ask:
    """One request, as the handlers see it."""

    received: Received
    query: dict[str, str]
    number: int
    steering: Steering
    check: Check


_Handler = Callable[..., Reply | Json]


class Api:
    """What is served at which path, over the objects that were made."""

    def __init__(self, api_keys: frozenset[str] | None, check: Check = lambda fields: None) -> None:
        self.base_url = ""
        self._check = check
        self.batches = objects.Batches()
        self._files = objects.Files()
        self._cache = cache.PromptCache()
        self._api_keys = api_keys
        # A key that is not in here has an organisation and a workspace of its own.
        self.places: dict[str, state.Place] = {}
        self._kept: dict[str, state.Kept] = {}
        self._owners: dict[str, str] = {}
        self._skills = skills.Skills()
        batch, file = "/v1/messages/batches/{id}", "/v1/files/{id}"
        skill, versions = "/v1/skills/{id}", "/v1/skills/{id}/versions"
        version = f"{versions}/{{id}}"
        self._routes = [
            _route("HEAD", "/", _probe),
            _route("POST", "/v1/messages", self._message),
            _route("POST", "/v1/messages/count_tokens", _count_tokens),
            _route("GET", "/v1/models", lambda ask: objects.page([*objects.MODELS], ask.query)),
            _route("GET", "/v1/models/{id}", lambda ask, id_: objects.model(id_)),
            _route("POST", "/v1/messages/batches", self._make_batch),
            _route("GET", "/v1/messages/batches", lambda ask: self.batches.listed(ask.query)),
            _route("GET", batch, lambda ask, id_: self.batches.get(id_, self.base_url)),
            _route("DELETE", batch, lambda ask, id_: self.batches.delete(id_)),
            _route("POST", f"{batch}/cancel", lambda ask, id_: self.batches.cancel(id_)),
            _route("GET", f"{batch}/results", self._results),
            _route("POST", "/v1/files", self._make_file),
            _route("GET", "/v1/files", lambda ask: self._files.listed(ask.query)),
            _route("GET", file, lambda ask, id_: self._files.get(id_)),
            _route("DELETE", file, lambda ask, id_: self._files.delete(id_)),
            _route("GET", f"{file}/content", self._content),
            _route("POST", "/v1/skills", self._make_skill),
            _route("GET", "/v1/skills", self._list_skills),
            _route("GET", skill, lambda ask, id_: self._skills.get(id_)),
            _route("DELETE", skill, lambda ask, id_: self._skills.delete(id_)),
            _route("POST", versions, lambda ask, id_: self._skills.add(id_, ask.number)),
            _route("GET", versions, lambda ask, id_: self._skills.versions(id_)),
            _route("GET", version, lambda ask, *ids: self._skills.version(*ids)),
            _route("DELETE", version, lambda ask, *ids: self._skills.drop(*ids)),
            _route("GET", f"{version}/content", self._skill_content),
        ]

    def reply(self, received: Received, number: int, fault: Fault) -> Reply:
        """The answer to a request as the fault leaves it; `number` makes ids unique."""
        request_id = f"req_sim{number:08d}"
        if fault.status is not None:
            reply = Reply(fault.status, {}, _error_of(fault, request_id))
        else:
            try:
                reply = self._answered(received, number, _steering(received, fault))
            except ApiError as error:
                details = {"error_code": error.code} if error.code else None
                told = answers.error_body(error.kind, error.message, request_id, details)
                reply = Reply(error.status, {}, _json(told))
        place = self.place_of(received)
        headers = {**_head(request_id, place), **reply.headers, **fault.headers}
        if isinstance(reply.body, bytes):
            body: bytes | Iterator[bytes] = reply.body
            if body and (fault.pack or _takes_gzip(received.header("accept-encoding"))):
                headers["content-encoding"], body = "gzip", gzip.compress(reply.body, mtime=0)
        else:
            body = _spoiled(reply.body, fault, request_id)
            if fault.pack:
                headers["content-encoding"], body = "gzip", _packed(body)
        return replace(reply, headers=headers, body=body, fault=fault)

    def _answered(self, received: Received, number: int, steering: Steering) -> Reply:
        path, _, query = received.target.partition("?")
        matching = [
            (method, handler, found.groups())
            for method, pattern, handler in self._routes
            if (found := pattern.fullmatch(path))
        ]
        if (received.method, path) != ("HEAD", "/"):
            self._check_key(received)
        if not matching:
            raise answers.not_found("Not found")
        for method, handler, ids in matching:
            if method == received.method:
                self._check_owner(received, ids)
                asked = dict(parse_qsl(query))
                made = handler(_Ask(received, asked, number, steering, self._check), *ids)
                if not ids and isinstance(made, dict) and "id" in made:
                    self._owners[made["id"]] = self.place_of(received).workspace
                return made if isinstance(made, Reply) else Reply(200, {}, _json(made))
        raise ApiError(405, "invalid_request_error", "Method not allowed")

    def _check_key(self, received: Received) -> None:
        if self._api_keys is not None and not keys_of(received) & self._api_keys:
            raise ApiError(401, "authentication_error", "invalid x-api-key")

    def place_of(self, received: Received) -> state.Place:
        """The organisation and workspace of the key that a request carries."""
        key = max(keys_of(received))
        return self.places.get(key) or state.place_of(key)

    def _kept_of(self, received: Received) -> state.Kept:
        return self._kept.setdefault(self.place_of(received).workspace, state.Kept())

    def _check_owner(self, received: Received, ids: Iterable[str]) -> None:
        workspace = self.place_of(received).workspace
        for object_id in ids:
            if self._owners.get(object_id, workspace) != workspace:
                raise answers.not_found(f"There is no {object_id}.")

    def _message(self, ask: _Ask) -> Reply:
        fields = answers.parse(ask.received.body)
        answers.check(fields, "model", "max_tokens", "messages")
        ask.check(fields)
        self._check_owner(ask.received, state.files_in(fields))
        for skill_id in state.skills_in(fields):
            self._check_owner(ask.received, [self._skills.get(skill_id)["id"]])
        kept = self._kept_of(ask.received)
        made = kept.before(fields, ask.number)
        message = answers.answer(fields, ask.number, ask.steering, self._cached(ask, fields))
        if "fallback_credit" in made:
            message.usage["fallback_credit"] = made["fallback_credit"]
        message = replace(message, container=made.get("container"))
        credit = (message.stop_details or {}).get("fallback_credit_token")
        kept.after(fields, message.id, credit)
        ask.received.usage = message.usage
        if not fields.get("stream"):
            return Reply(200, {}, _json(message.to_json()))
        frames = events.frames(message, ask.steering.chunks)
        headers = {"content-type": "text/event-stream; charset=utf-8", "cache-control": "no-cache"}
        return Reply(200, headers, frames, ask.steering.delay_s)

    def _cached(self, ask: _Ask, fields: Json) -> cache.Cached:
        if b'"cache_control"' not in ask.received.body:
            return cache.NOT_CACHED
        try:
            return self._cache.use(fields, answers.tokens_of)
        except cache.TooManyMarks:
            told = "A maximum of 4 blocks with cache_control may be provided."
            raise answers.invalid(told) from None

    def _make_batch(self, ask: _Ask) -> Json:
        fields = answers.parse(ask.received.body, answers.MAX_BATCH_BYTES)
        kept = self._kept_of(ask.received)
        return self.batches.make(fields, ask.number, self.base_url, ask.steering, kept)

    def _results(self, ask: _Ask, batch_id: str) -> Reply:
        lines = self.batches.results(batch_id)
        messages = [line["result"]["message"] for line in lines if "message" in line["result"]]
        ask.received.batch_usage = [message["usage"] for message in messages]
        return Reply(200, {"content-type": "application/x-jsonl"}, objects.jsonl(lines))

    def _make_file(self, ask: _Ask) -> Json:
        received = ask.received
        return self._files.make(received.header("content-type"), received.body, ask.number)

    def _content(self, ask: _Ask, file_id: str) -> Reply:
        kind, content = self._files.content(file_id)
        return Reply(200, {"content-type": kind}, content)

    def _make_skill(self, ask: _Ask) -> Json:
        return self._skills.make(ask.received.body, ask.number)

    def _list_skills(self, ask: _Ask) -> Json:
        workspace = self.place_of(ask.received).workspace
        return self._skills.listed(ask.query, lambda id_: self._owners.get(id_) == workspace)

    def _skill_content(self, ask: _Ask, skill_id: str, version: str) -> Reply:
        self._skills.version(skill_id, version)
        return Reply(200, {"content-type": "application/zip"}, self._skills.content(skill_id))


def keys_of(received: Received) -> set[str]:
    """The credentials that a request carries, as x-api-key or as bearer."""
    return {received.header("x-api-key"), received.header("authorization").removeprefix("Bearer ")}


def _route(method: str, path: str, handler: _Handler) -> tuple[str, re.Pattern[str], _Handler]:
    return method, re.compile(path.replace("{id}", "([A-Za-z0-9_.-]+)")), handler


def _probe(ask: _Ask) -> Reply:
    return Reply(200, {}, b"")


def _count_tokens(ask: _Ask) -> Json:
    fields = answers.parse(ask.received.body)
    answers.check(fields, "model", "messages")
    ask.check(fields)
    return {"input_tokens": ask.steering.usage.get("input_tokens", answers.input_tokens_of(fields))}


def _steering(received: Received, fault: Fault) -> Steering:
    """What the x-sim-* headers ask for. Raises ApiError for a value that is none."""
    said = received.header("x-sim-text")
    usage: Json = _header(received, "x-sim-usage", "{}", lambda text: _figures(json.loads(text)))
    if fault.usage is not None:
        usage = fault.usage
    return Steering(
        text=fault.text if fault.text is not None else unquote(said) or None,
        usage=usage,
        chunks=_header(received, "x-sim-chunks", "4", _count),
        delay_s=_header(received, "x-sim-delay-ms", "0", _count) / 1000,
        citations=_header(received, "x-sim-citations", "0", _count),
        refusal=fault.refusal,
        is_open_batch=fault.is_open_batch or received.header("x-sim-batch") == "open",
    )


def _header(received: Received, name: str, default: str, read: Callable[[str], Any]) -> Any:
    try:
        return read(received.header(name) or default)
    except (ValueError, RecursionError, msgspec.ValidationError) as error:
        raise answers.invalid(f"{name}: {error}") from None


def _figures(given: object) -> Json:
    figures = msgspec.convert(given, dict[str, int | dict[str, int] | str | list[Json]])
    for name, value in figures.items():
        if name.endswith("_tokens") and not isinstance(value, int):
            raise ValueError(f"{name} is not a number")
    return figures


def _count(text: str) -> int:
    if not re.fullmatch("[0-9]{1,7}", text):
        raise ValueError("not a number from 0 to 9999999")
    return int(text)


def _takes_gzip(accept_encoding: str) -> bool:
    codings = [one.replace(" ", "").lower() for one in accept_encoding.split(",")]
    return any(re.fullmatch(r"gzip(;q=(1(\.0+)?|0?\.[0-9]*[1-9][0-9]*))?", one) for one in codings)


def _head(request_id: str, place: state.Place) -> dict[str, str]:
    """The headers of every answer; all quotas are nearly unused, and full again in a minute."""
    reset = answers.now(_QUOTA_PERIOD)
    quotas = {
        f"anthropic-ratelimit-{kind}-{figure}": value
        for kind, limit in _QUOTAS.items()
        for figure, value in (
            ("limit", str(limit)),
            ("remaining", str(limit - 1)),
            ("reset", reset),
        )
    }
    return {
        "request-id": request_id,
        "anthropic-organization-id": place.organization,
        "anthropic-workspace-id": place.workspace,
        "content-type": "application/json",
        **quotas,
    }


def _error_of(fault: Fault, request_id: str) -> bytes:
    if fault.body is not None:
        return fault.body.encode()
    kind = fault.error_type or _ERROR_TYPES.get(fault.status or 0, "api_error")
    return _json(answers.error_body(kind, fault.message, request_id, fault.details))


def _spoiled(frames: Iterator[bytes], fault: Fault, request_id: str) -> Iterator[bytes]:
    """A stream's frames with what the fault puts among them."""
    for number, frame in enumerate(frames):
        if number == fault.after_events:
            yield (fault.insert or "").encode()
            if fault.error_event is not None:
                told = answers.error_body(fault.error_event, fault.message, request_id)
                yield events.frame("error", told)
                return
        yield frame


def _packed(frames: Iterator[bytes]) -> Iterator[bytes]:
    """Frames in one gzip stream, each complete as soon as it is sent."""
    packer = zlib.compressobj(wbits=_GZIP)
    for frame in frames:
        yield packer.compress(frame) + packer.flush(zlib.Z_SYNC_FLUSH)
    yield packer.flush()


def _json(value: Json) -> bytes:
    return json.dumps(value).encode()
