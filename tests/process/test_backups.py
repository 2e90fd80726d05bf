"""Backups of a relay that runs: made, kept, tried out, restored elsewhere, refused when damaged."""

import datetime
import os
import shutil
import signal
from pathlib import Path

import pytest

from relay import settings
from relay.backup import backups

from .conftest import Home, end_by

pytestmark = pytest.mark.slow


@pytest.fixture
def recovery(home: Home) -> Path:
    """A machine with some data and with keys for its backups; the file with the recovery key."""
    home.relay("account", "add", "main", "--base-url", "https://example.com", "--secret-file", "-",
               stdin="upstream-secret\n")  # fmt: skip
    for name in ("alice", "bob"):
        home.json("key", "create", "--name", name, "--daily-limit", "5")
    made = home.json("backup", "--init")
    assert isinstance(made, dict)
    file = home.folder / "recovery.key"
    file.write_text(f"# kept elsewhere\n{made['recoveryKey']}\n")
    return file


def make(home: Home) -> Path:
    made = home.json("backup")
    assert isinstance(made, dict)
    return Path(made["file"])


def another(folder: Path) -> Home:
    folder.mkdir()
    return Home(folder)


def test_a_backup_of_a_running_relay_is_restored_on_another_machine(
    home: Home, recovery: Path, tmp_path: Path
):
    Path(home.env["RELAY_HOME"], "relay.toml").write_text("[limits]\nmaxWaiting = 7\n")
    home.serve()
    file = make(home)
    assert file.stat().st_mode & 0o077 == 0
    assert b"upstream-secret" not in file.read_bytes()

    there = another(tmp_path / "there")
    try:
        done = there.json("restore", str(file), "--identity-file", str(recovery), "--yes")
        assert isinstance(done, dict)
        assert (done["keys"], done["accounts"]) == (2, 1)
        names = {one["name"]: one["dailyLimit"] for one in there.json("key", "list")}
        assert names == {"alice": 5, "bob": 5}
        # Its secret opens: what the archive brought fits together.
        assert "https://example.com" in there.relay("account", "show", "main").stdout
        assert Path(there.env["RELAY_HOME"], "relay.toml").read_text().startswith("[limits]")
    finally:
        there.end()


def test_what_was_there_is_kept_aside(home: Home, recovery: Path):
    file = make(home)
    home.relay("key", "delete", "bob", "--yes")
    done = home.json("restore", str(file), "--yes")
    assert isinstance(done, dict)
    assert len(home.json("key", "list")) == 2
    assert {Path(place).name.partition(".before-")[0] for place in done["aside"]} == {
        "redis", "secrets.env",
    }  # fmt: skip
    assert all(Path(place).exists() for place in done["aside"])


def test_the_audit_names_backups_trials_and_restores_of_the_command_line(
    home: Home, recovery: Path
):
    file = make(home)
    home.relay("backup", "--drill")
    home.relay("restore", str(file), "--yes")
    entries = home.json("audit")
    # What followed the backup went with the data that was replaced.
    restored = entries[0]  # type: ignore[index]
    assert (restored["action"], restored["subject"]) == ("backup.restore", file.name)
    assert restored["actor"].startswith("cli:")
    assert "none altered" in home.relay("audit", "--verify").stdout
    home.relay("backup")
    home.relay("backup", "--drill")
    drill, made = home.json("audit", "--count", "2")  # type: ignore[misc]
    assert [drill["action"], made["action"]] == ["backup.drill", "backup.make"]
    assert made["actor"].startswith("cli:")


def test_a_restore_is_refused_while_the_relay_runs(home: Home, recovery: Path):
    file = make(home)
    home.serve()
    done = home.relay("restore", str(file), "--yes", check=False)
    assert (done.returncode, "Stop the relay" in done.stderr) == (1, True)


