"""Builds dist/relay.pyz: Relay with all its packages in one file, which any Python of PYTHONS runs.

It works only from a checkout, with pip and a package index in reach, and makes the file for the
kind of machine it runs on. It must never take a package that is not pinned by one resolution:
resolved once for each Python, the newest of them would win and break the oldest.
"""

import importlib.util
import json
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parents[1]
# Debian 12's Python: what it can run, every newer one can.
OLDEST = "3.11.2"
PYTHONS = ("3.11", "3.12", "3.13", "3.14")


class BuildError(Exception):
    """The file cannot be built here; the message says why."""


def build(target: Path, say: Callable[[str], object] = lambda line: None) -> Path:
    """Build the file at `target` (replaced only when all went well); return its path.

    `say` gets one line a step; the whole takes up to a minute.

    Raises:
        BuildError: not a checkout, no pip, or a step failed; its own words are in the message.
    """
    project = _project()
    _need_tools(project["optional-dependencies"]["build"])
    with tempfile.TemporaryDirectory(prefix="relay-build-") as folder:
        work = Path(folder)
        say(f"resolving the packages for Python {OLDEST}")
        pins = _resolve(project["dependencies"], work)
        site = work / "site"
        for python in PYTHONS:
            say(f"fetching {len(pins)} packages for Python {python}")
            _merge(pins, python, work / python, site)
        _add_relay(site)
        say("packing")
        return _pack(site, work / "relay.pyz", target)


def _project() -> dict[str, Any]:
    try:
        text = (CHECKOUT / "pyproject.toml").read_text()
    except OSError as error:
        raise BuildError(f"relay.pyz is built from a checkout, and {CHECKOUT} is none") from error
    project: dict[str, Any] = tomllib.loads(text)["project"]
    return project


def _need_tools(requirements: list[str]) -> None:
    if all(importlib.util.find_spec(name) for name in ("shiv", "packaging")):
        return
    # Into the environment that runs this: install.sh's, which is ours.
    _pip("install", *requirements)
    importlib.invalidate_caches()


def _resolve(requirements: Iterable[str], work: Path) -> list[str]:
    """Pin every package that any of the Pythons needs, at a release that the oldest can use.

    pip judges the markers of packages ("only below Python 3.11.3") by the Python it runs on.
    So what its report leaves out for one of ours is asked for by name, until nothing is.
    """
    wanted = list(requirements)
    report = work / "report.json"
    while True:
        _pip(
            "install", "--dry-run", "--ignore-installed", "--report", str(report),
            "--only-binary", ":all:", "--python-version", OLDEST, "--target", str(work / "none"),
            *wanted,
        )  # fmt: skip
        packages = [entry["metadata"] for entry in json.loads(report.read_text())["install"]]
        missing = _missing(wanted, packages)
        if not missing:
            return [f"{package['name']}=={package['version']}" for package in packages]
        wanted += missing


def _missing(wanted: list[str], packages: list[dict[str, Any]]) -> list[str]:
    """The requirements that hold on one of our Pythons and that no resolved package meets."""
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    needs = {canonicalize_name(package["name"]): package for package in packages}
    missing = set()
    for python in (OLDEST, *PYTHONS[1:]):
        here = {"python_full_version": python, "python_version": python[: len("3.xx")]}
        todo = [(Requirement(line), "") for line in wanted]
        seen: set[tuple[str, str]] = set()
        while todo:
            requirement, extra = todo.pop()
            if requirement.marker and not requirement.marker.evaluate({**here, "extra": extra}):
                continue
            name = canonicalize_name(requirement.name)
            if name not in needs:
                missing.add(f"{name}{requirement.specifier}")
                continue
            for asked in {(name, extra) for extra in ("", *requirement.extras)} - seen:
                seen.add(asked)
                lines = needs[name].get("requires_dist", [])
                todo += [(Requirement(line), asked[1]) for line in lines]
    return sorted(missing)


def _merge(pins: list[str], python: str, folder: Path, site: Path) -> None:
    """Add the packages as that Python takes them; compiled modules differ by their names."""
    _pip(
        "install", "--no-deps", "--only-binary", ":all:", "--no-compile",
        "--python-version", python, "--target", str(folder), *pins,
    )  # fmt: skip
    shutil.copytree(folder, site, dirs_exist_ok=True)


def _add_relay(site: Path) -> None:
    # What scripts the packages bring would start with this machine's Python.
    shutil.rmtree(site / "bin", ignore_errors=True)
    leave_out = shutil.ignore_patterns("__pycache__")
    # Beside the package, as in the checkout.
    for name in ("relay", "appliance"):
        shutil.copytree(CHECKOUT / name, site / name, ignore=leave_out)


def _pack(site: Path, packed: Path, target: Path) -> Path:
    _python(
        "-m", "shiv", "--compressed", "--reproducible", "--site-packages", str(site),
        "--entry-point", "relay.cli:main", "--output-file", str(packed),
    )  # fmt: skip
    target.parent.mkdir(parents=True, exist_ok=True)
    # The same folder first, so that the last step is one rename.
    fresh = target.with_name(f".{target.name}.new")
    shutil.copy(packed, fresh)
    return fresh.replace(target)


def _pip(*arguments: str) -> None:
    _python("-m", "pip", "--quiet", "--disable-pip-version-check", *arguments)


def _python(*arguments: str) -> None:
    done = subprocess.run(  # noqa: S603  the arguments are ours
        [sys.executable, *arguments], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        step = " ".join(arguments[1:3])
        raise BuildError(f"{step} failed:\n{(done.stderr or done.stdout).strip()}")
