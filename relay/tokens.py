"""Tokens of the admin API: programs that may do what people do in the console.

A token is shown once; Redis holds a keyed hash of it, of another kind than that of keys, so that
neither is ever taken for the other. It has a role as people have, and an end.
"""

import hashlib
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from relay import errors, rules
from relay.attempts import network_of
from relay.audit import Audit
from relay.store import NameTaken, Store
from relay.users import ROLES
from relay.vault import Vault, new_id, new_key, same_secret

PREFIX = "sk-relay-admin-"
NONE_GIVEN = "No admin token. Send one as `Authorization: Bearer sk-relay-admin-…`."
NOT_KNOWN = "Invalid admin token. `relay token create` makes one."

log = logging.getLogger("relay.tokens")

_HINT_LENGTH = 5
# So many different wrong tokens an address may show within the window.
_WINDOW_S, _MOST_WRONG = 15 * 60, 20
# A token's use is noted this seldom.
_NOTE_EVERY_S = 60


class TokenProblem(rules.Problem):
    """A sentence about why a token cannot be found or made."""


@dataclass(frozen=True, slots=True)
class Token:
    """A token as people see it. `hint` is its start; times are UTC.

    Args:
        role: viewer, operator or admin.
        expires_at: None for never.
        used_at: to the minute; None for not yet.
    """

    id: str
    name: str
    role: str
    hint: str
    created_at: datetime
    expires_at: datetime | None
    used_at: datetime | None

    def may(self, role: str) -> bool:
        """Whether the token has this role or a greater one."""
        return ROLES.index(self.role) >= ROLES.index(role)

    def to_json(self) -> dict[str, object]:
        """The token as programs are told of it, on the command line and by the API."""
        return {
            "id": self.id,
            "name": self.name,
            "role": self.role,
            "hint": self.hint,
            "createdAt": self.created_at,
            "expiresAt": self.expires_at,
            "usedAt": self.used_at,
        }


