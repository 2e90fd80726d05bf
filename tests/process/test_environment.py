"""Secrets that were given in the environment are nowhere in it once the program runs."""

import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from relay.settings import OPTIONS

from .conftest import ROOT, Home

# No core and no other program may read it: of a running relay's, root alone sees the environment.
pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(sys.platform != "linux", reason="asks Linux"),
]
PASSWORD = "hidden-correct-horse"
WEBHOOK = 'webhooks = [{urlEnv = "RELAY_WEBHOOK_A_URL", secretEnv = "RELAY_WEBHOOK_A_SECRET"}]\n'
GIVEN = {
    "JWT_SECRET": "hidden" * 8,
    "ENCRYPT_KEY": "0123456789abcdef0123456789abcdef",
    "ENCRYPT_KEY_PREVIOUS": "fedcba9876543210fedcba9876543210",
    "ADMIN_PASSWORD": PASSWORD,
    "CLAUDE_OAUTH_CLIENT_SECRET": "hidden-client",
    "RELAY_WEBHOOK_A_URL": "https://hooks.example/hidden-path",
    "RELAY_WEBHOOK_A_SECRET": "hidden-webhook-secret-of-32-letters",
    "RELAY_WEBHOOK_UNUSED": "hidden-unused",
    "ANTHROPIC_API_KEY": "hidden-api-key",
}
# Runs a command as the console script does, then shows what is left, to itself and to a child.
LOOK = """
import subprocess, sys
from click.testing import CliRunner
from relay.cli import main
CliRunner().invoke(main, ["prices"])
print(open("/proc/self/environ", "rb").read().replace(b"\\0", b"\\n").decode(), flush=True)
subprocess.run(["env"])
"""


def environment(pid: int) -> str:
    return Path(f"/proc/{pid}/environ").read_text()


def children(pid: int) -> list[int]:
    """Those of all its threads."""
    lists = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(one) for each in lists for one in each.read_text().split()]


def with_secrets(home: Home) -> None:
    home.env.update(GIVEN)
    folder = home.folder / "home"
    folder.mkdir()
    (folder / "relay.toml").write_text(WEBHOOK)


def shown(text: str, given: dict[str, str]) -> set[str]:
    return {name for name, value in given.items() if value in text}


def test_a_serving_relay_and_its_redis_show_none_of_the_secrets(home: Home):
    with_secrets(home)
    process, _ = home.serve()
    started = children(process.pid)

    assert started
    assert "RELAY_HOME" in environment(process.pid)
    for pid in (process.pid, *started):
        assert not shown(environment(pid), GIVEN)


def test_a_relay_whose_environment_was_cleared_knows_its_secrets(home: Home):
    with_secrets(home)
    _, url = home.serve()
    with httpx.Client(base_url=url, trust_env=False, timeout=20) as browser:
        form = {"name": "admin", "password": PASSWORD}
        answer = browser.post("/web/sign-in", data=form, headers={"origin": url})

    assert (answer.status_code, answer.headers["location"]) == (303, "/web")


def test_the_command_that_copies_a_backup_is_given_none_of_the_secrets(home: Home):
    with_secrets(home)
    seen = home.folder / "seen"
    script = home.folder / "copy"
    script.write_text(f"#!/bin/sh\nenv >{seen}\n")
    script.chmod(0o700)
    toml = home.folder / "home" / "relay.toml"
    toml.write_text(f'{WEBHOOK}[backup]\ncopyCommand = "{script}"\n')
    home.relay("backup", "--init", "--json")
    home.relay("backup")

    assert "RELAY_HOME" in seen.read_text()
    assert not shown(seen.read_text(), GIVEN)
    assert "JWT_SECRET" not in seen.read_text()


@pytest.mark.parametrize("value", ["hidden=a=b", "hidden-ü-한" * 1000])
def test_every_secret_leaves_the_environment_at_any_command(home: Home, value: str):
    secret = {one.env: value for one in OPTIONS if one.secret and one.env}
    others = dict.fromkeys(("ENCRYPTION_KEY", "RELAY_WEBHOOK_X", "ANTHROPIC_API_KEY"), value)
    env = {**home.env, "KEPT": "kept", **secret, **others, "KEPT_TOO": "kept-too"}
    done = subprocess.run(
        [sys.executable, "-c", LOOK], cwd=ROOT, env=env, capture_output=True, text=True, check=True
    )
    assert (done.stdout.count("KEPT=kept\n"), done.stdout.count("KEPT_TOO=kept-too\n")) == (2, 2)
    assert "hidden" not in done.stdout
