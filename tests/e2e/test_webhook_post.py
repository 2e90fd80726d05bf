"""The way out to a webhook: which address is connected to, and what TLS proves of it."""

import ipaddress
import socket
import ssl
from pathlib import Path

import pytest
import trio

from relay.alerts import Outcome
from relay.alerts import post as alerts_post
from tests.unit.test_upstream_tls import Authority, authority

from .receiver import Receiver, receiving

__all__ = ["authority"]

PRIVATE = "It lies in a private network or on this machine; allowPrivate = true lets that be."


class Resolver:
    """What names resolve to, in place of the network's answer; the last answer stays."""

    def __init__(self) -> None:
        self.answers: dict[str, list[list[str]]] = {}
        self.asked: list[str] = []

    async def getaddrinfo(self, host: str, port: int, *_: object, **__: object) -> list[object]:
        await trio.lowlevel.checkpoint()
        self.asked.append(str(host))
        if host in self.answers:
            answers = self.answers[host]
            found = answers.pop(0) if len(answers) > 1 else answers[0]
        else:
            found = [str(host)]
        family = {4: socket.AF_INET, 6: socket.AF_INET6}
        try:
            addresses = [ipaddress.ip_address(one) for one in found]
        except ValueError:
            raise socket.gaierror from None
        stream = socket.SOCK_STREAM
        return [(family[one.version], stream, 6, "", (str(one), port)) for one in addresses]


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch) -> Resolver:
    one = Resolver()
    monkeypatch.setattr(trio.socket, "getaddrinfo", one.getaddrinfo)
    return one


@pytest.fixture
def trusted(authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Authority:
    """An authority that this system trusts."""
    from cryptography.hazmat.primitives.serialization import Encoding

    file = tmp_path / "trusted.pem"
    file.write_bytes(authority.certificate.public_bytes(Encoding.PEM))
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    return authority


async def post(
    receiver: Receiver, host: str, scheme: str = "http", *, allow_private: bool = True
) -> Outcome:
    url = f"{scheme}://{host}:{receiver.port}/hook"
    return await alerts_post(url, {"x-one": "1"}, b"{}", allow_private=allow_private)


async def test_the_connection_goes_to_the_address_that_was_judged(resolver: Resolver):
    """A name that means something else a moment later is not asked a second time."""
    resolver.answers["moving.example"] = [["127.0.0.1"], ["127.0.0.99"]]
    async with receiving() as receiver:
        assert await post(receiver, "moving.example") == Outcome(status=204)
    assert resolver.asked.count("moving.example") == 1
    (taken,) = receiver.taken
    assert taken.headers["host"] == f"moving.example:{receiver.port}"
    assert (taken.path, taken.body, taken.headers["x-one"]) == ("/hook", b"{}", "1")


async def test_a_name_that_turns_private_later_was_never_sent_to(resolver: Resolver):
    resolver.answers["turning.example"] = [["127.0.0.1"], ["1.1.1.1"]]
    async with receiving() as receiver:
        outcome = await post(receiver, "turning.example", allow_private=False)
    assert (outcome.error, receiver.taken) == (PRIVATE, [])


async def test_one_private_address_among_public_ones_is_enough_to_refuse(resolver: Resolver):
    resolver.answers["mixed.example"] = [["1.1.1.1", "127.0.0.1"]]
    async with receiving() as receiver:
        outcome = await post(receiver, "mixed.example", allow_private=False)
    assert (outcome.error, receiver.taken) == (PRIVATE, [])


async def test_the_next_address_of_a_name_is_tried_when_one_is_dead(resolver: Resolver):
    resolver.answers["two.example"] = [["127.0.0.99", "127.0.0.1"]]
    async with receiving() as receiver:
        assert (await post(receiver, "two.example")).status == 204


async def test_a_name_that_nobody_knows_is_told(resolver: Resolver):
    async with receiving() as receiver:
        assert (await post(receiver, "nobody.example")).error == "Its name is not known."


async def test_tls_is_judged_by_the_name_and_not_by_the_address(
    resolver: Resolver, trusted: Authority, tmp_path: Path
):
    resolver.answers["hook.example"] = [["127.0.0.1"]]
    resolver.answers["other.example"] = [["127.0.0.1"]]
    context = trusted.serving(tmp_path, "hook.example")
    names: list[str | None] = []
    context.sni_callback = lambda _socket, name, _context: names.append(name)
    async with receiving(context=context) as receiver:
        assert (await post(receiver, "hook.example", "https")).status == 204
        outcome = await post(receiver, "other.example", "https")
    assert outcome.error.startswith("Its certificate is not trusted: ")
    assert names == ["hook.example", "other.example"]
    assert len(receiver.taken) == 1


async def test_an_unknown_authority_is_not_trusted(
    resolver: Resolver, authority: Authority, tmp_path: Path
):
    resolver.answers["hook.example"] = [["127.0.0.1"]]
    async with receiving(context=authority.serving(tmp_path, "hook.example")) as receiver:
        outcome = await post(receiver, "hook.example", "https")
    assert outcome.error.startswith("Its certificate is not trusted: ")
    assert receiver.taken == []


async def test_a_receiver_without_an_answer_is_given_up(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("relay.alerts.outbound.DEADLINE_S", 0.2)
    async with receiving(is_slow=True) as receiver:
        outcome = await post(receiver, "127.0.0.1")
    assert outcome.error.startswith("It does not answer within")


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"HTTP/1.1 204 OK\r\nx: " + b"x" * 10_000_000, "It broke off"),
        (b"not http at all\r\n\r\n", "It broke off"),
        (b"", "It broke off"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 999999999\r\n\r\n" + b"x" * 10_000, ""),
    ],
)
async def test_what_answers_nonsense_costs_little(answer: bytes, error: str):
    async def handler(stream: trio.SocketStream) -> None:
        await stream.receive_some(65536)
        try:
            await stream.send_all(answer)
        except trio.BrokenResourceError:
            return

    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, handler, [listener])
        one = Receiver(port=listener.socket.getsockname()[1])
        outcome = await post(one, "127.0.0.1")
        nursery.cancel_scope.cancel()
    assert outcome.error.startswith(error)
    assert bool(outcome.error) == bool(error)


async def test_retry_after_is_heard_within_bounds():
    for value, pause_s in (("7", 7.0), ("0.5", 0.5), ("999999", 3600.0), ("soon", 0.0)):
        async with receiving(429) as receiver:
            receiver.answer_headers = {"retry-after": value}
            outcome = await post(receiver, "127.0.0.1")
        assert outcome == Outcome("It answers with status 429.", 429, pause_s)


def test_the_trust_of_the_system_is_what_counts(trusted: Authority):
    """What the tests above rely on: SSL_CERT_FILE is read each time."""
    assert ssl.create_default_context().cert_store_stats()["x509_ca"] == 1
