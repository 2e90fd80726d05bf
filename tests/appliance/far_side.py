"""What clients on other hosts do; runs in the lab's network and prints one line of JSON.

By the standard library only: it is started in another network namespace, once per call.
"""

import argparse
import collections
import http.client
import json
import socket
import ssl
import sys
import threading
import time
import urllib.parse

BODY = {
    "model": "claude-haiku-4-5",
    "max_tokens": 100,
    "messages": [{"role": "user", "content": "Hello"}],
}
PATIENCE_S = 20.0


class Far:
    """A client of the relay at an address, by the domain's name and its certificate."""

    def __init__(self, given: argparse.Namespace) -> None:
        self._given = given
        self._trust = ssl.create_default_context(cafile=given.authority)

    def open(self) -> http.client.HTTPSConnection:
        given = self._given
        connection = http.client.HTTPSConnection(given.domain, timeout=PATIENCE_S)
        source = (given.source, 0) if given.source else None
        plain = socket.create_connection((given.address, 443), PATIENCE_S, source)
        connection.sock = self._trust.wrap_socket(plain, server_hostname=given.domain)
        return connection

    def ask(
        self, method: str, path: str, key: str, body: object = None, **headers: str
    ) -> tuple[http.client.HTTPSConnection, http.client.HTTPResponse]:
        connection = self.open()
        whole = {"x-api-key": key, "anthropic-version": "2023-06-01", **headers}
        if body is not None:
            whole["content-type"] = "application/json"
        data = None if body is None else json.dumps(body)
        connection.request(method, path, body=data, headers=whole)
        return connection, connection.getresponse()


def request(far: Far, given: argparse.Namespace) -> object:
    """One request; its status, headers and body."""
    headers = dict(one.split("=", 1) for one in given.header)
    body = BODY if given.method == "POST" else None
    connection, answer = far.ask(given.method, given.path, given.key, body, **headers)
    text = answer.read().decode()
    connection.close()
    return {"status": answer.status, "headers": dict(answer.getheaders()), "body": text}


def stream(far: Far, given: argparse.Namespace) -> object:
    """One streamed answer: when each piece of text came, in seconds after the request."""
    started = time.monotonic()
    asked = {
        "anthropic-sim-chunks": str(given.chunks),
        "anthropic-sim-delay-ms": "200",
        # Caddy 2.6 now and then cuts an answer that begins within a few milliseconds of its
        # request's last byte (docs/operations.md); this one begins later.
        "anthropic-sim-fault": '{"delay_s": 0.1}',
    }
    body = {**BODY, "stream": True}
    connection, answer = far.ask("POST", "/api/v1/messages", given.key, body, **asked)
    came, last = [], b""
    for line in answer:
        if given.leave_after and len(came) >= given.leave_after:
            break
        if b"text_delta" in line:
            came.append(time.monotonic() - started)
        last = line.strip() or last
    connection.close()
    whole = b"message_stop" in last
    return {
        "status": answer.status,
        "id": answer.getheader("request-id"),
        "came": came,
        "seconds": time.monotonic() - started,
        "whole": whole,
        "last": last.decode()[:300],
    }


def load(far: Far, given: argparse.Namespace) -> object:
    """Requests of three kinds for so many seconds, or until told; what came of each kind."""
    counts: collections.Counter[str] = collections.Counter()
    faults: collections.Counter[str] = collections.Counter()
    lock = threading.Lock()
    end = time.monotonic() + given.seconds
    enough = threading.Event()

    def once(kind: str) -> str:
        if kind == "stream":
            seen = stream(far, argparse.Namespace(**{**vars(given), "chunks": 10}))
            is_whole = seen["whole"] and seen["status"] == 200
            told = f"cut: {json.dumps(seen)}"
            return "200" if is_whole else told
        method, path = ("POST", "/api/v1/messages") if kind == "post" else ("GET", "/api/v1/models")
        connection, answer = far.ask(method, path, given.key, BODY if kind == "post" else None)
        answer.read()
        connection.close()
        return str(answer.status)

    def work(kind: str) -> None:
        while time.monotonic() < end and not enough.is_set():
            try:
                outcome = once(kind)
            except (OSError, http.client.HTTPException) as error:
                outcome = f"{type(error).__name__}: {error}"
            with lock:
                counts[kind] += 1
                if outcome != "200":
                    faults[f"{kind} {outcome}"] += 1
            time.sleep(0.01)

    threads = [threading.Thread(target=work, args=(kind,))
               for kind in ("get", "get", "post", "post", "stream", "stream")]  # fmt: skip
    for thread in threads:
        thread.start()
    if given.until_told:
        sys.stdin.readline()
        enough.set()
    for thread in threads:
        thread.join()
    return {"counts": counts, "faults": faults}


def guess(far: Far, given: argparse.Namespace) -> object:
    """So many requests with a key that nobody has: a new one each time, or always the same."""
    statuses: collections.Counter[str] = collections.Counter()
    for number in range(given.times):
        key = f"sk-relay-{given.key}{'' if given.same else number}"
        try:
            connection, answer = far.ask("GET", "/api/v1/models", key)
            connection.close()
            statuses[str(answer.status)] += 1
        except OSError as error:
            statuses[type(error).__name__] += 1
            break
    return statuses


def sign_in(far: Far, given: argparse.Namespace) -> object:
    """So many wrong passwords of the console's first user."""
    statuses: collections.Counter[str] = collections.Counter()
    headers = {"content-type": "application/x-www-form-urlencoded",
               "origin": f"https://{given.domain}"}  # fmt: skip
    for number in range(given.times):
        try:
            connection = far.open()
            body = urllib.parse.urlencode({"name": "admin", "password": f"a guess {number}"})
            connection.request("POST", "/web/sign-in", body=body, headers=headers)
            statuses[str(connection.getresponse().status)] += 1
            connection.close()
        except OSError as error:
            statuses[type(error).__name__] += 1
            break
    return statuses


def knock(far: Far, given: argparse.Namespace) -> object:
    """Which of the ports take a connection."""
    answered = []
    for port in given.ports:
        try:
            source = (given.source, 0) if given.source else None
            socket.create_connection((given.address, port), 1.0, source).close()
        except OSError:
            continue
        answered.append(port)
    return answered


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("do", choices=("request", "stream", "load", "guess", "sign_in", "knock"))
    for name in ("--address", "--domain", "--authority", "--key", "--source", "--path"):
        parser.add_argument(name, default="")
    parser.add_argument("--method", default="GET")
    parser.add_argument("--header", action="append", default=[])
    parser.add_argument("--chunks", type=int, default=10)
    parser.add_argument("--leave-after", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--until-told", action="store_true")
    parser.add_argument("--times", type=int, default=1)
    parser.add_argument("--same", action="store_true")
    parser.add_argument("--ports", type=int, nargs="*", default=[])
    given = parser.parse_args()
    given.authority = given.authority or None
    seen = globals()[given.do](Far(given), given)
    sys.stdout.write(json.dumps(seen) + "\n")


if __name__ == "__main__":
    main()
