"""The relay as a contender: a process of its own with everything on, set up by its command line.

It runs from the checkout, in a data folder that is made for it, with its own embedded Redis.
"""

import json
import os
import re
import sys
from pathlib import Path

import trio

from tests.bench import payloads
from tests.bench.contenders import Contender, StoreCounts
from tests.bench.processes import Program, StartError
from tests.bench.upstreams import Upstreams

_COMMAND_DEADLINE_S = 30.0
_INFO_DEADLINE_S = 2.0
_CALLS = re.compile(r"calls=(\d+)")
_READY = re.compile(r"listening on (http://\S+)")
# Whoever runs the benchmark may have settings of a relay of theirs.
_NOT_OURS = re.compile(r"(RELAY_|REDIS_|CLAUDE_|ANTHROPIC_|LOG_)|(HOST|PORT|REQUEST_TIMEOUT)$")


def clean_env() -> dict[str, str]:
    """The environment without settings of a relay."""
    return {name: value for name, value in os.environ.items() if not _NOT_OURS.match(name)}


class Relay(Contender):
    """`python relay.py serve` with one key, and an account at the upstream of the hour."""

    name = "relay"
    aside = frozenset({"valkey-server", "redis-server"})

    async def prepare_streams(self) -> None:
        await self._command("account", "disable", "requests")
        await self._add_account("streams", self._streams_url)

    async def store_counts(self) -> StoreCounts | None:
        """Each script is one call of the relay's; commands include those that scripts call."""
        info = await _info(self._home / "redis.sock")
        scripts = _CALLS.search(info.get("cmdstat_evalsha", ""))
        return StoreCounts(
            scripts=int(scripts[1]) if scripts else 0,
            reads=int(info["total_reads_processed"]),
            commands=int(info["total_commands_processed"]),
        )

    async def _start(self, nursery: trio.Nursery, upstreams: Upstreams) -> None:
        self._home = upstreams.folder / type(self).__name__.lower()
        self._home.mkdir(mode=0o700)
        self._env = {**clean_env(), "RELAY_HOME": str(self._home)}
        command = [sys.executable, "relay.py", "serve", "--port", "0"]
        log = f"{self._home.name}-serve"
        program = await Program.start(nursery, log, command, upstreams.folder, self._env)
        self._roots = (program.pid,)
        await program.until(lambda: bool(_READY.search(program.log.read_text())))
        self.requests_url = self.streams_url = _READY.search(program.log.read_text())[1]
        self._streams_url = upstreams.streams_url
        await self._add_account("requests", upstreams.requests_url)
        # A window as every key has one, but wider than any load.
        create = ["key", "create", "--name", "bench", "--rate", "1000000/1", "--json"]
        made = await self._command(*create)
        self.key = json.loads(made)["key"]

    async def _add_account(self, name: str, base_url: str) -> None:
        add = ["account", "add", name, "--kind", "api_key", "--base-url", base_url]
        await self._command(*add, "--secret-file", "-", text=b"a-secret-for-nobody")

    async def _command(self, *words: str, text: bytes = b"") -> bytes:
        """What a command of the relay prints.

        Raises:
            StartError: it failed; its own last line is the reason.
        """
        with trio.move_on_after(_COMMAND_DEADLINE_S):
            done = await trio.run_process(
                [sys.executable, "relay.py", *words],
                stdin=text,
                capture_stdout=True,
                capture_stderr=True,
                check=False,
                env=self._env,
            )
            if done.returncode == 0:
                return bytes(done.stdout)
            lines = done.stderr.decode(errors="replace").strip().splitlines()
            reason = lines[-1] if lines else f"status {done.returncode}"
            raise StartError(f"relay {words[0]} {words[1]}: {reason}")
        raise StartError(f"relay {words[0]} {words[1]} took over {_COMMAND_DEADLINE_S:.0f} s")


class ChatRelay(Relay):
    """The same relay, asked in OpenAI's words: what the translation costs."""

    name = "relay, chat"
    path = "/openai/claude/v1/chat/completions"
    last_event = payloads.LAST_OF_CHAT

    def request(self, *, chunks: int | None = None) -> bytes:
        return payloads.chat_request(chunks=chunks)

    def is_right(self, content: bytes) -> bool:
        told = json.loads(content)
        return bool(told["choices"][0]["message"]["content"] == payloads.answer_text())


class ResponsesRelay(Relay):
    """The same relay, asked in the words of OpenAI's newer API."""

    name = "relay, responses"
    path = "/openai/claude/v1/responses"
    last_event = payloads.LAST_OF_RESPONSES
    stamp = payloads.STAMP_OF_RESPONSES

    def request(self, *, chunks: int | None = None) -> bytes:
        return payloads.responses_request(chunks=chunks)

    def is_right(self, content: bytes) -> bool:
        told = json.loads(content)
        return bool(told["output"][0]["content"][0]["text"] == payloads.answer_text())


async def _info(path: Path) -> dict[str, str]:
    """Redis' own statistics."""
    data = b""
    with trio.fail_after(_INFO_DEADLINE_S):
        async with await trio.open_unix_socket(str(path)) as stream:
            await stream.send_all(b"INFO stats\r\nINFO commandstats\r\nQUIT\r\n")
            async for piece in stream:
                data += piece
    pairs = (line.partition(":") for line in data.decode().splitlines())
    return {name: value for name, _, value in pairs}
