"""The way out to a webhook: resolved and judged by us, sent once, with a deadline for the whole.

The connection goes to the very address that was judged, so a name that means something else a
moment later (DNS rebinding) gains nothing. Redirects are not followed, answers are not read. No
sentence here repeats an address, because the path of a webhook's is a secret.
"""

import re
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

import trio

from relay.addresses import EVERYWHERE, Address, InnerAddress, judged

# From the name's resolution to the answer's head.
DEADLINE_S = 10.0
# Of a name's addresses so many are tried, each with its part of the deadline.
_MOST_ADDRESSES = 3
_LONGEST_PAUSE_S = 3600.0
_SECONDS = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?")


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a delivery ended.

    Args:
        error: a sentence; empty when the receiver took it.
        status: of the answer, if there was one.
        pause_s: how long the receiver wants to be left alone (Retry-After).
    """

    error: str = ""
    status: int | None = None
    pause_s: float = 0.0


class _Refused(Exception):
    """A sentence about why nothing is sent."""


async def post(
    url: str, headers: Mapping[str, str], body: bytes, *, allow_private: bool
) -> Outcome:
    """POST `body` to a webhook; whatever goes wrong is told, not raised.

    Args:
        allow_private: the address may lie in a private network or on this machine.
    """
    try:
        with trio.fail_after(DEADLINE_S):
            parts = urlsplit(url)
            try:
                found = await _judged(parts, allow_private)
            except _Refused as refusal:
                return Outcome(str(refusal))
            return await _send_to_one(parts, found, headers, body)
    except trio.TooSlowError:
        return Outcome(f"It does not answer within {DEADLINE_S:.0f} s.")


async def _judged(parts: SplitResult, allow_private: bool) -> Sequence[Address]:
    """Every address of the host; _Refused if one of them may not be sent to."""
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        return await judged(parts.hostname or "", port, EVERYWHERE if allow_private else ())
    except InnerAddress:
        raise _Refused(
            "It lies in a private network or on this machine; allowPrivate = true lets that be."
        ) from None
    except (OSError, UnicodeError):
        raise _Refused("Its name is not known.") from None


async def _send_to_one(
    parts: SplitResult, found: Sequence[Address], headers: Mapping[str, str], body: bytes
) -> Outcome:
    outcome = Outcome("Its name is not known.")
    for address in found[:_MOST_ADDRESSES]:
        outcome, is_connected = await _send(parts, address, headers, body)
        if is_connected:
            break
    return outcome


async def _send(
    parts: SplitResult, address: Address, headers: Mapping[str, str], body: bytes
) -> tuple[Outcome, bool]:
    """How it ended at one address, and whether that was reached at all."""
    # Only who has a webhook pays for the import.
    import httpx

    host = f"[{address}]" if address.version == 6 else str(address)
    port = f":{parts.port}" if parts.port else ""
    timeout = httpx.Timeout(DEADLINE_S, connect=DEADLINE_S / _MOST_ADDRESSES)
    try:
        # The certificate is judged by the name, whatever address it is served from.
        trusted = ssl.create_default_context()
        async with (
            httpx.AsyncClient(trust_env=False, timeout=timeout, verify=trusted) as client,
            client.stream(
                "POST",
                parts._replace(netloc=host + port).geturl(),
                content=body,
                headers={**headers, "host": parts.netloc},
                extensions={"sni_hostname": parts.hostname},
                follow_redirects=False,
            ) as reply,
        ):
            return _outcome(reply.status_code, reply.headers.get("retry-after", "")), True
    except (httpx.ConnectError, httpx.ConnectTimeout) as error:
        why = _certificate_problem(error)
        return Outcome(why or "It cannot be reached."), bool(why)
    except httpx.TimeoutException:
        return Outcome(f"It does not answer within {DEADLINE_S:.0f} s."), True
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return Outcome(f"It broke off ({type(error).__name__})."), True


def _outcome(status: int, retry_after: str) -> Outcome:
    if 200 <= status < 300:
        return Outcome(status=status)
    is_number = _SECONDS.fullmatch(retry_after)
    pause_s = min(float(retry_after), _LONGEST_PAUSE_S) if is_number else 0.0
    if 300 <= status < 400:
        return Outcome(f"It redirects (status {status}), which is not followed.", status, pause_s)
    return Outcome(f"It answers with status {status}.", status, pause_s)


def _certificate_problem(error: BaseException | None) -> str:
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return f"Its certificate is not trusted: {error.verify_message}."
        if isinstance(error, ssl.SSLError):
            return "It does not speak TLS as it should."
        inner = error.__cause__ or error.__context__ or (error.args[0] if error.args else None)
        error = inner if isinstance(inner, BaseException) else None
    return ""
