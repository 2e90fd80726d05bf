"""`relay token` and the admin API, as a person at a terminal meets them."""

import json
import re
import subprocess

import pytest

from .conftest import Home, line_with

pytestmark = pytest.mark.slow


def curl(url: str, token: str, *more: str) -> dict[str, object]:
    command = ["curl", "-sS", url, "-H", f"Authorization: Bearer {token}", *more]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
    found: dict[str, object] = json.loads(done.stdout)
    return found


def test_a_token_is_made_used_listed_and_deleted(home: Home):
    serving = home.start("relay.py", "serve", "--port", "0")
    url = line_with(serving, "listening on").split()[-1]
    made = home.relay("token", "create", "--name", "ci", "--role", "operator", "--expires", "30d")
    (token,) = re.findall(r"sk-relay-admin-\w{43}", made.stdout)
    keys = f"{url}/admin/api/v1/keys"
    assert curl(keys, token, "-d", '{"name": "bob"}')["name"] == "bob"
    assert token not in home.relay("token", "list").stdout
    (listed,) = home.json("token", "list")
    assert (listed["name"], listed["role"], bool(listed["usedAt"])) == ("ci", "operator", True)
    assert "token:ci" in home.relay("audit").stdout
    home.relay("token", "delete", "ci", "--yes")
    error = curl(keys, token)["error"]
    assert isinstance(error, dict)
    assert error["type"] == "authentication_error"


@pytest.mark.parametrize(
    ("options", "status", "told"),
    [
        (["--name", "two words"], 1, "not one plain word"),
        (["--name", "x", "--role", "owner"], 2, "owner"),
        (["--name", "x", "--expires", "2020-01-01"], 2, "in the past"),
        (["--name", "x", "--expires", "9999-12-31"], 1, "between the years"),
        ([], 2, "--name"),
    ],
)
def test_a_token_that_cannot_be_is_refused(home: Home, options: list[str], status: int, told: str):
    done = home.relay("token", "create", *options, check=False)
    assert (done.returncode, told in done.stderr) == (status, True), done.stderr


def test_a_token_that_never_ends_must_be_asked_for(home: Home):
    home.relay("token", "create", "--name", "usual")
    home.relay("token", "create", "--name", "ever", "--expires", "never")
    ends = {one["name"]: one["expiresAt"] for one in home.json("token", "list")}
    assert (bool(ends["usual"]), ends["ever"]) == (True, None)
