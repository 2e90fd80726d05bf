"""The two upstreams that all contenders share: nginx with one answer, and the streaming server.

Both are far cheaper than any contender; the row `direct` of the tables shows what they can do.
"""

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import trio

from tests.bench import payloads
from tests.bench.processes import Program, StartError, free_port

# One frame for both uses of nginx. It writes nothing outside of its folder.
_NGINX = """\
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    keepalive_requests 100000000;
    client_body_buffer_size 64k;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
{http}
}}
"""
_STATIC = """\
    server {{
        listen 127.0.0.1:{port};
        default_type application/json;
        location / {{ return 200 '{answer}'; }}
    }}
"""


@dataclass(frozen=True, slots=True)
class Upstreams:
    """Where the upstreams are, who they are, and a folder for the contenders' files."""

    requests_url: str
    streams_url: str
    pids: tuple[int, ...]
    folder: Path


async def start(nursery: trio.Nursery, folder: Path) -> Upstreams:
    """Start both upstreams.

    Raises:
        StartError: one of them does not run; nothing can be measured.
    """
    port = free_port()
    static = _STATIC.format(port=port, answer=payloads.answer().decode())
    nginx = await start_nginx(nursery, "upstream", folder, static)
    await nginx.until_it_listens(port)
    streams_port = free_port()
    command = [sys.executable, "-m", "tests.bench.stream_server", str(streams_port)]
    streams = await Program.start(nursery, "stream-server", command, folder)
    await streams.until_it_listens(streams_port)
    return Upstreams(
        requests_url=f"http://127.0.0.1:{port}",
        streams_url=f"http://127.0.0.1:{streams_port}",
        pids=(nginx.pid, streams.pid),
        folder=folder,
    )


async def start_nginx(nursery: trio.Nursery, name: str, folder: Path, http: str) -> Program:
    """Start an nginx of our own with the given lines in its http block."""
    binary = shutil.which("nginx")
    if binary is None:
        raise StartError("nginx is not installed (Debian's nginx-light)")
    place = folder / name
    place.mkdir()
    config = place / "nginx.conf"
    config.write_text(_NGINX.format(folder=place, http=http))
    command = [binary, "-p", str(place), "-c", str(config), "-e", str(place / "error.log")]
    return await Program.start(nursery, name, command, folder)
