"""People who may use the console: who they are, what they may, and how they sign in.

A wrong password, a wrong code and an unknown name look and last the same. Guessing is slowed, see
attempts.py; nobody locks another one out.
"""

import hashlib
import logging
import math
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import trio

from relay import passwords, rules
from relay.attempts import Attempt, Attempts
from relay.audit import Audit
from relay.store import Store
from relay.strangers import Strangers
from relay.vault import Vault, same_secret

ROLES = ("viewer", "operator", "admin")
FIRST = "admin"
ISSUER = "Relay"

log = logging.getLogger("relay.users")

# Each takes 19 MiB; more of them wait for their turn.
_HASHED_AT_ONCE = 4

_IDLE_S = 12 * 3600
_LONGEST_S = 7 * 24 * 3600
# A session's use is noted this seldom.
_NOTE_EVERY_S = 60


class UserProblem(rules.Problem):
    """A sentence about why a user cannot be found, made or changed."""


class SignInRefused(Exception):
    """A sentence for the person who could not sign in; `wait_s` when trying must wait."""

    def __init__(self, sentence: str, wait_s: int = 0) -> None:
        super().__init__(sentence)
        self.wait_s = wait_s


@dataclass(frozen=True, slots=True)
class User:
    """A person: `role` is viewer, operator or admin."""

    name: str
    role: str
    enabled: bool
    has_second_factor: bool
    created_at: datetime
    signed_in_at: datetime | None

    def may(self, role: str) -> bool:
        """Whether the person has this role or a greater one."""
        return ROLES.index(self.role) >= ROLES.index(role)


@dataclass(frozen=True, slots=True)
class Session:
    """A browser that is signed in; `id` tells sessions apart and opens none."""

    id: str
    user: User
    csrf: str
    address: str
    agent: str
    began_at: datetime
    used_at: datetime


