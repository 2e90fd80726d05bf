"""One installed machine for the whole folder, its upstream, and clients on other hosts."""

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from relay import build, release

from .lab import CHECKOUT, HUB_ADDRESS, Machine, Network, machine, network, sh

if TYPE_CHECKING:
    import subprocess

DOMAIN = "relay.test"
UPSTREAM_KEY = "upstream-secret"
DEADLINE_S = 60.0
INSTALL = "/root/relay/install.sh"
FAR_SIDE = Path(__file__).with_name("far_side.py")


class Site:
    """The installed machine as its clients and its operator see it."""

    def __init__(self, hub: Network, machine: Machine, folder: Path) -> None:
        self.hub = hub
        self.machine = machine
        self.authority = folder / "authority.crt"
        self.key = ""
        self.said = ""

    def install(self, *options: str) -> str:
        """Run install.sh in the machine; what it printed."""
        said = self.machine.run(INSTALL, *options, timeout_s=240).stdout
        self.said += said
        return said

    def know_authority(self) -> None:
        """Trust the authority of the machine's own certificates."""
        root = "/var/lib/relay-caddy/caddy/pki/authorities/local/root.crt"
        self.authority.write_text(self.machine.read(root))

    def equip(self) -> None:
        """Make an account and a key."""
        add = f"relay account add main --base-url http://{HUB_ADDRESS}:9000 --secret-file -"
        self.machine.shell(f"echo {UPSTREAM_KEY} | {add}")
        made = self.machine.run("relay", "key", "create", "--name", "alice", "--json",
                                "--rate", "100000/60").stdout  # fmt: skip
        self.key = str(json.loads(made)["key"])

    def far(self, do: str, *options: str, timeout_s: float = 60) -> Any:
        """What a client on another host sees."""
        done = self.hub.run(*self._far(do, *options), timeout_s=timeout_s)
        return json.loads(done.stdout)

    def start_far(self, do: str, *options: str) -> "subprocess.Popen[str]":
        return self.hub.start(*self._far(do, *options))

    def _far(self, do: str, *options: str) -> list[str]:
        return [sys.executable, str(FAR_SIDE), do, "--address", self.machine.address,
                "--domain", DOMAIN, "--authority", str(self.authority),
                *([] if "--key" in options else ["--key", self.key]), *options]  # fmt: skip

    def property(self, unit: str, name: str) -> str:
        return self.machine.run("systemctl", "show", "--value", "-p", name, unit).stdout.strip()

    def is_serving(self) -> bool:
        """Whether a real request is answered through HTTPS."""
        try:
            done = self.far("request", "--method", "POST", "--path", "/api/v1/messages")
        except AssertionError:
            return False
        return bool(done["status"] == 200)


def wait_until(what: str, is_true: Callable[[], object], deadline_s: float = DEADLINE_S) -> None:
    """Poll until it is true.

    Raises:
        AssertionError: it was not within the deadline.
    """
    deadline = time.monotonic() + deadline_s
    while not is_true():
        assert time.monotonic() < deadline, f"in vain: {what}"
        time.sleep(0.1)


@pytest.fixture(scope="session")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A release archive of this checkout, unpacked as its user would."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    folder = tmp_path_factory.mktemp("release")
    built = build.build(folder / "relay.pyz")
    sh("tar", "-C", folder, "-xzf", release.pack(CHECKOUT, built, folder))
    return next(path for path in folder.iterdir() if path.is_dir())


@pytest.fixture(scope="session")
def hub(unpacked: Path) -> Iterator[Network]:
    """The far side's network, with an upstream in it."""
    with network() as made:
        simulator = made.start(sys.executable, "-m", "relay.simulator", "--host", HUB_ADDRESS,
                               "--port", "9000")  # fmt: skip
        assert simulator.stdout is not None
        assert "simulated upstream" in simulator.stdout.readline()
        yield made
        simulator.kill()
        simulator.communicate()


@pytest.fixture
def fresh(hub: Network, unpacked: Path) -> Iterator[Machine]:
    """A machine on which a release lies unpacked, and nothing is installed."""
    with machine(hub, 12) as made:
        made.push(unpacked, "/root/relay")
        yield made


@pytest.fixture(scope="session")
def site(hub: Network, unpacked: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The machine on which relay is installed; each test leaves it as it found it."""
    with machine(hub, 11) as made:
        made.push(unpacked, "/root/relay")
        one = Site(hub, made, tmp_path_factory.mktemp("site"))
        one.install("--domain", DOMAIN, "--tls", "internal", "--yes")
        one.know_authority()
        one.equip()
        yield one
