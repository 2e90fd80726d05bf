"""What stays on a machine when the installation of packages is cut short: nothing that forbids."""

import contextlib
import os
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from .conftest import wait_until
from .steps import functions, stand_ins, step

if TYPE_CHECKING:
    from collections.abc import Iterator

OURS = "# Made by Relay's install.sh while it installs packages."
CALL = "without_starting_services apt-get install caddy"


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    return tmp_path / "policy-rc.d"


@pytest.fixture
def installing(tmp_path: Path, policy: Path) -> "Iterator[subprocess.Popen[bytes]]":
    """A process in the middle of the packages, in a process group of its own."""
    programs = {"apt-get": f"touch {tmp_path}/began; exec sleep 60"}
    process = subprocess.Popen(
        ["bash", "-c", f'source "{functions(tmp_path)}"\ndry_run=no\nrun "install" {CALL}'],
        env={"PATH": stand_ins(tmp_path, programs), "INSTALL_POLICY": str(policy)},
        stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    wait_until("it installs", (tmp_path / "began").exists)
    yield process
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(30)


def is_forbidden(policy: Path) -> bool:
    """Whether a package's script would be forbidden to start its service, as Debian asks."""
    return policy.exists() and subprocess.run([policy, "caddy", "start"]).returncode == 101


def test_no_package_starts_its_service_while_packages_are_installed(tmp_path: Path, policy: Path):
    asked = {"apt-get": f"{policy} caddy start; echo $?"}
    done = step(tmp_path, CALL, asked, INSTALL_POLICY=str(policy))

    assert done.stdout == "101\n"
    assert not policy.exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_who_interrupts_the_packages_leaves_nothing_that_forbids(
    installing: "subprocess.Popen[bytes]", policy: Path, number: signal.Signals
):
    assert is_forbidden(policy)
    os.killpg(installing.pid, number)
    installing.wait(30)

    wait_until("the file is gone", lambda: not policy.exists())


def test_who_ends_the_outer_shell_first_leaves_nothing_that_forbids(
    installing: "subprocess.Popen[bytes]", policy: Path
):
    # Bash reports the end of apt-get to somebody who no longer reads it.
    inner = int(policy.read_text().split("/proc/")[1].split("/")[0])
    installing.kill()
    installing.wait(30)
    (apt,) = Path(f"/proc/{inner}/task/{inner}/children").read_text().split()
    os.kill(inner, signal.SIGTERM)
    os.kill(int(apt), signal.SIGTERM)

    wait_until("the file is gone", lambda: not policy.exists())


def test_a_killed_install_forbids_nothing_and_the_next_one_removes_its_file(
    installing: "subprocess.Popen[bytes]", tmp_path: Path, policy: Path
):
    os.killpg(installing.pid, signal.SIGKILL)
    installing.wait(30)
    wait_until("nothing is forbidden", lambda: not is_forbidden(policy))
    assert OURS in policy.read_text()

    done = step(tmp_path, "drop_old_policy", INSTALL_POLICY=str(policy))
    assert "install left that was cut short" in done.stderr
    assert not policy.exists()


def test_packages_that_fail_leave_nothing_and_their_status_stays(tmp_path: Path, policy: Path):
    done = step(tmp_path, CALL, {"apt-get": "exit 100"}, INSTALL_POLICY=str(policy))

    assert done.returncode == 100
    assert not policy.exists()


def test_the_owner_s_own_policy_is_kept(tmp_path: Path, policy: Path):
    policy.write_text("#!/bin/sh\nexit 101\n")
    step(tmp_path, f"drop_old_policy; {CALL}", {"apt-get": ""}, INSTALL_POLICY=str(policy))

    assert policy.read_text() == "#!/bin/sh\nexit 101\n"


def test_what_a_cut_short_dpkg_left_is_finished_before_packages_are_installed(
    tmp_path: Path, policy: Path
):
    log, state = tmp_path / "log", tmp_path / "state"
    state.write_text("installed cron\nhalf-configured caddy\n")
    programs = {
        "dpkg-query": f"[[ $* == *db:* && $# == 3 && $3 != *Package* ]] || cat {state}",
        "dpkg": f'echo "dpkg $*" >>{log}; echo "installed caddy" >{state}',
        "apt-get": f'echo "apt-get $*" >>{log}',
    }
    done = step(tmp_path, "family=apt; install_system_packages", programs,
                INSTALL_POLICY=str(policy), INSTALL_CADDY_SOURCE="http://127.0.0.1:1")  # fmt: skip

    assert "let dpkg finish what was cut short (caddy )" in done.stderr
    assert log.read_text().startswith("dpkg --configure")
    assert "--pending" in log.read_text().splitlines()[0]


def test_the_tests_own_packages_are_installed_by_the_same_step():
    provision = (Path(__file__).parents[1] / "provision.sh").read_text()

    assert "policy-rc.d" not in provision
    assert './install.sh --packages "${missing[@]}"' in provision
