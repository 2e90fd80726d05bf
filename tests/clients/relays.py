"""Relays as processes of their own, and the simulator as their upstream."""

import json
import subprocess
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import trio

from relay import simulator, store

from ..process.conftest import DEADLINE_S, UPSTREAM_KEY, Home, wait_until
from ..simulator import strict

NO_DRAIN = "[server]\ndrainLead = 0\ndrainTimeout = 1000\n"


@dataclass
class Relay:
    """A relay that serves; `url` is the base URL that clients are given."""

    home: Home
    url: str

    def key(self, name: str, *options: str) -> str:
        """A new key's text."""
        made = self.home.json("key", "create", "--name", name, *options)
        assert isinstance(made, dict)
        return str(made["key"])

    def usage(self, key_name: str) -> dict[str, dict[str, int]]:
        """Today's counters of one key, by model, as `relay usage` tells them."""
        report: Any = self.home.json("usage")
        return {
            row["model"]: row["counters"] for row in report["rows"] if row["key_name"] == key_name
        }

    def records(
        self, key_name: str, is_enough: Callable[[list[dict[str, Any]]], bool] = bool
    ) -> list[dict[str, Any]]:
        """A key's usage records, the oldest first, as soon as they are enough."""
        return trio.run(self._records, key_name, is_enough)

    async def _records(
        self, key_name: str, is_enough: Callable[[list[dict[str, Any]]], bool]
    ) -> list[dict[str, Any]]:
        socket = Path(self.home.env["RELAY_HOME"], "redis.sock")
        async with store.opened(f"unix://{socket}") as opened:
            with trio.fail_after(DEADLINE_S):
                while True:
                    newest = [json.loads(one) for one in await opened.usage.records(1000)]
                    found = [one for one in reversed(newest) if one["key_name"] == key_name]
                    if is_enough(found):
                        return found
                    await trio.sleep(0.05)

    def log(self) -> list[str]:
        """The lines of the relay's log."""
        return Path(self.home.env["RELAY_HOME"], "logs", "relay.log").read_text().splitlines()


class Upstream:
    """The simulator in a thread, so that a test that is no trio task can look at its journal."""

    def __init__(self) -> None:
        self._started = threading.Event()
        self._thread = threading.Thread(target=trio.run, args=(self._run,))

    async def _run(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        async with trio.open_nursery() as nursery:
            self._scope = nursery.cancel_scope
            keys = frozenset({UPSTREAM_KEY})
            serve = partial(simulator.serve, api_keys=keys, check=strict.check)
            self._simulator: simulator.Simulator = await nursery.start(serve)
            self._started.set()

    def start(self) -> None:
        self._thread.start()
        assert self._started.wait(DEADLINE_S), "the simulator did not start"

    @property
    def base_url(self) -> str:
        return self._simulator.base_url

    def stop(self) -> None:
        trio.from_thread.run_sync(self._scope.cancel, trio_token=self._token)
        self._thread.join()

    def journal(self) -> list[simulator.Received]:
        """All requests until now, the oldest first."""
        return list(self._simulator.requests)

    def received(self, words: str) -> simulator.Received:
        """The one request whose body has these words."""
        (found,) = (one for one in self.journal() if words.encode() in one.body)
        return found

    def wait_for(self, words: str) -> simulator.Received:
        """The same, as soon as it is there."""
        asked = words.encode()
        wait_until(words, lambda: any(asked in one.body for one in self.journal()))
        return self.received(words)

    def wait_until_left(self, received: simulator.Received) -> None:
        """Wait until the connection of a request that was being answered is closed."""

        async def wait() -> None:
            with trio.fail_after(DEADLINE_S):
                await received.closed.wait()

        trio.from_thread.run(wait, trio_token=self._token)


def serve(home: Home, upstream_url: str) -> Relay:
    """A relay with one account at the upstream."""
    folder = Path(home.env["RELAY_HOME"])
    folder.mkdir()
    (folder / "relay.toml").write_text(NO_DRAIN)
    home.env["LOG_TO_FILE"] = "true"
    process, url = home.serve()
    assert process.stdout is not None
    # A full pipe would stop it.
    threading.Thread(target=process.stdout.read, daemon=True).start()
    home.relay("account", "add", "main", "--base-url", upstream_url, "--secret-file", "-",
               stdin=UPSTREAM_KEY + "\n")  # fmt: skip
    return Relay(home, f"{url}/api")


def stopped_midway(process: subprocess.Popen[str], words: str, upstream: Upstream) -> None:
    """End a program in the middle of the answer to these words; the upstream sees it go."""
    try:
        received = upstream.wait_for(words)
        process.terminate()
        process.wait(DEADLINE_S)
    finally:
        process.kill()
        process.wait()
    upstream.wait_until_left(received)


def assert_only_the_floor_is_booked(relay: Relay, key: str) -> None:
    """The one record of a key is of an answer that was left: booked by what had come of it."""
    (record,) = relay.records(key)
    (attempt,) = record["attempts"]
    assert attempt["is_estimated"]
    assert attempt["tokens"]["output"] < 1000
