"""Who opens a page: over which way, with which cookie, and from which page it was sent."""

import ipaddress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from quart import Request

_NAMES = {True: "__Host-relay", False: "relay"}
_LOCAL_HOSTS = {"localhost", "127.0.0.1", "::1"}


@dataclass(frozen=True, slots=True)
class Way:
    """How a request came in.

    Args:
        address: the person's own, behind trusted proxies as well.
        is_secure: over TLS, as far as we or a trusted proxy know.
        is_local: from this machine, by a local name.
    """

    address: str
    is_secure: bool
    is_local: bool

    @property
    def may_have_session(self) -> bool:
        """A cookie must not cross a network in clear text."""
        return self.is_secure or self.is_local

    @property
    def cookie(self) -> str:
        """The name of the session's cookie."""
        return _NAMES[self.is_secure]


def way_of(request: Request) -> Way:
    """How a request came in; the front has put the person's address and the scheme in place."""
    scope: Any = request.scope
    address = scope["client"][0] if scope.get("client") else ""
    return way(address, scope["scheme"], request.host)


def way(address: str, scheme: str, host: str) -> Way:
    """How a request from an address came in, by a scheme and the name of a host."""
    try:
        named = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        named = ""
    return Way(
        address=address,
        is_secure=scheme == "https",
        is_local=named in _LOCAL_HOSTS and _is_loopback(address),
    )


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def is_from_elsewhere(request: Request) -> bool:
    """Whether a browser says that another site's page sent this request."""
    if site := request.headers.get("Sec-Fetch-Site"):
        return site not in ("same-origin", "none")
    origin = request.headers.get("Origin")
    return bool(origin) and urlsplit(str(origin)).netloc != request.host


def local_path(text: str) -> str:
    """A path of the console that a person may be sent to; its first page for anything else."""
    parts = urlsplit(text)
    is_plain = text.isascii() and text.isprintable() and "\\" not in text and "//" not in text
    is_ours = parts.path == "/web" or parts.path.startswith("/web/")
    if is_plain and is_ours and not parts.scheme and not parts.netloc:
        return text
    return "/web"
