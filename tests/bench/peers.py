"""Gateways of others and a plain proxy more, each set up as its own documents say.

What each has switched on stands in its docstring. They come from the package registries, pinned
in peers.txt and below; tests/bench/run --peers installs them beside the relay's own environment.
The Claude apps gateway is not among them: it lets nobody in without an OpenID provider and a
certificate. Bifrost, Helicone, Kong, sub2api and new-api are in no registry as programs.
"""

import json
import os
import shutil
from abc import abstractmethod
from pathlib import Path

import trio

from tests.bench import bare, payloads
from tests.bench.contenders import Contender
from tests.bench.processes import Program, StartError, free_port
from tests.bench.upstreams import Upstreams

FOLDER = "BENCH_PEERS"
PORTKEY = "@portkey-ai/gateway@1.15.2"
_SECRET = "a-secret-for-nobody"


def everyone() -> list[Contender]:
    """All peers in the order of the tables."""
    return [Envoy(), Rolter(), Ferro(), Portkey(), LiteLLM()]


def _program(*names: str) -> str:
    """Where a peer's program is.

    Raises:
        StartError: it was not installed.
    """
    found = Path(os.environ.get(FOLDER, "none"), *names)
    if not found.exists():
        raise StartError(f"{names[-1]} is not installed; tests/bench/run --peers does that")
    return str(found)


class Envoy(Contender):
    """Envoy as a plain proxy with one worker: no keys, no limits, no access log."""

    name = "envoy"

    async def _start(self, nursery: trio.Nursery, upstreams: Upstreams) -> None:
        port = free_port()
        config = upstreams.folder / "envoy.json"
        config.write_text(json.dumps(_envoy_config(port, upstreams)))
        command = [
            _program("bin", "envoy"), "--config-path", str(config), "--concurrency", "1",
            "--log-level", "error", "--use-dynamic-base-id",
        ]  # fmt: skip
        program = await Program.start(nursery, "envoy", command, upstreams.folder)
        await program.until_it_listens(port)
        self._serves(port, program)


