"""A bare Debian with python3 and nothing else, entered with this machine's network.

The machine gets what this one uses to reach its package indexes (apt's sources, pip's settings,
certificate authorities), so that it may be as fresh as a new server and still install.
"""

import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

SUITE = "bookworm"
# Templates are kept between runs, outside of the checkout: making one takes a minute.
CACHE = Path("/var/cache/relay-tests")
# Where the machine finds this one's certificate authorities; its own bundle is not touched.
AUTHORITIES = "/run/host-authorities.crt"
HOST_BUNDLE = Path(os.environ.get("SSL_CERT_FILE", "/etc/ssl/certs/ca-certificates.crt"))
SETTINGS = (
    "/etc/apt/sources.list",
    "/etc/apt/sources.list.d/debian.sources",
    "/etc/apt/apt.conf.d",
    "/etc/pip.conf",
    "/etc/xdg/pip",
    "/root/.config/pip",
    "/root/.npmrc",
)
# Folders that pip's settings here may point to.
FOLDERS = ("/opt/wheels", "/opt/pypi", "/opt/pypi-more")
PASSED_ON = ("PIP_", "NPM_CONFIG_", "npm_config_", "http_proxy", "https_proxy", "no_proxy")
BUNDLE_NAMES = ("SSL_CERT_FILE", "PIP_CERT", "REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS")
CHECKOUT = "/srv/relay"


@dataclass(frozen=True, slots=True)
class Machine:
    """One machine's file tree; commands run in it one after another, as in a shell there."""

    root: Path

    def run(
        self, command: Sequence[str], *, timeout_s: float, user: str = "root"
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in the checkout there; its two outputs come as one."""
        nspawn = [
            "systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--as-pid2", "--pipe",
            "--resolv-conf=replace-host", f"--directory={self.root}", f"--user={user}",
            f"--chdir={CHECKOUT}", f"--bind-ro={HOST_BUNDLE}:{AUTHORITIES}",
        ]  # fmt: skip
        nspawn += [f"--bind-ro={path}" for path in FOLDERS if Path(path).exists()]
        nspawn += [f"--setenv={name}={value}" for name, value in _environment().items()]
        # nspawn has words of its own for the standard error, so the command's go to the other.
        whole = [*nspawn, "--", "sh", "-c", 'exec "$@" 2>&1', "sh", *command]
        return subprocess.run(
            whole, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout_s
        )


def template(suite: str = SUITE) -> Path:
    """The folder that machines of a release of Debian are made from."""
    return CACHE / f"{suite}-python3"


def make(root: Path, checkout: Path, suite: str = SUITE) -> Machine:
    """A new machine in the empty folder `root`, with this checkout's files in it."""
    _need_template(suite)
    subprocess.run(["cp", "-a", "--reflink=auto", f"{template(suite)}/.", root], check=True)
    for path in filter(os.path.lexists, SETTINGS):
        copy = root / path.lstrip("/")
        copy.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(["cp", "-aT", path, copy], check=True)
        if suite != SUITE and "sources" in copy.name:
            copy.write_text(copy.read_text().replace(SUITE, suite))
    # An installer writes it; debootstrap does not.
    (root / "etc/hosts").write_text("127.0.0.1 localhost\n::1 localhost\n")
    _copy_checkout(checkout, root / CHECKOUT.lstrip("/"))
    return Machine(root)


def _environment() -> dict[str, str]:
    passed = {name: value for name, value in os.environ.items() if name.startswith(PASSED_ON)}
    return passed | dict.fromkeys(BUNDLE_NAMES, AUTHORITIES)


def _need_template(suite: str) -> None:
    whole = template(suite)
    if whole.exists():
        return
    whole.parent.mkdir(parents=True, exist_ok=True)
    half = whole.with_name(f".{whole.name}.{os.getpid()}")
    try:
        command = ["debootstrap", "--variant=minbase", "--include=python3", suite, half, _mirror()]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, timeout=600)
        half.rename(whole)
    finally:
        shutil.rmtree(half, ignore_errors=True)


def _mirror() -> str:
    """The first archive that this machine's own apt asks."""
    asked = ["apt-get", "indextargets", "--format", "$(SITE)", "Created-By: Packages"]
    answer = subprocess.run(asked, check=True, capture_output=True, text=True)
    return answer.stdout.split()[0]


def _copy_checkout(checkout: Path, target: Path) -> None:
    """The files that git knows or would add: what a clone would have, before the commit too."""
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listing, cwd=checkout, check=True, capture_output=True).stdout
    for name in filter(None, names.decode().split("\0")):
        if (checkout / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(checkout / name, target / name)
