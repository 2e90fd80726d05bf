"""Which ports stay open for SSH before the firewall is switched on: nobody is locked out."""

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from .steps import step

if TYPE_CHECKING:
    import subprocess

SSHD = 'LISTEN 0 128 {at} 0.0.0.0:* users:(("{name}",pid=700,fd=3))'


def asked(tmp_path: Path, *, listens: str = "", connected: str = "", sockets: str = "",
          config: str = "", **environment: str) -> "subprocess.CompletedProcess[str]":  # fmt: skip
    """What ssh_ports finds where ss, systemctl and sshd say these."""
    (tmp_path / "listens").write_text(listens)
    (tmp_path / "connected").write_text(connected)
    (tmp_path / "sockets").write_text(sockets)
    programs = {
        "ss": f"[[ $* == *--listening* ]] && cat {tmp_path}/listens || cat {tmp_path}/connected",
        "systemctl": f"cat {tmp_path}/sockets",
        "sshd": f"echo '{config}'",
    }
    return step(tmp_path, "ssh_ports || echo unsure", programs, **environment)


@pytest.mark.parametrize("name", ["sshd", "dropbear", "sshd-session", "tinysshd", "teleport"])
@pytest.mark.parametrize("at", ["0.0.0.0:2222", "[::]:2222", "*:2222", "203.0.113.5%eth0:2222"])
def test_where_an_ssh_server_listens_stays_open(tmp_path: Path, name: str, at: str):
    done = asked(tmp_path, listens=SSHD.format(at=at, name=name) + "\n", config="port 22")

    assert done.stdout == "22\n2222\n"


def test_every_port_of_several_servers_stays_open(tmp_path: Path):
    sockets = (("0.0.0.0:22", "sshd"), ("[::]:2222", "dropbear"), ("0.0.0.0:80", "nginx"))
    lines = [SSHD.format(at=at, name=name) for at, name in sockets]

    assert asked(tmp_path, listens="\n".join(lines)).stdout == "22\n2222\n"


@pytest.mark.parametrize(
    "line",
    ["[::]:2222 ssh.socket ssh.service", "0.0.0.0:2222 sshd.socket sshd.service",
     "*:2222 dropbear.socket dropbear@0.service", "[::]:2222 entry.socket my-sshd@.service"],
)  # fmt: skip
def test_a_socket_that_systemd_holds_for_ssh_stays_open(tmp_path: Path, line: str):
    listens = SSHD.format(at="*:2222", name="systemd")
    others = "0.0.0.0:9090 cockpit.socket cockpit.service\n/run/dbus dbus.socket dbus.service\n"

    assert asked(tmp_path, listens=listens, sockets=f"{others}{line}\n").stdout == "2222\n"


def test_a_socket_that_was_handed_to_sshd_by_systemd_stays_open(tmp_path: Path):
    line = 'LISTEN 0 128 *:2222 *:* users:(("systemd",pid=1,fd=45),("sshd",pid=700,fd=3))'

    assert asked(tmp_path, listens=line).stdout == "2222\n"


def test_the_port_by_which_the_one_who_runs_it_came_in_stays_open(tmp_path: Path):
    done = asked(tmp_path, SSH_CONNECTION="203.0.113.9 50000 10.0.0.5 2222")

    assert done.stdout == "2222\n"


def test_sudo_does_not_hide_by_which_port_somebody_came_in(tmp_path: Path):
    proc = tmp_path / "proc"
    for pid, above, environ in (
        ("$$", 50, "HOME=/root"), ("50", 40, "SUDO=1"),
        ("40", 1, "A=b\0SSH_CONNECTION=203.0.113.9 50000 10.0.0.5 2244\0C=d"),
    ):  # fmt: skip
        folder = proc / pid
        folder.mkdir(parents=True)
        (folder / "stat").write_text(f"{pid} (my shell) S {above} 0 0")
        (folder / "environ").write_text(environ)
    # The shell's own number is known there alone.
    words = f"mv '{proc}/$$' {proc}/$$; ssh_ports"
    done = step(tmp_path, words, {"ss": "", "sshd": "", "systemctl": ""}, INSTALL_PROC=str(proc))

    assert done.stdout == "2244\n"


def test_a_session_s_port_stays_open_and_what_a_session_itself_opened_does_not(tmp_path: Path):
    listens = 'LISTEN 0 9 0.0.0.0:4022 0.0.0.0:* users:(("inetd",pid=9,fd=1))'
    connected = "\n".join([
        'ESTAB 0 0 10.0.0.5:4022 203.0.113.9:50000 users:(("sshd",pid=701,fd=4))',
        'ESTAB 0 0 10.0.0.5:51000 198.51.100.1:443 users:(("sshd",pid=701,fd=9))',
    ])  # fmt: skip

    assert asked(tmp_path, listens=listens, connected=connected).stdout == "4022\n"


def test_what_ssh_forwards_on_loopback_or_for_itself_is_no_way_in(tmp_path: Path):
    sockets = (("127.0.0.1:6010", "sshd"), ("[::1]:6010", "sshd"), ("0.0.0.0:8888", "ssh"),
               ("*:22", "sshd"))  # fmt: skip
    lines = [SSHD.format(at=at, name=name) for at, name in sockets]

    assert asked(tmp_path, listens="\n".join(lines)).stdout == "22\n"


@pytest.mark.parametrize(
    "listens",
    [SSHD.format(at="0.0.0.0:2222", name="renamed"), "LISTEN 0 128 0.0.0.0:2222 0.0.0.0:*",
     SSHD.format(at="*:2222", name="systemd")],
)  # fmt: skip
def test_where_it_cannot_be_told_the_firewall_stays_off_and_a_sentence_says_so(
    tmp_path: Path, listens: str
):
    assert asked(tmp_path, listens=listens, config="port 22").stdout == "unsure\n"

    (tmp_path / "listens").write_text(listens)
    programs = {"ss": f"[[ $* != *--listening* ]] || cat {tmp_path}/listens", "systemctl": "",
                "ufw": f"echo $* >>{tmp_path}/ufw; echo Status: inactive"}  # fmt: skip
    done = step(tmp_path, "firewall=yes family=apt; open_firewall", programs)
    assert "the firewall stays off" in done.stderr
    assert (tmp_path / "ufw").read_text() == "status\n"


def test_without_ss_nothing_is_known(tmp_path: Path):
    done = step(tmp_path, "ssh_ports || echo unsure", {"ss": "exit 127"})

    assert done.stdout == "unsure\n"


def test_a_machine_on_which_nobody_listens_gets_its_firewall(tmp_path: Path):
    listens = SSHD.format(at="*:443", name="caddy")

    assert asked(tmp_path, listens=listens).stdout == "22\n"


def test_firewalld_takes_the_ports_of_ssh_too(tmp_path: Path):
    programs = {
        "ss": "[[ $* != *--listening* ]] || echo '" + SSHD.format(at="*:2222", name="sshd") + "'",
        "sshd": "", "systemctl": f"echo systemctl $* >>{tmp_path}/log",
        "firewall-offline-cmd": f"echo offline $* >>{tmp_path}/log",
        "firewall-cmd": f"echo online $* >>{tmp_path}/log; [[ $* != *--state* && $* != *query* ]]",
    }  # fmt: skip
    step(tmp_path, "firewall=yes family=dnf; open_firewall", programs)
    log = (tmp_path / "log").read_text().splitlines()

    # Before it is switched on.
    opened, on = (
        log.index("offline --add-port=2222/tcp"),
        log.index("systemctl enable --now firewalld"),
    )
    assert opened < on
