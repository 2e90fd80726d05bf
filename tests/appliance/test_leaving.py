"""A fresh machine: what an install that is only tried leaves, and what an uninstall leaves."""

import re

import pytest

from .conftest import DOMAIN, INSTALL
from .lab import Machine

pytestmark = [pytest.mark.root, pytest.mark.slow]

# The whole disk, without what changes by itself or is a log of packages by Debian's own rules.
TREE = (
    "find / -xdev '(' -path /proc -o -path /sys -o -path /run -o -path /var/log -o -path /var/cache"
    " -o -path /tmp -o -path /root/relay -o -path /var/lib/dpkg -o -path /var/lib/systemd"
    # systemd's own services, timedated among them, come and go when somebody asks them something.
    " -o -path '/var/tmp/systemd-private-*-systemd-*' -o -path /var/lib/apt"
    " ')' -prune -o -printf '%p %m %u %g %l\\n' | sort"
)
PACKAGES = "dpkg-query --show --showformat '${Package} ${db:Status-Status}\\n'"
USERS = "getent passwd; getent group"
STATE = f"{TREE}; {PACKAGES}; {USERS}"


def test_a_dry_run_on_a_new_machine_changes_nothing(fresh: Machine):
    # Its SSH listens where nobody expects it.
    sshd = "/usr/local/sbin/sshd"
    fresh.shell(f"printf '#!/bin/sh\\necho port 2222\\n' >{sshd}; chmod +x {sshd}")
    before = fresh.shell(STATE).stdout
    said = fresh.run(INSTALL, "--domain", DOMAIN, "--tls", "internal", "--dry-run").stdout

    assert "would install the packages age" in said
    assert "would install the package caddy" in said
    assert "would open port 2222 for SSH" in said
    assert "port 22 " not in said
    assert "changes would be made, and none was" in said
    assert fresh.shell(STATE).stdout == before


def test_an_uninstall_leaves_the_backups_and_a_purge_leaves_nothing(fresh: Machine):
    before = fresh.shell(STATE).stdout
    said = fresh.run(INSTALL, "--domain", DOMAIN, "--tls", "internal", timeout_s=240).stdout
    recovery = re.search("AGE-SECRET-KEY-1[A-Z0-9]+", said)
    assert recovery is not None
    fresh.run("relay", "key", "create", "--name", "alice")
    fresh.run(INSTALL, "uninstall", "--yes", timeout_s=120)

    files = fresh.shell(f"{TREE} | cut -d ' ' -f 1 | grep relay").stdout.split()
    assert [name for name in files if not name.startswith("/var/backups/relay")] == []
    assert "relay" not in fresh.shell(USERS).stdout

    # What was there comes back on another install, by the key that was shown at the first.
    again = fresh.run(INSTALL, "--domain", DOMAIN, "--tls", "internal", timeout_s=240).stdout
    assert recovery[0] not in again
    # Nor is it lost to the first backup of what is new and empty.
    fresh.run("relay", "backup")
    fresh.shell(f"echo {recovery[0]} >/root/recovery.key; relay restore --yes"
                " --identity-file /root/recovery.key /var/backups/relay/relay-*.kept.tar.age;"
                " rm /root/recovery.key", timeout_s=120)  # fmt: skip
    assert "alice" in fresh.run("relay", "key", "list").stdout

    fresh.run(INSTALL, "uninstall", "--purge", "--yes", timeout_s=240)
    assert fresh.shell(STATE).stdout == before
    assert fresh.run("systemctl", "--failed", "--no-legend").stdout.strip() == ""


def test_a_damaged_release_is_refused_before_anything_is_changed(fresh: Machine):
    before = fresh.shell(STATE).stdout
    fresh.shell("echo '# tampered with' >>/root/relay/appliance/bin/relay")
    done = fresh.run(INSTALL, "--domain", DOMAIN, "--tls", "internal", check=False)

    assert done.returncode == 1
    assert "damaged" in done.stdout
    assert fresh.shell(STATE).stdout == before


def test_a_port_that_somebody_else_has_is_told_before_anything_is_changed(fresh: Machine):
    before = fresh.shell(STATE).stdout
    fresh.shell("systemd-run --unit=other python3 -m http.server 443")
    while fresh.shell("exec 3<>/dev/tcp/127.0.0.1/443", check=False).returncode != 0:
        pass
    done = fresh.run(INSTALL, "--domain", DOMAIN, "--tls", "internal", check=False)

    assert done.returncode == 1
    assert "somebody else listens on port 443 of every address: python3 (process " in done.stdout
    assert "of other.service)" in done.stdout
    assert fresh.shell(STATE).stdout == before
