"""The same client over TLS: trust, reuse, and what TLS must not break."""

import datetime
import ipaddress
import os
import socket
import ssl
import struct
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
import trio
import trio.testing
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from relay.upstream import UpstreamError, Upstreams
from tests.unit.scripted_upstream import OK, Peer, answering, client, fetch, opened, upstream

# More than the socket buffers of both sides take.
LARGE = bytes(32 << 20)
DAY = datetime.timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Authority:
    """A certificate authority of our own."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    def trusted(self) -> ssl.SSLContext:
        context = ssl.create_default_context()
        # What Python asks for by itself from 3.13 on.
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        pem = self.certificate.public_bytes(serialization.Encoding.PEM)
        context.load_verify_locations(cadata=pem.decode())
        return context

    def serving(self, folder: Path, host: str = "127.0.0.1") -> ssl.SSLContext:
        """What a server with a certificate for an address or a name needs."""
        key = ec.generate_private_key(ec.SECP256R1())
        alternative = x509.SubjectAlternativeName([_general_name(host)])
        builder = _builder("server", self.certificate.subject, key.public_key())
        authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key())
        certificate = (
            builder.add_extension(alternative, critical=False)
            .add_extension(authority, critical=False)
            .sign(self.key, hashes.SHA256())
        )
        file = folder / "server.pem"
        file.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
            + certificate.public_bytes(serialization.Encoding.PEM)
        )
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(file)
        return context


def _general_name(host: str) -> x509.GeneralName:
    with suppress(ValueError):
        return x509.IPAddress(ipaddress.ip_address(host))
    return x509.DNSName(host)


def _builder(
    name: str, issuer: x509.Name | None, key: ec.EllipticCurvePublicKey
) -> x509.CertificateBuilder:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer or subject)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - DAY)
        .not_valid_after(now + DAY)
    )


@pytest.fixture(scope="module")
def authority() -> Authority:
    key = ec.generate_private_key(ec.SECP256R1())
    builder = _builder("test authority", None, key.public_key())
    basic = x509.BasicConstraints(ca=True, path_length=None)
    certificate = (
        builder.add_extension(basic, critical=True)
        .add_extension(_only_signs(), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return Authority(key, certificate)


def _only_signs() -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=False, content_commitment=False, key_encipherment=False,
        data_encipherment=False, key_agreement=False, key_cert_sign=True, crl_sign=True,
        encipher_only=False, decipher_only=False,
    )  # fmt: skip


@pytest.fixture
def serving(authority: Authority, tmp_path: Path) -> ssl.SSLContext:
    return authority.serving(tmp_path)


@pytest.fixture
async def upstreams(authority: Authority) -> AsyncIterator[Upstreams]:
    async with client(ssl_context=authority.trusted()) as made:
        yield made


async def test_a_connection_is_used_again_whatever_the_session_tickets(
    upstreams: Upstreams, serving: ssl.SSLContext
) -> None:
    async with upstream(answering(OK, OK, OK), context=serving) as served:
        for _ in range(3):
            assert await fetch(upstreams, served.base_url) == (200, b"ok")
            await trio.testing.wait_all_tasks_blocked()
        assert (served.accepted, upstreams.idle_connections) == (1, 1)


async def test_an_unknown_authority_is_refused_before_anything_is_sent(
    serving: ssl.SSLContext,
) -> None:
    seen: list[bytes | bytearray] = []

    async def script(peer: Peer) -> None:
        with suppress(trio.BrokenResourceError):
            seen.append(await peer.stream.receive_some())

    async with upstream(script, context=serving) as served, client() as upstreams:
        with pytest.raises(UpstreamError, match="certificate is not trusted: ") as caught:
            await fetch(upstreams, served.base_url)
        assert (caught.value.stage, caught.value.never_left) == ("connect", True)
        await served.wait_ended(1)
        assert not any(seen)


async def test_a_certificate_for_another_host_is_refused(
    upstreams: Upstreams, authority: Authority, tmp_path: Path
) -> None:
    seen: list[bytes | bytearray] = []

    async def script(peer: Peer) -> None:
        with suppress(trio.BrokenResourceError):
            seen.append(await peer.stream.receive_some())

    context = authority.serving(tmp_path, "127.0.0.2")
    async with upstream(script, context=context) as served:
        with pytest.raises(UpstreamError, match="mismatch"):
            await fetch(upstreams, served.base_url)
        await served.wait_ended(1)
        assert not any(seen)


async def test_an_upstream_without_tls_is_refused(upstreams: Upstreams) -> None:
    async def script(peer: Peer) -> None:
        await peer.stream.receive_some()
        await peer.stream.send_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async with upstream(script) as served:
        with pytest.raises(UpstreamError, match="does not speak TLS") as caught:
            await fetch(upstreams, served.base_url.replace("http", "https"))
        assert (caught.value.stage, caught.value.never_left) == ("connect", True)


async def test_the_default_context_wants_http_1_1_and_tls_1_2(
    authority: Authority, serving: ssl.SSLContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def script(peer: Peer) -> None:
        await peer.answer(OK)
        assert isinstance(peer.stream, trio.SSLStream)
        chosen.append(peer.stream.selected_alpn_protocol())

    chosen: list[str | None] = []
    trusted = tmp_path / "authority.pem"
    trusted.write_bytes(authority.certificate.public_bytes(serialization.Encoding.PEM))
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
    serving.set_alpn_protocols(["h2", "http/1.1"])
    async with client() as upstreams:
        async with upstream(script, context=serving) as served:
            assert await fetch(upstreams, served.base_url) == (200, b"ok")
            await served.wait_ended(1)
        assert chosen == ["http/1.1"]


async def test_the_authorities_are_read_at_the_start(
    authority: Authority, serving: ssl.SSLContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Later there may be no file descriptor left for them, which Python would not say."""

    async def script(peer: Peer) -> None:
        await peer.answer(OK)

    trusted = tmp_path / "authority.pem"
    trusted.write_bytes(authority.certificate.public_bytes(serialization.Encoding.PEM))
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
    async with client() as upstreams:
        trusted.unlink()
        async with upstream(script, context=serving) as served:
            assert await fetch(upstreams, served.base_url) == (200, b"ok")
            await served.wait_ended(1)


