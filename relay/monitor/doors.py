"""What answers at the doors: each instance's /health and /ready, and the certificates."""

import ssl
from collections.abc import Sequence

import trio

from relay.monitor.seen import Certificate, Door

_ANSWER_DEADLINE_S = 3.0


async def instances(host: str, ports: Sequence[int]) -> dict[int, Door]:
    """What the instances on these ports answer, all asked at one time."""
    # Its import takes longer than the rest of the monitor's.
    import httpx

    found: dict[int, Door] = {}
    async with httpx.AsyncClient(trust_env=False, timeout=_ANSWER_DEADLINE_S) as client:

        async def ask(url: str) -> tuple[int | None, str]:
            try:
                with trio.fail_after(_ANSWER_DEADLINE_S):
                    answer = await client.get(url)
                return answer.status_code, str(answer.json().get("version", ""))
            except (httpx.HTTPError, trio.TooSlowError):
                return None, ""
            except (ValueError, AttributeError):
                # Something else answers there.
                return 0, ""

        async def look(port: int) -> None:
            base = f"http://{host}:{port}"
            health, version = await ask(f"{base}/health")
            ready, _ = await ask(f"{base}/ready") if health is not None else (None, "")
            found[port] = Door(health, ready, version)

        async with trio.open_nursery() as nursery:
            for port in ports:
                nursery.start_soon(look, port)
    return found


async def certificates(
    domains: Sequence[str], host: str = "127.0.0.1", port: int = 443
) -> dict[str, Certificate | str]:
    """The certificate that each domain is served with at an address, or why there is none."""
    found: dict[str, Certificate | str] = {}

    async def look(domain: str) -> None:
        found[domain] = await _certificate(domain, host, port)

    async with trio.open_nursery() as nursery:
        for domain in domains:
            nursery.start_soon(look, domain)
    return found


async def _certificate(domain: str, host: str, port: int) -> Certificate | str:
    # Looked at, not trusted: nothing is sent to it, and one that has run out must be seen too.
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        with trio.fail_after(_ANSWER_DEADLINE_S):
            plain = await trio.open_tcp_stream(host, port)
            stream = trio.SSLStream(plain, context, server_hostname=domain)
            try:
                await stream.do_handshake()
                der = stream.getpeercert(binary_form=True)
            finally:
                await trio.aclose_forcefully(plain)
    except trio.TooSlowError:
        return f"https://{domain} does not answer on this machine."
    except OSError:
        return f"Nobody listens on port {port} for https://{domain}."
    except trio.BrokenResourceError:
        return f"There is no certificate for https://{domain} yet."
    return _read(der)


def _read(der: bytes) -> Certificate:
    from cryptography import x509

    one = x509.load_der_x509_certificate(der)
    return Certificate(one.not_valid_before_utc, one.not_valid_after_utc)
