"""rediss:// as its options say: whom it trusts, whom it shows itself as, and what it refuses."""

import datetime
import ipaddress
import ssl
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest
import trio
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from relay.redis_link import RedisAway, RedisLink, linked
from relay.settings import SettingsError

PONG = str(b"PONG")


def certificate(folder: Path, host: str) -> Path:
    """A certificate that vouches for itself, with its key beside it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "redis")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(host))]), False
        )
        .add_extension(x509.BasicConstraints(True, None), True)
        .sign(key, hashes.SHA256())
    )
    file = folder / f"{host}.pem"
    file.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    file.with_suffix(".key").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return file


@pytest.fixture
async def serve(tmp_path: Path) -> AsyncIterator[object]:
    """Starts something that answers each command by TLS; its port."""
    async with trio.open_nursery() as nursery:

        async def answer(stream: trio.SocketStream, context: ssl.SSLContext) -> None:
            tls = trio.SSLStream(stream, context, server_side=True)
            try:
                while await tls.receive_some(1000):
                    await tls.send_all(b"+PONG\r\n")
            except trio.BrokenResourceError:
                await trio.aclose_forcefully(tls)

        async def start(file: Path, clients: Path | None = None) -> int:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            context.load_cert_chain(file, file.with_suffix(".key"))
            if clients is not None:
                context.load_verify_locations(clients)
                context.verify_mode = ssl.CERT_REQUIRED
            [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
            nursery.start_soon(
                partial(trio.serve_listeners, partial(answer, context=context), [listener])
            )
            return int(listener.socket.getsockname()[1])

        yield start
        nursery.cancel_scope.cancel()


async def ping(port: int, options: str) -> str:
    """What Redis answers, or why it cannot."""
    async with linked(f"rediss://127.0.0.1:{port}/0?{options}", greet) as link:
        try:
            return str(await link.call("PING", deadline_s=1.0))
        except RedisAway as away:
            return str(away)


async def greet(link: RedisLink) -> None:
    await link.now("PING")


async def test_the_authority_that_the_url_names_is_trusted(serve, tmp_path: Path):
    file = certificate(tmp_path, "127.0.0.1")
    port = await serve(file)
    assert await ping(port, f"ssl_ca_certs={file}") == PONG
    assert await ping(port, "ssl_cert_reqs=none") == PONG
    assert await ping(port, "") == "TLS with Redis fails: self-signed certificate"


async def test_a_name_that_does_not_fit_passes_only_where_it_is_not_compared(serve, tmp_path: Path):
    file = certificate(tmp_path, "192.0.2.1")
    port = await serve(file)
    assert await ping(port, f"ssl_ca_certs={file}&ssl_check_hostname=false") == PONG
    refused = await ping(port, f"ssl_ca_certs={file}&ssl_check_hostname=true")
    assert refused.startswith("TLS with Redis fails: IP address mismatch")


async def test_the_relay_shows_its_own_certificate(serve, tmp_path: Path):
    file, own = certificate(tmp_path, "127.0.0.1"), certificate(tmp_path, "127.0.0.2")
    port = await serve(file, clients=own)
    key = own.with_suffix(".key")
    shown = f"ssl_ca_certs={file}&ssl_certfile={own}&ssl_keyfile={key}"
    assert await ping(port, shown) == PONG
    assert await ping(port, f"ssl_ca_certs={file}") != PONG


@pytest.mark.parametrize("option", ["ssl_ca_certs", "ssl_certfile"])
async def test_a_file_that_is_not_there_or_holds_nothing_is_named(tmp_path: Path, option: str):
    empty = tmp_path / "empty"
    empty.touch()
    for file in (tmp_path / "gone", empty):
        with pytest.raises(SettingsError, match=f"{option} cannot be used"):
            await ping(1, f"{option}={file}")
