"""Limits on the command line: what is given is what is kept, shown and enforced."""

import re

import httpx
import pytest

from .conftest import Home

pytestmark = pytest.mark.slow


def test_a_key_takes_every_limit_and_edit_changes_single_ones(home: Home):
    made = home.json(
        "key", "create", "--name", "alice", "--rate", "10/60", "--daily-limit", "100",
        "--limit", "1000", "--concurrency", "4", "--wait", "20", "--tokens-per-minute", "50000",
        "--budget-daily", "5", "--budget-total", "100.5", "--client", "claude_code",
        "--ip", "10.0.0.0/8", "--ip", "2001:db8::/32", "--owner", "team", "--tag", "ci",
        "--note", "hers",
    )  # fmt: skip
    assert isinstance(made, dict)
    expected = {
        "keyPrefix": "sk-relay-",
        "enabled": True,
        "dailyLimit": 100,
        "monthlyLimit": 1000,
        "rateLimitOverride": {"windowMs": 60000, "maxRequests": 10},
        "tokensPerMinute": 50000,
        "concurrency": 4,
        "concurrencyWait": 20,
        "budgets": {"daily": "5 soft", "total": "100.5 strict"},
        "clientRestrictions": ["claude_code"],
        "allowedIps": ["10.0.0.0/8", "2001:db8::/32"],
    }
    assert {name: made[name] for name in expected} == expected
    home.relay("key", "edit", "alice", "--rate", "", "--ip", "", "--budget-daily", "7",
               "--budget-mode", "strict")  # fmt: skip
    shown = home.json("key", "show", "alice")
    assert isinstance(shown, dict)
    assert (shown["rateLimitOverride"], shown["allowedIps"]) == (None, [])
    assert shown["budgets"] == {"daily": "7 strict"}
    assert (shown["dailyLimit"], shown["owner"], shown["tags"]) == (100, "team", ["ci"])
    assert shown["used"]["limits"]["concurrency"] == {"limit": 4, "used": 0}
    told = home.relay("key", "show", "alice").stdout
    assert "budget key daily  7.000000" in told


def test_the_guides_command_makes_a_key_with_a_limit(home: Home):
    made = home.json("create-api-key", "--name", "My API Key", "--limit", "1000")
    assert isinstance(made, dict)
    assert (made["name"], made["monthlyLimit"]) == ("My API Key", 1000)
    assert str(made["key"]).startswith("sk-relay-")


def test_a_key_may_begin_as_its_owner_likes(home: Home):
    made = home.json("key", "create", "--name", "ours", "--prefix", "acme-")
    assert isinstance(made, dict)
    assert str(made["key"]).startswith("acme-")
    assert str(home.json("key", "rotate", "ours")["key"]).startswith("acme-")  # type: ignore[index]
    done = home.relay("key", "create", "--name", "theirs", "--prefix", "sk-ant-", check=False)
    assert (done.returncode, "Anthropic's own" in done.stderr) == (1, True)


def test_the_menu_leads_to_every_command(home: Home):
    """By numbers: key, create, with its name and one option; list; a mistake; back; leave."""
    create, listing = ["1", "alice", "--daily-limit 7"], ["4", ""]
    typed = [number_of(home, "key"), *create, *listing, "1", "alice", "", "0", "0"]
    told = home.relay("cli", stdin="\n".join([*typed, ""]))
    assert "Key for alice" in told.stdout
    assert "There is a key named alice already." in told.stderr
    assert home.json("key", "show", "alice")["dailyLimit"] == 7  # type: ignore[index]


def number_of(home: Home, command: str) -> str:
    """The number that a command has in the menu."""
    shown = home.relay("cli", stdin="0\n").stdout
    (line,) = re.findall(rf"^ +(\d+)  {command} ", shown, re.MULTILINE)
    return str(line)


@pytest.mark.parametrize(
    ("option", "value", "status", "words"),
    [
        ("--rate", "many", 1, "rate: 'many' is not a rate"),
        ("--budget-daily", "-1", 1, "budgets: '-1' is not an amount"),
        ("--budget-daily", "0.0000001", 1, "to six places"),
        ("--ip", "10.0.0.1/8", 1, "networks: '10.0.0.1/8' is not"),
        ("--client", "nobody", 1, "clients: There is no client nobody"),
        ("--concurrency", "-1", 1, "concurrency: '-1' is not a whole number"),
    ],
)
def test_a_wrong_limit_is_refused_in_words(
    home: Home, option: str, value: str, status: int, words: str
):
    done = home.relay("key", "create", "--name", "alice", option, value, check=False)
    assert (done.returncode, words in done.stderr) == (status, True), done.stderr


def test_an_owners_budget_holds_over_all_keys(home: Home):
    url = home.simulator()
    home.relay("account", "add", "main", "--base-url", url, "--secret-file", "-", stdin="s\n")
    assert home.json("owner", "set", "team", "--budget-daily", "0.000001") == {
        "name": "team",
        "budgets": {"daily": "0.000001 soft"},
    }
    keys = [
        home.json("key", "create", "--name", name, *options)["key"]  # type: ignore[index]
        for name, options in (("one", ("--owner", "team")), ("two", ()))
    ]
    _, relay_url = home.serve()
    body = {
        "model": "claude-opus-5",
        "max_tokens": 5,
        "messages": [{"role": "user", "content": "x"}],
    }
    statuses = [
        httpx.post(
            f"{relay_url}/v1/messages", json=body, headers={"x-api-key": key}, trust_env=False
        ).status_code
        for key in keys
    ]
    assert statuses == [429, 200]
    home.relay("owner", "set", "team")
    assert home.json("owner", "list") == [{"name": "team", "budgets": {}}]
