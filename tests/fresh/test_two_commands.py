"""The two commands of the README on a bare Debian 12, and for a user who has only a Python."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.fresh import machine
from tests.fresh.machine import Machine

pytestmark = [pytest.mark.root, pytest.mark.slow]

CHECKOUT = Path(__file__).parents[2]
OF_EACH_FOLDER = (
    "tests/unit/test_docs.py",
    "tests/store/test_redis_child.py",
    "tests/e2e/test_messages.py",
    "tests/process/test_serving.py",
    "tests/web/test_pages.py",
    "tests/admin/test_access.py",
)


@pytest.fixture
def bare(tmp_path: Path) -> Machine:
    return machine.make(tmp_path / "root", CHECKOUT)


@pytest.fixture
def with_user(bare: Machine) -> Machine:
    """A machine on which ann owns the checkout and may not install packages."""
    must(bare, "useradd", "--create-home", "ann")
    must(bare, "chown", "--recursive", "ann:", machine.CHECKOUT)
    return bare


def must(machine: Machine, *command: str) -> None:
    done = machine.run(command, timeout_s=300)
    assert done.returncode == 0, done.stdout


def try_out(machine: Machine, user: str = "root") -> dict[str, Any]:
    """What a person sees of `install.sh --try`, of its curl and of its end."""
    drive = ["python3", "tests/fresh/drive_try.py"]
    done = machine.run(drive, timeout_s=600, user=user)
    assert done.returncode == 0, done.stdout
    seen: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return seen


def run_tests(
    machine: Machine, *arguments: str, timeout_s: float
) -> subprocess.CompletedProcess[str]:
    command = ["./tests/run", "-q", "-p", "no:cacheprovider", *arguments]
    return machine.run(command, timeout_s=timeout_s)


def install_curl(machine: Machine) -> None:
    """The one thing that a bare machine lacks for the printed curl."""
    must(machine, "apt-get", "--quiet", "update")
    must(machine, "apt-get", "--quiet", "--yes", "--no-install-recommends", "install", "curl")


def test_try_on_a_bare_machine_shows_a_key_and_a_curl_that_works(bare: Machine) -> None:
    # Only then is it sure that --try needs no list of packages from somebody else.
    first = bare.run(["./install.sh", "--env"], timeout_s=420)
    assert first.returncode == 0, first.stdout
    install_curl(bare)

    seen = try_out(bare)

    assert "simulated" in seen["printed"].lower()
    assert "sk-relay-" in seen["printed"]
    assert "message" in seen["answer"], seen["curl_errors"]
    assert "Traceback" not in seen["rest"]
    assert seen["exit"] == 0


def test_try_by_a_user_who_has_venv_works(with_user: Machine) -> None:
    install_curl(with_user)
    must(with_user, "apt-get", "--quiet", "--yes", "install", "python3-venv")

    seen = try_out(with_user, user="ann")

    assert "message" in seen["answer"], seen["curl_errors"]
    assert seen["exit"] == 0


def test_a_user_without_venv_is_told_what_to_ask_the_administrator_for(
    with_user: Machine,
) -> None:
    done = with_user.run(["./install.sh", "--try"], timeout_s=60, user="ann")

    assert done.returncode == 1
    assert "ask its administrator for: apt-get install python3-venv" in done.stdout


def test_the_tests_get_what_they_need_on_a_bare_machine(bare: Machine) -> None:
    # One file of each folder that needs something else of the machine.
    done = run_tests(bare, *OF_EACH_FOLDER, timeout_s=600)

    assert done.returncode == 0, done.stdout[-4000:]
    assert " passed" in done.stdout.splitlines()[-1]


@pytest.mark.soak
def test_all_tests_of_any_user_pass_on_a_bare_machine(bare: Machine) -> None:
    done = run_tests(bare, timeout_s=1800)

    assert done.returncode == 0, done.stdout[-4000:]
    assert " passed" in done.stdout.splitlines()[-1]


def test_what_the_machine_knows_is_a_python_and_no_more(bare: Machine) -> None:
    asked = "for name in pip pip3 curl git npm gcc; do command -v $name; done; python3 --version"
    done = bare.run(["sh", "-c", asked], timeout_s=60)

    assert done.stdout.split() == ["Python", "3.11.2"]
    assert bare.run(["python3", "-c", "import ensurepip"], timeout_s=60).returncode == 1


def test_nspawn_hands_over_a_command_s_exit_status(bare: Machine) -> None:
    with pytest.raises(subprocess.TimeoutExpired):
        bare.run(["sleep", "60"], timeout_s=1)

    assert bare.run(["sh", "-c", "exit 7"], timeout_s=60).returncode == 7
