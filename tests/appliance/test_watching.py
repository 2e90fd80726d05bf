"""The installed machine watches itself: what the monitor finds, mends and tells; cron runs it."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .conftest import Site, wait_until
from .lab import HUB_ADDRESS

pytestmark = [pytest.mark.root, pytest.mark.slow]

SINK = Path(__file__).with_name("sink.py")
PORT = "9100"
WEBHOOK = f"""
[[webhooks]]
name = "sink"
url = "http://{HUB_ADDRESS}:{PORT}/"
allowPrivate = true
"""
TOML = "/etc/relay/relay.toml"
SECRETS = "/etc/relay/secrets.env"
CRON = "/etc/cron.d/relay"
INSTANCES = ("relay@3000.service", "relay@3001.service")


class Sink:
    """A webhook's receiver, on another host."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def heard(self, check: str) -> list[str]:
        """The levels that were told of a check and its subject, in order."""
        bodies = [json.loads(row) for row in self._file.read_text().splitlines()]
        told = [body["data"] for body in bodies if body["event"] == "monitor"]
        return [one["level"] for one in told
                if f"{one['check']} {one.get('subject', '')}".strip() == check]  # fmt: skip


@pytest.fixture(scope="module")
def sink(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sink]:
    """A receiver that the machine's relay knows; the machine's own watchman rests meanwhile."""
    file = tmp_path_factory.mktemp("sink") / "taken"
    file.touch()
    process = site.hub.start(sys.executable, str(SINK), HUB_ADDRESS, PORT, str(file))
    assert process.stdout is not None
    assert process.stdout.readline() == "listening\n"
    before = site.machine.read(TOML)
    site.machine.shell(f"systemctl stop cron; cp -p {TOML} /root/; echo '{WEBHOOK}' >>{TOML}")
    site.machine.run("systemctl", "restart", *INSTANCES)
    wait_until("requests are answered", site.is_serving)
    yield Sink(file)
    site.machine.shell(f"mv /root/relay.toml {TOML}; systemctl start cron")
    assert site.machine.read(TOML) == before
    site.machine.run("systemctl", "restart", *INSTANCES)
    process.kill()
    process.communicate()


def monitor(site: Site, command: str = "monitor") -> tuple[int, dict[str, Any]]:
    done = site.machine.run("relay", command, "--json", check=False)
    return done.returncode, json.loads(done.stdout)


def problems(told: dict[str, Any]) -> dict[str, str]:
    return {f"{one['check']} {one['subject']}".strip(): one["text"] for one in told["findings"]
            if one["level"] in ("warning", "critical")}  # fmt: skip


def end_is_told(site: Site, sink: Sink, name: str) -> None:
    """Let the monitor find that a problem is over; nobody hears of anything twice."""

    def is_over() -> bool:
        return name not in problems(monitor(site)[1])

    wait_until("it is over", is_over)
    wait_until("its end is delivered", lambda: len(sink.heard(name)) == 2)
    monitor(site)
    assert sink.heard(name) == ["critical", "ok"]


def test_a_machine_that_was_just_installed_is_well(site: Site, sink: Sink):
    status, told = monitor(site)
    assert (status, problems(told), told["started"]) == (0, {}, [])
    seen = {one["check"] for one in told["findings"] if one["level"] == "ok"}
    assert {"service", "redis", "instance", "certificate", "disk", "memory"} <= seen
    owner = site.machine.run("stat", "-c", "%U %a", "/var/lib/relay/monitor.json").stdout
    assert owner == "relay 600\n"


def test_the_doctor_finds_what_was_changed_and_names_what_mends_it(site: Site, sink: Sink):
    status, told = monitor(site, "doctor")
    assert (status, problems(told)) == (0, {})
    site.machine.shell(f"echo >>{CRON}")
    try:
        assert list(problems(monitor(site, "doctor")[1])) == [f"files {CRON}"]
        assert "-> run install.sh again" in site.machine.run("relay", "doctor", check=False).stdout
    finally:
        site.machine.run("cp", f"/opt/relay/current/appliance/cron.d/{Path(CRON).name}", CRON)
    assert monitor(site, "doctor")[0] == 0


@pytest.mark.parametrize("unit", ["relay@3001.service", "relay-redis.service"])
def test_a_stopped_service_is_started_and_told_of_once(site: Site, sink: Sink, unit: str):
    site.machine.run("systemctl", "stop", unit)
    status, told = monitor(site)
    assert (status, told["started"], told["told"]) == (2, [unit], [f"service {unit}"])
    wait_until("it runs", lambda: site.property(unit, "ActiveState") == "active")
    wait_until("requests are answered", site.is_serving)
    end_is_told(site, sink, f"service {unit}")


def test_a_wrong_redis_password_is_told_as_such(site: Site, sink: Sink):
    site.machine.shell(f"cp -p {SECRETS} /root/; sed -i 's|^REDIS_URL=unix://:|&wrong|' {SECRETS}")
    try:
        status, told = monitor(site)
        assert (status, list(problems(told))) == (2, ["redis"])
        assert "WRONGPASS" in problems(told)["redis"]
        assert (monitor(site)[1]["told"], sink.heard("redis")) == ([], ["critical"])
    finally:
        site.machine.shell(f"mv /root/secrets.env {SECRETS}")
    end_is_told(site, sink, "redis")


def test_a_full_disk_is_told_of_once(site: Site, sink: Sink):
    place = "/var/log/relay"
    site.machine.run("mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", place)
    site.machine.shell(f"head -c 2M /dev/zero >{place}/all", check=False)
    try:
        status, told = monitor(site)
        assert (status, list(problems(told))) == (2, [f"disk {place}"])
        wait_until("it is delivered", lambda: sink.heard(f"disk {place}"))
    finally:
        site.machine.run("umount", place)
    end_is_told(site, sink, f"disk {place}")


def test_a_broken_relay_toml_is_told_before_a_restart_finds_it(site: Site, sink: Sink):
    site.machine.shell(f"cp -p {TOML} /root/well.toml; echo 'nothing = 1' >>{TOML}")
    try:
        status, told = monitor(site)
        assert (status, list(problems(told))) == (2, ["settings"])
    finally:
        site.machine.shell(f"mv /root/well.toml {TOML}")
    end_is_told(site, sink, "settings")


def test_cron_runs_it_and_the_journal_has_its_line(site: Site, sink: Sink):
    since = site.machine.run("date", "+%s").stdout.strip()
    # The line as it is installed, but every minute.
    site.machine.shell(f"sed 's|^\\*/5 |* |' {CRON} >/etc/cron.d/relay-soon; systemctl start cron")
    try:
        said = f"journalctl --no-pager -o cat -t relay-monitor --since @{since}"
        wait_until("it ran", lambda: "monitor level=" in site.machine.shell(said).stdout, 90)
        assert "level=ok" in site.machine.shell(said).stdout
    finally:
        site.machine.run("rm", "/etc/cron.d/relay-soon")
