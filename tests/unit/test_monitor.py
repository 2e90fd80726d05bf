"""The monitor's checks and decisions over looks that the test made up."""

import dataclasses
import fcntl
import json
import os
import ssl
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trio
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from relay import reconcile
from relay import settings as relay_settings
from relay.accounts import Account
from relay.monitor import checks, doors, installed, machine, mending, notes, stored
from relay.monitor.findings import Finding, worst
from relay.monitor.look import gathered
from relay.monitor.notes import Notes, Place
from relay.monitor.report import Report, line, sheet
from relay.monitor.seen import Certificate, Clock, Disk, Door, Look, Memory, Stored, Unit
from relay.monitor.site import Site, site
from relay.reconcile import AdminKey, Result
from relay.settings import Settings
from relay.usage import Unpriced

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
APPLIANCE = {"RELAY_INSTANCES": "2", "RELAY_PORT": "3000", "RELAY_DOMAIN": "relay.test"}
UNITS = ("relay-redis.service", "relay@3000.service", "relay@3001.service",
         "relay-caddy.service", "relay.target")  # fmt: skip
FIGURES = {
    "redis_version": "7.0.15", "maxmemory": "100", "used_memory": "10", "aof_enabled": "1",
    "aof_last_write_status": "ok", "aof_last_bgrewrite_status": "ok",
    "maxmemory_policy": "noeviction",
}  # fmt: skip
BAD = Finding("disk", "warning", "full", subject="/data")
WORSE = dataclasses.replace(BAD, level="critical")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return relay_settings.load({"RELAY_HOME": str(tmp_path)})


@pytest.fixture
def appliance(settings: Settings) -> Site:
    return site(settings, APPLIANCE)


def units(**changed: str) -> dict[str, Unit]:
    """All units active, but for those whose name has the word, in the state given."""
    return {
        name: Unit(name, "loaded", next((to for word, to in changed.items() if word in name),
                                        "active"))
        for name in UNITS
    }  # fmt: skip


def account(name: str = "main", state: str = "ok", *, enabled: bool = True) -> Account:
    blank = dict.fromkeys((one.name for one in dataclasses.fields(Account)), "")
    return Account(**{**blank, "name": name, "state": state, "enabled": enabled})  # type: ignore[arg-type]


WELL = Look(
    at=NOW,
    units=units(),
    doors={3000: Door(200, 200, "1.0"), 3001: Door(200, 200, "1.0")},
    certificates={"relay.test": Certificate(NOW - timedelta(hours=6), NOW + timedelta(hours=6))},
    disks=[Disk((Path("/data"),), 10, 10, 10**9)],
    memory=Memory(100, 80),
    clock=Clock(is_synchronized=True, has_service=True),
    stored=Stored(figures=FIGURES, accounts=[account()]),
)


def looked(**changed: object) -> Look:
    return dataclasses.replace(WELL, **changed)  # type: ignore[arg-type]


def kept(**changed: object) -> Look:
    return looked(stored=dataclasses.replace(WELL.stored, **changed))  # type: ignore[type-var]


def levels(
    look: Look, appliance: Site, settings: Settings, since: datetime = NOW
) -> dict[str, str]:
    """The levels of what is not ok, by name."""
    found = checks.judged(look, appliance, settings, "", since)
    return {one.name: one.level for one in found if one.level != "ok"}


def test_where_all_is_well_every_check_says_so(settings: Settings, appliance: Site):
    assert levels(WELL, appliance, settings) == {}


def test_of_what_was_not_seen_no_check_says_that_it_is_well(settings: Settings, appliance: Site):
    blind = Look(at=NOW, broken={"stored": "it took too long"})
    found = checks.judged(blind, appliance, settings, "", NOW)
    well = {one.check for one in found if one.level == "ok"}
    assert well == {"settings"}
    assert [one.name for one in found if one.is_problem] == ["look stored"]


