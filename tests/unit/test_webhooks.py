"""What a webhook is told, in which form, and to which addresses nothing is sent."""

import ipaddress
import json
import re
import time
from pathlib import Path

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from relay.addresses import is_public
from relay.alerts import formats, post, texts
from relay.settings import Secret, Webhook

DOCS = Path(__file__).parents[2] / "docs" / "webhooks.md"
SECRET = "sixteen characters and more"
AT = "1795447163000"  # 2026-11-23 15:59:23 UTC
BUDGET = {
    "event": "budget", "at": AT, "scope": "key", "id": "key_1", "name": "alice", "period": "daily",
    "mode": "soft", "mark": "800", "limit": "5000000", "used": "4020000",
    "since": "1795392000000", "until": "1795478400000",
}  # fmt: skip


def webhook(kind: str = "json", secret: str = SECRET) -> Webhook:
    url = Secret("https://example.com/hook/token")
    kept = Secret(secret) if secret else None
    return Webhook("wh_1", "ops", url, "https://example.com/***", kept, format=kind)


def sent(kind: str, fields: dict[str, str]) -> dict[str, object]:
    return dict(json.loads(formats.message(webhook(kind), "1-0", fields)))


# Addresses.

PUBLIC = ["1.1.1.1", "93.184.215.14", "2606:4700::1111", "2a00:1450:4001::200e", "64:ff9b::101:101"]
INSIDE = [
    "0.0.0.0", "0.1.2.3", "10.1.2.3", "100.64.0.1", "100.127.255.255", "127.0.0.1", "127.255.0.9",
    "169.254.169.254", "172.16.0.1", "172.31.255.255", "192.0.0.8", "192.0.2.1", "192.88.99.1",
    "192.168.1.1", "198.18.0.1", "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.1.1.1",
    "240.0.0.1", "255.255.255.255", "::", "::1", "::127.0.0.1", "::ffff:127.0.0.1",
    "::ffff:10.0.0.1", "::ffff:a9fe:a9fe", "64:ff9b::7f00:1", "64:ff9b:1::1", "100::1",
    "2001::1", "2001:db8::1", "2002:7f00:1::", "3fff::1", "fc00::1", "fd12:3456::1", "fe80::1",
    "fec0::1", "ff02::1", "5f00::1",
]  # fmt: skip


@pytest.mark.parametrize("address", PUBLIC)
def test_an_address_of_the_internet_is_public(address: str):
    assert is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", INSIDE)
def test_an_address_of_anybodys_inside_is_not(address: str):
    assert not is_public(ipaddress.ip_address(address))


@given(st.ip_addresses(v=4))
def test_an_ipv4_address_is_judged_alike_however_ipv6_wraps_it(address: ipaddress.IPv4Address):
    number = int(address)
    for prefix in ("::ffff:0:0", "64:ff9b::"):
        wrapped = ipaddress.IPv6Address(int(ipaddress.IPv6Address(prefix)) | number)
        assert is_public(wrapped) == is_public(address)
    assert not is_public(ipaddress.IPv6Address(number))


@given(st.ip_addresses(v=6))
def test_no_public_ipv6_address_lies_outside_of_what_is_handed_out(
    address: ipaddress.IPv6Address,
):
    if is_public(address) and address.ipv4_mapped is None:
        assert int(address) >> 125 == 1 or address in ipaddress.IPv6Network("64:ff9b::/96")


def notations(address: ipaddress.IPv4Address) -> list[str]:
    """Forms of an IPv4 address that resolvers take: decimal, hexadecimal, octal, shortened."""
    number, parts = int(address), address.packed
    return [
        str(number),
        hex(number),
        f"0{number:o}",
        ".".join(hex(part) for part in parts),
        ".".join(f"0{part:o}" for part in parts),
        f"{parts[0]}.{number & 0xFFFFFF}",
        f"{parts[0]}.{parts[1]}.{number & 0xFFFF}",
        f"[::ffff:{address}]",
        f"[::{parts[0]:02x}{parts[1]:02x}:{parts[2]:02x}{parts[3]:02x}]",
        f"[64:ff9b::{parts[0]:02x}{parts[1]:02x}:{parts[2]:02x}{parts[3]:02x}]",
    ]


PRIVATE_NETWORKS = [
    "10.0.0.0/8",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "192.168.0.0/16",
    "100.64.0.0/10",
]


@given(st.sampled_from(PRIVATE_NETWORKS).flatmap(lambda net: st.ip_addresses(network=net)))
def test_a_private_address_is_refused_in_every_notation(address: ipaddress.IPv4Address):
    async def outcomes() -> list[str]:
        return [
            (await post(f"http://{host}:9/", {}, b"", allow_private=False)).error
            for host in notations(address)
        ]

    # Some resolvers do not know some of them; nothing is sent either way.
    inside = "It lies in a private network or on this machine; allowPrivate = true lets that be."
    assert {inside} <= set(trio.run(outcomes)) <= {inside, "Its name is not known."}


# Forms.


def test_plain_json_carries_the_figures():
    assert sent("json", BUDGET) == {
        "id": "1-0",
        "event": "budget",
        "time": "2026-11-23T15:19:23.000Z",
        "title": "Key alice has reached 80 % of its daily budget",
        "text": "$4.02 of $5.00 (soft) since 2026-11-23 00:00 UTC; it begins anew at 2026-11-24"
        " 00:00 UTC. To raise it: `relay key edit alice --budget-daily USD`.",
        "data": {
            "scope": "key",
            "id": "key_1",
            "name": "alice",
            "period": "daily",
            "mode": "soft",
            "threshold": 0.8,
            "limitMicros": 5000000,
            "usedMicros": 4020000,
            "since": "2026-11-23T00:00:00.000Z",
            "until": "2026-11-24T00:00:00.000Z",
        },
    }


