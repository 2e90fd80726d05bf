"""The options of install.sh: what cannot work is refused before anything is changed."""

import ipaddress
import os
import socket
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.store.conftest import RedisProcess

from .steps import step

if TYPE_CHECKING:
    import subprocess

LONG = "a" * 63
BAD = {
    "--domain": {
        "": "a host name has parts",
        "203.0.113.5": "it is an address",
        "2001:db8::1": "it is an address",
        "[2001:db8::1]": "it is an address",
        "1": "it is an address",
        "relay.example.0x7f": "it is an address",
        "localhost": "every machine means itself",
        "LOCALHOST": "every machine means itself",
        "relay.localhost": "every machine means itself",
        "localhost.localdomain": "every machine means itself",
        "none.invalid": "reserved",
        "relay_test": "letters, digits and hyphens",
        "relay test": "a host name has parts",
        "relay..test": "a host name has parts",
        ".relay.test": "a host name has parts",
        "relay.test.": "a host name has parts",
        "relay-.test": "a host name has parts",
        "*.relay.test": "a host name has parts",
        "relay.test/api": "a host name has parts",
        "https://relay.test": "it is an address",
        "relay.test:443": "it is an address",
        "bücher.example": "letters, digits and hyphens",
        f"{LONG}a.test": "at most 63",
        ".".join([LONG] * 4): "at most 63",
        "relay.test\nRELAY_PORT=1": "a host name has parts",
        "relay.test} {": "a host name has parts",
    },
    "--admin-domain": {"10.0.0.1": "it is an address", "localhost": "itself", "a_b.test": "parts"},
    "--email": dict.fromkeys(
        ["ops", "ops@", "@example.com", "ops@example", "ops@10.0.0.1", "a@b@example.com",
         "ops@-example.com", "o ps@example.com", ".ops@example.com", "ops..x@example.com",
         "ops@localhost", f"{'o' * 250}@example.com", "ops@example.com\nRELAY_TLS=x"],
        "ops@example.com",
    ),
    "--tls": dict.fromkeys(["selfmade", "ACME", "acme internal", ""], "acme or internal"),
    "--acme-directory": dict.fromkeys(
        ["http://ca.example.com/", "ca.example.com", "https://", "https:///acme", "https://ca:0/",
         "https://ca.example.com:65536/", "https://ca.example.com:port/", "https://-ca/",
         "https://ca..com/", "https://ca.example.com/ {", "https://ca.example.com/a?b", "none"],
        "https://ca.example.com/acme/directory",
    ),
    "--acme-root": {"/nowhere/root.crt": "no such file", "/": "no such file",
                    "root.crt": "no certificate in PEM form"},
    "--instances": dict.fromkeys(["0", "65", "1000000000000000000000", "two", "1.5", "03"],
                                 "from 1 to 64"),
    "--port": dict.fromkeys(["0", "80", "443", "1023", "65536", "99999", "03000", "3000.5", "4e3",
                             "99999999999999999999", "three", "3000 ", "3000;id", "0xbb8"],
                            "from 1024 to 65535"),
    "--redis-memory": {
        "0mb": "a size such as", "256": "a size such as", "256kb": "a size such as",
        "1.5gb": "a size such as", "mb": "a size such as", "7mb": "8mb is the least",
        "900gb": "this machine has", "9999999gb": "this machine has",
        "99999999gb": "a size such as",
        "18446744073709551617mb": "a size such as",
    },
}  # fmt: skip
GOOD = {
    "--domain": ["relay.example.com", "Relay.Test", "r", "xn--bcher-kva.example", "3com.com",
                 "relay.internal", f"{LONG}.test", "127.0.0.1.nip.io"],
    "--admin-domain": ["console.example.com", "none"],
    "--email": ["ops@example.com", "first.last+relay@mail.example.co.kr"],
    "--tls": ["acme", "internal"],
    "--acme-directory": ["https://ca.example.com/acme/directory", "https://10.0.0.1:9443/acme",
                         "https://ca/", "https://ca.example.com", "default"],
    "--instances": ["1", "9", "64"],
    "--port": ["1024", "3000", "9999", "65535"],
    "--redis-memory": ["8mb", "16mb", "256mb", "1gb"],
}  # fmt: skip