def test_settings_that_cannot_be_read_are_critical(settings: Settings, appliance: Site):
    found = checks.judged(WELL, appliance, settings, "Line 3 is wrong.", NOW)
    assert [(one.name, one.level) for one in found if one.is_problem] == [("settings", "critical")]
    strange = site(settings, {"RELAY_INSTANCES": "two"})
    assert levels(looked(units=units()), strange, settings) == {"settings": "critical"}


def test_a_unit_is_judged_by_what_systemd_says(settings: Settings, appliance: Site):
    found = levels(looked(units={
        **units(redis="failed", caddy="inactive"),
        "relay@3000.service": Unit("relay@3000.service", "loaded", "activating", "auto-restart"),
        "relay@3001.service": Unit("relay@3001.service", "not-found", "inactive"),
        "relay.target": Unit("relay.target", "loaded", "active", "active", "disabled"),
    }), appliance, settings)  # fmt: skip
    assert found == {
        "service relay-redis.service": "critical",
        "service relay-caddy.service": "critical",
        "service relay@3000.service": "warning",
        "service relay@3001.service": "critical",
        "service relay.target": "warning",
        # What they serve is not judged beside them.
        "instance 3000": "unseen",
        "instance 3001": "unseen",
    }


async def test_what_systemctl_show_says_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    told = (
        "Id=relay@3000.service\nLoadState=loaded\nActiveState=active\nSubState=running\n"
        "UnitFileState=enabled\n\nId=relay.target\nLoadState=not-found\nActiveState=inactive\n"
        "SubState=dead\nUnitFileState=\n"
    )
    program(tmp_path, monkeypatch, "systemctl", f"cat <<'END'\n{told}END")
    assert await machine.units(["relay@3000.service", "relay.target"]) == {
        "relay@3000.service": Unit("relay@3000.service", "loaded", "active", "running", "enabled"),
        "relay.target": Unit("relay.target", "not-found", "inactive", "dead", ""),
    }


def program(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, script: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


@pytest.mark.parametrize("script", ["exit 1", "exec sleep 60"])
async def test_a_systemctl_that_fails_or_hangs_is_not_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str
):
    monkeypatch.setattr(machine, "_PROGRAM_DEADLINE_S", 0.3)
    program(tmp_path, monkeypatch, "systemctl", script)
    assert await machine.units(["relay.target"]) is None


@pytest.mark.parametrize(
    ("door", "level"),
    [(Door(200, 200), None), (Door(None, None), "critical"), (Door(503, 503), "warning"),
     (Door(0, 0), "critical"), (Door(200, 503), "critical")],
)  # fmt: skip
def test_an_instance_is_judged_by_what_it_answers(
    settings: Settings, appliance: Site, door: Door, level: str | None
):
    look = looked(doors={**(WELL.doors or {}), 3001: door})
    assert levels(look, appliance, settings) == ({"instance 3001": level} if level else {})


def test_instances_that_wait_for_redis_are_no_problem_beside_redis(
    settings: Settings, appliance: Site
):
    look = looked(doors=dict.fromkeys((3000, 3001), Door(200, 503)),
                  stored=Stored("Redis does not answer"))  # fmt: skip
    found = levels(look, appliance, settings)
    assert [name for name, level in found.items() if level != "unseen"] == ["redis"]


@pytest.mark.parametrize(
    ("changed", "name", "level"),
    [
        ({"used_memory": "85"}, "redis memory", "warning"),
        ({"used_memory": "96"}, "redis memory", "critical"),
        ({"maxmemory": "0", "used_memory": "96"}, "", ""),
        ({"maxmemory_policy": "allkeys-lru"}, "redis memory", "critical"),
        ({"aof_enabled": "0"}, "redis file", "warning"),
        ({"aof_last_write_status": "err"}, "redis file", "critical"),
        ({"aof_last_bgrewrite_status": "err"}, "redis file", "warning"),
    ],
)
def test_redis_own_figures_are_judged(
    settings: Settings, appliance: Site, changed: dict[str, str], name: str, level: str
):
    found = levels(kept(figures={**FIGURES, **changed}), appliance, settings)
    assert found == ({name: level} if name else {})


