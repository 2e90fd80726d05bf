"""What an account is: an upstream's address and the credential that the relay holds for it.

Secrets are encrypted at rest and readable only here; the admission script chooses an account
by id and version, and this room hands out the decrypted one, cached by that version.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol
from urllib.parse import urlsplit

from relay.store import Store
from relay.vault import Vault, new_id

KINDS = ("api_key",)
AUTH_HEADERS = ("x-api-key", "bearer")
ANTHROPIC_VERSION = b"2023-06-01"
_TEST_DEADLINE_S = 15.0

# What a claude.ai login looks like. The provider's terms do not allow passing these on, and
# its API refuses them outside its own apps.
_LOGIN_PREFIXES = ("sk-ant-oat", "sk-ant-sid", "sk-ant-session")
_ANTHROPIC_DOMAINS = ("anthropic.com", "claude.ai", "claude.com")


class AccountProblem(Exception):
    """A sentence about why an account cannot be found, made or changed."""


@dataclass(frozen=True, slots=True)
class Account:
    """An account as people see it: everything but the secret.

    `state` is "ok", or why it rests until `rests_until` (UTC): see balancer.py.
    """

    id: str
    name: str
    kind: str
    base_url: str
    auth: str
    enabled: bool
    created_at: datetime
    note: str
    state: str
    rests_until: datetime | None


@dataclass(frozen=True, slots=True)
class Credential:
    """What a request to an account needs: where to and by which header."""

    base_url: str
    header: tuple[bytes, bytes]

    def __repr__(self) -> str:
        return f"Credential({self.base_url!r}, ***)"


@dataclass(frozen=True, slots=True)
class TestResult:
    """What an account's own API said to a cheap question."""

    ok: bool
    status: int | None
    message: str


class Reply(Protocol):
    """An upstream's answer, as far as a test reads it."""

    @property
    def status(self) -> int: ...


class Upstreams(Protocol):
    """The client that a test is handed."""

    def send(
        self,
        base_url: str,
        method: str,
        target: bytes,
        headers: Sequence[tuple[bytes, bytes]],
        body: bytes,
        *,
        headers_timeout_s: float,
        silence_timeout_s: float,
    ) -> AbstractAsyncContextManager[Reply]: ...


class Accounts:
    """Makes, reads, changes and tests accounts."""

    def __init__(self, store: Store, vault: Vault) -> None:
        self._store = store
        self._vault = vault
        self._credentials: dict[str, tuple[str, Credential]] = {}

    async def credential(self, account_id: str, version: str) -> Credential:
        """The decrypted credential of an account at `version`; one read after each change."""
        cached = self._credentials.get(account_id)
        if cached is not None and cached[0] == version:
            return cached[1]
        fields = await self._store.read_account(account_id)
        if not fields:
            raise AccountProblem("The account was removed while a request was on its way to it.")
        credential = self._credential(account_id, fields)
        self._credentials[account_id] = (fields["version"], credential)
        return credential

    def _credential(self, account_id: str, fields: Mapping[str, str]) -> Credential:
        secret = self._vault.decrypt(fields["secret"], purpose=f"account:{account_id}")
        if fields["auth"] == "bearer":
            return Credential(fields["base_url"], (b"authorization", b"Bearer " + secret.encode()))
        return Credential(fields["base_url"], (b"x-api-key", secret.encode()))

    async def add(
        self,
        name: str,
        *,
        secret: str,
        base_url: str,
        kind: str = "api_key",
        auth: str = "x-api-key",
        note: str = "",
    ) -> Account:
        """A new account.

        Args:
            secret: the upstream's API key, one line of printable ASCII.
            base_url: http or https, e.g. https://api.anthropic.com.
            auth: the header that carries the secret, "x-api-key" or "bearer".
        """
        _check_name(name)
        _check_base_url(base_url)
        _check_secret(secret, base_url)
        if any(account.name == name for account in await self.list()):
            raise AccountProblem(f"There is an account named {name} already.")
        account_id = new_id("acc")
        fields = {
            "name": name,
            "kind": kind,
            "base_url": base_url.rstrip("/"),
            "auth": auth,
            "secret": self._vault.encrypt(secret, purpose=f"account:{account_id}"),
            "enabled": "1",
            "created_at": str(int(datetime.now(UTC).timestamp() * 1000)),
            "note": note,
        }
        await self._store.save_account(account_id, fields)
        return _account(account_id, fields)

    async def list(self) -> Sequence[Account]:
        """All accounts, oldest first."""
        accounts = []
        for account_id in await self._store.account_ids():
            fields = await self._store.read_account(account_id)
            if fields:
                accounts.append(_account(account_id, fields))
        return sorted(accounts, key=lambda account: (account.created_at, account.id))

    async def find(self, name_or_id: str) -> Account:
        """The account with this id or name; AccountProblem when there is none."""
        for account in await self.list():
            if name_or_id in (account.id, account.name):
                return account
        raise AccountProblem(f"There is no account with the name or id {name_or_id}.")

    async def set_enabled(self, name_or_id: str, *, enabled: bool) -> Account:
        """A disabled account gets no new requests; running ones end in peace."""
        account = await self.find(name_or_id)
        await self._store.save_account(account.id, {"enabled": "1" if enabled else "0"})
        return await self.find(account.id)

    async def reset(self, name_or_id: str) -> Account:
        """Forget an account's failures: it may serve again at once."""
        account = await self.find(name_or_id)
        await self._store.reset_account(account.id)
        return await self.find(account.id)

    async def remove(self, name_or_id: str) -> Account:
        """Remove an account for good; refused while requests still run on it."""
        account = await self.set_enabled(name_or_id, enabled=False)
        running = await self._store.open_leases_of_account(account.id)
        if running:
            raise AccountProblem(
                f"{account.name} still serves {running} requests. It is disabled now and takes no"
                " more; remove it when they have ended."
            )
        await self._store.remove_account(account.id)
        return account

    async def test(self, name_or_id: str, upstreams: Upstreams) -> TestResult:
        """Ask the account's API for one model: free of charge, and proves the credential.

        Raises whatever the client raises when the upstream cannot be reached.
        """
        account = await self.find(name_or_id)
        fields = await self._store.read_account(account.id)
        credential = self._credential(account.id, fields)
        headers = [credential.header, (b"anthropic-version", ANTHROPIC_VERSION)]
        async with upstreams.send(
            credential.base_url,
            "GET",
            b"/v1/models?limit=1",
            headers,
            b"",
            headers_timeout_s=_TEST_DEADLINE_S,
            silence_timeout_s=_TEST_DEADLINE_S,
        ) as reply:
            return TestResult(reply.status == 200, reply.status, _verdict(reply.status))


