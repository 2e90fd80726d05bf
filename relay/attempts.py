"""Guessing is slowed, and nobody is locked out: how often a password or code may be tried.

Who signs in from where this user has signed in before is counted for that place alone, so that
nobody elsewhere is in their way. Others share counters by place, and by name. What names and
addresses an attacker makes up fills a fixed number of counters, each in a fixed slot.
"""

import hashlib
import ipaddress
import math
from dataclasses import dataclass

from relay.store import Store

# A count is forgotten so long after its last attempt.
_LIFE_MS = 15 * 60 * 1000
_SLOTS = 8192
_LONGEST_MS = 30_000
# Free attempts of a place with one name, of a place, of a name from elsewhere.
_FREE_OF_PAIR, _FREE_OF_PLACE, _FREE_OF_NAME = 5, 20, 10
# An attempt at a name that many try is answered so much later at most.
_LONGEST_DELAY_S, _FIRST_DELAY_S = 3.0, 0.25
# Codes: of those who know the password, and of those who are to be answered at once.
_FREE_CODES, _LONGEST_CODE_MS = 10, 15 * 60 * 1000
_FREE_CODE_LOOKS = 20
_NEVER = 10**9

Scope = tuple[str, int, int]


def network_of(address: str) -> str:
    """The place that an address belongs to: an IPv6 subscriber has a /64 of them."""
    try:
        given = ipaddress.ip_address(address)
    except ValueError:
        return address[:64]
    if isinstance(given, ipaddress.IPv4Address):
        return str(given)
    if given.ipv4_mapped is not None:
        return str(given.ipv4_mapped)
    return str(ipaddress.ip_network((given.packed[:8] + bytes(8), 64)))


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt that may be made.

    Args:
        user: stands for the name, in keys of Redis.
        is_known: this user has signed in from there before.
        delay_s: so much later it is answered, unless its second factor is right.
    """

    user: str
    place: str
    is_known: bool
    delay_s: float
    scopes: tuple[Scope, ...]


class Attempts:
    """Counts attempts, and remembers from where each user has signed in."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def begin(self, name: str, address: str) -> tuple[Attempt, float]:
        """An attempt to sign in, counted before it is tried, and in how many seconds another may
        be made instead; 0 when this one may."""
        user, place = _digest(name), network_of(address)
        is_known = await self._store.users.is_known(user, place)
        scopes: tuple[Scope, ...] = ((f"known:{user}:{place}", _FREE_OF_PAIR, _LONGEST_MS),)
        if not is_known:
            scopes = (
                (f"pair:{_slot(f'{place} {user}')}", _FREE_OF_PAIR, _LONGEST_MS),
                (f"place:{_slot(place)}", _FREE_OF_PLACE, _LONGEST_MS),
                (f"name:{_slot(user)}", _NEVER, 0),
            )
        wait_s, count = await self._count(scopes)
        delay_s = 0.0 if is_known else _delay_s(count)
        return Attempt(user, place, is_known, delay_s, scopes), wait_s

    async def succeed(self, attempt: Attempt) -> None:
        """The attempt was right: its place is known from now on, and its counts are taken back."""
        await self._store.users.forget_attempts(_key(attempt.scopes[0]))
        await self._undo(attempt.scopes[1:])
        await self._store.users.note_known(attempt.user, attempt.place)

    async def may_try_code(self, attempt: Attempt) -> bool:
        """Whether a code may be tried by somebody who knows the password; counts it."""
        return not (await self._count((_codes(attempt),)))[0]

    async def code_was_right(self, attempt: Attempt) -> None:
        """Take the count of a right code back."""
        await self._undo((_codes(attempt),))

    async def may_look_at_code(self, attempt: Attempt) -> bool:
        """Whether a code may spare its attempt the delay; counts it, so that it is not guessed."""
        scope = (f"look:{attempt.user}", _FREE_CODE_LOOKS, _LONGEST_CODE_MS)
        return not (await self._count((scope,)))[0]

    async def again(self, name: str, address: str) -> tuple[Attempt, float]:
        """As begin(), for a user who is signed in and gives the password once more."""
        user, place = _digest(name), network_of(address)
        scopes = ((f"again:{user}:{place}", _FREE_OF_PAIR, _LONGEST_MS),)
        return Attempt(user, place, True, 0.0, scopes), (await self._count(scopes))[0]

    async def forget(self, name: str) -> None:
        """Forget from where a user who is removed has signed in."""
        await self._store.users.forget_known(_digest(name))

    async def _count(self, scopes: tuple[Scope, ...]) -> tuple[float, int]:
        limits = [number for _, free, longest in scopes for number in (free, longest)]
        keys = [_key(scope) for scope in scopes]
        wait_ms, count = await self._store.users.attempt("count", keys, _LIFE_MS, limits)
        return wait_ms / 1000, count

    async def _undo(self, scopes: tuple[Scope, ...]) -> None:
        if scopes:
            await self._store.users.attempt("undo", [_key(one) for one in scopes], _LIFE_MS, [])


def _codes(attempt: Attempt) -> Scope:
    place = f":{attempt.place}" if attempt.is_known else ""
    return (f"code:{attempt.user}{place}", _FREE_CODES, _LONGEST_CODE_MS)


def _delay_s(count: int) -> float:
    if count <= _FREE_OF_NAME:
        return 0.0
    return float(min(_LONGEST_DELAY_S, _FIRST_DELAY_S * math.pow(2, min(count - 11, 30))))


def _key(scope: Scope) -> str:
    return f"sign-in:{scope[0]}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _slot(text: str) -> int:
    return int(_digest(text), 16) % _SLOTS