def test_a_redis_that_takes_nothing_new_is_critical(settings: Settings, appliance: Site):
    assert levels(kept(unwritable="OOM"), appliance, settings) == {"redis": "critical"}


def test_an_account_that_needs_somebody_is_named_with_its_remedy(
    settings: Settings, appliance: Site
):
    look = kept(accounts=[account(), account("other", "unauthorized"),
                          account("off", "disabled", enabled=False)])  # fmt: skip
    assert levels(look, appliance, settings) == {"account other": "warning"}
    look = kept(accounts=[account("other", "cooling")])
    assert levels(look, appliance, settings) == {"account other": "warning", "accounts": "critical"}
    look = kept(sealed={"main": "made with another ENCRYPT_KEY"})
    assert levels(look, appliance, settings) == {"account main": "critical"}


@pytest.mark.parametrize(
    ("requests", "failures", "level"),
    [(19, 19, None), (100, 9, None), (100, 10, "warning"), (100, 50, "critical")],
)
def test_failed_requests_are_judged_by_their_rate(
    settings: Settings, appliance: Site, requests: int, failures: int, level: str | None
):
    found = levels(kept(requests=requests, failures=failures), appliance, settings)
    assert found == ({"errors": level} if level else {})


@pytest.mark.parametrize(
    ("own_errors", "requests", "level"),
    [
        ({}, 0, None),
        ({"internal_error (api)": 2}, 0, None),
        ({"internal_error (api)": 3}, 0, "critical"),
        ({"internal_error (api)": 3}, 4, "warning"),
        ({"api_error (api)": 1, "status_503 (console)": 2}, 1000, "warning"),
        ({"api_error (api)": 237}, 237, "critical"),
    ],
)
def test_what_relay_fails_without_a_record_is_judged_by_its_number(
    settings: Settings,
    appliance: Site,
    own_errors: dict[str, int],
    requests: int,
    level: str | None,
):
    found = levels(kept(own_errors=own_errors, requests=requests), appliance, settings)
    assert found == ({"own errors": level} if level else {})


def test_the_commonest_errors_of_relays_own_are_named(settings: Settings, appliance: Site):
    counts = {"redis_away (api)": 2, "internal_error (console)": 7}
    found = {
        one.name: one
        for one in checks.judged(kept(own_errors=counts), appliance, settings, "", NOW)
    }["own errors"]
    assert "9 requests" in found.text
    assert "7 internal_error (console), 2 redis_away (api)" in found.text
    assert "journalctl" in found.mend
    assert not found.settles


@pytest.mark.parametrize(
    ("status", "error", "failed"),
    [(200, "", False), (400, "status_400", False), (529, "status_529", True),
     (None, "upstream_unreachable", True), (200, "upstream_cut", True), (200, "client_gone", False),
     (None, "client_gone", False), (401, "credential_refused", True)],
)  # fmt: skip
def test_what_clients_did_wrong_is_no_failure_of_ours(
    status: int | None, error: str, *, failed: bool
):
    assert stored.is_failure(status, error) is failed


def test_a_model_without_a_price_is_named_with_what_was_booked_for_it(
    settings: Settings, appliance: Site
):
    look = kept(
        unpriced=[Unpriced("claude-opus-9", "2026-11-20", "Opus 4, 4.1, Opus 3", 1_500_000)]
    )
    assert levels(look, appliance, settings) == {"price claude-opus-9": "warning"}
    (found,) = [one for one in checks.judged(look, appliance, settings, "", NOW)
                if one.check == "price"]  # fmt: skip
    assert "2026-11-20" in found.text
    assert "Opus 4, 4.1, Opus 3, $1.500000" in found.text


