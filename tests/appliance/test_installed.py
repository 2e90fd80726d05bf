"""The installed machine: what runs, what answers, and what comes back after a blow."""

import json
import re
import time

import pytest

from .conftest import DOMAIN, INSTALL, Site, wait_until
from .lab import HUB_ADDRESS, NEIGHBOUR_ADDRESS, lines

pytestmark = [pytest.mark.root, pytest.mark.slow]

SERVICES = ("relay-redis.service", "relay@3000.service", "relay@3001.service",
            "relay-caddy.service")  # fmt: skip
MOST_EXPOSURE = 1.5
# Everything that an install may write, with times and owners; logs and data change by themselves.
TREE = (
    "find /etc /opt /usr/local /usr/lib/systemd -printf '%p %m %u %g %s %T@ %l\\n'"
    " | grep -v -e /etc/ufw/ -e 'fail2ban.*pyc' | sort"
)
SECRET_IN_QUERY = "sk-relay-in-a-query"


def started_at(site: Site) -> list[str]:
    return [site.property(one, "ActiveEnterTimestampMonotonic") for one in SERVICES]


def test_a_second_install_changes_nothing_and_says_so(site: Site):
    before, started = site.machine.shell(TREE).stdout, started_at(site)
    said = site.install("--domain", DOMAIN, "--tls", "internal")

    assert "nothing to change" in said
    assert site.machine.shell(TREE).stdout == before
    assert started_at(site) == started


def test_a_dry_run_shows_what_another_option_would_change_and_changes_nothing(site: Site):
    before, started = site.machine.shell(TREE).stdout, started_at(site)
    said = site.install("--instances", "3", "--email", "ops@example.com", "--dry-run")

    assert "+RELAY_INSTANCES=3" in said
    assert "would start relay@3002.service" in said
    assert "REDIS_PASSWORD" not in said
    assert site.machine.shell(TREE).stdout == before
    assert started_at(site) == started


def test_no_unit_has_failed_and_the_install_has_nothing_to_say_against_itself(site: Site):
    assert lines(site.machine.run("systemctl", "--failed", "--no-legend").stdout) == []
    assert site.machine.run(INSTALL, "status").returncode == 0


@pytest.mark.parametrize(
    "unit", ["relay@3000.service", "relay-redis.service", "relay-caddy.service"]
)
def test_a_service_may_do_little(site: Site, unit: str):
    said = site.machine.run("systemd-analyze", "security", "--no-pager", unit).stdout
    exposure = re.search(r"exposure level for \S+: ([0-9.]+)", said)

    assert exposure is not None
    assert float(exposure[1]) <= MOST_EXPOSURE


def test_secrets_are_root_s_alone_and_in_no_command_line(site: Site):
    written = site.machine.read("/etc/relay/secrets.env").splitlines()
    secrets = dict(line.split("=", 1) for line in written if not line.startswith("#"))
    assert set(secrets) == {"JWT_SECRET", "ENCRYPT_KEY", "REDIS_PASSWORD", "REDIS_URL",
                            "ADMIN_PASSWORD"}  # fmt: skip
    modes = site.machine.run("stat", "-c", "%a %U", "/etc/relay/secrets.env",
                             "/etc/relay/redis-machine.conf").stdout  # fmt: skip
    assert set(modes.splitlines()) == {"600 root"}
    running = site.machine.shell("cat /proc/[0-9]*/cmdline | tr '\\0' ' '").stdout
    assert not any(one in running for one in secrets.values())


def test_from_another_host_only_http_and_https_answer(site: Site):
    site.machine.shell("systemd-run --unit=open-door python3 -m http.server --bind 0.0.0.0 8080")
    try:
        knock = "exec 3<>/dev/tcp/127.0.0.1/8080"
        wait_until("it listens", lambda: site.machine.shell(knock, check=False).returncode == 0)
        ports = ["80", "443", "2019", "3000", "3001", "6379", "8080"]
        assert site.far("knock", "--ports", *ports) == [80, 443]
    finally:
        site.machine.run("systemctl", "stop", "open-door")


def test_a_stream_comes_through_https_piece_by_piece(site: Site):
    seen = site.far("stream", "--chunks", "10")

    assert (seen["status"], seen["whole"]) == (200, True)
    gaps = [after - before for before, after in zip(seen["came"], seen["came"][1:], strict=False)]
    # Ten pieces at 0.2 s; held back and let go at once they would have no gaps.
    assert len(gaps) >= 5
    assert sum(gap > 0.05 for gap in gaps) >= len(gaps) - 1


def test_answers_carry_the_security_headers_and_do_not_name_the_server(site: Site):
    answer = site.far("request", "--path", "/health")
    headers = {name.lower(): value for name, value in answer["headers"].items()}

    assert headers["strict-transport-security"] == "max-age=31536000"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert "server" not in headers


def test_while_no_instance_runs_a_client_is_told_so_in_its_own_dialect(site: Site):
    instances = ("relay@3000.service", "relay@3001.service")
    # Or the monitor might start them.
    site.machine.run("systemctl", "stop", "cron.service", *instances)
    try:
        native = site.far("request", "--method", "POST", "--path", "/api/v1/messages")
        openai = site.far("request", "--path", "/openai/claude/v1/models")
    finally:
        site.machine.run("systemctl", "start", "cron.service", *instances)

    assert (native["status"], openai["status"]) == (503, 503)
    assert json.loads(native["body"])["error"]["type"] == "overloaded_error"
    assert json.loads(openai["body"])["error"]["type"] == "server_error"
    wait_until("requests are answered", site.is_serving)