@pytest.mark.parametrize("damage", ["altered", "cut", "foreign"])
def test_a_damaged_archive_is_refused_and_nothing_is_touched(
    home: Home, recovery: Path, damage: str
):
    file = make(home)
    content = bytearray(file.read_bytes())
    if damage == "altered":
        content[len(content) // 2] ^= 1
    else:
        del content[-100:]
    file.write_bytes(b"something else" if damage == "foreign" else content)
    before = sorted(Path(home.env["RELAY_HOME"]).iterdir())
    done = home.relay("restore", str(file), "--yes", check=False)
    assert (done.returncode, "altered or cut off" in done.stderr) == (1, True)
    assert sorted(Path(home.env["RELAY_HOME"]).iterdir()) == before
    assert len(home.json("key", "list")) == 2
    assert home.relay("backup", "--drill", check=False).returncode == 1


def test_a_stranger_cannot_open_an_archive(home: Home, recovery: Path, tmp_path: Path):
    file = make(home)
    there = another(tmp_path / "there")
    there.json("backup", "--init")
    done = there.relay("restore", str(file), "--check", check=False)
    assert (done.returncode, "not for this key" in done.stderr) == (1, True)


def test_other_secrets_in_the_environment_are_found_before_anything_is_touched(
    home: Home, recovery: Path
):
    file = make(home)
    home.env["JWT_SECRET"] = "x" * 40
    done = home.relay("restore", str(file), "--yes", check=False)
    assert (done.returncode, "another JWT_SECRET" in done.stderr) == (1, True)


def test_the_drill_tells_what_the_newest_backup_holds(home: Home, recovery: Path):
    assert home.relay("backup", "--drill", check=False).returncode == 1
    make(home)
    assert "2 keys, 1 accounts" in home.relay("backup", "--drill").stdout


def test_without_keys_no_backup_is_made(home: Home):
    done = home.relay("backup", check=False)
    assert (done.returncode, "relay backup --init" in done.stderr) == (1, True)
    home.json("backup", "--init")
    assert home.relay("backup", "--init", check=False).returncode == 1


def test_a_backup_that_is_made_to_stay_is_dropped_by_no_later_one(home: Home, recovery: Path):
    first = home.json("backup", "--keep")
    assert isinstance(first, dict)
    newest = make(home)
    assert {one["file"] for one in home.json("backup", "--list")} == {first["file"], str(newest)}


def test_a_copy_that_fails_is_told_loudly(home: Home, recovery: Path):
    toml = Path(home.env["RELAY_HOME"], "relay.toml")
    toml.write_text(f'[backup]\ncopyCommand = "cp -t {home.folder}"\n')
    file = make(home)
    assert (home.folder / file.name).read_bytes() == file.read_bytes()
    toml.write_text('[backup]\ncopyCommand = "cp -t /no/such/place"\n')
    done = home.relay("backup", check=False)
    assert (done.returncode, "the copy failed" in done.stderr) == (1, True)


def test_the_age_program_opens_an_archive(home: Home, recovery: Path):
    command = f"age --decrypt -i {recovery} {make(home)} | tar -tf -"
    with os.popen(command) as listed:
        assert {"./manifest.json", "./redis.rdb", "./secrets.env"} <= set(listed.read().split())


def test_the_newest_of_days_weeks_and_months_are_kept(tmp_path: Path):
    chosen = settings.load({"RELAY_HOME": str(tmp_path)})
    chosen.backup_folder.mkdir()
    last = datetime.datetime(2026, 11, 23, 3, tzinfo=datetime.UTC)
    for day in range(400):
        when = last - datetime.timedelta(days=day)
        (chosen.backup_folder / f"relay-{when:%Y%m%dT%H%M%S}Z.tar.age").touch()
    backups._prune(chosen, chosen.backup_folder)
    days = [f"{one.time:%m-%d}" for one in backups.kept(chosen)]
    assert days == [
        "11-23", "11-22", "11-21", "11-20", "11-19", "11-18", "11-17",
        "11-15", "11-08", "10-31", "09-30", "08-31", "07-31", "06-30",
    ]  # fmt: skip


def test_an_emptied_redis_is_accepted_by_command_and_a_restored_one_by_itself(
    home: Home, recovery: Path
):
    data = Path(home.env["RELAY_HOME"])
    process, _ = home.serve()
    file = make(home)
    first_id = (data / "database.id").read_text()
    end_by(process, signal.SIGTERM)
    shutil.rmtree(data / "redis")

    refused = home.relay("key", "list", check=False)
    assert refused.returncode == 1
    assert "relay restore FILE" in refused.stderr
    home.relay("accept-database", "--yes")
    assert home.json("key", "list") == []
    assert (data / "database.id").read_text() != first_id

    home.relay("restore", str(file), "--yes")
    process, _ = home.serve()
    assert [one["name"] for one in home.json("key", "list")] == ["alice", "bob"]
    assert (data / "database.id").read_text() == first_id