@pytest.mark.parametrize(
    ("error", "theirs", "level", "text"),
    [
        ("", 500, None, ""),
        ("", 2_500, "warning", "They differ from Anthropic's by $0.002000 since 2026-11-22."),
        ("It refuses the admin key.", 500, "warning", "It refuses the admin key."),
    ],
)
def test_books_that_differ_or_cannot_be_read_are_reported(
    settings: Settings, appliance: Site, error: str, theirs: int, level: str | None, text: str
):
    key = AdminKey("adm_1", "acme", "https://a", "sk", "", "", {}, {}, NOW, NOW, NOW, error)
    lines = [{}] if theirs != 500 else []
    result = Result("2026-11-22", 500, theirs, 0, lines, "")
    differing = [result] if lines else []
    look = kept(books=[reconcile.Standing(key, "", differing, [result])])
    assert levels(look, appliance, settings) == ({"books acme": level} if level else {})
    (found,) = [one for one in checks.judged(look, appliance, settings, "", NOW)
                if one.check == "books"]  # fmt: skip
    assert text in found.text


@pytest.mark.parametrize(
    ("hours", "days", "expected"),
    [(1, 1, {}), (27, 1, {"backup": "warning"}), (53, 1, {"backup": "critical"}),
     (1, 9, {"drill": "warning"})],
)  # fmt: skip
def test_backups_are_judged_by_their_age(
    settings: Settings, appliance: Site, hours: int, days: int, expected: dict[str, str]
):
    made, drilled = NOW - timedelta(hours=hours), NOW - timedelta(days=days)
    look = kept(backups={"made": made.isoformat(), "drilled": drilled.isoformat()})
    assert levels(look, appliance, settings) == expected
    # Where none was ever made, the machine's own age counts.
    look = kept(backups={"drilled": drilled.isoformat()})
    assert levels(look, appliance, settings, since=made) == expected


@pytest.mark.parametrize(
    ("lived", "left", "level"),
    [(87, 3, "critical"), (75, 15, "warning"), (60, 30, None), (90, -1, "critical"),
     # An own authority's lives for half a day.
     (0.25, 0.25, None), (0.4, 0.1, "warning")],
)  # fmt: skip
def test_a_certificate_is_judged_by_the_part_of_its_life_that_is_left(
    settings: Settings, appliance: Site, lived: float, left: float, level: str | None
):
    one = Certificate(NOW - timedelta(days=lived), NOW + timedelta(days=left))
    found = levels(looked(certificates={"relay.test": one}), appliance, settings)
    assert found == ({"certificate relay.test": level} if level else {})


async def test_a_certificate_is_read_whoever_signed_it(tmp_path: Path):
    begins = datetime.now(UTC).replace(microsecond=0) - timedelta(days=9)
    context = served_with(tmp_path, begins, begins + timedelta(days=1))

    async def answer(stream: trio.SSLStream[trio.SocketStream]) -> None:
        try:
            await stream.do_handshake()
        finally:
            await trio.aclose_forcefully(stream)

    listeners = await trio.open_ssl_over_tcp_listeners(0, context, host="127.0.0.1")
    port = listeners[0].transport_listener.socket.getsockname()[1]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, answer, listeners)
        found = await doors.certificates(["relay.test"], port=port)
        nursery.cancel_scope.cancel()
    assert found == {"relay.test": Certificate(begins, begins + timedelta(days=1))}
    assert "Nobody listens" in str(await doors.certificates(["relay.test"], port=port))


def served_with(folder: Path, begins: datetime, ends: datetime) -> ssl.SSLContext:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "relay.test")])
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, begins, ends)
    made = builder.sign(key, hashes.SHA256())
    file = folder / "server.pem"
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8)
    private = key.private_bytes(*form, serialization.NoEncryption())
    file.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    return context


