"""Fresh Debian machines with a systemd of their own, in a network of their own, as root.

A machine is a template below a throw-away layer, booted by systemd-nspawn. It has one network
card on a bridge in a network namespace, the hub, from which the tests are its clients; there is
no way out. The packages that an appliance needs lie downloaded in the template, not installed,
so that apt works as on a new server and needs nobody.
"""

import contextlib
import hashlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.fresh import machine as bare

CHECKOUT = Path(__file__).parents[2]
RUN = Path("/run/relay-lab")
# What a provider's image has beyond the bare minimum, and what install.sh asks apt for.
IMAGE = ("systemd", "systemd-sysv", "dbus", "iproute2", "ca-certificates", "cron", "diffutils")
OFFERED = (
    "caddy", "age", "logrotate", "curl", "ufw", "fail2ban", "python3-systemd", "nftables",
)  # fmt: skip
_NET = "10.99.0"
HUB_ADDRESS = f"{_NET}.1"
# A second host on the hub: the attacker's neighbour.
NEIGHBOUR_ADDRESS = f"{_NET}.2"
_BOOT_DEADLINE_S = 60.0
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

Done = subprocess.CompletedProcess


def sh(*command: str | Path, timeout_s: float = 60, check: bool = True) -> Done[str]:
    """A command on this machine; its output is in the error when it fails."""
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout_s
    )
    assert not check or done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done


def template(suite: str) -> Path:
    """The folder that machines are layers upon; made once, in about twenty seconds."""
    digest = hashlib.sha256(repr((IMAGE, OFFERED)).encode()).hexdigest()[:8]
    folder = bare.CACHE / f"{suite}-systemd-{digest}"
    if folder.exists():
        return folder
    half = folder.with_name(f".{folder.name}.{os.getpid()}")
    half.mkdir(parents=True)
    try:
        made = bare.make(half, CHECKOUT, suite)
        for command in (
            ("apt-get", "-q", "update"),
            ("apt-get", "-qy", "--no-install-recommends", "install", *IMAGE),
            ("apt-get", "-qy", "--no-install-recommends", "--download-only", "install", *OFFERED),
        ):
            done = made.run(["env", "DEBIAN_FRONTEND=noninteractive", *command], timeout_s=300)
            assert done.returncode == 0, done.stdout
        _make_like_new(half, suite)
        half.rename(folder)
    finally:
        shutil.rmtree(half, ignore_errors=True)
    return folder


def _make_like_new(root: Path, suite: str) -> None:
    """Take away what only this workplace's package index needed."""
    for name in ("etc/apt/apt.conf.d", "root/.config", "etc/xdg/pip", "srv/relay"):
        shutil.rmtree(root / name, ignore_errors=True)
    shutil.copytree(bare.template(suite) / "etc/apt/apt.conf.d", root / "etc/apt/apt.conf.d")
    for name in ("etc/pip.conf", "etc/resolv.conf", "root/.npmrc"):
        (root / name).unlink(missing_ok=True)
    (root / "etc/machine-id").write_text("")
    # Nobody can answer on the network here, and waiting for it delays each boot.
    (root / "etc/resolv.conf").write_text("")


class Network:
    """The hub: a bridge in a network namespace; commands here are the far side's."""

    def __init__(self, name: str) -> None:
        self.name = name

    def run(self, *command: str | Path, timeout_s: float = 60, check: bool = True) -> Done[str]:
        return sh("ip", "netns", "exec", self.name, *command, timeout_s=timeout_s, check=check)

    def start(self, *command: str | Path) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            ["ip", "netns", "exec", self.name, *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=CHECKOUT,
        )


@contextlib.contextmanager
def network() -> Iterator[Network]:
    """A hub for the block, with two addresses on it."""
    name = f"rlab{os.getpid()}"
    sh("ip", "netns", "add", name)
    try:
        sh("ip", "-n", name, "link", "set", "lo", "up")
        sh("ip", "-n", name, "link", "add", "br0", "type", "bridge")
        for address in (HUB_ADDRESS, NEIGHBOUR_ADDRESS):
            sh("ip", "-n", name, "addr", "add", f"{address}/24", "dev", "br0")
        sh("ip", "-n", name, "link", "set", "br0", "up")
        yield Network(name)
    finally:
        sh("ip", "netns", "del", name, check=False)


