"""The simulated API on real sockets: h11 over trio, so that it can break at any byte.

A journal keeps what was received and when each client went away; a script or a header spoils
answers; a gate holds them until a test lets go.
"""

import contextlib
import gzip
import json
import re
import socket
import struct
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

import h11
import trio

from relay.simulator import answers
from relay.simulator.answers import ApiError, Json
from relay.simulator.faults import Fault

_RECEIVE_BYTES = 64 * 1024
_LARGEST_DEADLINE_S = 3600.0
_JOURNAL_LENGTH = 2000
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)
_OBJECT = re.compile(r"/v1/(messages/batches|files)/([A-Za-z0-9_]+)(/results|/cancel|/content)?")


@dataclass
class Received:
    """One request in the journal.

    `usage` is what was reported for it; `closed` is set when its client's connection went away
    while it was served, `answered` when the answer left whole.
    """

    method: str
    target: str
    headers: list[tuple[bytes, bytes]]
    body: bytes
    usage: Json | None = None
    answered: bool = False
    closed: trio.Event = field(default_factory=trio.Event)

    def header(self, name: str) -> str:
        """A header's value; x-sim-NAME may also be sent as anthropic-sim-NAME."""
        wanted = {name.encode(), name.replace("x-sim-", "anthropic-sim-").encode()}
        return next((value.decode() for key, value in self.headers if key.lower() in wanted), "")


class Simulator:
    """A running simulator; `script` holds the faults of the next requests, in their order."""

    def __init__(self, host: str, api_keys: frozenset[str] | None) -> None:
        self.host = host
        self.port = 0
        self.requests: deque[Received] = deque(maxlen=_JOURNAL_LENGTH)
        self.script: deque[Fault] = deque()
        self.always: Fault | None = None
        self.open_connections = 0
        self._api_keys = api_keys
        self._gate: trio.Event | None = None
        self._number = 0
        self._objects: dict[str, Json] = {}
        self._contents: dict[str, bytes] = {}

    @property
    def base_url(self) -> str:
        return f"http://{self.host}:{self.port}"

    @asynccontextmanager
    async def hold(self) -> AsyncIterator[None]:
        """Answer nothing for the length of the block; requests are received all the same."""
        self._gate = trio.Event()
        try:
            yield
        finally:
            self._gate.set()
            self._gate = None

    async def handle(self, stream: trio.SocketStream) -> None:
        """Serve one connection until it ends or a fault ends it."""
        self.open_connections += 1
        try:
            await _Connection(self, stream).run()
        except* (trio.BrokenResourceError, trio.ClosedResourceError, h11.ProtocolError):
            pass
        finally:
            self.open_connections -= 1
            with trio.move_on_after(1, shield=True):
                await trio.aclose_forcefully(stream)

    async def wait_for_gate(self) -> None:
        if self._gate is not None:
            await self._gate.wait()

    def fault_for(self, received: Received) -> Fault:
        """The fault that this request gets: its own, the script's next, or the lasting one."""
        if text := received.header("x-sim-fault"):
            return Fault.from_json(text)
        if self.script:
            return self.script.popleft()
        return self.always or Fault()

    def answer(self, received: Received) -> tuple[int, dict[str, str], Iterator[bytes] | bytes]:
        """Status, headers and body, the body of a stream piece by piece. Raises ApiError."""
        self._number += 1
        self._check_key(received)
        path, _, query = received.target.partition("?")
        match received.method, path:
            case "POST", "/v1/messages":
                return self._message(received)
            case "POST", "/v1/messages/count_tokens":
                answers.checked(received.body, "model", "messages")
                return _json({"input_tokens": answers.tokens_of(received.body.decode())})
            case "GET", "/v1/models":
                return _json(answers.model_page(dict(parse_qsl(query))))
            case "GET", _ if path.startswith("/v1/models/"):
                return _json(answers.model(path.removeprefix("/v1/models/")))
            case "POST", "/v1/messages/batches":
                return _json(self._make_batch(received))
            case "POST", "/v1/files":
                return _json(self._make_file(received))
            case "HEAD", "/":
                return 200, {}, b""
        if found := _OBJECT.fullmatch(path):
            return self._on_object(received.method, found[2], found[3] or "")
        raise ApiError(404, "not_found_error", "Not found")

    def _check_key(self, received: Received) -> None:
        if self._api_keys is None:
            return
        bearer = received.header("authorization").removeprefix("Bearer ")
        if not {received.header("x-api-key"), bearer} & self._api_keys:
            raise ApiError(401, "authentication_error", "invalid x-api-key")

    def _message(self, received: Received) -> tuple[int, dict[str, str], Iterator[bytes] | bytes]:
        fields = answers.checked(received.body, "model", "max_tokens", "messages")
        figures = json.loads(received.header("x-sim-usage") or "{}")
        message = answers.answer(fields, received.body, self._number, figures)
        received.usage = message.usage
        if not fields.get("stream"):
            return _json(message.to_json())
        pieces = int(received.header("x-sim-chunks") or "4")
        frames = (answers.frame(*event) for event in answers.events(message, pieces))
        return 200, {"content-type": "text/event-stream; charset=utf-8"}, frames

    def _make_batch(self, received: Received) -> Json:
        requests = answers.checked(received.body, "requests")["requests"]
        batch_id = f"msgbatch_sim{self._number:08d}"
        self._objects[batch_id] = {
            "id": batch_id,
            "type": "message_batch",
            "processing_status": "ended",
            "request_counts": {"processing": 0, "succeeded": len(requests), "errored": 0,
                               "canceled": 0, "expired": 0},
            "created_at": "2026-01-01T00:00:00Z",
            "ended_at": "2026-01-01T00:00:01Z",
            "expires_at": "2026-01-02T00:00:00Z",
            "archived_at": None,
            "cancel_initiated_at": None,
            "results_url": f"{self.base_url}/v1/messages/batches/{batch_id}/results",
        }  # fmt: skip
        lines = [_batch_line(one, self._number) for one in requests]
        self._contents[batch_id] = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
        return self._objects[batch_id]

    def _make_file(self, received: Received) -> Json:
        name, content = answers.uploaded(received.body)
        file_id = f"file_sim{self._number:08d}"
        self._contents[file_id] = content
        self._objects[file_id] = {
            "id": file_id,
            "type": "file",
            "filename": name,
            "mime_type": "application/octet-stream",
            "size_bytes": len(content),
            "created_at": "2026-01-01T00:00:00Z",
            "downloadable": True,
        }
        return self._objects[file_id]

    def _on_object(
        self, method: str, object_id: str, rest: str
    ) -> tuple[int, dict[str, str], bytes]:
        if object_id not in self._objects:
            raise ApiError(404, "not_found_error", f"There is no {object_id}.")
        match method, rest:
            case "GET", "" | "/cancel":
                return _json(self._objects[object_id])
            case "POST", "/cancel":
                return _json(self._objects[object_id])
            case "GET", _:
                kind = "application/x-jsonl" if rest == "/results" else "application/octet-stream"
                return 200, {"content-type": kind}, self._contents[object_id]
            case "DELETE", "":
                kind = self._objects.pop(object_id)["type"]
                return _json({"id": object_id, "type": f"{kind}_deleted"})
        raise ApiError(405, "invalid_request_error", "Method not allowed")

    def head(self, extra: dict[str, str]) -> dict[str, str]:
        """The headers of every answer."""
        quota = {
            f"anthropic-ratelimit-{kind}-{figure}": value
            for kind in ("requests", "tokens", "input-tokens", "output-tokens")
            for figure, value in (
                ("limit", "4000"),
                ("remaining", "3999"),
                ("reset", "2026-01-01T00:00:00Z"),
            )
        }
        return {
            "request-id": f"req_sim{self._number:08d}",
            "anthropic-organization-id": "00000000-simulated",
            "content-type": "application/json",
            **quota,
            **extra,
        }


