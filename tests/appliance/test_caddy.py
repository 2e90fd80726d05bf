"""Which Caddy is installed: its makers' own where it can be had, else the system's."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fresh.machine import SUITE

from .conftest import DOMAIN, INSTALL, Site, wait_until
from .lab import HUB_ADDRESS, Machine, Network, template
from .packages import Source

pytestmark = [pytest.mark.root, pytest.mark.slow]

PORT = 9001
NEWER = "2.99.0"


@pytest.fixture(scope="module")
def source(hub: Network, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Source]:
    """What stands for the makers' own source, at the hub."""
    one = Source(tmp_path_factory.mktemp("packages"))
    (package,) = (template(SUITE) / "var/cache/apt/archives").glob("caddy_*.deb")
    one.offer(package, NEWER)
    server = hub.start(sys.executable, "-m", "http.server", "--bind", HUB_ADDRESS, str(PORT),
                       "--directory", str(one.folder))  # fmt: skip
    yield one
    server.kill()
    server.communicate()
    one.close()


def install(machine: Machine, *options: str, key: str) -> str:
    where = f"http://{HUB_ADDRESS}:{PORT}"
    return machine.run("env", f"INSTALL_CADDY_SOURCE={where}", f"INSTALL_CADDY_KEY={key}", INSTALL,
                       "--domain", DOMAIN, "--tls", "internal", *options,
                       timeout_s=240).stdout  # fmt: skip


def test_its_makers_caddy_is_taken_where_it_can_be_had_and_leaves_with_the_relay(
    fresh: Machine, source: Source, hub: Network, tmp_path: Path
):
    refused = install(fresh, "--dry-run", key="0" * 40)
    assert "is another key than 0000" in refused
    assert "taking this system's own Caddy" in refused

    install(fresh, key=source.fingerprint)
    installed = fresh.run("dpkg-query", "--show", "--showformat", "${Version}", "caddy").stdout
    assert installed == NEWER
    site = Site(hub, fresh, tmp_path)
    site.know_authority()
    site.equip()
    wait_until("a request is answered", site.is_serving)
    assert "nothing to change" in fresh.run(INSTALL).stdout

    fresh.run(INSTALL, "uninstall", "--purge", "--yes", timeout_s=240)
    left = fresh.shell("ls /etc/apt/sources.list.d /etc/apt/keyrings", check=False).stdout
    assert "relay-caddy" not in left


def test_the_system_s_own_is_taken_where_nothing_answers(site: Site):
    assert "taking this system's own Caddy" in site.said
    version = site.machine.run("dpkg-query", "--show", "--showformat", "${Version}", "caddy").stdout
    assert version.startswith("2.6")
