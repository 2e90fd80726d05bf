"""Where a request goes and how its head is written; nothing here does any I/O."""

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from relay.upstream.proxy import Proxy, parse_proxy_url

Headers = Sequence[tuple[bytes, bytes]]
Address = tuple[str, str, int, Proxy | None, bool, bool]

_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,251}[A-Za-z0-9.])?")
_VISIBLE_ASCII = re.compile(r"[!-~]+")


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a base URL leads; `prefix` is its path without the final slash.

    `proxy` is the outbound proxy on the way there, None for the direct one. `judges_host` and
    `judges_proxy` say of which of them an inner address needs to be allowed.
    """

    scheme: str
    host: str
    port: int
    prefix: bytes
    host_header: bytes
    proxy: Proxy | None = None
    judges_host: bool = False
    judges_proxy: bool = False

    @property
    def address(self) -> Address:
        """What connections are pooled by."""
        # A connection that nobody judged is not for those who are judged.
        judges = self.judges_host, self.judges_proxy
        return self.scheme, self.host, self.port, self.proxy, *judges


def parse_base_url(
    url: str, proxy: str | None = None, judges_host: bool = False, judges_proxy: bool = False
) -> Origin:
    """Read `http(s)://host[:port][/prefix]`, and the address of a proxy on the way there.

    Raises:
        ValueError: a sentence about what such an address may not have.
    """
    if not _VISIBLE_ASCII.fullmatch(url):
        raise ValueError("A base URL consists of visible ASCII characters.")
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https"):
        raise ValueError("A base URL begins with http:// or https://.")
    if "@" in parts.netloc or "?" in url or "#" in url:
        raise ValueError("A base URL has no user name, password, query or fragment.")
    host = parts.hostname or ""
    is_ipv6 = "[" in parts.netloc
    if is_ipv6:
        ipaddress.IPv6Address(host if "%" not in host else "")
    elif not _HOST.fullmatch(host):
        raise ValueError("A base URL needs a plain host name or address.")
    default = 443 if parts.scheme == "https" else 80
    port = default if parts.port is None else parts.port
    if port == 0:
        raise ValueError("A base URL's port is between 1 and 65535.")
    shown = (f"[{host}]" if is_ipv6 else host) + (f":{port}" if port != default else "")
    prefix = parts.path.rstrip("/").encode("ascii")
    way = None if proxy is None else parse_proxy_url(proxy)
    header = shown.encode("ascii")
    return Origin(parts.scheme, host, port, prefix, header, way, judges_host, judges_proxy)


def announced_bytes_of(headers: Headers) -> int | None:
    lengths = [value for name, value in headers if name == b"content-length"]
    if any(not value.isdigit() for value in lengths) or len(lengths) > 1:
        raise ValueError("A content-length is one number.")
    return int(lengths[0]) if lengths else None


def request_head(origin: Origin, method: str, target: bytes, headers: Headers) -> bytes:
    """The head as bytes. Raises ValueError where a part of it would begin a line of its own."""
    line = b"%b %b%b HTTP/1.1\r\n" % (method.encode("ascii"), origin.prefix, target)
    head = line + b"".join([b"%b: %b\r\n" % header for header in headers]) + b"\r\n"
    breaks = len(headers) + 2
    if head.count(b"\n") != breaks or head.count(b"\r") != breaks or b"\0" in head:
        raise ValueError("A header or the target has a control character in it.")
    if not target.startswith(b"/") or b" " in target:
        raise ValueError("A target begins with a slash and has no spaces.")
    return head