def test_the_console_opens_at_its_domain(site: Site):
    answer = site.far("request", "--path", "/web/sign-in")

    assert answer["status"] == 200
    assert "password" in answer["body"]


def test_the_relay_knows_its_caller_s_address_whatever_the_caller_claims(site: Site):
    for forged in ("X-Forwarded-For=6.6.6.6", "X-Real-IP=6.6.6.6"):
        site.far("request", "--path", "/api/v1/models", "--header", forged)
    told = site.machine.shell(
        "journalctl --no-pager -u 'relay@*' -g 'path=/api/v1/models' | tail -2"
    )

    assert told.stdout.count(f"client={HUB_ADDRESS} ") == 2
    assert "6.6.6.6" not in told.stdout


def test_no_log_holds_a_key(site: Site):
    site.far("request", "--method", "POST", "--path", f"/api/v1/messages?key={SECRET_IN_QUERY}")
    # A client that leaves makes Caddy tell an error, with all of the request in it.
    site.far("stream", "--chunks", "50", "--leave-after", "2")
    access = "/var/log/relay-caddy/access.log"
    last = "/api/v1/messages"
    wait_until("it is told", lambda: last in site.machine.read(access).splitlines()[-1])
    logs = f"cat {access}; journalctl --no-pager -o cat"
    written = site.machine.shell(logs).stdout

    assert "/api/v1/messages" in written
    assert site.key not in written
    assert SECRET_IN_QUERY not in written


@pytest.mark.parametrize("unit", SERVICES)
def test_a_killed_service_is_back_and_serves(site: Site, unit: str):
    killed = site.property(unit, "MainPID")
    site.machine.shell(f"kill -9 {killed}")

    wait_until(f"{unit} is back", lambda: site.property(unit, "ActiveState") == "active"
               and site.property(unit, "MainPID") not in ("0", killed))  # fmt: skip
    wait_until("a request is answered", site.is_serving)


def test_the_watchdog_ends_an_instance_that_hangs(site: Site):
    hung = site.property("relay@3000.service", "MainPID")
    site.machine.shell(f"kill -STOP {hung}")
    began = time.monotonic()

    # The other one serves, once Caddy has seen that this one does not answer.
    wait_until("the other one serves", site.is_serving)
    wait_until("another process is in its place", lambda: site.property(
        "relay@3000.service", "MainPID") not in ("0", hung), 10 * 25)  # fmt: skip
    # Nobody but the watchdog, and not its patience of 330 s for a stop, ended it.
    assert "Watchdog timeout" in site.machine.shell("journalctl --no-pager -u relay@3000").stdout
    assert time.monotonic() - began < 10 * 25
    wait_until(
        "it is ready", lambda: site.property("relay@3000.service", "ActiveState") == "active"
    )


def test_nothing_fails_while_an_install_restarts_one_instance_after_another(site: Site):
    pids = {one: site.property(one, "MainPID") for one in SERVICES}
    load = site.start_far("load", "--seconds", "20")
    try:
        # A unit's file that differs is mended, and what reads it is restarted.
        site.machine.shell("echo '# old' >>'/etc/systemd/system/relay@.service'")
        site.install()
        seen = json.loads(load.communicate(timeout=90)[0].splitlines()[-1])
    finally:
        load.kill()

    assert seen["faults"] == {}
    assert all(count >= 3 for count in seen["counts"].values())
    assert pids["relay@3000.service"] != site.property("relay@3000.service", "MainPID")


def test_what_was_acknowledged_is_there_after_a_power_cut_and_all_comes_up_by_itself(site: Site):
    made = json.loads(
        site.machine.run("relay", "key", "create", "--name", "at-the-last-moment", "--json").stdout
    )
    site.machine.cut_power()
    site.machine.boot()

    wait_until("requests are answered", site.is_serving)
    assert site.far("request", "--path", "/api/v1/models", "--key", made["key"])["status"] == 200
    assert lines(site.machine.run("systemctl", "--failed", "--no-legend").stdout) == []
    site.machine.run("relay", "key", "delete", "at-the-last-moment", "--yes")


def test_a_reboot_brings_everything_back(site: Site):
    site.machine.reboot()

    wait_until("requests are answered", site.is_serving)
    assert [site.property(one, "ActiveState") for one in SERVICES] == ["active"] * len(SERVICES)
    assert site.far("knock", "--ports", "80", "443", "3000") == [80, 443]


def test_who_guesses_keys_is_banned_and_a_neighbour_is_not(site: Site):
    forgotten = ("guess", "--times", "40", "--same", "--key", "forgotten")
    assert site.far(*forgotten) == {"401": 40}
    site.far("guess", "--times", "60", "--key", "guessed")
    try:
        wait_until("the attacker is banned",
                   lambda: site.far("knock", "--ports", "443") == [])  # fmt: skip
        assert site.far("knock", "--ports", "443", "--source", NEIGHBOUR_ADDRESS) == [443]
    finally:
        site.machine.run("fail2ban-client", "unban", "--all")
    wait_until("it is let in again", lambda: site.far("knock", "--ports", "443") == [443])
