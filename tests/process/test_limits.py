"""Limits on the command line: what is given is what is kept, shown and enforced."""

import httpx
import pytest

from .conftest import Home

pytestmark = pytest.mark.slow


def test_a_key_takes_every_limit_and_edit_changes_single_ones(home: Home):
    made = home.json(
        "key", "create", "--name", "alice", "--rate", "10/60", "--daily-limit", "100",
        "--limit", "1000", "--concurrency", "4", "--tokens-per-minute", "50000",
        "--budget-daily", "5", "--budget-total", "100.5", "--client", "claude_code",
        "--ip", "10.0.0.0/8", "--ip", "2001:db8::/32", "--owner", "team", "--tag", "ci",
        "--note", "hers",
    )  # fmt: skip
    assert isinstance(made, dict)
    assert made["limits"] == {
        "rate": "10/60",
        "daily": 100,
        "monthly": 1000,
        "concurrency": 4,
        "tokens_per_minute": 50000,
        "budgets": {"daily": "5 soft", "total": "100.5 strict"},
        "clients": ["claude_code"],
        "networks": ["10.0.0.0/8", "2001:db8::/32"],
    }
    home.relay("key", "edit", "alice", "--rate", "", "--ip", "", "--budget-daily", "7",
               "--budget-mode", "strict")  # fmt: skip
    shown = home.json("key", "show", "alice")
    assert isinstance(shown, dict)
    assert (shown["limits"]["rate"], shown["limits"]["networks"]) == ("", [])
    assert shown["limits"]["budgets"] == {"daily": "7 strict"}
    assert (shown["limits"]["daily"], shown["owner"], shown["tags"]) == (100, "team", ["ci"])


@pytest.mark.parametrize(
    ("option", "value", "status", "words"),
    [
        ("--rate", "many", 1, "rate: 'many' is not a rate"),
        ("--budget-daily", "-1", 1, "budgets: '-1' is not an amount"),
        ("--budget-daily", "0.0000001", 1, "to six places"),
        ("--ip", "10.0.0.1/8", 1, "networks: '10.0.0.1/8' is not"),
        ("--client", "nobody", 2, "there is no client nobody"),
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
