"""Admin keys: one for each organisation whose books are compared. They read, and never serve."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import urlsplit

from relay import rules
from relay.accounts import ADMIN_KEY_PREFIX, AccountProblem, Accounts
from relay.accounts.values import base_url as checked_base_url
from relay.audit import Audit, by_machine
from relay.store import NameTaken, Store
from relay.vault import Vault, new_id

# How the default workspace is called where its id must be given; it has none.
DEFAULT_WORKSPACE = "default"
_HINT_LENGTH = len(ADMIN_KEY_PREFIX) + 8
_LONGEST = 500


class AdminKeyProblem(rules.Problem):
    """A sentence about why an admin key cannot be found, added or linked."""


class ReconcileProblem(rules.Problem):
    """A sentence about why the books could not be compared."""


@dataclass(frozen=True, slots=True)
class Link:
    """Where the requests of an account stand in an organisation's reports.

    Args:
        workspace: its id, empty for the default one, None where that is not known.
        api_key_id: of the key that the account uses, empty where that is not known.
    """

    workspace: str | None
    api_key_id: str = ""


@dataclass(frozen=True, slots=True)
class AdminKey:
    """An admin key as people see it: everything but its text. Times are UTC.

    Args:
        hint: its beginning.
        organization_id, organization_name: of whom it is, once it has said so.
        links: where accounts stand that were linked by hand, by the accounts' ids.
        found: where others stand, as the last comparisons found out.
        tried_at: when the last comparison began.
        checked_at: when the last one ended; `error` says why it came to nothing.
    """

    id: str
    name: str
    base_url: str
    hint: str
    organization_id: str
    organization_name: str
    links: Mapping[str, Link]
    found: Mapping[str, Link]
    created_at: datetime
    tried_at: datetime | None
    checked_at: datetime | None
    error: str

    def to_json(self) -> dict[str, object]:
        """The admin key as programs are told of it, on the command line and by the API."""
        return {
            "id": self.id,
            "name": self.name,
            "baseUrl": self.base_url,
            "hint": self.hint,
            "organizationId": self.organization_id,
            "organizationName": self.organization_name,
            "links": _shown(self.links),
            "found": _shown(self.found),
            "createdAt": self.created_at,
            "checkedAt": self.checked_at,
            "error": self.error,
        }


class AdminKeys:
    """Adds, links, lists and removes admin keys; only a comparison gets to read one.

    Args:
        base_url: the API of those that name none.
    """

    def __init__(self, store: Store, vault: Vault, accounts: Accounts, base_url: str) -> None:
        self._store = store
        self._vault = vault
        self._accounts = accounts
        self._base_url = base_url
        self._audit = Audit(store, vault)

    async def add(self, name: str, secret: str, base_url: str = "") -> AdminKey:
        """Store an admin key, encrypted.

        Args:
            name: one plain word, unique among admin keys.
            secret: sk-ant-admin…, one line.
            base_url: of its API; only the machine's own command line may name another than usual.
        """
        _check(name, secret)
        if base_url and not by_machine():
            raise AdminKeyProblem("Only the command line names another address.", "base_url")
        try:
            url = checked_base_url(base_url or self._base_url)
        except ValueError as rule:
            raise AdminKeyProblem(str(rule), "base_url") from None
        parts = urlsplit(url)
        if parts.scheme != "https" and parts.hostname not in ("127.0.0.1", "localhost", "::1"):
            raise AdminKeyProblem(
                "An admin key goes over https, or to this machine alone.", "base_url"
            )
        key_id = new_id("adm")
        fields = {
            "name": name,
            "base_url": url,
            "hint": secret[:_HINT_LENGTH],
            "secret": self._sealed(key_id, secret),
            "links": "{}",
            "created_at": _now_ms(),
        }
        try:
            await self._store.admin_keys.add(key_id, fields)
        except NameTaken:
            raise AdminKeyProblem(f"There is an admin key named {name} already.", "name") from None
        made = _admin_key(key_id, fields)
        await self._audit.note("admin_key.add", name, None, {"base_url": url, "hint": made.hint})
        return made

    async def list(self) -> Sequence[AdminKey]:
        """All admin keys, oldest first."""
        return await listed(self._store)

    async def find(self, name_or_id: str) -> AdminKey:
        """The admin key with this id or name; AdminKeyProblem when there is none."""
        found = rules.by_name_or_id(await self.list(), name_or_id)
        if not found:
            raise AdminKeyProblem(f"There is no admin key with the name or id {name_or_id}.")
        return found[0]

    async def remove(self, name_or_id: str) -> AdminKey:
        """Forget an admin key and what comparing by it came to; what was booked stays booked."""
        key = await self.find(name_or_id)
        await self._store.admin_keys.remove(key.id)
        await self._audit.note("admin_key.remove", key.name, {"hint": key.hint})
        return key

    async def link(
        self, name_or_id: str, account: str, workspace: str, api_key_id: str = ""
    ) -> AdminKey:
        """Say where an account's requests stand in the reports of an admin key's organisation.

        Args:
            workspace: its id, wrkspc_…, or "default"; empty takes the link away.
            api_key_id: of the account's key, apikey_…, where one workspace has several accounts.
        """
        key = await self.find(name_or_id)
        try:
            account_id = (await self._accounts.find(account)).id
        except AccountProblem as problem:
            # What is gone can still lose its link.
            if workspace or account not in key.links:
                raise AdminKeyProblem(str(problem), "account") from None
            account_id = account
        links = {**key.links}
        links.pop(account_id, None)
        if workspace:
            _check_id(workspace, "workspace")
            if api_key_id:
                _check_id(api_key_id, "api_key_id")
            known = "" if workspace == DEFAULT_WORKSPACE else workspace
            links[account_id] = Link(known, api_key_id)
        elif api_key_id:
            raise AdminKeyProblem("An API key's id goes with a workspace.", "api_key_id")
        await self.note(key.id, {"links": stored_links(links)})
        after = await self.find(key.id)
        shown = {"account": account_id, "workspace": workspace, "api_key_id": api_key_id}
        await self._audit.note("admin_key.link", key.name, None, shown)
        return after

    async def note(self, key_id: str, fields: Mapping[str, str]) -> None:
        """Write fields of an admin key; one that is gone stays so."""
        await self._store.admin_keys.change(key_id, fields)

    async def secret(self, key_id: str) -> str:
        """The text of an admin key. Raises AdminKeyProblem when it is gone, or VaultError."""
        record = (await self._store.admin_keys.read(key_id)).get("secret")
        if not record:
            raise AdminKeyProblem("The admin key was removed meanwhile.")
        return self._vault.decrypt(record, purpose=_purpose(key_id))

    async def rotate(self) -> int:
        """Encrypt each with the current ENCRYPT_KEY; returns how many were not yet."""
        count = 0
        for key_id in await self._store.admin_keys.ids():
            record = (await self._store.admin_keys.read(key_id)).get("secret")
            if record and not self._vault.is_current(record):
                text = self._vault.decrypt(record, purpose=_purpose(key_id))
                sealed = {"secret": self._sealed(key_id, text)}
                count += await self._store.admin_keys.change(
                    key_id, sealed, field="secret", before=record
                )
        return count

    def _sealed(self, key_id: str, secret: str) -> str:
        return self._vault.encrypt(secret, purpose=_purpose(key_id))


async def listed(store: Store) -> Sequence[AdminKey]:
    """All admin keys, oldest first, without their texts."""
    found = []
    for key_id in await store.admin_keys.ids():
        fields = await store.admin_keys.read(key_id)
        if fields:
            found.append(_admin_key(key_id, fields))
    return sorted(found, key=lambda key: (key.created_at, key.id))


def _purpose(key_id: str) -> str:
    return f"admin-key:{key_id}"


def _check(name: str, secret: str) -> None:
    try:
        rules.words([name])
    except ValueError as rule:
        raise AdminKeyProblem(str(rule), "name") from None
    is_line = secret.isascii() and secret.isprintable() and " " not in secret
    if not secret.startswith(ADMIN_KEY_PREFIX) or not is_line or len(secret) > _LONGEST:
        raise AdminKeyProblem(
            "This is no admin key of an organisation; they begin with sk-ant-admin.", "secret"
        )


def _check_id(text: str, field: str) -> None:
    if not text.replace("_", "").replace("-", "").isalnum() or len(text) > _LONGEST:
        raise AdminKeyProblem("An id is one word of letters, digits, _ and -.", field)


def _admin_key(key_id: str, fields: Mapping[str, str]) -> AdminKey:
    return AdminKey(
        id=key_id,
        name=fields["name"],
        base_url=fields["base_url"],
        hint=fields["hint"],
        organization_id=fields.get("organization_id", ""),
        organization_name=fields.get("organization_name", ""),
        links=_links(fields.get("links")),
        found=_links(fields.get("found")),
        created_at=_time(fields["created_at"]),
        tried_at=_time(fields["tried_at"]) if fields.get("tried_at") else None,
        checked_at=_time(fields["checked_at"]) if fields.get("checked_at") else None,
        error=fields.get("error", ""),
    )


def _shown(links: Mapping[str, Link]) -> dict[str, object]:
    return {
        account: {
            "workspace": DEFAULT_WORKSPACE if link.workspace == "" else link.workspace,
            "apiKeyId": link.api_key_id,
        }
        for account, link in links.items()
    }


def stored_links(links: Mapping[str, Link]) -> str:
    """Links as an admin key's fields hold them."""
    return json.dumps({one: [link.workspace, link.api_key_id] for one, link in links.items()})


def _links(text: str | None) -> dict[str, Link]:
    return {account: Link(*parts) for account, parts in json.loads(text or "{}").items()}


def _now_ms() -> str:
    return str(round(datetime.now(UTC).timestamp() * 1000))


def _time(ms: str) -> datetime:
    return datetime.fromtimestamp(int(ms) / 1000, UTC)
