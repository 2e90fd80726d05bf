"""One release after another under a steady load: there, there and not back, and back."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

import relay

from .conftest import INSTALL, Site
from .releases import changed

pytestmark = [pytest.mark.root, pytest.mark.slow]

INSTANCES = ("relay@3000.service", "relay@3001.service")
# What a start may take here, so that the one that never gets ready is known soon.
SOON = "/run/systemd/system/relay@.service.d/soon.conf"
READ = '    """Pass a model\'s answer on as it arrives, and read its usage on the side."""\n'
BAD = {
    "ends at once": {"server.py": ("    stop = trio.Event() if stop is None else stop\n",
                                   '    raise SystemExit("broken")\n')},
    "is never ready": {"systemd.py": ("    if not address:\n", "    if state == READY:\n")},
    "is not well": {"asgi.py": ('if self.is_draining else (200, "ok")',
                                'if self.is_draining else (500, "broken")')},
    "fails every call": {"delivery.py": (READ, f'{READ}    raise LookupError("broken")\n')},
}  # fmt: skip


@pytest.fixture(scope="module")
def archives(unpacked: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A good release that is newer, and bad ones."""
    folder = tmp_path_factory.mktemp("releases")
    made = {"good": changed(unpacked, folder, "90.0.0", {})}
    for number, (name, lines) in enumerate(BAD.items(), 1):
        made[name] = changed(unpacked, folder, f"91.0.{number}", lines)
    schema = {"store/__init__.py": ('SCHEMA_VERSION = "1"', 'SCHEMA_VERSION = "2"')}
    made["unseen"] = changed(unpacked, folder, "93.0.0", {})
    made["one-way"] = changed(unpacked, folder, "92.0.0", schema)
    return made


@pytest.fixture(autouse=True)
def soon(site: Site) -> Iterator[None]:
    drop_in = "[Service]\\nTimeoutStartSec=8\\n"
    site.machine.shell(f"mkdir -p $(dirname {SOON}); printf '{drop_in}' >{SOON}")
    site.machine.run("systemctl", "daemon-reload")
    yield
    site.machine.shell(f"rm -r $(dirname {SOON}); systemctl daemon-reload")


def push(site: Site, archive: Path) -> str:
    """Put an archive into the machine; its path there."""
    path = f"/root/{archive.name}"
    site.machine.push(archive, path)
    return path


def versions(site: Site) -> list[str]:
    """What each instance says that it is."""
    ask = "for one in 3000 3001; do curl -s http://127.0.0.1:$one/health; echo; done"
    return [json.loads(line)["version"] for line in site.machine.shell(ask).stdout.splitlines()]


@contextlib.contextmanager
def load(site: Site) -> Iterator[None]:
    """Requests of three kinds all the while, of which none may fail."""
    running = site.start_far("load", "--seconds", "300", "--until-told")
    try:
        yield
        seen = json.loads(running.communicate("enough\n", timeout=90)[0].splitlines()[-1])
    finally:
        running.kill()
        running.communicate()
    assert seen["faults"] == {}
    assert all(count >= 3 for count in seen["counts"].values())


def test_an_upgrade_and_the_way_back_lose_no_request(site: Site, archives: dict[str, Path]):
    kept = [site.property(one, "MainPID") for one in ("relay-redis.service", "relay-caddy.service")]
    with load(site):
        said = site.machine.run("relay", "upgrade", push(site, archives["good"]), timeout_s=200)
        assert versions(site) == ["90.0.0", "90.0.0"]
        site.machine.run("relay", "rollback", timeout_s=200)

    assert "make a backup" in said.stdout
    assert versions(site) == [relay.__version__, relay.__version__]
    # Neither the door nor the data were touched.
    assert kept == [site.property(one, "MainPID")
                    for one in ("relay-redis.service", "relay-caddy.service")]  # fmt: skip
    assert site.machine.run(INSTALL, "status").returncode == 0


@pytest.mark.parametrize("fault", BAD)
def test_a_release_that_does_not_work_goes_and_no_request_is_lost(
    site: Site, archives: dict[str, Path], fault: str
):
    before = site.machine.run("readlink", "/opt/relay/current").stdout
    with load(site):
        done = site.machine.run("relay", "upgrade", "--no-backup", push(site, archives[fault]),
                                timeout_s=200, check=False)  # fmt: skip

    assert done.returncode == 1
    assert f"release {relay.__version__}" in done.stdout
    assert "serves as before" in done.stdout
    assert ("messages, whole: answered with 500" in done.stdout) == (fault == "fails every call")
    assert versions(site) == [relay.__version__, relay.__version__]
    assert site.machine.run("readlink", "/opt/relay/current").stdout == before
    assert "91.0" not in site.machine.run("ls", "/opt/relay/releases").stdout
    assert site.machine.run(INSTALL, "status").returncode == 0


def test_an_archive_that_is_damaged_is_refused_before_anything_is_changed(
    site: Site, archives: dict[str, Path]
):
    path = push(site, archives["good"])
    site.machine.shell(f"truncate --size=-1000 {path}")
    done = site.machine.run("relay", "upgrade", path, check=False)

    assert done.returncode == 1
    assert "Nothing was changed" in done.stdout
    assert versions(site) == [relay.__version__, relay.__version__]


def test_an_upgrade_from_which_no_way_leads_back_says_so_and_asks(
    site: Site, archives: dict[str, Path]
):
    done = site.machine.run("relay", "upgrade", push(site, archives["one-way"]), check=False)

    assert done.returncode == 1
    assert "one-way" in done.stdout
    assert "answer, or say --yes. Nothing was changed." in done.stdout
    assert versions(site) == [relay.__version__, relay.__version__]


def test_a_dry_run_tells_what_an_upgrade_would_do(site: Site, archives: dict[str, Path]):
    said = site.machine.run("relay", "upgrade", "--dry-run", push(site, archives["unseen"])).stdout

    assert "would unpack release 93.0.0" in said
    assert "would restart relay@3001.service" in said
    assert versions(site) == [relay.__version__, relay.__version__]


def test_two_upgrades_at_a_time_do_not_meet(site: Site, archives: dict[str, Path]):
    path = push(site, archives["good"])
    locked = f"flock /run/relay-install.lock relay upgrade {path}"
    done = site.machine.shell(locked, check=False)

    assert done.returncode == 1
    assert "another install or upgrade is running" in done.stdout