class Users:
    """Makes, changes and signs in users."""

    def __init__(self, store: Store, vault: Vault) -> None:
        self._store = store
        self._vault = vault
        self._audit = Audit(store, vault)
        self._attempts = Attempts(store)
        self._hashing = trio.CapacityLimiter(_HASHED_AT_ONCE)
        # Wrong passwords of late, by a hash that nobody else can make.
        self._wrong = Strangers()
        self._salt = secrets.token_bytes(32)

    async def ensure_first(self, password: str) -> str | None:
        """Make the first admin where there is no user; returns a password that was made up."""
        if await self._store.users.names():
            return None
        chosen = password or passwords.new_password()
        try:
            await self.add(FIRST, chosen, "admin")
        except UserProblem:
            if password:
                raise
            # Another process was quicker, and has told.
            return None
        return None if password else chosen

    async def add(self, name: str, password: str, role: str) -> User:
        """A new user."""
        _check(name, password, role)
        fields = {
            "role": role,
            "enabled": "1",
            "password": await passwords.hashed(password, self._hashing),
            "created_at": _now_ms(),
        }
        if not await self._store.users.add(name, fields):
            raise UserProblem(f"There is a user named {name} already.", "name")
        await self._audit.note("user.add", name, None, {"role": role})
        return _user(name, fields)

    async def list(self) -> Sequence[User]:
        """All users by name."""
        return [await self.find(name) for name in await self._store.users.names()]

    async def find(self, name: str) -> User:
        """The user of this name; UserProblem when there is none."""
        fields = await self._store.users.read(name)
        if not fields:
            raise UserProblem(f"There is no user named {name}.")
        return _user(name, fields)

    async def set_role(self, name: str, role: str) -> User:
        """From the next page on the user may do what the role may."""
        user = await self.find(name)
        if role not in ROLES:
            raise UserProblem(f"There is no role {role}; there are {', '.join(ROLES)}.", "role")
        await self._keep_an_admin(user, role)
        await self._store.users.change(name, {"role": role})
        await self._audit.note("user.role", name, {"role": user.role}, {"role": role})
        return await self.find(name)

    async def set_enabled(self, name: str, *, enabled: bool) -> User:
        """A disabled user is signed out everywhere and cannot sign in."""
        user = await self.find(name)
        if not enabled:
            await self._keep_an_admin(user, "")
        await self._store.users.change(name, {"enabled": "1" if enabled else ""})
        if not enabled:
            await self._close_all(name)
        await self._audit.note("user.enable" if enabled else "user.disable", name)
        return await self.find(name)

    async def remove(self, name: str) -> User:
        """Remove a user for good; what they did stays in the audit."""
        user = await self.find(name)
        await self._keep_an_admin(user, "")
        await self._close_all(name)
        await self._store.users.remove(name)
        await self._attempts.forget(name)
        await self._audit.note("user.remove", name, {"role": user.role})
        return user

    async def _keep_an_admin(self, user: User, role: str) -> None:
        admins = [one for one in await self.list() if one.role == "admin" and one.enabled]
        if role != "admin" and [one.name for one in admins] == [user.name]:
            raise UserProblem(f"{user.name} is the last admin; make another one first.")

    async def set_password(self, name: str, password: str) -> User:
        """A new password; the user is signed out everywhere."""
        user = await self.find(name)
        _check(name, password, user.role)
        kept = await passwords.hashed(password, self._hashing)
        await self._store.users.change(name, {"password": kept})
        await self._close_all(name)
        await self._audit.note("user.password", name)
        return user

    # The second factor.

    def offer_second_factor(self, session: Session) -> tuple[str, str]:
        """A new secret for an app, and a record of it for the session that asked alone."""
        secret = passwords.new_totp_secret()
        return secret, self._vault.encrypt(secret, purpose=f"offer:{session.id}")

    def offered_second_factor(self, session: Session, offer: str) -> str:
        """The secret in a record of offer_second_factor(); VaultError for any other record."""
        return self._vault.decrypt(offer, purpose=f"offer:{session.id}")

    async def set_second_factor(self, name: str, secret: str, code: str) -> Sequence[str]:
        """Ask for codes of this secret from now on; returns recovery codes, shown once.

        Args:
            secret: of passwords.new_totp_secret().
            code: what the app shows, as proof that it has the secret.
        """
        await self.find(name)
        step = passwords.totp_step(secret, code)
        if step is None:
            raise UserProblem("The code is not right. Does the phone's clock go right?")
        sealed = self._vault.encrypt(secret, purpose=f"totp:{name}")
        await self._store.users.change(name, {"totp": sealed, "totp_step": str(step)})
        codes = passwords.new_recovery_codes()
        await self._store.users.keep_recovery(name, [self._recovery_hash(one) for one in codes])
        await self._audit.note("user.second_factor", name)
        return codes

    async def rotate(self) -> int:
        """Encrypt each second factor with the current ENCRYPT_KEY; how many were not yet."""
        count = 0
        for name in await self._store.users.names():
            record = (await self._store.users.read(name)).get("totp")
            if record and not self._vault.is_current(record):
                secret = self._vault.decrypt(record, purpose=f"totp:{name}")
                sealed = {"totp": self._vault.encrypt(secret, purpose=f"totp:{name}")}
                count += await self._store.users.change(name, sealed, field="totp", before=record)
        return count

    async def drop_second_factor(self, name: str) -> User:
        """Ask for the password alone again."""
        await self.find(name)
        await self._store.users.change(name, {"totp": "", "totp_step": ""})
        await self._store.users.keep_recovery(name, [])
        await self._audit.note("user.no_second_factor", name)
        return await self.find(name)

    def _recovery_hash(self, code: str) -> str:
        return self._vault.seal(code.strip().lower(), purpose="recovery")

    # Signing in.

    async def sign_in(self, name: str, password: str, code: str, address: str) -> User:
        """The user who gives the right password, and code where one is asked for.

        Raises:
            SignInRefused: something is not right, or too much was tried.
        """
        name = name.strip()
        began_at = trio.current_time()
        attempt, wait_s = await self._attempts.begin(name, address)
        _refuse_early(wait_s, "" if attempt.is_known else address)
        fields = await self._store.users.read(name)
        kept = fields.get("password", "")
        is_right = await passwords.is_password(password, kept, self._hashing)
        is_right = is_right and bool(fields.get("enabled"))
        if attempt.delay_s and not await self._shows_factor(attempt, name, fields, code):
            await trio.sleep_until(began_at + attempt.delay_s)
        if is_right and fields.get("totp"):
            is_right = await self._is_code(attempt, name, fields, code)
        if not is_right:
            await self._store.confirm()
            self._log_failure(attempt, name if fields else "?", password, address)
            raise SignInRefused("The name, the password or the code is not right.")
        log.info("user=%s address=%s signed in", name, address)
        await self._attempts.succeed(attempt)
        await self._store.users.change(name, {"signed_in_at": _now_ms()})
        return await self.find(name)

    def _log_failure(self, attempt: Attempt, name: str, password: str, address: str) -> None:
        """Say that somebody could not sign in, in the words that fail2ban counts for a new guess.

        The same wrong password again, and users at places of their own, must not ban those who
        share the address. What was typed as a name may be a password: only a user's own is told.
        """
        guess = hashlib.blake2b(f"{name} {password}".encode(), key=self._salt).hexdigest()
        how = "could not sign in"
        if attempt.is_known:
            how += " from a known address"
        elif not self._wrong.is_new(attempt.place, guess):
            how += " again"
        log.warning("user=%s address=%s %s", name, address, how)

    async def confirm(self, name: str, password: str, address: str) -> None:
        """Make sure that a person who is signed in knows the password; counted for them alone.

        Raises:
            SignInRefused: they do not, or too much was tried.
        """
        attempt, wait_s = await self._attempts.again(name, address)
        _refuse_early(wait_s, address)
        kept = (await self._store.users.read(name)).get("password", "")
        if not await passwords.is_password(password, kept, self._hashing):
            log.warning("user=%s address=%s gave a wrong password in a session", name, address)
            raise SignInRefused("The password is not right.")
        await self._attempts.succeed(attempt)

    async def _shows_factor(
        self, attempt: Attempt, name: str, fields: dict[str, str], code: str
    ) -> bool:
        """Whether a code of the user's came with the attempt. Uses none up, and opens nothing."""
        if not (code and fields.get("totp")) or not await self._attempts.may_look_at_code(attempt):
            return False
        secret = self._vault.decrypt(fields["totp"], purpose=f"totp:{name}")
        step = passwords.totp_step(secret, code)
        if step is not None:
            return step > int(fields["totp_step"])
        return await self._store.users.has_recovery(name, self._recovery_hash(code))

    async def _is_code(
        self, attempt: Attempt, name: str, fields: dict[str, str], code: str
    ) -> bool:
        """Whether the code is right, of somebody who knows the password; it works once."""
        if not await self._attempts.may_try_code(attempt):
            log.warning("user=%s: codes are tried too often by who knows the password", name)
            return False
        if not await self._takes_code(name, fields, code):
            return False
        await self._attempts.code_was_right(attempt)
        return True

    async def _takes_code(self, name: str, fields: dict[str, str], code: str) -> bool:
        secret = self._vault.decrypt(fields["totp"], purpose=f"totp:{name}")
        step, used = passwords.totp_step(secret, code), fields["totp_step"]
        if step is not None and step > int(used):
            # Of two who show the same code at one time, one gets in.
            newer = {"totp_step": str(step)}
            return await self._store.users.change(name, newer, field="totp_step", before=used)
        return bool(code) and await self._store.users.take_recovery(name, self._recovery_hash(code))

    # Sessions.

    async def open_session(self, user: User, address: str, agent: str) -> str:
        """A new session's token, for the browser's cookie."""
        token = secrets.token_urlsafe(32)
        now = time.time()
        fields = {
            "user": user.name,
            "csrf": secrets.token_urlsafe(24),
            "address": address,
            "agent": agent[:200],
            "began_at": _now_ms(),
            "used_at": _now_ms(),
        }
        end_s = int(now + _LONGEST_S)
        await self._store.users.open_session(_hash(token), user.name, fields, _IDLE_S, end_s)
        return token

    async def session(self, token: str) -> Session | None:
        """The open session of a token; its user is read anew each time."""
        session_id = _hash(token)
        fields = await self._store.users.read_session(session_id)
        if not fields:
            await self._store.confirm()
            return None
        found = await self._store.users.read(fields["user"])
        session = _session(session_id, fields, found)
        now = datetime.now(UTC)
        is_over = (now - session.began_at).total_seconds() > _LONGEST_S
        if not session.user.enabled or is_over:
            await self._store.users.close_sessions(session.user.name, [session_id])
            return None
        if (now - session.used_at).total_seconds() > _NOTE_EVERY_S:
            await self._store.users.use_session(session_id, {"used_at": _now_ms()}, _IDLE_S)
        return session

    async def sessions(self, name: str) -> Sequence[Session]:
        """A user's open sessions, the last used first."""
        user = await self._store.users.read(name)
        ids = await self._store.users.sessions(name)
        kept = [(one, await self._store.users.read_session(one)) for one in ids]
        found = [_session(one, fields, user) for one, fields in kept if fields]
        return sorted(found, key=lambda one: one.used_at, reverse=True)

    async def all_sessions(self) -> Sequence[Session]:
        """Every open session of everybody, the last used first."""
        found = [
            one for name in await self._store.users.names() for one in await self.sessions(name)
        ]
        return sorted(found, key=lambda one: one.used_at, reverse=True)

    async def sign_everybody_out(self) -> None:
        """Close every session there is."""
        for name in await self._store.users.names():
            await self._close_all(name)
        await self._audit.note("session.close_all", "everybody")

    async def sign_out(self, session: Session) -> None:
        """End a session by its own browser, which is nobody's change to anybody."""
        await self._store.users.close_sessions(session.user.name, [session.id])

    async def close_session(self, name: str, session_id: str) -> None:
        """Sign one browser of a user out."""
        if any(same_secret(one.id, session_id) for one in await self.sessions(name)):
            await self._store.users.close_sessions(name, [session_id])
            await self._audit.note("session.close", f"user {name}")

    async def sign_out_everywhere(self, name: str) -> None:
        """Close every session of a user."""
        await self._close_all(name)
        await self._audit.note("session.close_all", f"user {name}")

    async def _close_all(self, name: str) -> None:
        await self._store.users.close_sessions(name, await self._store.users.sessions(name))