@pytest.mark.parametrize(("available", "level"), [(50, None), (10, "warning"), (3, "critical")])
async def test_memory_is_judged_by_what_is_available(
    settings: Settings, appliance: Site, tmp_path: Path, available: int, level: str | None
):
    file = tmp_path / "meminfo"
    file.write_text(f"MemTotal: 100 kB\nMemFree: 1 kB\nMemAvailable: {available} kB\n")
    found = levels(looked(memory=await machine.memory(file)), appliance, settings)
    assert found == ({"memory": level} if level else {})
    assert await machine.memory(tmp_path / "none") is None


@pytest.mark.parametrize(
    ("told", "level"),
    [("NTP=yes\\nNTPSynchronized=no", "warning"), ("NTP=yes\\nNTPSynchronized=yes", None),
     ("NTP=no\\nNTPSynchronized=no", "unseen"), ("", "unseen")],
)  # fmt: skip
async def test_a_clock_that_is_not_in_step_is_told(
    settings: Settings, appliance: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    told: str, level: str | None,
):  # fmt: skip
    program(tmp_path, monkeypatch, "timedatectl", f'printf "{told}\\n"')
    found = levels(looked(clock=await machine.clock()), appliance, settings)
    assert found == ({"clock": level} if level else {})


@pytest.mark.parametrize(
    ("room", "files", "level"),
    [(50, 50, None), (85, 0, "warning"), (95, 0, "critical"), (50, 95, "critical")],
)
def test_a_disk_is_judged_by_its_room_and_its_inodes(
    settings: Settings, appliance: Site, room: int, files: int, level: str | None
):
    look = looked(disks=[Disk((Path("/data"), Path("/log")), room, files, 10**6)])
    assert levels(look, appliance, settings) == ({"disk /data": level} if level else {})


async def test_each_disk_is_looked_at_once_also_where_a_folder_is_not_there_yet(tmp_path: Path):
    (one,) = await machine.disks([tmp_path / "not" / "yet", tmp_path])
    assert one.places == (tmp_path,)
    assert 0 < one.percent <= 100


def starts(look: Look, appliance: Site, *before: str) -> list[tuple[str, str]]:
    return [(one.unit, one.how) for one in mending.needed(look, appliance, before)]


def test_what_is_down_is_started_and_what_comes_up_by_itself_is_not(appliance: Site):
    look = looked(units=units(redis="failed", **{"3000": "activating", "3001": "inactive"}))
    assert starts(look, appliance) == [
        ("relay-redis.service", "start"), ("relay@3001.service", "start"),
    ]  # fmt: skip


def test_nothing_is_started_while_the_relay_is_meant_to_stand_still(appliance: Site):
    look = looked(units=units(target="inactive", redis="inactive", caddy="failed"))
    assert starts(look, appliance) == []


async def test_an_install_that_is_under_way_is_left_alone(appliance: Site, tmp_path: Path):
    lock = tmp_path / "lock"
    assert not await machine.is_changing(lock)
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        changing = looked(units=units(redis="failed"), is_changing=await machine.is_changing(lock))
        assert starts(changing, appliance) == []
    assert not await machine.is_changing(lock)


