"""Webhooks of a relay that is a process: the commands, and a kill in the middle of a delivery."""

import json
import signal
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from .conftest import Home, end_by, wait_until

pytestmark = pytest.mark.slow

SECRET = "a secret of enough length"
HIDDEN = "token-in-the-path"


class Receiver:
    """An HTTP server that keeps what comes and answers with `status` once `gate` is open."""

    def __init__(self) -> None:
        self.taken: list[dict[str, Any]] = []
        self.status = 200
        self.gate = threading.Event()
        self.gate.set()
        taken, outer = self.taken, self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                taken.append(json.loads(body))
                outer.gate.wait(60)
                try:
                    self.send_response(outer.status)
                    self.send_header("content-length", "0")
                    self.end_headers()
                except OSError:
                    return

            def log_message(self, *_: object) -> None:
                return

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/{HIDDEN}"
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    one = Receiver()
    yield one
    one.gate.set()
    one.server.shutdown()
    one.thread.join()
    one.server.server_close()


def configure(home: Home, receiver: Receiver, *, allow_private: bool = True) -> None:
    home.env["RELAY_WEBHOOK_URL"] = receiver.url
    folder = home.folder / "home"
    folder.mkdir(exist_ok=True)
    (folder / ".env").write_text(f"RELAY_WEBHOOK_SECRET='{SECRET}'\n")
    (folder / "relay.toml").write_text(
        f"""
        [[webhooks]]
        name = "ops"
        urlEnv = "RELAY_WEBHOOK_URL"
        secretEnv = "RELAY_WEBHOOK_SECRET"
        thresholds = [0.5, 0.8]
        allowPrivate = {str(allow_private).lower()}
        """
    )


def listed(home: Home) -> dict[str, Any]:
    (one,) = home.json("webhook", "list")  # type: ignore[misc]
    return dict(one)


def test_list_and_test_tell_what_is_set_and_how_it_goes(home: Home, receiver: Receiver):
    configure(home, receiver)
    one = listed(home)
    expected = {"name": "ops", "format": "json", "signed": True, "thresholds": [0.5, 0.8]}
    assert {field: one[field] for field in expected} == expected
    assert one["url"].endswith("/***")
    (outcome,) = home.json("webhook", "test", "ops")  # type: ignore[misc]
    assert (outcome["ok"], outcome["status"]) == (True, 200)
    assert receiver.taken[0]["event"] == "test"
    receiver.status = 410
    failed = home.relay("webhook", "test", check=False)
    assert (failed.returncode, "It answers with status 410." in failed.stdout) == (1, True)
    outputs = [home.relay("webhook", "list").stdout, failed.stdout, failed.stderr, str(one)]
    assert not any(hidden in text for text in outputs for hidden in (HIDDEN, SECRET))
    wrong = home.relay("webhook", "test", "nobody", check=False)
    assert (wrong.returncode, "no webhook with the name or id nobody" in wrong.stderr) == (1, True)


def test_a_private_address_is_refused_by_the_test_as_well(home: Home, receiver: Receiver):
    configure(home, receiver, allow_private=False)
    failed = home.relay("webhook", "test", check=False)
    assert (failed.returncode, "private network" in failed.stdout) == (1, True)
    assert receiver.taken == []


def test_a_kill_in_a_delivery_loses_nothing_and_repeats_nothing_that_was_booked(
    home: Home, receiver: Receiver
):
    configure(home, receiver)
    home.relay("key", "create", "--name", "alice", "--expires", "3d")
    receiver.gate.clear()
    relay, _ = home.serve()
    wait_until("a delivery", lambda: receiver.taken)
    assert end_by(relay, signal.SIGKILL) == -signal.SIGKILL
    receiver.gate.set()
    relay, _ = home.serve()
    wait_until("its repetition", lambda: len(receiver.taken) == 2)
    wait_until("the booking", lambda: listed(home)["waiting"] == 0)
    assert end_by(relay, signal.SIGKILL) == -signal.SIGKILL
    home.relay("key", "create", "--name", "bob", "--expires", "3d")
    home.serve()
    wait_until("the next one", lambda: len(receiver.taken) == 3)
    assert [one["title"] for one in receiver.taken] == [
        "Key alice expires in 3 days",
        "Key alice expires in 3 days",
        "Key bob expires in 3 days",
    ]
    assert receiver.taken[0]["id"] == receiver.taken[1]["id"]


def test_what_was_given_up_is_shown_and_retried(home: Home, receiver: Receiver):
    """The dead alert is made by hand: a real one takes a day."""
    configure(home, receiver)
    _, _ = home.serve()
    assert home.json("webhook", "dead") == []
    bury(home, listed(home)["id"])
    (dead,) = home.json("webhook", "dead", "ops")  # type: ignore[misc]
    shown = {field: dead[field] for field in ("webhook", "id", "title", "tries", "error")}
    assert shown == {
        "webhook": "ops",
        "id": "1-0",
        "title": "Monday",
        "tries": 9,
        "error": "It cannot be reached.",
    }
    assert "Monday" in home.relay("webhook", "dead").stdout
    assert home.json("webhook", "retry", "--id", "2-0") == [{"webhook": "ops", "count": 0}]
    assert home.json("webhook", "retry") == [{"webhook": "ops", "count": 1}]
    wait_until("the delivery", lambda: receiver.taken)
    assert receiver.taken[0]["title"] == "Monday"
    wait_until("the booking", lambda: listed(home)["waiting"] == 0)
    assert home.json("webhook", "dead") == []


def bury(home: Home, webhook: str) -> None:
    import trio

    from relay.store import name, opened

    alert = json.dumps({"event": "report", "at": "1795447163000", "title": "Monday"})
    row = {"id": "1-0", "alert": alert, "tries": "9", "error": "It cannot be reached.",
           "at": "1795533563000"}  # fmt: skip

    async def write() -> None:
        async with opened(f"unix://{next((home.folder / 'home').rglob('*.sock'))}") as store:
            await store._db.call("RPUSH", name("webhook_dead", webhook), json.dumps(row))

    trio.run(write)


def test_a_backup_that_fails_is_told(home: Home, receiver: Receiver):
    configure(home, receiver)
    home.serve()
    assert home.relay("backup", check=False).returncode == 1

    wait_until("a delivery", lambda: receiver.taken)
    told = receiver.taken[0]
    assert (told["event"], told["title"]) == ("monitor", "The backup failed")
    assert "no key to encrypt backups to" in told["text"]
