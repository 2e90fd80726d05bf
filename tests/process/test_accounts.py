"""Accounts on the command line: every setting, a sign-in by a pasted code, a new ENCRYPT_KEY."""

import json
import re

import httpx
import pytest

from ..oauth.conftest import OAuthServer, oauth_server
from .conftest import Home

__all__ = ["oauth_server"]

pytestmark = pytest.mark.slow

SETTINGS = (
    "--email", "ops@corp.example", "--priority", "10", "--weight", "3", "--max-concurrency", "4",
    "--model", "claude-opus-*", "--model", "claude-haiku-*", "--map", "claude-opus-5=vendor-opus",
    "--group", "night", "--proxy", "socks5://proxy.example:1080", "--note", "the big one",
)  # fmt: skip


def add(home: Home, name: str, *options: str) -> dict:
    made = home.relay("account", "add", name, "--secret-file", "-", *options, "--json", stdin="s\n")
    return dict(json.loads(made.stdout))


def test_an_account_takes_every_setting_and_edit_changes_single_ones(home: Home):
    made = add(home, "main", *SETTINGS)
    assert made["priority"] == 10
    assert made["model_map"] == {"claude-opus-5": "vendor-opus"}
    assert made["proxy"] == "socks5://proxy.example:1080"
    # Where a secret goes by another way, it is given anew.
    home.relay("account", "edit", "main", "--weight", "5", "--group", "", "--proxy", "direct",
               "--secret-file", "-", stdin="s\n")  # fmt: skip
    shown = home.json("account", "show", "main")
    assert isinstance(shown, dict)
    assert (shown["weight"], shown["groups"], shown["proxy"]) == (5, [], "direct")
    assert (shown["email"], shown["models"]) == (
        "ops@corp.example",
        ["claude-opus-*", "claude-haiku-*"],
    )
    assert "the big one" in home.relay("account", "show", "main").stdout


def test_a_secret_is_replaced_in_place(home: Home):
    url = home.simulator()
    add(home, "main", "--base-url", url)
    home.relay("account", "edit", "main", "--new-secret", stdin="new-secret\n")
    assert home.json("account", "test", "main")["ok"] is True  # type: ignore[index]


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("account", "add", "x", "--kind", "session_key"), "needs --base-url"),
        (("account", "add", "x", "--kind", "oauth"), "needs --base-url"),
        (("account", "edit", "main"), "Nothing to change"),
        (("account", "edit", "main", "--map", "a"), "NAME=UPSTREAM"),
        (("account", "edit", "main", "--proxy", "http://u:p@h"), "--proxy-file"),
    ],
)
def test_what_is_wrong_is_said_with_status_2(home: Home, args: tuple[str, ...], words: str):
    done = home.relay(*args, check=False)
    assert done.returncode == 2
    assert words in done.stderr


def test_a_claude_ai_address_is_refused_for_sign_ins(home: Home):
    done = home.relay(
        "account", "add", "x", "--kind", "oauth", "--base-url", "https://claude.ai", check=False
    )
    assert done.returncode == 1
    assert "The provider's terms do not allow" in done.stderr


def test_a_new_encrypt_key_takes_over(home: Home):
    old, new = "o" * 32, "n" * 32
    home.env |= {"ENCRYPT_KEY": old, "JWT_SECRET": "j" * 32}
    url = home.simulator()
    add(home, "main", "--base-url", url)
    home.env |= {"ENCRYPT_KEY": new, "ENCRYPT_KEY_PREVIOUS": old}
    assert "1 secrets were encrypted anew" in home.relay("rotate-encryption").stdout
    del home.env["ENCRYPT_KEY_PREVIOUS"]
    assert home.json("account", "test", "main")["ok"] is True  # type: ignore[index]


def test_signing_in_without_an_oauth_server_says_what_to_set(home: Home):
    home.relay("account", "add", "gate", "--kind", "oauth", "--base-url", "https://h.example")
    done = home.relay("oauth", "login", "gate", check=False)
    assert done.returncode == 1
    assert "CLAUDE_OAUTH_CLIENT_ID" in done.stderr


def use(server: OAuthServer, home: Home) -> None:
    """Let the relay know its OAuth server."""
    home.env |= {
        "CLAUDE_OAUTH_CLIENT_ID": "the-relay",
        "CLAUDE_OAUTH_REDIRECT_URI": "http://127.0.0.1:1/auth/claude/callback",
        "CLAUDE_OAUTH_AUTHORIZE_URL": f"{server.url}/authorize",
        "CLAUDE_OAUTH_TOKEN_URL": server.token_url,
    }


@pytest.mark.npm
def test_a_person_signs_in_by_pasting_where_the_browser_was_sent(
    home: Home, oauth_server: OAuthServer
):
    use(oauth_server, home)
    url = home.simulator()
    home.relay("account", "add", "gate", "--kind", "oauth", "--base-url", url)
    process = home.start("relay.py", "oauth", "login", "gate", stdin=True)
    assert process.stdin is not None
    assert process.stdout is not None
    printed = ""
    while not (found := re.search(r"http://\S+authorize\S+", printed)):
        line = process.stdout.readline()
        assert line, printed
        printed += line
    process.stdin.write(oauth_server.sent_back(found[0]) + "\n")
    process.stdin.flush()
    assert "gate is signed in." in process.stdout.read()
    assert process.wait(30) == 0
    assert home.json("account", "test", "gate")["ok"] is True  # type: ignore[index]


@pytest.mark.npm
def test_a_browser_that_comes_back_ends_the_sign_in(home: Home, oauth_server: OAuthServer):
    use(oauth_server, home)
    home.relay("account", "add", "gate", "--kind", "oauth", "--base-url", home.simulator())
    url = home.serve()[1]
    process = home.start("relay.py", "oauth", "login", "gate", stdin=True)
    assert process.stdin is not None
    assert process.stdout is not None
    printed = ""
    while not (found := re.search(r"http://\S+authorize\S+", printed)):
        printed += process.stdout.readline()
    back = oauth_server.sent_back(found[0]).replace("http://127.0.0.1:1", url)
    assert httpx.get(back, trust_env=False).status_code == 200
    process.stdin.write("\n")
    process.stdin.flush()
    assert "gate is signed in." in process.stdout.read()