def _envoy_config(port: int, upstreams: Upstreams) -> dict[str, object]:
    types = "type.googleapis.com/envoy.extensions.filters"
    places = {"requests": upstreams.requests_url, "streams": upstreams.streams_url}
    router = {"@type": f"{types}.http.router.v3.Router"}
    routes = [
        {
            "match": {"prefix": f"{bare.STREAMS}/"},
            "route": {"cluster": "streams", "prefix_rewrite": "/", "timeout": "0s"},
        },
        {"match": {"prefix": "/"}, "route": {"cluster": "requests", "timeout": "0s"}},
    ]
    manager = {
        "@type": f"{types}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "bench",
        "http_filters": [{"name": "envoy.filters.http.router", "typed_config": router}],
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}]},
    }
    chain = {"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}
    return {
        "static_resources": {
            "listeners": [{"address": _address(port), "filter_chains": [{"filters": [chain]}]}],
            "clusters": [
                {
                    "name": name,
                    "type": "STATIC",
                    "load_assignment": {
                        "cluster_name": name,
                        "endpoints": [
                            {
                                "lb_endpoints": [
                                    {"endpoint": {"address": _address(int(url.split(":")[2]))}}
                                ]
                            }
                        ],
                    },
                }
                for name, url in places.items()
            ],
        }
    }


def _address(port: int) -> dict[str, object]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


class Peer(Contender):
    """A gateway that knows one upstream: it starts anew for the upstream of the streams."""

    async def prepare_streams(self) -> None:
        await self._program.end()
        await self._launch(self._upstreams.streams_url)

    async def _start(self, nursery: trio.Nursery, upstreams: Upstreams) -> None:
        self._nursery, self._upstreams = nursery, upstreams
        self._folder = upstreams.folder / self.name
        self._folder.mkdir()
        await self._launch(upstreams.requests_url)

    async def _launch(self, upstream: str) -> None:
        port = free_port()
        command, env = self._command(port, upstream)
        env = {**os.environ, "HOME": str(self._folder), **env}
        self._program = await Program.start(self._nursery, self.name, command, self._folder, env)
        await self._program.until_it_listens(port)
        self.requests_url = self.streams_url = f"http://127.0.0.1:{port}"
        self._roots = (self._program.pid,)
        await self._prepare(port)

    @abstractmethod
    def _command(self, port: int, upstream: str) -> tuple[list[str], dict[str, str]]:
        """What starts it for an upstream, and what its environment has to say."""

    async def _prepare(self, port: int) -> None:
        """What is to be done once it listens."""


class Rolter(Peer):
    """rolter's gateway: a virtual key, a route, usage in its log; no budgets, which need more."""

    name = "rolter"

    def _command(self, port: int, upstream: str) -> tuple[list[str], dict[str, str]]:
        self.key = "sk-bench"
        config = self._folder / "rolter.toml"
        config.write_text(f"""\
[server]
host = "127.0.0.1"
port = {port}
[[providers]]
name = "upstream"
kind = "anthropic"
api_base = "{upstream}"
api_key_env = "UPSTREAM_KEY"
allow_custom_api_base = true
[[routes]]
model = "{payloads.MODEL}"
strategy = "round_robin"
[[routes.targets]]
provider = "upstream"
model = "{payloads.MODEL}"
[[virtual_keys]]
key = "{self.key}"
name = "bench"
models = []
""")
        env = {"UPSTREAM_KEY": _SECRET, "ROLTER_UPDATE_CHECK": "false", "RUST_LOG": "warn"}
        return [_program("bin", "rolter"), "gateway", "--config", str(config)], env


class Ferro(Peer):
    """Ferro's gateway: one API key, in OpenAI's words, which it translates; no plugins."""

    name = "ferro, chat"
    path = "/v1/chat/completions"
    last_event = payloads.LAST_OF_CHAT
    key = "fgw_0123456789abcdef0123456789abcdef"

    def __init__(self) -> None:
        super().__init__()
        self.key = type(self).key

    @property
    def headers(self) -> dict[str, str]:
        return {**super().headers, "authorization": f"Bearer {self.key}"}

    def request(self, *, chunks: int | None = None) -> bytes:
        return payloads.chat_request(chunks=chunks)

    def is_right(self, content: bytes) -> bool:
        told = json.loads(content)
        return bool(told["choices"][0]["message"]["content"] == payloads.answer_text())

    def _command(self, port: int, upstream: str) -> tuple[list[str], dict[str, str]]:
        config = self._folder / "ferro.yaml"
        config.write_text("strategy:\n  mode: single\ntargets:\n  - virtual_key: anthropic\n")
        env = {
            "MASTER_KEY": self.key,
            "ANTHROPIC_API_KEY": _SECRET,
            "ANTHROPIC_BASE_URL": upstream,
            "GATEWAY_CONFIG": str(config),
            # It limits each address; the limits are wider than any load.
            "RATE_LIMIT_RPS": "1000000",
            "RATE_LIMIT_BURST": "1000000",
            "PORT": str(port),
        }
        return [_program("bin", "ferrogw"), "serve"], env


class Portkey(Peer):
    """Portkey's open gateway: it passes on what the headers say; no keys, no limits.

    Release 1.15.2 answers streams of the Messages API with 500 on Node 20 and 26.
    """

    name = "portkey"

    def __init__(self) -> None:
        super().__init__()
        self._upstream = ""

    @property
    def headers(self) -> dict[str, str]:
        host = f"{self._upstream}/v1"
        own = {"x-portkey-provider": "anthropic", "x-portkey-custom-host": host}
        return {**super().headers, **own, "authorization": f"Bearer {_SECRET}"}

    def _command(self, port: int, upstream: str) -> tuple[list[str], dict[str, str]]:
        self._upstream = upstream
        node = shutil.which("node")
        if node is None:
            raise StartError("there is no node")
        start = "node_modules/@portkey-ai/gateway/build/start-server.js"
        return [node, _program(*start.split("/")), f"--port={port}", "--headless"], {}


class LiteLLM(Peer):
    """LiteLLM's proxy with one worker: a master key, prices; no database, so no budgets."""

    name = "litellm"

    def _command(self, port: int, upstream: str) -> tuple[list[str], dict[str, str]]:
        self.key = "sk-bench"
        config = self._folder / "litellm.json"
        parameters = {
            "model": f"anthropic/{payloads.MODEL}",
            "api_base": upstream,
            "api_key": _SECRET,
        }
        models = [{"model_name": payloads.MODEL, "litellm_params": parameters}]
        general = {"master_key": self.key}
        # JSON is YAML.
        config.write_text(json.dumps({"model_list": models, "general_settings": general}))
        env = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR"}
        command = [
            _program("bin", "litellm"), "--config", str(config), "--host", "127.0.0.1",
            "--port", str(port), "--num_workers", "1", "--telemetry", "False",
        ]  # fmt: skip
        return command, env