def test_what_hangs_is_restarted_when_it_hung_at_the_last_run_too(appliance: Site):
    look = looked(doors={3000: Door(None, None), 3001: Door(200, 200)},
                  stored=Stored("Redis does not answer"))  # fmt: skip
    assert starts(look, appliance) == []
    assert starts(look, appliance, "instance 3000", "redis") == [
        ("relay-redis.service", "restart"), ("relay@3000.service", "restart"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "problem", [Stored("LOADING Redis is loading"), Stored("Redis refuses us", is_refused=True)]
)
def test_a_redis_that_reads_its_data_or_refuses_us_is_not_restarted(
    appliance: Site, problem: Stored
):
    assert starts(looked(stored=problem), appliance, "redis") == []


def test_starts_are_limited_and_further_and_further_apart():
    kept_notes, now = Notes(), 1_800_000_000.0
    allowed = []
    for minute in range(0, 80, 5):
        at = now + minute * 60
        if mending.may_start(kept_notes, "relay@1.service", 3, at):
            mending.note(kept_notes, "relay@1.service", at)
            allowed.append(minute)
    assert allowed == [0, 5, 20, 60, 75]
    assert not mending.may_start(Notes(), "relay@1.service", 0, now)


def test_a_problem_is_told_once_and_again_when_it_is_worse():
    memory = Notes()
    assert memory.compare([BAD], 1) == ([BAD], [])
    memory.problems[BAD.name].told = True
    assert memory.compare([BAD], 2) == ([], [])
    assert memory.compare([WORSE], 3) == ([WORSE], [])
    memory.problems[BAD.name].told = True
    assert memory.compare([BAD], 4) == ([], [])
    assert memory.compare([dataclasses.replace(BAD, level="ok")], 5) == ([], [BAD.name])


def test_what_often_passes_by_itself_is_told_when_it_stays():
    passing = dataclasses.replace(BAD, settles=True)
    memory = Notes()
    assert memory.compare([passing], 1) == ([], [])
    assert memory.compare([passing], 2) == ([passing], [])
    patient = Notes()
    assert patient.compare([WORSE], 1, is_patient=True) == ([], [])
    assert patient.compare([WORSE], 2, is_patient=True) == ([WORSE], [])


@pytest.mark.parametrize(
    ("found", "is_over"),
    [
        ([Finding("disk", "unseen", "")], False),
        ([Finding("disk", "unseen", "", subject="/data")], False),
        ([], False),
        ([Finding("memory", "ok", "")], False),
        ([Finding("disk", "ok", "", subject="/")], True),
        ([Finding("disk", "ok", "", subject="/data")], True),
    ],
)
def test_what_cannot_be_seen_is_not_over(found: Sequence[Finding], *, is_over: bool):
    memory = Notes()
    memory.compare([BAD], 1)
    assert memory.compare(found, 2)[1] == ([BAD.name] if is_over else [])


async def test_notes_are_kept_for_the_owner_of_the_home_and_read_back(tmp_path: Path):
    memory = Notes(run=3, starts={"relay@1.service": [1.0]})
    memory.compare([BAD], 1)
    assert await Place(tmp_path, None).write(memory)
    assert await Place(tmp_path, None).read() == memory
    assert os.listdir(tmp_path) == [notes.FILE]
    assert not await Place(tmp_path / "none", None).write(memory)


@pytest.mark.parametrize("damage", ["link", "garbage", "pipe"])
async def test_a_file_of_notes_that_is_none_is_not_believed(tmp_path: Path, damage: str):
    file = tmp_path / notes.FILE
    if damage == "link":
        (tmp_path / "other").write_text('{"run": 9}')
        file.symlink_to(tmp_path / "other")
    elif damage == "pipe":
        os.mkfifo(file)
    else:
        file.write_text('{"run": "nine"')
    assert (await Place(tmp_path, None).read()).run == 0


async def test_a_part_of_the_look_that_hangs_or_breaks_holds_up_nobody(
    capfd: pytest.CaptureFixture[str],
):
    async def well() -> int:
        return 1

    async def broken() -> int:
        raise KeyError("secret")

    parts = {"hangs": trio.sleep_forever, "breaks": broken, "well": well}
    found, why = await gathered(parts, 0.1)  # type: ignore[arg-type]
    assert found == {"well": 1}
    assert set(why) == {"hangs", "breaks"}
    assert "secret" not in str(why)


def test_a_report_is_one_line_for_the_log_and_names_remedies_for_a_person():
    mended = dataclasses.replace(WORSE, text="two\nlines", mend="make room")
    report = Report(NOW, [mended, Finding("clock", "unseen", "")], started=["relay@1.service"])
    assert "\n" not in line(report)
    assert 'level=critical checks=2 unseen=1 problems="disk /data is critical' in line(report)
    assert "-> make room" in sheet(report)
    assert (report.level, report.exit_status) == ("critical", 2)
    assert json.loads(json.dumps(report.to_json()))["started"] == ["relay@1.service"]
    assert worst([Finding("clock", "unseen", "")]) == "ok"


def test_a_laptop_has_no_units_and_its_one_port(settings: Settings):
    here = site(settings, {})
    assert (here.units, here.ports, here.domains) == ((), (3000,), ())
    assert str(settings.home) in here.redis_url


@pytest.fixture
def opt(tmp_path: Path) -> Path:
    """A release of one file that is installed."""
    folder = tmp_path / "opt"
    (folder / "current" / "appliance").mkdir(parents=True)
    me = installed._owner(tmp_path.stat())
    target = tmp_path / "etc" / "ufw" / "one"
    target.parent.mkdir(parents=True)
    for file in (folder / "current" / "appliance" / "one", target):
        file.write_text("as it was\n")
        file.chmod(0o644)
    row = f"# a list\none {target} 0644 {me} -\n"
    (folder / "current" / "appliance" / "files.txt").write_text(row)
    return folder


def test_an_installed_file_that_differs_is_named(opt: Path, tmp_path: Path):
    target = tmp_path / "etc" / "ufw" / "one"

    def found(**environ: str) -> list[str]:
        return [one.level for one in installed.files(environ, opt)]

    assert found() == ["ok"]
    target.chmod(0o600)
    assert found() == ["warning"]
    target.unlink()
    assert found() == ["warning"]
    assert found(RELAY_FIREWALL="no") == ["ok"]
    assert [one.level for one in installed.files({}, tmp_path / "none")] == ["critical"]


def test_a_file_that_an_install_left_and_that_hinders_packages_is_named(tmp_path: Path):
    policy = tmp_path / "policy-rc.d"

    def found(*, is_changing: bool = False) -> tuple[str, str]:
        (row,) = installed.packages(is_changing=is_changing, policy=policy)
        return row.level, row.mend

    assert found() == ("ok", "")
    policy.write_text(f"#!/bin/sh\n{installed.POLICY_MARK}\nexit 101\n")
    assert found() == ("warning", f"run install.sh again, or: rm {policy}")
    assert found(is_changing=True) == ("ok", "")
    # Whose this is nobody can tell.
    policy.write_text("#!/bin/sh\nexit 101\n")
    assert found() == ("unseen", f"if nobody here wants it: rm {policy}")
    policy.write_text("#!/bin/sh\n# the owner's\nexit 101\n")
    assert found() == ("ok", "")


def test_the_mark_by_which_the_installer_knows_its_file_is_the_doctor_s_too():
    script = (Path(__file__).parents[2] / "install.sh").read_text()

    assert f'policy_mark="{installed.POLICY_MARK}"' in script


def test_an_older_release_in_place_and_an_instance_that_runs_another_are_named(tmp_path: Path):
    for name in ("0.9.0-aa", "0.10.0-bb", ".new"):
        (tmp_path / "releases" / name).mkdir(parents=True)

    def found(version: str) -> dict[str, str]:
        rows = installed.release(version, {3000: "0.10.0", 3001: ""}, tmp_path)
        return {one.name: one.level for one in rows}

    assert found("0.10.0") == {"release": "ok"}
    assert found("0.9.0") == {"release": "warning", "release 3000": "warning"}
    # Whoever went back knows of the newer one.
    (tmp_path / "previous").symlink_to("releases/0.10.0-bb")
    assert found("0.9.0") == {"release": "ok", "release 3000": "warning"}


def test_secrets_that_others_may_read_are_critical(tmp_path: Path):
    for name in ("secrets.env", "redis-machine.conf"):
        (tmp_path / name).touch(mode=0o600)
    assert {one.level for one in installed.secrets(tmp_path)} == {"ok"}
    (tmp_path / "secrets.env").chmod(0o640)
    (tmp_path / "redis-machine.conf").unlink()
    assert {one.level for one in installed.secrets(tmp_path)} == {"critical"}