def test_slack_gets_text_in_which_nothing_is_a_mention():
    body = sent("slack", {**BUDGET, "name": "<!channel> & co"})
    assert list(body) == ["text"]
    assert "Key &lt;!channel&gt; &amp; co has reached" in str(body["text"])


def test_discord_gets_content_without_mentions_and_without_peoples_markdown():
    body = sent("discord", {**BUDGET, "name": "@everyone_[x](http://y)"})
    assert body["allowed_mentions"] == {"parse": []}
    assert r"**Key @everyone\_\[x\]\(http://y\) has reached 80 % of" in str(body["content"])
    assert "`relay key edit '@everyone_[x](http://y)' --budget-daily USD`" in str(body["content"])


@given(st.text(max_size=3000), st.text(max_size=3000))
def test_no_message_is_longer_than_its_reader_takes(title: str, text: str):
    fields = {"event": "report", "at": AT, "title": title or "x", "text": text}
    for kind, field, most in (("discord", "content", 2000), ("slack", "text", 4000)):
        assert len(str(sent(kind, fields)[field]).encode("utf-16-le")) // 2 <= most


def test_only_plain_json_is_signed_and_only_with_a_secret():
    def signed(kind: str, secret: str) -> set[str]:
        found = formats.headers(webhook(kind, secret), "1-0", "budget", b"{}", 1)
        return {one for one in found if one.startswith("x-relay")}

    named = {"x-relay-event", "x-relay-event-id"}
    assert signed("json", SECRET) == {*named, "x-relay-timestamp", "x-relay-signature"}
    assert signed("json", "") == named
    assert signed("slack", SECRET) == signed("discord", SECRET) == set()


def test_the_example_of_the_docs_takes_what_is_genuine_and_nothing_else():
    (example,) = re.findall(r"```python\n(.*?)```", DOCS.read_text(), re.DOTALL)
    assert len(example.splitlines()) <= 10
    scope: dict[str, object] = {}
    exec(example, scope)
    is_genuine = scope["is_genuine"]
    now, body = int(time.time()), formats.message(webhook(), "1-0", BUDGET)

    def headers(at: int) -> dict[str, str]:
        return formats.headers(webhook(), "1-0", "budget", body, at)

    assert is_genuine(SECRET, headers(now), body)  # type: ignore[operator]
    forged = {**headers(now), "x-relay-timestamp": str(now + 1)}
    for secret, told, content in (
        (SECRET, headers(now), body + b" "),
        (SECRET, headers(now - 301), body),
        (SECRET, forged, body),
        (SECRET, {}, body),
        ("another secret of some length", headers(now), body),
        ("", headers(now), body),
    ):
        assert not is_genuine(secret, told, content)  # type: ignore[operator]


def test_the_example_of_the_docs_has_the_fields_that_are_sent():
    (example,) = re.findall(r"```json\n(.*?)```", DOCS.read_text(), re.DOTALL)
    shown, real = json.loads(example), sent("json", BUDGET)
    assert list(shown) == list(real)
    assert list(shown["data"]) == list(real["data"])  # type: ignore[call-overload]


# Words.


def words(**changes: str) -> str:
    told = texts.told({**BUDGET, **changes})
    return f"{told.title} | {told.text}"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"scope": "owner", "name": "team", "period": "total", "mode": "strict", "until": "",
             "since": "", "mark": "1000"},
            "Owner team has reached 100 % of its total budget | $4.02 of $5.00 (strict) for good;"
            " it does not begin anew. To raise it: `relay owner set team --budget-total USD`, with"
            " the owner's other budgets.",
        ),
        (
            {"scope": "relay", "name": "", "mark": "955", "used": "1200"},
            "The relay has reached 95.5 % of its daily budget | $0.0012 of $5.00 (soft) since"
            " 2026-11-23 00:00 UTC; it begins anew at 2026-11-24 00:00 UTC. To raise it:"
            " `limits.budgetDaily` in relay.toml.",
        ),
        (
            {"event": "daily_limit", "limit": "100", "used": "85", "name": "a b"},
            "Key a b has reached 80 % of its daily limit | 85 of 100 requests between 2026-11-23"
            " 00:00 UTC and 2026-11-24 00:00 UTC. At 100 it is refused until then. To let it have"
            " more: `relay key edit 'a b' --daily-limit N`.",
        ),
        (
            {"event": "monthly_limit", "period": "monthly", "limit": "9", "used": "9",
             "mark": "1000"},
            "Key alice has reached 100 % of its monthly limit | 9 of 9 requests between 2026-11-23"
            " 00:00 UTC and 2026-11-24 00:00 UTC. It is refused until then. To let it have more:"
            " `relay key edit alice --monthly-limit N`.",
        ),
        (
            {"event": "key_expiring"},
            "Key alice expires in 9 hours | From 2026-11-24 00:00 UTC on it is refused. To let it"
            " live longer: `relay key edit alice --expires 30d`.",
        ),
        (
            {"event": "account_error", "name": "main", "class": "", "before": "ok",
             "state": "unauthorized", "reason": "status 401", "until": ""},
            "Account main does not serve: it is unauthorized | Since 2026-11-23 15:19 UTC: status"
            " 401. `relay account show main` says what to do.",
        ),
        (
            {"event": "account_error", "name": "main", "class": "opus", "before": "exhausted",
             "state": "ok", "reason": "", "until": ""},
            "Account main serves again for opus models | Before it was exhausted. See"
            " `relay account show main`.",
        ),
        ({"event": "report", "title": "Monday", "text": "All is well."}, "Monday | All is well."),
    ],
)  # fmt: skip
def test_people_read_what_happened_and_what_to_do(changes: dict[str, str], expected: str):
    assert words(**changes) == expected