def _refuse_early(wait_s: float, address: str) -> None:
    """Refuse an attempt that comes too soon; with an `address` the log names it."""
    if wait_s:
        if address:
            log.warning("address=%s tried to sign in too often", address)
        seconds = math.ceil(wait_s)
        raise SignInRefused(f"Too many attempts. Try again in {seconds} seconds.", seconds)


def _check(name: str, password: str, role: str) -> None:
    try:
        rules.words([name])
    except ValueError as rule:
        raise UserProblem(str(rule), "name") from None
    try:
        passwords.check_password(password)
    except ValueError as rule:
        raise UserProblem(str(rule), "password") from None
    if role not in ROLES:
        raise UserProblem(f"There is no role {role}; there are {', '.join(ROLES)}.", "role")


def _hash(token: str) -> str:
    # A token is random, so a plain hash of it is enough.
    return hashlib.sha256(token.encode()).hexdigest()


def _session(session_id: str, fields: dict[str, str], user: dict[str, str]) -> Session:
    return Session(
        id=session_id,
        user=_user(fields["user"], user),
        csrf=fields["csrf"],
        address=fields["address"],
        agent=fields["agent"],
        began_at=_time(fields["began_at"]),
        used_at=_time(fields["used_at"]),
    )


def _user(name: str, fields: dict[str, str]) -> User:
    signed_in = fields.get("signed_in_at")
    return User(
        name=name,
        role=fields.get("role", ROLES[0]),
        enabled=bool(fields.get("enabled")),
        has_second_factor=bool(fields.get("totp")),
        created_at=_time(fields.get("created_at", "0")),
        signed_in_at=_time(signed_in) if signed_in else None,
    )


def _now_ms() -> str:
    return str(int(time.time() * 1000))


def _time(ms: str) -> datetime:
    return datetime.fromtimestamp(int(ms) / 1000, UTC)