async def test_a_connection_closed_while_idle_is_passed_over(
    upstreams: Upstreams, serving: ssl.SSLContext
) -> None:
    async def script(peer: Peer) -> None:
        await peer.answer(OK)

    async with upstream(script, answering(OK), context=serving) as served:
        await fetch(upstreams, served.base_url)
        await served.wait_ended(1)
        assert await fetch(upstreams, served.base_url) == (200, b"ok")
        assert (served.accepted, upstreams.open_connections) == (2, 1)


class Holding(trio.abc.SendStream):
    """Takes what is sent instead of the network."""

    def __init__(self) -> None:
        self.held = b""

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        self.held += bytes(data)
        await trio.lowlevel.checkpoint()

    async def wait_send_all_might_not_block(self) -> None:
        await trio.lowlevel.checkpoint()

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()


async def encrypted(peer: Peer, *records: bytes) -> tuple[trio.SocketStream, bytes]:
    """The socket below a peer's TLS, and the bytes of these records as TLS would send them."""
    tls = peer.stream
    assert isinstance(tls, trio.SSLStream)
    socket_stream, holding = tls.transport_stream, Holding()
    tls.transport_stream = trio.StapledStream(holding, socket_stream)
    for record in records:
        await tls.send_all(record)
    tls.transport_stream = socket_stream
    return socket_stream, holding.held


async def test_a_second_answer_in_a_record_of_its_own_goes_to_nobody(
    upstreams: Upstreams, serving: ssl.SSLContext
) -> None:
    async def script(peer: Peer) -> None:
        await peer.read_request()
        # In one segment, so that later the socket shows nothing of the second.
        socket_stream, data = await encrypted(peer, OK, OK.replace(b"ok", b"no"))
        await socket_stream.send_all(data)
        await peer.wait_for_end()

    async with upstream(script, answering(OK), context=serving) as served:
        assert await fetch(upstreams, served.base_url) == (200, b"ok")
        assert await fetch(upstreams, served.base_url) == (200, b"ok")
        assert served.accepted == 2


async def test_an_early_answer_can_be_read_though_the_body_is_not_wanted(
    upstreams: Upstreams, serving: ssl.SSLContext
) -> None:
    async def script(peer: Peer) -> None:
        await peer.read_until(b"\r\n\r\n")
        await peer.stream.send_all(b"HTTP/1.1 413 No\r\nContent-Length: 6\r\n\r\ntoo")
        await peer.stream.send_all(b"big")
        await trio.sleep_forever()

    async with upstream(script, context=serving) as served:
        assert await fetch(upstreams, served.base_url, body=LARGE) == (413, b"toobig")
        assert upstreams.open_connections == 0


async def test_an_early_answer_can_be_read_after_the_sending_broke(
    upstreams: Upstreams, serving: ssl.SSLContext
) -> None:
    async def script(peer: Peer) -> None:
        await peer.read_until(b"\r\n\r\n")
        head = b"HTTP/1.1 413 No\r\nContent-Length: 6\r\n\r\ntoo"
        socket_stream, data = await encrypted(peer, head, b"big")
        # Without a checkpoint between, so that the client sees answer and reset together.
        with socket.socket(fileno=os.dup(socket_stream.socket.fileno())) as now:
            now.send(data)
            now.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    # Which of the client's two tasks runs first is trio's choice, so more than once.
    times = 10
    async with upstream(*[script] * times, context=serving) as served:
        for _ in range(times):
            assert await fetch(upstreams, served.base_url, body=LARGE) == (413, b"toobig")


async def test_a_used_connection_that_breaks_mid_request_is_replaced(
    upstreams: Upstreams, serving: ssl.SSLContext
) -> None:
    async def script(peer: Peer) -> None:
        await peer.answer(OK)
        await peer.read_until(b"\r\n\r\n")

    async with upstream(script, answering(OK), context=serving) as served:
        await fetch(upstreams, served.base_url)
        assert await fetch(upstreams, served.base_url, body=LARGE) == (200, b"ok")
        assert served.accepted == 2


async def test_receives_cancelled_within_a_record_lose_nothing(
    upstreams: Upstreams, serving: ssl.SSLContext
) -> None:
    async def script(peer: Peer) -> None:
        await peer.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc")
        socket_stream, data = await encrypted(peer, b"def", b"ghi")
        for position in range(len(data)):
            await tick.wait()
            await socket_stream.send_all(data[position : position + 1])
        await peer.wait_for_end()

    tick = trio.Event()
    async with (
        upstream(script, context=serving) as served,
        opened(upstreams, served.base_url) as reply,
    ):
        assert await reply.receive() == b"abc"
        received, cancelled = b"", 0
        while len(received) < 6:
            tick.set()
            tick = trio.Event()
            with trio.move_on_after(0.0005) as waiting:
                received += await reply.receive()
            cancelled += waiting.cancelled_caught
        assert received == b"defghi"
        assert cancelled > 10
        assert await reply.receive() == b""
