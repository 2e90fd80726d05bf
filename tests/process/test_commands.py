"""The command line: what it prints, for people and for programs, and how it refuses."""

import re
import signal
import subprocess
import sys
from importlib.resources import files

import pytest

from .conftest import DEADLINE_S, ROOT, Home, line_with

pytestmark = pytest.mark.slow

MIN_KEY_LENGTH = len("sk-relay-") + 43


def test_a_key_is_shown_once_and_never_again(home: Home):
    made = home.json("key", "create", "--name", "alice")
    assert isinstance(made, dict)
    assert len(made["key"]) == MIN_KEY_LENGTH
    for args in (("key", "list"), ("key", "show", "alice"), ("key", "disable", "alice")):
        assert made["key"] not in home.relay(*args).stdout
        assert made["key"] not in home.relay(*args, "--json").stdout


def test_a_key_goes_through_its_life(home: Home):
    made = home.json(
        "key", "create", "--name", "bob", "--model", "claude-haiku-*", "--expires", "30d"
    )
    assert isinstance(made, dict)
    assert made["models"] == ["claude-haiku-*"]
    assert home.json("key", "disable", "bob")["enabled"] is False  # type: ignore[index]
    assert home.json("key", "enable", made["id"])["enabled"] is True  # type: ignore[index]
    home.relay("key", "delete", "bob", "--yes")
    assert home.json("key", "list") == []


def test_an_accounts_secret_comes_from_stdin_or_a_file_and_is_never_shown(
    home: Home, tmp_path_factory: pytest.TempPathFactory
):
    file = tmp_path_factory.mktemp("secret") / "key.txt"
    file.write_text("sk-ant-api03-canary\n")
    home.relay("account", "add", "one", "--secret-file", str(file))
    home.relay("account", "add", "two", "--secret-file", "-", stdin="sk-ant-api03-canary\n")
    shown = home.relay("account", "list").stdout + home.relay("account", "list", "--json").stdout
    assert "canary" not in shown
    assert "https://api.anthropic.com" in shown
    assert re.search(r"ORGANIZATION +WORKSPACE", shown)
    home.relay("account", "remove", "one", "--yes")
    accounts = home.json("account", "list")
    assert isinstance(accounts, list)
    assert [account["name"] for account in accounts] == ["two"]


def test_an_account_is_tested_against_its_own_api(home: Home):
    url = home.simulator()
    home.relay("account", "add", "good", "--base-url", url, "--secret-file", "-", stdin="x\n")
    assert home.json("account", "test", "good") == {
        "ok": True,
        "status": 200,
        "message": "The upstream accepts this account's credential.",
    }
    home.relay("account", "add", "far", "--base-url", "http://127.0.0.1:1", "--secret-file", "-",
               stdin="x\n")  # fmt: skip
    far = home.relay("account", "test", "far", check=False)
    assert far.returncode == 1
    assert "refuses connections" in far.stderr


@pytest.mark.parametrize(
    ("args", "stdin", "words"),
    [
        (("key", "show", "nobody"), "", "no key with the name or id nobody"),
        (("key", "create", "--name", "a\nb"), "", "one line"),
        (("account", "add", "x", "--base-url", "ftp://h", "--secret-file", "-"), "s", "base URL"),
        (("account", "add", "x", "--secret-file", "-"), "", "A secret is"),
        (("account", "add", "x", "--secret-file", "-"), "sk-ant-oat01-abc", "claude.ai login"),
        (("account", "test", "nobody"), "", "no account with the name"),
        (("why", "req_none"), "", "Nothing is kept of req_none"),
    ],
)
def test_what_cannot_be_done_is_one_sentence_and_status_1(
    home: Home, args: tuple[str, ...], stdin: str, words: str
):
    done = home.relay(*args, stdin=stdin, check=False)
    assert done.returncode == 1
    assert words in done.stderr
    assert done.stderr.startswith("Error: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "args",
    [
        ("nonsense",),
        ("key", "create"),
        ("key", "create", "--name", "x", "--expires", "tomorrow"),
        ("key", "create", "--name", "x", "--expires", "2020-01-01"),
        ("serve", "--port", "99999"),
        ("usage", "--day", "today"),
    ],
)
def test_wrong_usage_is_status_2(home: Home, args: tuple[str, ...]):
    assert home.relay(*args, check=False).returncode == 2


