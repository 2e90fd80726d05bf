"""Which addresses lie in the open internet. Everything else may be somebody's inside.

Judged is the address that a name has been resolved to, so it does not matter in which notation it
was written: decimal, octal, mapped or shortened forms come out as the address that they mean.
"""

import ipaddress
import socket
from collections.abc import Sequence

import trio

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

# IPv6 that is handed out to the public (RFC 4291 section 2.4), and what within it is not.
_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")
_SPECIAL = tuple(
    ipaddress.IPv6Network(one) for one in ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")
)
# What is not global in newer Pythons' eyes only, and in none's: the latter is anycast of 6to4.
_SPECIAL_IPV4 = tuple(
    ipaddress.IPv4Network(one) for one in ("192.0.0.0/24", "192.88.99.0/24", "198.18.0.0/15")
)
# NAT64 (RFC 6052): behind it lies the IPv4 address of the last 32 bits.
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


def is_public(address: Address) -> bool:
    """Whether an address is one of the open internet: not private, loopback, link-local,
    multicast, shared (CGNAT), reserved or otherwise special."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped
        if inner is None and address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(inner)
        is_special = any(address in network for network in _SPECIAL)
        return address in _GLOBAL_UNICAST and address.is_global and not is_special
    is_special = any(address in network for network in _SPECIAL_IPV4)
    return (
        address.is_global
        and not address.is_multicast
        and not address.is_reserved
        and not is_special
    )


Network = ipaddress.IPv4Network | ipaddress.IPv6Network
EVERYWHERE: Sequence[Network] = (
    ipaddress.IPv4Network("0.0.0.0/0"),
    ipaddress.IPv6Network("::/0"),
)


class InnerAddress(Exception):
    """A host has an address that is not public, and nobody allowed it."""


def is_allowed(address: Address, networks: Sequence[Network]) -> bool:
    """Whether an address is public or in one of the networks."""
    meant: Address = address
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        meant = address.ipv4_mapped
    return is_public(address) or any(meant in network for network in networks)


async def judged(host: str, port: int, networks: Sequence[Network]) -> Sequence[Address]:
    """Every address of a host, to one of which the caller then connects, by its number: a name
    that means something else a moment later (DNS rebinding) gains nothing.

    Raises:
        InnerAddress: one of them is neither public nor in one of `networks`.
        OSError, UnicodeError: the name is not known.
    """
    rows = await trio.socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP
    )
    found = list(dict.fromkeys(_address(str(row[4][0])) for row in rows))
    if not all(is_allowed(address, networks) for address in found):
        raise InnerAddress(host)
    return found


async def judge_number(host: str, networks: Sequence[Network]) -> None:
    """Judge a host if it is an address in any notation; a name is somebody else's to resolve.

    Raises:
        InnerAddress: it is neither public nor in one of `networks`.
    """
    try:
        rows = await trio.socket.getaddrinfo(host, None, flags=socket.AI_NUMERICHOST)
    except (OSError, UnicodeError):
        return
    if not all(is_allowed(_address(str(row[4][0])), networks) for row in rows):
        raise InnerAddress(host)


def _address(text: str) -> Address:
    return ipaddress.ip_address(text.partition("%")[0])
