"""Which account stands where in an organisation's reports."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from relay.accounts import Account, Accounts
from relay.accounts.values import origin
from relay.reconcile.admin_api import AdminApi
from relay.reconcile.keys import (
    DEFAULT_WORKSPACE,
    AdminKey,
    AdminKeys,
    Link,
    ReconcileProblem,
    stored_links,
)
from relay.reconcile.reports import AdminApiProblem, ApiKey
from relay.vault import VaultError

# Where a workspace is not known, all of an organisation's are compared together.
ALL_WORKSPACES = "*"
# How much of a key its hint must show at least, lest two keys share it.
_LEAST_BEGIN, _LEAST_END = 12, 3
# Accounts that are remembered, those that are gone among them.
_MOST_FOUND = 1000


@dataclass(frozen=True, slots=True)
class Unit:
    """What is compared as one: a workspace's account, or several ("") that cannot be told apart."""

    workspace: str
    account: str


class Places:
    """Which accounts stand where in an organisation's reports."""

    def __init__(self, links: Mapping[str, Link]) -> None:
        self.links = links
        self.is_whole = any(link.workspace is None for link in links.values())
        self._by_key: dict[tuple[str, str], str] = {}
        self._rest: dict[str, list[str]] = defaultdict(list)
        for account, link in sorted(links.items()):
            workspace = self.workspace(link.workspace or "")
            if link.api_key_id and (workspace, link.api_key_id) not in self._by_key:
                self._by_key[workspace, link.api_key_id] = account
            else:
                self._rest[workspace].append(account)
        self._workspaces = {workspace for workspace, _ in self._by_key} | self._rest.keys()

    def workspace(self, workspace: str) -> str:
        """The workspace as which one is compared."""
        return ALL_WORKSPACES if self.is_whole else workspace

    def has(self, workspace: str) -> bool:
        """Whether an account of the relay's is in a workspace of the reports."""
        return self.workspace(workspace) in self._workspaces

    def accounts(self, workspace: str) -> Sequence[str]:
        """The accounts in a workspace of the reports."""
        compared = self.workspace(workspace)
        keyed = [account for (place, _), account in self._by_key.items() if place == compared]
        return [*keyed, *self._rest.get(compared, [])]

    def of_account(self, account: str) -> Unit | None:
        """Where an account is compared; None for one of another organisation."""
        link = self.links.get(account)
        if link is None:
            return None
        workspace = self.workspace(link.workspace or "")
        if self._by_key.get((workspace, link.api_key_id)) == account:
            return Unit(workspace, account)
        return self._of_rest(workspace)

    def of_row(self, workspace: str, api_key: str) -> Unit | None:
        """Where a row of the usage report is compared; None for what the relay did not send."""
        compared = self.workspace(workspace)
        if account := self._by_key.get((compared, api_key)):
            return Unit(compared, account)
        return self._of_rest(compared)

    def of_cost(self, workspace: str) -> Unit:
        """Where a cost is compared that no row of the usage report explains."""
        compared = self.workspace(workspace)
        accounts = self.accounts(workspace)
        return self._of_rest(compared) or Unit(compared, accounts[0] if len(accounts) == 1 else "")

    def _of_rest(self, workspace: str) -> Unit | None:
        rest = self._rest.get(workspace, [])
        return Unit(workspace, rest[0] if len(rest) == 1 else "") if rest else None


async def of(key: AdminKey, api: AdminApi, keys: AdminKeys, accounts: Accounts) -> Places:
    """Where each account of an organisation stands: linked by hand, else as its API key, its
    answers or its federation say, else, for the only admin key of all, somewhere in it.

    What is found is remembered, since an account that was removed stays on the books.

    Raises:
        AdminApiProblem: the API refuses the admin key.
        ReconcileProblem: no account belongs to the organisation.
    """
    organization = await _organization(key, api, keys)
    others = [other for other in await keys.list() if other.id != key.id]
    taken = {account for other in others for account in other.links}
    candidates = [
        account
        for account in await accounts.list()
        if account.id not in taken and origin(account.base_url) == origin(key.base_url)
    ]
    found = {**key.found}
    of_keys = await _api_keys(api)
    for account in candidates:
        link = await _by_secret(account, accounts, of_keys) or _by_organization(
            account, organization
        )
        if link is not None:
            found[account.id] = link
    if not found and not key.links and not others:
        unknown = (account for account in candidates if not account.organization)
        return _checked({account.id: Link(None) for account in unknown}, key)
    if found != key.found:
        newest = dict(list(found.items())[-_MOST_FOUND:])
        await keys.note(key.id, {"found": stored_links(newest)})
    links = {account: link for account, link in found.items() if account not in taken}
    return _checked({**links, **key.links}, key)


def _checked(links: Mapping[str, Link], key: AdminKey) -> Places:
    if not links:
        raise ReconcileProblem(
            f"No account is known to belong to the organisation of {key.name}; say which by"
            f" `relay admin-key link {key.name} ACCOUNT --workspace wrkspc_…`."
        )
    return Places(links)


async def _organization(key: AdminKey, api: AdminApi, keys: AdminKeys) -> str:
    """The id of the organisation; empty while its API does not tell."""
    if key.organization_id:
        return key.organization_id
    try:
        organization_id, name = await api.organization()
    except AdminApiProblem as problem:
        if problem.is_refused:
            raise
        return ""
    for other in await keys.list():
        if other.id != key.id and other.organization_id == organization_id:
            raise ReconcileProblem(f"{key.name} is of the same organisation as {other.name}.")
    await keys.note(key.id, {"organization_id": organization_id, "organization_name": name[:100]})
    return organization_id


async def _api_keys(api: AdminApi) -> Sequence[ApiKey]:
    try:
        return await api.api_keys()
    except AdminApiProblem as problem:
        if problem.is_refused:
            raise
        return []


async def _by_secret(
    account: Account, accounts: Accounts, api_keys: Sequence[ApiKey]
) -> Link | None:
    """Where the API key of an account stands, if its beginning and end are one key's alone."""
    if account.kind != "api_key" or not api_keys:
        return None
    try:
        secret = accounts.kept(account.id, await accounts.fields(account.id)).secret
    except VaultError:
        return None
    found = [
        key
        for key in api_keys
        if len(key.begins) >= _LEAST_BEGIN
        and len(key.ends) >= _LEAST_END
        and secret.startswith(key.begins)
        and secret.endswith(key.ends)
    ]
    return Link(found[0].workspace, found[0].id) if len(found) == 1 else None


def _by_organization(account: Account, organization: str) -> Link | None:
    """Where an account of this organisation stands, as its answers say, else its options.

    An answer without a workspace may be of the default one, or of an API that tells none.
    """
    named = account.organization or account.options.get("organization_id", "")
    if not organization or named != organization:
        return None
    workspace = account.workspace or account.options.get("workspace_id", "")
    if not workspace:
        return Link(None)
    return Link("" if workspace == DEFAULT_WORKSPACE else workspace)