class Tokens:
    """Makes, lists and deletes tokens, and knows a presented one by its hash."""

    def __init__(self, store: Store, vault: Vault) -> None:
        self._store = store
        self._vault = vault
        self._audit = Audit(store, vault)

    async def create(
        self, name: str, role: str, expires_at: datetime | None = None
    ) -> tuple[Token, str]:
        """A new token and its secret text, which cannot be read again.

        Args:
            name: one plain word, unique among tokens; the audit names it.
            role: viewer, operator or admin.
            expires_at: UTC; from then on it is refused. None for never.
        """
        ends = _checked(name, role, expires_at)
        text = new_key(PREFIX)
        token_id = new_id("token")
        fields = {
            "name": name,
            "role": role,
            "hint": text[: len(PREFIX) + _HINT_LENGTH],
            "hash": self._hash(text),
            "created_at": _ms(time.time()),
            "expires_at": ends,
            "used_at": "",
        }
        try:
            await self._store.tokens.add(token_id, fields)
        except NameTaken:
            raise TokenProblem(f"There is a token named {name} already.", "name") from None
        token = _token(token_id, fields)
        await self._audit.note("token.create", name, None, token.to_json())
        return token, text

    async def list(self) -> Sequence[Token]:
        """All tokens, oldest first, those that have ended among them."""
        found = []
        for token_id in await self._store.tokens.ids():
            fields = await self._store.tokens.read(token_id)
            if fields:
                found.append(_token(token_id, fields))
        return sorted(found, key=lambda one: (one.created_at, one.id))

    async def find(self, name_or_id: str) -> Token:
        """The token with this id or name; TokenProblem when there is none, or several of the
        name."""
        found = rules.by_name_or_id(await self.list(), name_or_id)
        if not found:
            raise TokenProblem(f"There is no admin token with the name or id {name_or_id}.")
        if len(found) > 1:
            raise TokenProblem(rules.twins("tokens", name_or_id, found))
        return found[0]

    async def delete(self, name_or_id: str) -> Token:
        """Delete a token for good; it opens nothing from its next request on."""
        token = await self.find(name_or_id)
        fields = await self._store.tokens.read(token.id)
        await self._store.tokens.remove(token.id, fields.get("hash", ""))
        await self._audit.note("token.delete", token.name, token.to_json())
        return token

    async def authenticate(self, text: str, address: str) -> Token:
        """Whose token this is.

        Args:
            address: of whoever shows it; the log tells of guessing with it.

        Raises:
            errors.Unauthorized: it is nobody's, or has ended.
            errors.RateLimited: the same, after too many different wrong ones of this address.
        """
        token_hash = self._hash(text)
        token_id = await self._store.tokens.id_of_hash(token_hash)
        fields = await self._store.tokens.read(token_id) if token_id else {}
        if token_id is None or not same_secret(fields.get("hash", ""), token_hash):
            await self._store.confirm()
            await self._count_wrong(token_hash, address)
            raise errors.Unauthorized(NOT_KNOWN)
        token = _token(token_id, fields)
        if token.expires_at is not None and token.expires_at <= datetime.now(UTC):
            raise errors.Unauthorized(
                f"This admin token expired at {token.expires_at:%Y-%m-%d %H:%M} UTC."
            )
        now = time.time()
        if token.used_at is None or now - token.used_at.timestamp() > _NOTE_EVERY_S:
            await self._store.tokens.note_use(token.id, fields["used_at"], _ms(now))
        return token

    async def _count_wrong(self, token_hash: str, address: str) -> None:
        """Count a wrong token of an address; the same one again, as a program sends it, is not.

        A right one is let in however many wrong ones came: 256 bits are not guessed, and nobody
        should lock out those who share an address.
        """
        place = network_of(address)
        of_address = f"tokens:{place}"
        count, left_s = await self._store.users.attempts(of_address)
        # fail2ban counts more of them than are let try; beyond that there is nothing to tell.
        if count < 2 * _MOST_WRONG:
            same = hashlib.sha256(f"{place} {token_hash}".encode()).hexdigest()[:32]
            if (await self._store.users.note_attempt(f"token:{same}", _WINDOW_S))[0] == 1:
                count, left_s = await self._store.users.note_attempt(of_address, _WINDOW_S)
                log.warning("address=%s showed an unknown admin token", address)
        if count > _MOST_WRONG:
            raise errors.RateLimited(
                f"Too many wrong admin tokens. Try again in {max(1, left_s // 60)} minutes.",
                [(b"retry-after", b"%d" % max(1, left_s)), (b"x-should-retry", b"false")],
            )

    def _hash(self, text: str) -> str:
        return self._vault.seal(text, purpose="admin-token")


def _checked(name: str, role: str, expires_at: datetime | None) -> str:
    """When it ends, as it is kept, once all of it may be so."""
    try:
        rules.words([name])
    except ValueError as rule:
        raise TokenProblem(str(rule), "name") from None
    if role not in ROLES:
        raise TokenProblem(f"There is no role {role}; there are {', '.join(ROLES)}.", "role")
    if expires_at is not None and expires_at <= datetime.now(UTC):
        raise TokenProblem("A token ends in the time to come.", "expires_at")
    try:
        ends = rules.moment(expires_at) if expires_at else ""
    except ValueError as rule:
        raise TokenProblem(str(rule), "expires_at") from None
    return ends


def _token(token_id: str, fields: dict[str, str]) -> Token:
    return Token(
        id=token_id,
        name=fields["name"],
        role=fields["role"],
        hint=fields["hint"],
        created_at=_time(fields["created_at"]),
        expires_at=_time(fields["expires_at"]) if fields["expires_at"] else None,
        used_at=_time(fields["used_at"]) if fields["used_at"] else None,
    )


def _ms(unix_s: float) -> str:
    return str(round(unix_s * 1000))


def _time(ms: str) -> datetime:
    return datetime.fromtimestamp(int(ms) / 1000, UTC)