class _Connection:
    """One client's connection: read a request, answer it, watch whether the client stays."""

    def __init__(self, simulator: Simulator, stream: trio.SocketStream) -> None:
        self._simulator = simulator
        self._stream = stream
        self._http = h11.Connection(h11.SERVER)

    async def run(self) -> None:
        while received := await self._receive():
            self._simulator.requests.append(received)
            try:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._watch, received, nursery.cancel_scope)
                    is_whole = await self._answer(received)
                    nursery.cancel_scope.cancel()
            finally:
                if not received.answered:
                    received.closed.set()
            if received.closed.is_set() or not is_whole or self._http.our_state is not h11.DONE:
                return
            self._http.start_next_cycle()

    async def _receive(self) -> Received | None:
        request: h11.Request | None = None
        body: list[bytes] = []
        while True:
            event = self._http.next_event()
            if event is h11.NEED_DATA:
                if self._http.they_are_waiting_for_100_continue:
                    go_on = h11.InformationalResponse(status_code=100, headers=[])
                    await self._stream.send_all(self._http.send(go_on))
                self._http.receive_data(await self._stream.receive_some(_RECEIVE_BYTES))
            elif isinstance(event, h11.Request):
                request = event
            elif isinstance(event, h11.Data):
                body.append(bytes(event.data))
            elif isinstance(event, h11.EndOfMessage) and request is not None:
                return Received(
                    request.method.decode(),
                    request.target.decode(),
                    list(request.headers),
                    b"".join(body),
                )
            else:
                return None

    async def _watch(self, received: Received, scope: trio.CancelScope) -> None:
        """End the answer when the client closes; what it sends early is kept for later."""
        with contextlib.suppress(trio.BrokenResourceError):
            while data := await self._stream.receive_some(_RECEIVE_BYTES):
                self._http.receive_data(data)
        received.closed.set()
        scope.cancel()

    async def _answer(self, received: Received) -> bool:
        """Send the answer. Returns whether the connection may go on."""
        fault = self._simulator.fault_for(received)
        await self._simulator.wait_for_gate()
        await trio.sleep(fault.delay_s)
        try:
            status, extra, body = self._simulator.answer(received)
        except ApiError as error:
            status, extra = error.status, {}
            body = _error(error.kind, error.message)
        if fault.status is not None:
            status, extra = fault.status, fault.headers
            body = (fault.body or _error(fault.error_type, fault.message).decode()).encode()
        headers = self._simulator.head(extra)
        if isinstance(body, bytes):
            if fault.pack or "gzip" in received.header("accept-encoding"):
                body = gzip.compress(body)
                headers["content-encoding"] = "gzip"
            headers["content-length"] = str(len(body))
            body = iter([body])
        else:
            body = _spoiled(body, fault, headers)
        pause_s = float(received.header("x-sim-delay-ms") or "0") / 1000
        sender = _Sender(self._stream, fault)
        received.answered = await self._send(sender, status, headers, body, pause_s, received)
        return received.answered

    async def _send(
        self,
        sender: "_Sender",
        status: int,
        headers: dict[str, str],
        body: Iterator[bytes],
        pause_s: float,
        received: Received,
    ) -> bool:
        pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
        head = h11.Response(status_code=status, headers=pairs)
        is_going = await sender.send(self._http.send(head))
        for piece in body:
            if pause_s:
                await trio.sleep(pause_s)
            if is_going and received.method != "HEAD":
                is_going = await sender.send(self._http.send(h11.Data(data=piece)))
        return is_going and await sender.send(self._http.send(h11.EndOfMessage()))


