"""Debian 13: the same install, and that it works."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from .conftest import DOMAIN, INSTALL, Site, wait_until
from .lab import Network, lines, machine

pytestmark = [pytest.mark.root, pytest.mark.slow]


@pytest.fixture(scope="module")
def site(hub: Network, unpacked: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with machine(hub, 16, suite="trixie") as made:
        made.push(unpacked, "/root/relay")
        one = Site(hub, made, tmp_path_factory.mktemp("debian13"))
        one.install("--domain", DOMAIN, "--tls", "internal", "--yes")
        one.know_authority()
        one.equip()
        yield one


def test_debian_13_serves_and_has_no_failed_unit(site: Site):
    assert 'VERSION_ID="13"' in site.machine.read("/etc/os-release")
    wait_until("a request is answered", site.is_serving)
    assert site.far("stream", "--chunks", "3")["whole"]
    assert lines(site.machine.run("systemctl", "--failed", "--no-legend").stdout) == []
    assert site.far("knock", "--ports", "80", "443", "3000", "6379") == [80, 443]


def test_debian_13_looks_after_itself(site: Site):
    assert "nothing to change" in site.machine.run(INSTALL).stdout
    assert site.machine.run(INSTALL, "status").returncode == 0
    assert "was made and read back" in site.machine.run("relay", "backup").stdout
    assert "can be restored" in site.machine.run("relay", "backup", "--drill").stdout


def test_debian_13_lets_it_go(site: Site):
    site.machine.run(INSTALL, "uninstall", "--purge", "--yes", timeout_s=240)

    left = site.machine.shell("find / -xdev -path /proc -prune -o -path /root -prune"
                              " -o -path /run -prune -o -name '*relay*' -print").stdout  # fmt: skip
    assert lines(left) == []
