"""What install.sh put on the machine, compared with what lies in the release that serves."""

import grp
import os
import pwd
import re
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

from relay.monitor.findings import CRITICAL, OK, UNSEEN, WARNING, Finding

OPT = Path("/opt/relay")
ETC = Path("/etc/relay")
AGAIN = "run install.sh again"
# Those that only some machines want, by a part of where they go and what says so.
_OPTIONAL = {"/etc/ufw/": "RELAY_FIREWALL", "/etc/fail2ban/": "RELAY_FAIL2BAN"}
_SECRETS = ("secrets.env", "redis-machine.conf")
# By which Debian's packages ask whether they may start their services.
POLICY = Path("/usr/sbin/policy-rc.d")
# The second line of the file that install.sh puts there while it installs packages.
POLICY_MARK = "# Made by Relay's install.sh while it installs packages."
# What install.sh wrote there up to release 0.1.0, and images for containers have as well.
_BARE_POLICY = "#!/bin/sh\nexit 101\n"
_RELEASE = re.compile(r"(\d+)\.(\d+)\.(\d+)\S*")


def files(environ: Mapping[str, str], opt: Path = OPT) -> Iterator[Finding]:
    """Whether every file of files.txt is as the release has it."""
    source = opt / "current" / "appliance"
    try:
        rows = (source / "files.txt").read_text().splitlines()
    except OSError as error:
        yield Finding("files", CRITICAL, f"{error.filename}: {error.strerror}.", AGAIN)
        return
    differing = False
    for row in rows:
        if not row.strip() or row.startswith("#"):
            continue
        name, target, mode, owner, _ = row.split()
        if not _is_wanted(target, environ):
            continue
        if text := _difference(source / name, Path(target), mode, owner):
            differing = True
            yield Finding("files", WARNING, text, AGAIN, target)
    if not differing:
        yield Finding("files", OK, "They are as the release has them.")


def _is_wanted(target: str, environ: Mapping[str, str]) -> bool:
    return not any(part in target and environ.get(name) == "no" for part, name in _OPTIONAL.items())


def _difference(source: Path, target: Path, mode: str, owner: str) -> str:
    """What is not as it should be of a file; empty when all of it is."""
    try:
        told = target.lstat()
        if not stat.S_ISREG(told.st_mode):
            return "It is no plain file."
        if target.read_bytes() != source.read_bytes():
            return "It was changed; changes belong elsewhere, as appliance/README.md says."
    except OSError as error:
        return f"{error.filename}: {error.strerror}."
    if stat.S_IMODE(told.st_mode) != int(mode, 8) or _owner(told) != owner:
        return f"It belongs to {_owner(told)} with mode {stat.S_IMODE(told.st_mode):04o}."
    return ""


def _owner(told: os.stat_result) -> str:
    try:
        return f"{pwd.getpwuid(told.st_uid).pw_name}:{grp.getgrgid(told.st_gid).gr_name}"
    except KeyError:
        return f"{told.st_uid}:{told.st_gid}"


def secrets(etc: Path = ETC) -> Iterator[Finding]:
    """Whether the files with secrets are their owner's alone."""
    for name in _SECRETS:
        file = etc / name
        try:
            mode = stat.S_IMODE(file.stat().st_mode)
        except OSError as error:
            text = f"{error.strerror}."
            yield Finding("secrets", CRITICAL, text, "restore a backup", str(file))
            continue
        if mode & 0o077:
            text = f"Others may read or write it (mode {mode:04o})."
            yield Finding("secrets", CRITICAL, text, f"chmod 600 {file}", str(file))
        else:
            yield Finding("secrets", OK, "It is its owner's alone.", subject=str(file))


def packages(*, is_changing: bool, policy: Path = POLICY) -> Iterator[Finding]:
    """Whether packages may start their services: an install that was cut short may forbid it.

    Args:
        is_changing: install.sh is at work, and forbids it meanwhile.
    """
    try:
        text = policy.read_text(errors="replace")
    except OSError:
        text = ""
    if POLICY_MARK in text.splitlines() and not is_changing:
        text = "An install that was cut short left it; it forbids nothing, and is of no use."
        yield Finding("packages", WARNING, text, f"{AGAIN}, or: rm {policy}", str(policy))
    elif text == _BARE_POLICY:
        text = (
            "It forbids every package to start or restart its service. An install of Relay up to"
            " 0.1.0 that was cut short left such a file; so do images made for containers."
        )
        mend = f"if nobody here wants it: rm {policy}"
        yield Finding("packages", UNSEEN, text, mend, str(policy))
    else:
        yield Finding("packages", OK, "No install that was cut short hinders them.")


def release(version: str, running: Mapping[int, str], opt: Path = OPT) -> Iterator[Finding]:
    """Whether the newest release is in place, and every instance runs it.

    Args:
        version: of the release in place.
        running: the version that each instance names, by port.
    """
    # A newer one that served before this is the one that somebody went back from.
    before = (opt / "previous").resolve()
    there = [path.name for path in (opt / "releases").glob("[0-9]*") if path.resolve() != before]
    newest = max(there, key=_order, default="")
    if newest and _order(newest) > _order(version):
        text = f"{version} is in place, and {newest} lies unpacked beside it."
        mend = f"{opt}/releases/{newest}/install.sh upgrade"
        yield Finding("release", WARNING, text, mend)
    else:
        yield Finding("release", OK, f"{version} is in place.")
    for port, one in running.items():
        if one and one != version:
            text = f"It still runs {one}, and {version} is in place."
            mend = f"systemctl restart relay@{port}"
            yield Finding("release", WARNING, text, mend, str(port))


def _order(name: str) -> tuple[int, ...]:
    match = _RELEASE.match(name)
    return tuple(int(part) for part in match.groups()) if match else (0, 0, 0)