class _Sender:
    """Sends bytes until the fault's place in the answer is reached."""

    def __init__(self, stream: trio.SocketStream, fault: Fault) -> None:
        self._stream = stream
        self._fault = fault
        self._left = fault.breaks_at

    async def send(self, data: bytes | None) -> bool:
        """Returns whether the connection is still of use."""
        data = data or b""
        is_breaking = self._left is not None and len(data) >= self._left
        if self._left is not None:
            data = data[: self._left]
            self._left -= len(data)
        await self._send(data)
        if is_breaking:
            await self._break()
        return not is_breaking

    async def _send(self, data: bytes) -> None:
        if self._fault.drip is None:
            await self._stream.send_all(data)
            return
        for place in range(len(data)):
            await self._stream.send_all(data[place : place + 1])
            await trio.sleep(self._fault.drip)

    async def _break(self) -> None:
        fault = self._fault
        if fault.garbage_at is not None:
            await self._stream.send_all(b"\x00\xffzz this is no HTTP\r\n\r\n")
        if fault.silent_at is not None:
            await trio.sleep(_LARGEST_DEADLINE_S)
        if fault.reset_at is not None:
            self._stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        await trio.aclose_forcefully(self._stream)


def _spoiled(frames: Iterator[bytes], fault: Fault, headers: dict[str, str]) -> Iterator[bytes]:
    """A stream's frames with what the fault does to them."""
    if fault.error_event is not None:
        frames = _with_error(frames, fault)
    if fault.pack:
        headers["content-encoding"] = "gzip"
        return iter([gzip.compress(b"".join(frames))])
    return frames


def _with_error(frames: Iterator[bytes], fault: Fault) -> Iterator[bytes]:
    for number, frame in enumerate(frames):
        if number == fault.after_events:
            kind = fault.error_event or fault.error_type
            yield answers.frame("error", answers.error_body(kind, fault.message, "req_sim"))
            return
        yield frame


def _json(value: Any) -> tuple[int, dict[str, str], bytes]:
    return 200, {}, json.dumps(value).encode()


def _error(kind: str, message: str) -> bytes:
    return json.dumps(answers.error_body(kind, message, "req_sim")).encode()


def _batch_line(one: Json, number: int) -> Json:
    params = one["params"]
    message = answers.answer(params, json.dumps(params).encode(), number, {})
    result = {"type": "succeeded", "message": message.to_json()}
    return {"custom_id": one["custom_id"], "result": result}


async def serve(
    host: str = "127.0.0.1",
    port: int = 0,
    *,
    api_keys: frozenset[str] | None = None,
    task_status: trio.TaskStatus[Simulator] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until cancelled; reports the Simulator as started.

    Args:
        api_keys: the keys that are accepted; None accepts every request.
    """
    simulator = Simulator(host, api_keys)
    listeners = await trio.open_tcp_listeners(port, host=host)
    simulator.port = listeners[0].socket.getsockname()[1]
    task_status.started(simulator)
    await trio.serve_listeners(simulator.handle, listeners)