def test_two_keys_cannot_have_one_name(home: Home):
    home.relay("key", "create", "--name", "alice")
    second = home.relay("key", "create", "--name", "alice", check=False)
    assert second.returncode == 1
    assert "alice already" in second.stderr


def test_a_newer_price_table_is_taken_by_the_command_line_and_shown(home: Home):
    shipped = home.folder / "newer.toml"
    text = (files("relay.pricing") / "prices.toml").read_text()
    shipped.write_text(text.replace('version = "2026-11-28"', 'version = "2099-01-01"'))
    refused = home.relay("prices", "update", str(shipped), check=False)
    assert "pricing.publicKey" in refused.stderr
    taken = home.relay("prices", "update", str(shipped), "--unsigned")
    assert "WARNING" in taken.stderr
    shown = home.relay("prices", "show", "--at", "2026-10-06").stdout
    assert "Table 2099-01-01, NOT SIGNED, taken by cli:" in shown
    assert shown.count("Sonnet 5.5") == 1


def test_the_prices_are_listed_for_people_and_programs(home: Home):
    assert "Opus 5.5" in home.relay("prices").stdout
    rows = home.json("prices")
    assert isinstance(rows, list)
    assert {"name", "input", "output"} <= rows[0].keys()


def test_the_version_is_the_packages(home: Home):
    import relay

    assert home.relay("--version").stdout == f"relay {relay.__version__}\n"


def test_try_shows_an_answer_its_cost_a_key_and_a_curl_that_works(home: Home):
    home.env["PORT"] = "0"
    process = home.start("relay.py", "try")
    assert "SIMULATED" in line_with(process, "SIMULATED")
    assert "Simulated answer" in line_with(process, "Simulated answer")
    assert "cost $0." in line_with(process, "tokens in")
    serving = line_with(process, "Your key:")
    key = serving.rpartition(" ")[2]
    curl = line_with(process, "curl ")
    assert process.stdout is not None
    while curl.endswith("\\"):
        curl = curl[:-1] + process.stdout.readline().strip()
    done = subprocess.run(
        ["bash", "-c", curl], capture_output=True, text=True, timeout=20, cwd=ROOT, check=True
    )
    assert "event: message_stop" in done.stdout
    assert key in curl
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)
    assert process.returncode == 0


def test_the_checkout_and_the_module_are_the_same_command_line(home: Home):
    module = subprocess.run(
        [sys.executable, "-m", "relay", "--version"], cwd=ROOT, capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    assert module.stdout == home.relay("--version").stdout


def test_changes_on_the_command_line_are_kept_under_their_persons_name(home: Home):
    home.relay("key", "create", "--name", "alice")
    home.relay("key", "edit", "alice", "--daily-limit", "5")
    edit, create = home.json("audit")  # type: ignore[misc]
    assert (edit["action"], create["action"]) == ("key.edit", "key.create")
    assert edit["actor"].startswith("cli:")
    assert (edit["before"], edit["after"]) == ({"dailyLimit": 0}, {"dailyLimit": 5})
    assert "2 entries, none altered" in home.relay("audit", "--verify").stdout
    assert "key.edit" in home.relay("audit", "--count", "1").stdout


@pytest.mark.parametrize("encoding", ["cp949", "euc-kr"])
def test_a_name_that_the_terminal_cannot_show_is_listed_all_the_same(home: Home, encoding: str):
    home.relay("key", "create", "--name", "zoë 🙂")
    home.env["PYTHONIOENCODING"] = encoding
    listed = subprocess.run(
        [sys.executable, "relay.py", "key", "list"],
        cwd=ROOT, env=home.env, capture_output=True, timeout=DEADLINE_S,
    )  # fmt: skip
    assert listed.returncode == 0, listed.stderr
    assert b"zo? ?" in listed.stdout