def _verdict(status: int) -> str:
    if status == 200:
        return "The upstream accepts this account's credential."
    if status in (401, 403):
        return f"The upstream refuses this account's credential (status {status})."
    return f"The upstream answered with status {status}; the credential may still be good."


def _check_name(name: str) -> None:
    if not name.strip() or len(name) > 100 or not name.isprintable():
        raise AccountProblem("A name is one line of 1 to 100 printable characters.")


def _check_base_url(base_url: str) -> None:
    try:
        parts = urlsplit(base_url)
        _ = parts.port
    except ValueError as error:
        raise AccountProblem(f"{base_url!r} is not a base URL: {error}.") from None
    plain = base_url.isascii() and base_url.isprintable() and " " not in base_url
    if parts.scheme not in ("http", "https") or not parts.hostname or not plain:
        raise AccountProblem(f"{base_url!r} is not a base URL such as https://api.anthropic.com.")
    if parts.username is not None or parts.query or parts.fragment:
        raise AccountProblem("A base URL has no user, query or fragment.")


def _check_secret(secret: str, base_url: str) -> None:
    if not secret or not secret.isascii() or not secret.isprintable() or " " in secret:
        raise AccountProblem("A secret is one line of printable ASCII without spaces.")
    host = urlsplit(base_url).hostname or ""
    at_anthropic = any(host == name or host.endswith("." + name) for name in _ANTHROPIC_DOMAINS)
    if at_anthropic and secret.startswith(_LOGIN_PREFIXES):
        raise AccountProblem(
            "This looks like a claude.ai login. The provider's terms do not allow a service to"
            " hold or pass on such credentials; use an API key from the Console."
        )


def _account(account_id: str, fields: Mapping[str, str]) -> Account:
    return Account(
        id=account_id,
        name=fields["name"],
        kind=fields["kind"],
        base_url=fields["base_url"],
        auth=fields["auth"],
        enabled=fields["enabled"] == "1",
        created_at=_time(fields["created_at"]),
        note=fields["note"],
        state=fields.get("state", "ok"),
        rests_until=_time(fields["state_until"]) if "state_until" in fields else None,
    )


def _time(text: str) -> datetime:
    return datetime.fromtimestamp(int(text) / 1000, UTC)
