"""Backups of the installed machine: made by cron, tried out, restored on another machine."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from .conftest import DOMAIN, INSTALL, Site, wait_until
from .lab import Network, lines, machine

pytestmark = [pytest.mark.root, pytest.mark.slow]

RECOVERY = "/root/recovery.key"
NEWEST = "ls -t /var/backups/relay/relay-*.tar.age | head -1"
# Whatever a restore may touch, by what stays while a relay writes and the monitor notes its runs.
DATA = (
    "find /var/lib/relay /var/lib/relay-redis /etc/relay -not -name 'monitor.json*'"
    " -printf '%p %i %m %u\\n' | sort; sha256sum /etc/relay/*"
)


@pytest.fixture(scope="module")
def made(site: Site) -> Iterator[str]:
    """A backup of the machine; its path there."""
    site.machine.run("relay", "key", "create", "--name", "kept")
    yield str(json.loads(site.machine.run("relay", "backup", "--json").stdout)["file"])
    site.machine.run("relay", "key", "delete", "kept", "--yes")


@pytest.fixture(scope="module")
def other(hub: Network, unpacked: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Another machine, installed and empty."""
    with machine(hub, 13) as made:
        made.push(unpacked, "/root/relay")
        one = Site(hub, made, tmp_path_factory.mktemp("other"))
        one.install("--domain", DOMAIN, "--tls", "internal", "--yes")
        yield one


def test_a_backup_is_for_root_alone_and_holds_nothing_to_read(site: Site, made: str):
    modes = site.machine.run("stat", "-c", "%a %U", "/var/backups/relay", made).stdout

    assert modes.splitlines() == ["700 root", "600 root"]
    assert site.machine.shell(f"head -c 21 {made}").stdout == "age-encryption.org/v1"


def test_a_machine_comes_back_on_another_one(site: Site, other: Site, made: str):
    other.machine.push(site.machine.root / made.lstrip("/"), "/root/moved.tar.age")
    recovery = re.search("AGE-SECRET-KEY-1[A-Z0-9]+", site.said)
    assert recovery is not None
    other.machine.shell(f"umask 077; echo {recovery[0]} >{RECOVERY}")
    password = other.machine.shell("grep REDIS_ /etc/relay/secrets.env").stdout
    done = other.machine.run("relay", "restore", "/root/moved.tar.age", "--yes",
                             "--identity-file", RECOVERY, timeout_s=120).stdout  # fmt: skip

    assert "Restored what was on" in done
    names = [one["name"] for one in json.loads(other.machine.run("relay", "key", "list",
                                                                 "--json").stdout)]  # fmt: skip
    assert {"alice", "kept"} <= set(names)
    # The old machine's keys and accounts serve, through the new one's door and Redis.
    other.know_authority()
    other.key = site.key
    wait_until("a request is answered", other.is_serving)
    assert other.machine.shell("grep REDIS_ /etc/relay/secrets.env").stdout == password
    kept_in = other.machine.run("ls", "/var/lib/relay-redis/appendonlydir").stdout
    assert "appendonly.aof.1.base.rdb" in kept_in
    assert lines(other.machine.run("systemctl", "--failed", "--no-legend").stdout) == []
    # And after a start on what it wrote.
    other.machine.run("systemctl", "restart", "relay-redis.service")
    wait_until("a request is answered again", other.is_serving)


def test_an_archive_that_was_altered_is_refused_with_the_data_untouched(site: Site, made: str):
    before = site.machine.shell(DATA).stdout
    site.machine.shell(f"cp {made} /root/altered.tar.age; printf x |"
                       " dd of=/root/altered.tar.age bs=1 seek=2000 conv=notrunc")  # fmt: skip
    done = site.machine.run("relay", "restore", "/root/altered.tar.age", "--yes", check=False)

    assert done.returncode == 1
    assert "altered or cut off" in done.stdout
    assert site.machine.shell(DATA).stdout == before
    assert site.is_serving()


def test_the_trial_passes_and_fails_where_the_newest_archive_is_bad(site: Site, made: str):
    assert "can be restored" in site.machine.run("relay", "backup", "--drill").stdout
    bad = "/var/backups/relay/relay-20990101T000000Z.tar.age"
    site.machine.shell(f"head -c 5000 {made} >{bad}")
    try:
        done = site.machine.run("relay", "backup", "--drill", check=False)
    finally:
        site.machine.run("rm", bad)

    assert done.returncode == 1
    assert "altered or cut off" in done.stdout


def test_cron_makes_backups(site: Site):
    listed = site.machine.read("/etc/cron.d/relay").splitlines()
    jobs = [line.split(None, 6) for line in listed if re.match(r"[0-9*]", line)]
    cat = "systemd-cat -t relay-backup"
    assert {job[6] for job in jobs} >= {f"{cat} relay backup", f"{cat} relay backup --drill"}
    before = site.machine.shell(NEWEST).stdout
    # The same line at another time, so that nobody has to wait for the night.
    site.machine.shell("sed -n '/^[A-Z]/p; s/^17 3 /* * /p' /etc/cron.d/relay >/etc/cron.d/soon")
    try:
        wait_until("cron made one", lambda: site.machine.shell(NEWEST).stdout != before, 150)
    finally:
        site.machine.run("rm", "/etc/cron.d/soon")
    said = "journalctl --no-pager -t relay-backup -g 'was made and read back'"
    wait_until("it is told", lambda: site.machine.shell(said, check=False).returncode == 0)


def test_a_command_leaves_nothing_that_the_service_cannot_read(site: Site):
    site.machine.shell("umask 077; echo secret-of-two >/root/two.txt")
    site.machine.shell("cd /root; relay account add two --secret-file two.txt")
    site.machine.run("relay", "usage")
    site.machine.run("relay", "account", "remove", "two", "--yes")
    foreign = site.machine.run("find", "/var/lib/relay", "-not", "-user", "relay").stdout

    assert lines(foreign) == []


def test_a_backup_that_fails_says_why(site: Site):
    site.machine.run("mv", "/etc/relay/backup.recipients", "/etc/relay/away")
    try:
        done = site.machine.run("relay", "backup", check=False)
    finally:
        site.machine.run("mv", "/etc/relay/away", "/etc/relay/backup.recipients")

    assert done.returncode == 1
    assert "no key to encrypt backups to" in done.stdout


def test_an_install_that_fails_makes_no_recovery_key_that_nobody_saw(site: Site):
    curl = "/usr/local/bin/curl"
    site.machine.shell("mkdir /root/keys; mv /etc/relay/backup.* /root/keys")
    try:
        site.machine.shell(f"printf '#!/bin/sh\\nexit 7\\n' >{curl}; chmod +x {curl}")
        failed = site.machine.run(INSTALL, check=False)
        site.machine.run("rm", curl)
        again = site.machine.run(INSTALL).stdout
    finally:
        site.machine.shell(f"rm -f {curl}; mv -f /root/keys/* /etc/relay; rmdir /root/keys")

    assert failed.returncode == 1
    assert "does not answer" in failed.stdout
    assert "AGE-SECRET-KEY-1" not in failed.stdout
    assert "AGE-SECRET-KEY-1" in again


def test_an_installed_machine_shows_its_recovery_key_once(site: Site):
    assert "AGE-SECRET-KEY-1" in site.said
    assert "AGE-SECRET-KEY-1" not in site.machine.run(INSTALL).stdout
    kept = "grep -rl AGE-SECRET-KEY /etc /var /root --exclude=backup.key"
    assert site.machine.shell(kept, check=False).stdout == ""
