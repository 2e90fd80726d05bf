"""install.sh as a text and as decisions: what can be told of it without a machine to install on."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from relay import build

CHECKOUT = Path(__file__).parents[2]
SCRIPT = CHECKOUT / "install.sh"


def run(
    *options: str, script: Path = SCRIPT, **environment: str
) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        ["bash", script, *options],
        env={"PATH": os.environ["PATH"], **environment},
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("described", "family"),
    [
        ("ID=debian\nVERSION_ID=12", "apt"),
        ("ID=ubuntu\nID_LIKE=debian\nVERSION_ID=24.04", "apt"),
        ("ID=rocky\nID_LIKE='rhel centos fedora'\nVERSION_ID=9.5", "dnf"),
        ("ID=fedora\nVERSION_ID=42", "dnf"),
    ],
)
def test_a_family_of_packages_is_known_by_the_system_s_own_description(
    tmp_path: Path, described: str, family: str
):
    (tmp_path / "os-release").write_text(described)
    seen = {"INSTALL_OS_RELEASE": str(tmp_path / "os-release")}

    assert run(INSTALL_PRINT="platform", **seen).stdout == f"{family}\n"
    assert "caddy" in run(INSTALL_PRINT="packages", **seen).stdout


def test_another_system_is_refused_with_a_sentence(tmp_path: Path):
    (tmp_path / "os-release").write_text("ID=alpine\n")
    done = run(INSTALL_PRINT="platform", INSTALL_OS_RELEASE=str(tmp_path / "os-release"))

    assert done.returncode == 1
    assert "alpine is not one that Relay can be installed on" in done.stderr


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ([], "what shall it be"),
        (["--domain"], "--domain needs a value"),
        (["--domain", "--tls"], "--domain needs a value"),
        (["--domain", "relay.test; rm -rf /", "--tls", "internal"], "--domain cannot be"),
        (["--domain", "relay.test", "--tls", "selfmade"], "--tls cannot be"),
        (["--domain", "relay.test", "--instances", "0"], "--instances cannot be"),
        (["--domain", "relay.test"], "--email"),
        (["--surprise"], "unknown option --surprise"),
        (["upgrade-all"], "unknown command upgrade-all"),
        (["uninstall", "--surprise"], "unknown option --surprise"),
        (["upgrade", "--purge"], "unknown option --purge"),
        (["upgrade", "a.tar.gz", "b.tar.gz"], "one release at a time"),
        (["rollback", "somewhere"], "rollback takes no somewhere"),
    ],
)
def test_wrong_usage_is_told_with_the_usage_and_status_two(options: list[str], word: str):
    done = run(*options)

    assert done.returncode == 2
    assert word in done.stderr
    assert "Usage" in done.stderr


def test_a_download_that_is_cut_anywhere_does_nothing(tmp_path: Path):
    text = SCRIPT.read_text()
    last = text.rstrip().rpartition("\n")[2]
    assert last == '{ main "$@"; exit; }'
    # Every place in the last lines, and some in each part before.
    places = [*range(len(text) - 200, len(text.rstrip()) - 1), *range(0, len(text) - 200, 997)]
    cut = tmp_path / "install.sh"
    for place in places:
        cut.write_text(text[:place])
        done = run("--help", script=cut)
        assert done.stdout == "", f"cut at {place}"


def test_only_the_two_doors_change_the_machine():
    text = SCRIPT.read_text()
    words = "systemctl (start|stop|restart|enable|disable|daemon-reload)|ufw (allow|delete|--force)"
    words += "|rm |mv |cp |install |userdel|rmdir|mkdir|ln |systemd-sysusers|systemd-tmpfiles"
    changing = rf"^\s*({words})"
    inside, allowed = "", set()
    for line in text.splitlines():
        if started := re.fullmatch(r"(\w+)\(\) \{", line):
            inside = started[1]
        if re.match(changing, line) and "trap" not in line:
            allowed.add(inside)

    # What `put` and `run` call; each is named there and nowhere else called.
    assert allowed <= {"replace", "unpack", "swap_link", "note", "forbid_services",
                       "allow_services", "open_firewalld",
                       "keep_receipts", "read_caddy_list", "swap_caddy",
                       "recover_caddy", "take_away", "clean_up"}  # fmt: skip
    for name in allowed - {"note", "forbid_services", "clean_up"}:
        called = [line.strip() for line in text.splitlines() if re.search(rf"\b{name}\b", line)]
        other = (f"{name}()", "#", "say", "trap allow_services")
        calls = [line for line in called if not line.startswith(other)]
        assert all(re.search(rf'run "[^"]+" {name}\b', line) for line in calls), calls


def test_every_file_of_the_list_is_there_and_every_file_is_in_the_list():
    folder = CHECKOUT / "appliance"
    listed = [line.split() for line in (folder / "files.txt").read_text().splitlines()
              if line and not line.startswith("#")]  # fmt: skip
    on_disk = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}

    assert all(len(line) == 5 for line in listed)
    # A machine's first relay.toml is its owner's from then on.
    assert {line[0] for line in listed} == on_disk - {"files.txt", "README.md", "etc/relay.toml"}
    assert len({line[1] for line in listed}) == len(listed)


def test_every_python_that_a_release_is_built_for_is_looked_for():
    line = next(line for line in SCRIPT.read_text().splitlines() if "for candidate in" in line)

    assert re.findall(r"python(3\.\d+)", line) == sorted(build.PYTHONS, reverse=True)
