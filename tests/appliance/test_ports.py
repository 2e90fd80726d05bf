"""Another port on a machine that serves: proven first, then switched to, and no request is lost."""

import json

import pytest

from .conftest import INSTALL, Site, wait_until
from .lab import lines

pytestmark = [pytest.mark.root, pytest.mark.slow]

BROKEN = "/run/systemd/system/relay@5001.service.d"
SETTINGS = "/etc/relay/appliance.env"
RUNNING = "systemctl list-units --plain --no-legend 'relay@*' | awk '{print $1, $3}'"
BEFORE = ["relay@3000.service active", "relay@3001.service active"]


def running(site: Site) -> list[str]:
    return list(lines(site.machine.shell(RUNNING).stdout))


def caddies(site: Site) -> list[str]:
    """The processes that are a Caddy, by number."""
    found = site.machine.shell("grep --files-with-matches '^caddy$' /proc/[0-9]*/comm").stdout
    return [path.split("/")[2] for path in lines(found)]


def test_instances_that_do_not_work_on_another_port_go_and_all_is_as_before(site: Site):
    before, caddy = site.machine.read(SETTINGS), site.property("relay-caddy.service", "MainPID")
    site.machine.shell(f"mkdir {BROKEN}; printf '[Service]\\nExecStart=\\nExecStart=/bin/false\\n'"
                       f" >{BROKEN}/broken.conf; systemctl daemon-reload")  # fmt: skip
    try:
        done = site.machine.run(INSTALL, "--port", "5000", timeout_s=200, check=False)
    finally:
        site.machine.shell(f"rm -r {BROKEN}; systemctl daemon-reload")

    assert done.returncode == 1
    assert "could not start relay@5001.service" in done.stdout
    assert "what served before serves as it did" in done.stdout
    assert running(site) == BEFORE
    assert site.machine.read(SETTINGS) == before
    assert site.property("relay-caddy.service", "MainPID") == caddy
    wait_until("a request is answered", site.is_serving)
    assert lines(site.machine.run("systemctl", "--failed", "--no-legend").stdout) == []


def test_a_caddy_that_does_not_start_with_new_settings_leaves_the_one_before(site: Site):
    before = site.machine.read(SETTINGS)
    # It starts with these two ports alone.
    wrong = "/run/systemd/system/relay-caddy.service.d"
    load = site.start_far("load", "--seconds", "600", "--until-told")
    site.machine.shell(f"mkdir -p {wrong}; printf '[Service]\\nExecStartPre=/bin/sh -c"
                       f' "test $RELAY_PORT = 3000"\\n\' >{wrong}/wrong.conf')  # fmt: skip
    try:
        done = site.machine.run(INSTALL, "--port", "6000", timeout_s=200, check=False)
        seen = json.loads(load.communicate("enough\n", timeout=90)[0].splitlines()[-1])
    finally:
        load.kill()
        load.communicate()
        site.machine.shell(f"rm -r {wrong}; systemctl daemon-reload")

    assert done.returncode == 1
    assert "it serves as before" in done.stdout
    assert seen["faults"] == {}
    assert running(site) == BEFORE
    assert site.machine.read(SETTINGS) == before
    wait_until("a request is answered", site.is_serving)
    assert caddies(site) == [site.property("relay-caddy.service", "MainPID")]


def test_a_port_that_another_program_has_is_refused_with_its_name(site: Site):
    before = site.machine.shell(f"cat {SETTINGS}; {RUNNING}").stdout
    site.machine.shell("systemd-run --unit=other python3 -m http.server --bind 127.0.0.1 7001")
    try:
        knock = "exec 3<>/dev/tcp/127.0.0.1/7001"
        wait_until("it listens", lambda: site.machine.shell(knock, check=False).returncode == 0)
        done = site.machine.run(INSTALL, "--port", "7000", check=False)
    finally:
        site.machine.run("systemctl", "stop", "other")

    assert done.returncode == 1
    assert "somebody else listens on port 7001 of 127.0.0.1: python3 (process" in done.stdout
    assert "of other.service)" in done.stdout
    assert site.machine.shell(f"cat {SETTINGS}; {RUNNING}").stdout == before


def test_another_port_and_the_way_back_lose_no_request_and_cut_no_answer(site: Site):
    caddy = site.property("relay-caddy.service", "MainPID")
    load = site.start_far("load", "--seconds", "600", "--until-told")
    try:
        there = site.machine.run(INSTALL, "--port", "4000", timeout_s=300).stdout
        after = running(site)
        second = site.property("relay-caddy.service", "MainPID")
        site.machine.run(INSTALL, "--port", "3000", timeout_s=300)
        seen = json.loads(load.communicate("enough\n", timeout=90)[0].splitlines()[-1])
    finally:
        load.kill()
        load.communicate()

    assert seen["faults"] == {}
    assert all(count >= 3 for count in seen["counts"].values())
    assert after == ["relay@4000.service active", "relay@4001.service active"]
    # The new ones were there before the old ones went.
    assert there.index("start relay@4001") < there.index("take over") < there.index("take away")
    assert running(site) == BEFORE
    third = site.property("relay-caddy.service", "MainPID")
    assert len({caddy, second, third}) == 3
    assert caddies(site) == [third]
    assert site.machine.run(INSTALL, "status").returncode == 0
    assert "nothing to change" in site.machine.run(INSTALL).stdout
    assert "4000" not in site.machine.run("ls", "/var/log/relay").stdout