# All in one shell: a shell for each would take a minute.
ASK = """
usage() { :; }
while IFS= read -r -d $'\\1' option && IFS= read -r -d $'\\1' value; do
  status=0
  (read_options "$option" "$value") 2>&1 || status=$?
  printf '\\1%d\\1' $status
done <"$ASKED"
"""
Answers = dict[tuple[str, str], tuple[str, int]]


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> Answers:
    """What reading each value says, and the status; nothing of the machine is asked."""
    folder = tmp_path_factory.mktemp("options")
    (folder / "meminfo").write_text("MemTotal:        4030464 kB\nMemFree:  1 kB\n")
    (folder / "root.crt").write_text("a key, perhaps\n")
    lines = [(option, value) for table in (BAD, GOOD) for option, values in table.items()
             for value in values]  # fmt: skip
    (folder / "asked").write_text("".join(f"{option}\1{value}\1" for option, value in lines))
    words = f"cd {folder}; {ASK}"
    done = step(folder, words, ASKED=str(folder / "asked"), INSTALL_PROC=str(folder))
    told = done.stdout.split("\1")
    return {line: (told[2 * at], int(told[2 * at + 1])) for at, line in enumerate(lines)}


@pytest.mark.parametrize(
    ("option", "value", "why"),
    [(option, *line) for option, lines in BAD.items() for line in lines.items()],
)
def test_a_value_that_cannot_be_is_refused_with_the_reason(
    answers: Answers, option: str, value: str, why: str
):
    told, status = answers[option, value]

    assert status == 2
    assert f"{option} cannot be '{value}': " in told
    assert why in told


@pytest.mark.parametrize(
    ("option", "value"), [(option, value) for option, values in GOOD.items() for value in values]
)
def test_a_value_that_can_be_is_taken(answers: Answers, option: str, value: str):
    assert answers[option, value] == ("", 0)


def test_every_option_with_a_value_has_its_table(tmp_path: Path):
    usage = step(tmp_path, "usage").stdout
    options = usage.partition("\nOptions\n")[2].partition("\nEnvironment\n")[0]
    valued = {line.split()[0] for line in options.splitlines()
              if line.startswith("  --") and line[2:].split("  ")[0].count(" ") == 1}  # fmt: skip

    assert valued == BAD.keys()


def together(tmp_path: Path, *options: str, stored: str = "") -> "subprocess.CompletedProcess[str]":
    """The options judged beside each other, on a machine that has stored these."""
    (tmp_path / "appliance.env").write_text(stored)
    words = 'read_options "$@"; complete_options; check_options; echo "$domain $admin_domain $port"'
    text = f"etc={tmp_path}; judge() {{ {words}; }}; judge {' '.join(options)}"
    return step(tmp_path, text)


OURS = ("--domain", "relay.test", "--tls", "internal")


@pytest.mark.parametrize(
    ("options", "stored", "why"),
    [
        ([*OURS, "--port", "65535", "--instances", "2"], "", "last of 2 instances would have port"),
        ([*OURS, "--port", "65500", "--instances", "64"], "", "port 65563"),
        ([*OURS, "--instances", "3"], "RELAY_PORT=65534", "port 65536"),
        ([*OURS, "--port", "65535"], "RELAY_INSTANCES=2", "port 65536"),
        ([*OURS, "--admin-domain", "relay.test"], "", "the relay's own --domain is that"),
        ([*OURS, "--admin-domain", "RELAY.test"], "", "the relay's own --domain is that"),
        (["--admin-domain", "r.test", "--tls", "internal"], "RELAY_DOMAIN=r.test", "own --domain"),
        (OURS, "RELAY_ADMIN_DOMAIN=relay.test", "own --domain"),
        (["--domain", "relay", "--email", "o@example.com"], "", "without a dot"),
        (["--domain", "relay.test"], "", "--email"),
        (["--tls", "internal"], "", "--domain"),
    ],
)  # fmt: skip
def test_values_that_cannot_be_together_are_refused(
    tmp_path: Path, options: list[str], stored: str, why: str
):
    done = together(tmp_path, *options, stored=stored)

    assert done.returncode == 2
    assert why in done.stderr.partition("\nRelay: the one command")[0]


def test_a_root_certificate_without_an_authority_of_its_own_is_refused(tmp_path: Path):
    words = f"etc={tmp_path} domain=r.test email=o@r.test acme_root=/root.crt"
    done = step(tmp_path, f"{words}; complete_options; check_options")

    assert done.returncode == 2
    assert "--acme-root belongs to an authority of your own" in done.stderr


@pytest.mark.parametrize(
    ("stored", "becomes"),
    [
        ("RELAY_DOMAIN=r.test\nRELAY_ADMIN_DOMAIN=r.test\nRELAY_TLS_BY=internal", "r.test  3000"),
        # A name that could be stored once: who changes another option is not asked for it.
        ("RELAY_DOMAIN=10.0.0.1\nRELAY_TLS_BY=internal\nRELAY_PORT=4000", "10.0.0.1  4000"),
    ],
)
def test_what_an_earlier_release_took_does_not_stop_another_change(
    tmp_path: Path, stored: str, becomes: str
):
    done = together(tmp_path, "--redis-memory", "16mb", stored=stored)

    assert done.stdout == f"{becomes}\n", done.stderr