class Machine:
    """One machine: commands in it, files into it, its power switch."""

    def __init__(self, name: str, address: str, folder: Path) -> None:
        self.name = name
        self.address = address
        self.root = folder / "root"
        self._folder = folder
        self._power: subprocess.Popen[bytes] | None = None

    def boot(self) -> None:
        """Switch it on; returns when systemd says that all is started.

        Raises:
            AssertionError: it does not come up; what it said on its console is in the error.
        """
        with (self._folder / "console.log").open("ab") as console:
            self._power = subprocess.Popen(
                [
                    "systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--boot",
                    f"--machine={self.name}", f"--directory={self.root}",
                    f"--network-namespace-path=/run/netns/{self.name}", "--resolv-conf=off",
                    "--timezone=off", "--link-journal=no", "--console=pipe",
                    "--system-call-filter=bpf",
                    "--capability=CAP_BPF,CAP_NET_ADMIN,CAP_PERFMON",
                ],
                stdin=subprocess.DEVNULL, stdout=console, stderr=console, start_new_session=True,
                # A provider's machine has cgroup v2 alone, whatever this one has.
                env={**os.environ, "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"},
            )  # fmt: skip
        deadline = time.monotonic() + _BOOT_DEADLINE_S
        state = ""
        while time.monotonic() < deadline:
            if self._leader() is not None:
                state = self.run("systemctl", "is-system-running", check=False).stdout.strip()
                if state in ("running", "degraded"):
                    return
            time.sleep(0.1)
        raise AssertionError(f"{self.name} is {state!r}: {self.console()}")

    def console(self) -> str:
        return (self._folder / "console.log").read_text(errors="replace")[-4000:]

    def run(self, *command: str, timeout_s: float = 60, check: bool = True) -> Done[str]:
        """A command in the machine, as root at its console."""
        leader = self._leader()
        assert leader is not None, f"{self.name} is off"
        enter = ["nsenter", "--target", str(leader), "--all", "env", "-i"]
        enter += [f"PATH={_PATH}", "HOME=/root", "LANG=C.UTF-8", "TERM=dumb"]
        done = subprocess.run(
            [*enter, *command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, timeout=timeout_s, errors="replace",
        )  # fmt: skip
        assert not check or done.returncode == 0, f"{command}: {done.stdout}"
        return done

    def shell(self, script: str, *, timeout_s: float = 60, check: bool = True) -> Done[str]:
        return self.run("bash", "-c", script, timeout_s=timeout_s, check=check)

    def push(self, source: Path, target: str) -> None:
        """Copy a file or folder into the machine, which is on or off."""
        sh("cp", "-aT", source, self.root / target.lstrip("/"))

    def read(self, path: str) -> str:
        return self.run("cat", path).stdout

    def reboot(self) -> None:
        """As by its own command: services are stopped in order."""
        self.run("systemctl", "reboot", check=False)
        self._wait_until_off()
        self.boot()

    def cut_power(self) -> None:
        """Everything in it ends at once; its disk stays as it is."""
        leader = self._leader()
        if leader is not None:
            os.kill(leader, signal.SIGKILL)
        self._wait_until_off()

    def _wait_until_off(self) -> None:
        if self._power is not None:
            # nspawn ends with 133 where the machine asks to be started again.
            self._power.wait(_BOOT_DEADLINE_S)

    def _leader(self) -> int | None:
        """The machine's process 1, as this machine numbers it."""
        waiting = [self._power.pid] if self._power is not None else []
        while waiting:
            pid = waiting.pop()
            with contextlib.suppress(OSError):
                status = Path(f"/proc/{pid}/status").read_text()
                numbers = next(
                    line.split()[1:] for line in status.splitlines() if line.startswith("NSpid")
                )
                if len(numbers) > 1 and numbers[-1] == "1":
                    return pid
                for task in Path(f"/proc/{pid}/task").iterdir():
                    waiting += map(int, (task / "children").read_text().split())
        return None


@contextlib.contextmanager
def machine(
    hub: Network, number: int, *, suite: str = bare.SUITE, size: str = "3G"
) -> Iterator[Machine]:
    """A fresh machine, booted, at the address that ends in `number`; gone after the block."""
    name = f"{hub.name}m{number}"
    folder = RUN / name
    address = f"{_NET}.{number}"
    lower = template(suite)
    with contextlib.ExitStack() as stack:
        folder.mkdir(parents=True)
        stack.callback(folder.rmdir)
        sh("mount", "-t", "tmpfs", "-o", f"size={size}", name, folder)
        stack.callback(sh, "umount", "--lazy", folder, check=False)
        for part in ("upper", "work", "root"):
            (folder / part).mkdir()
        layers = f"lowerdir={lower},upperdir={folder}/upper,workdir={folder}/work"
        sh("mount", "-t", "overlay", "overlay", "-o", layers, folder / "root")
        stack.callback(sh, "umount", "--lazy", folder / "root", check=False)
        _plug(hub, name, address, stack)
        made = Machine(name, address, folder)
        (made.root / "etc/hostname").write_text(f"{name}\n")
        (made.root / "etc/hosts").write_text(f"127.0.0.1 localhost {name}\n::1 localhost\n")
        stack.callback(made.cut_power)
        made.boot()
        yield made


def _plug(hub: Network, name: str, address: str, stack: contextlib.ExitStack) -> None:
    sh("ip", "netns", "add", name)
    stack.callback(sh, "ip", "netns", "del", name, check=False)
    cable = f"v{name[-10:]}"
    sh("ip", "-n", hub.name, "link", "add", cable, "type", "veth", "peer", "eth0", "netns", name)
    sh("ip", "-n", hub.name, "link", "set", cable, "master", "br0", "up")
    sh("ip", "-n", name, "link", "set", "lo", "up")
    sh("ip", "-n", name, "addr", "add", f"{address}/24", "dev", "eth0")
    sh("ip", "-n", name, "link", "set", "eth0", "up")


def lines(text: str) -> Sequence[str]:
    return [line for line in text.splitlines() if line.strip()]
