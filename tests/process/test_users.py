"""`relay user` and the first start, as a person sees them."""

import re

import pytest

from .conftest import Home, end_by, line_with, signal

pytestmark = pytest.mark.slow
PASSWORD = "correct horse battery"


def test_users_are_added_changed_and_removed_and_no_password_stands_in_arguments(home: Home):
    home.relay("user", "add", "kim", "--role", "admin", "--password-file", "-", stdin=PASSWORD)
    added = home.json("user", "add", "lee", "--password-file", "-", stdin=PASSWORD)
    assert isinstance(added, dict)
    assert (added["role"], added["enabled"], added["has_second_factor"]) == ("viewer", True, False)
    home.relay("user", "role", "lee", "operator")
    assert "operator" in home.relay("user", "list").stdout
    assert home.json("user", "sessions", "lee") == []
    home.relay("user", "sign-out", "lee")
    refused = home.relay("user", "remove", "kim", "--yes", check=False)
    assert (refused.returncode, "last admin" in refused.stderr) == (1, True)
    home.relay("user", "remove", "lee", "--yes")
    users = home.json("user", "list")
    assert isinstance(users, list)
    assert [one["name"] for one in users] == ["kim"]
    assert home.relay("user", "add", "max", "--password", "x", check=False).returncode == 2


def test_the_first_start_makes_an_admin_and_tells_a_made_up_password_once(home: Home):
    process = home.start("relay.py", "serve", "--port", "0")
    told = line_with(process, "first user")
    assert re.search(r"is admin, password [\w-]{20} ", told)
    line_with(process, "listening on")
    assert end_by(process, signal.SIGTERM) == 0
    again = home.start("relay.py", "serve", "--port", "0")
    assert again.stdout is not None
    lines = []
    for line in again.stdout:
        lines.append(line)
        if "listening on" in line:
            break
    assert not any("password" in line for line in lines)


def test_a_password_that_is_given_is_not_told(home: Home):
    home.env["ADMIN_PASSWORD"] = PASSWORD
    process = home.start("relay.py", "serve", "--port", "0")
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if "listening on" in line:
            break
    assert not any("assword" in line or PASSWORD in line for line in lines)
    users = home.json("user", "list")
    assert isinstance(users, list)
    assert [(one["name"], one["role"]) for one in users] == [("admin", "admin")]