def told_taken(tmp_path: Path, *sockets: tuple[str, int, str, str], port: int = 3000) -> list[str]:
    """Which ports are taken where these listen: address, port, program, its unit."""
    net = tmp_path / "net"
    net.mkdir()
    for family in (4, 6):
        rows = ["  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt uid"]
        for number, (address, at, program, unit) in enumerate(sockets, 100):
            ip = ipaddress.ip_address(address)
            if ip.version == family:
                words = [ip.packed[at : at + 4] for at in range(0, len(ip.packed), 4)]
                raw = "".join(f"{int.from_bytes(one, sys.byteorder):08X}" for one in words)
                rows.append(f" 0: {raw}:{at:04X} 0:0 0A 0:0 00:0 0 0 0 {number} 1 f 100")
                # A connection from that port, which is no listener.
                rows.append(f" 1: {raw}:0BB9 {raw}:01BB 01 0:0 00:0 0 0 0 9 1 f 100")
            process = tmp_path / str(number)
            (process / "fd").mkdir(parents=True, exist_ok=True)
            (process / "comm").write_text(f"{program}\n")
            (process / "cgroup").write_text(f"0::/system.slice/{unit}\n")
            if not (process / "fd/3").is_symlink():
                (process / "fd/3").symlink_to(f"socket:[{number}]")
        (net / ("tcp" if family == 4 else "tcp6")).write_text("\n".join(rows) + "\n")
    words = f"etc={tmp_path} port={port} instances=2; taken_ports"
    return step(tmp_path, words, INSTALL_PROC=str(tmp_path)).stdout.splitlines()


@pytest.mark.parametrize(
    ("address", "at"),
    [("0.0.0.0", 80), ("203.0.113.5", 443), ("::", 443), ("::1", 80), ("127.0.0.1", 443),
     ("0.0.0.0", 3000), ("::", 3001), ("127.0.0.1", 3001), ("::ffff:127.0.0.1", 3000)],
)  # fmt: skip
def test_a_port_that_somebody_else_has_is_refused_with_who_that_is(
    tmp_path: Path, address: str, at: int
):
    (text,) = told_taken(tmp_path, (address, at, "nginx", "nginx.service"))

    assert text.startswith(f"somebody else listens on port {at} ")
    assert "nginx (process 100 of nginx.service)" in text
    assert ("--port" in text) == (at >= 3000)


@pytest.mark.parametrize(
    "unit", ["relay-redis.service", "relay-caddy.service", "relay@4000.service"]
)
def test_a_port_that_another_service_of_ours_has_is_refused_by_its_name(tmp_path: Path, unit: str):
    (text,) = told_taken(tmp_path, ("0.0.0.0", 3001, "server", unit))

    assert unit in text


def test_what_is_ours_or_in_nobody_s_way_is_no_hindrance(tmp_path: Path):
    door = ("caddy", "relay-caddy.service")
    sockets = [("::", 443, *door), ("::", 80, *door),
               ("127.0.0.1", 3000, "python", "relay@3000.service"),
               ("203.0.113.5", 3001, "nginx", "nginx.service"), ("::1", 3001, "x", "x.service"),
               ("0.0.0.0", 3002, "x", "x.service"),
               ("0.0.0.0", 22, "sshd", "ssh.service")]  # fmt: skip

    assert told_taken(tmp_path, *sockets) == []


def test_a_real_listener_is_found_with_its_program(tmp_path: Path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        lines = step(tmp_path, "listeners").stdout.splitlines()

    (line,) = [line for line in lines if line.startswith(f"{port} 127.0.0.1 ")]
    assert f"(process {os.getpid()}" in line


def test_less_memory_than_redis_holds_is_refused(tmp_path: Path):
    with tempfile.TemporaryDirectory(prefix="relay-redis-") as folder:
        redis = RedisProcess(Path(folder))
        redis.start()
        try:
            (tmp_path / "secrets.env").write_text("REDIS_PASSWORD=secret\n")
            redis.command(b"CONFIG SET requirepass secret\r\n")
            redis.command(b"AUTH secret\r\nSETRANGE filler 15000000 x\r\n")
            asked = f"etc={tmp_path} redis_socket={redis.socket} named=' --redis-memory '"
            done = [step(tmp_path, f"{asked} redis_memory={size}; check_memory_in_use")
                    for size in ("16mb", "1gb")]  # fmt: skip
        finally:
            redis.kill()

    assert [one.returncode for one in done] == [1, 0]
    assert "--redis-memory cannot be '16mb': Relay's Redis holds " in done[0].stderr


def test_where_no_redis_runs_any_memory_is_taken(tmp_path: Path):
    (tmp_path / "secrets.env").write_text("REDIS_PASSWORD=secret\n")
    words = f"etc={tmp_path} redis_socket={tmp_path}/none named=' --redis-memory ' redis_memory=8mb"

    assert step(tmp_path, f"{words}; check_memory_in_use").returncode == 0
