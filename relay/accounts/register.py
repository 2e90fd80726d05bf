"""Makes, reads, changes and tests accounts, and hands out their credentials."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import urlsplit

import msgspec
import trio

from relay import rules, versions
from relay.accounts import values
from relay.accounts.kinds import KIND_NAMES, Federation, Kept, Kind
from relay.accounts.reach import Reach
from relay.accounts.values import Account, AccountProblem, Credential
from relay.audit import Audit
from relay.settings import api_base
from relay.store import NameTaken, Store
from relay.upstream import Reply, UpstreamError, Upstreams, parse_proxy_url
from relay.vault import Vault, new_id

ANTHROPIC_VERSION = b"2023-06-01"
_TEST_DEADLINE_S = 15.0
_LARGEST_SMALL_ANSWER = 256 * 1024
_LARGEST_LIST = 2 * 1024 * 1024
# As many as the API gives at once.
_MODELS = b"/v1/models?limit=1000"
_DRAIN_POLL_S = 0.25
# The fields that are encrypted.
_SECRETS = ("secret", "token", "proxy")
DIRECT = "direct"
# Where a credential goes, and what it is.
# Of another credential its next answer says where it belongs.
_BELONGS_NOWHERE = {"organization": "", "workspace": ""}
_WHERE = {"base_url", "secret", "proxy", "options"}


@dataclass(frozen=True, slots=True)
class SmallAnswer:
    """An account's whole answer to a question of our own."""

    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes


@dataclass(frozen=True, slots=True)
class TestResult:
    """What an account's own API said to a cheap question.

    Args:
        listed: its list of models, as it came; empty where there is none.
    """

    ok: bool
    status: int | None
    message: str
    listed: bytes = b""

    @property
    def is_refused(self) -> bool:
        """Whether the credential itself is what the upstream refuses."""
        return self.status in (401, 403)

    def to_json(self) -> dict[str, object]:
        """What programs are told of it: how it ended, not the list."""
        return {"ok": self.ok, "status": self.status, "message": self.message}


class Accounts:
    """The accounts of the relay.

    Args:
        proxy: the outbound proxy of accounts that name none; None is the direct way.
        reach: where those that roles set may lead.
    """

    def __init__(
        self,
        store: Store,
        vault: Vault,
        kinds: Mapping[str, Kind],
        proxy: str | None = None,
        reach: Reach = Reach(),  # noqa: B008  # frozen
    ) -> None:
        self._store = store
        self._vault = vault
        self._audit = Audit(store, vault)
        self._kinds = kinds
        self._proxy = proxy
        self._reach = reach
        self._credentials: dict[str, tuple[str, Credential]] = {}

    async def credential(self, account_id: str, version: str) -> Credential:
        """The decrypted credential of an account at `version`; one read after each change."""
        cached = self._credentials.get(account_id)
        if cached is not None and cached[0] == version:
            return cached[1]
        fields = await self.fields(account_id)
        credential = self._credential(account_id, fields)
        self._credentials[account_id] = (fields["version"], credential)
        return credential

    def _credential(self, account_id: str, fields: Mapping[str, str]) -> Credential:
        kept = self.kept(account_id, fields)
        kind = self.kind(fields)
        own_proxy = bool(self._own_proxy(account_id, fields))
        judges_host, judges_proxy = self._reach.judges(fields, own_proxy=own_proxy)
        return Credential(
            base_url=kept.base_url,
            header=kind.header(kept),
            proxy=kept.proxy,
            judges_host=judges_host,
            judges_proxy=judges_proxy,
            sentence=kind.sentence,
            beta=kind.beta,
            model_map=values.mapped(fields),
        )

    async def fields(self, account_id: str) -> dict[str, str]:
        """An account as Redis has it. Raises AccountProblem when it is gone."""
        fields = await self._store.accounts.read(account_id)
        if not fields:
            raise AccountProblem("The account was removed while a request was on its way to it.")
        return fields

    def kind(self, fields: Mapping[str, str]) -> Kind:
        """The kind of an account."""
        return self._kinds[fields["kind"]]

    def kept(self, account_id: str, fields: Mapping[str, str]) -> Kept:
        """What an account keeps of its credential, decrypted."""
        secret, token, proxy = (self._open(account_id, fields, name) for name in _SECRETS)
        return Kept(
            base_url=api_base(fields["base_url"]),
            auth=fields["auth"],
            secret=secret,
            token=token,
            options=values.options(fields),
            proxy=None if proxy == DIRECT else proxy or self._proxy,
        )

    def _own_proxy(self, account_id: str, fields: Mapping[str, str]) -> str:
        proxy = self._open(account_id, fields, "proxy")
        return "" if proxy == DIRECT else proxy

    def _open(self, account_id: str, fields: Mapping[str, str], name: str) -> str:
        record = fields.get(name)
        return self._vault.decrypt(record, purpose=_purpose(account_id, name)) if record else ""

    def sealed(self, account_id: str, secrets: Mapping[str, str]) -> dict[str, str]:
        """Secrets as they are kept; an empty one stays empty."""
        return {
            name: self._vault.encrypt(text, purpose=_purpose(account_id, name)) if text else ""
            for name, text in secrets.items()
        }

    async def add(
        self,
        name: str,
        *,
        base_url: str,
        kind: str = "api_key",
        secret: str = "",
        proxy: str = "",
        **settings: object,
    ) -> Account:
        """A new account.

        Args:
            base_url: http or https, e.g. https://api.anthropic.com.
            secret: one line of printable ASCII; none for the kinds that sign in.
            proxy: http://, https:// or socks5://, or "direct" whatever the settings say.
            settings: any of values.RULES, each with its meaning in values.Account.
        """
        if kind not in KIND_NAMES:
            raise AccountProblem(f"There is no kind {kind!r}; there are {', '.join(KIND_NAMES)}.")
        usual = {"auth": "x-api-key", "note": "", "options": {}}
        plain = values.checked({**usual, **settings, "name": name, "base_url": base_url})
        account_id = new_id("acc")
        fields = {
            **plain,
            "kind": kind,
            "models": values.served_models(plain),
            "named_by": self._reach.named_by(),
            "enabled": "1",
            "created_at": str(int(datetime.now(UTC).timestamp() * 1000)),
            **self.sealed(account_id, {"secret": secret, "proxy": _checked_proxy(proxy)}),
        }
        self._check(account_id, fields)
        await self._check_reach(account_id, fields)
        if self._kinds[kind].signs_in:
            # No request goes there before it has a token.
            fields |= values.not_signed_in(since=fields["created_at"])
        with _unique(name):
            await self._store.accounts.add(account_id, fields)
        account = self._account(account_id, fields)
        await self._audit.note("account.add", name, None, values.settings(account))
        return account

    async def edit(
        self,
        name_or_id: str,
        *,
        seen: str = "",
        enabled: bool | None = None,
        **changes: object,
    ) -> Account:
        """Change settings, or replace the secret or the proxy; what is not named stays.

        Args:
            seen: the version of the account that is to be changed; empty for any.

        Raises:
            Changed: there is another version by now.
        """
        found = await self.find(name_or_id)
        if not changes and enabled is None:
            if seen not in ("", found.version):
                raise versions.Changed
            return found
        secrets: dict[str, str] = {
            name: str(changes.pop(name)) for name in ("secret", "proxy") if name in changes
        }
        before = await self.fields(found.id)
        options = changes.get("options")
        if isinstance(options, Mapping):
            # An option that is not named stays; an empty text takes it away.
            changes["options"] = {**values.options(before), **options}
        plain = values.checked(changes)
        if "proxy" in secrets:
            secrets["proxy"] = _checked_proxy(secrets["proxy"])
        if secrets.get("secret") and not self.kind(before).takes_secret:
            raise AccountProblem(f"An account of kind {found.kind} takes no secret.")
        fields = {**plain, **self.sealed(found.id, secrets)}
        fields |= _BELONGS_NOWHERE if "secret" in secrets else {}
        after = {**before, **fields}
        if plain.keys() & {"allowed_models", "model_map"}:
            fields["models"] = values.served_models(after)
        self._check(found.id, after)
        if moved := self._moved(found.id, before, after, bool(secrets.get("secret")), options):
            await self._check_reach(found.id, after)
            fields |= moved
        if enabled is not None:
            fields["enabled"] = "1" if enabled else "0"
        # Nobody's secret follows an address that somebody else wrote meanwhile.
        seen = seen or (self._account(found.id, before).version if _WHERE & fields.keys() else "")
        await self._write(found.id, fields, seen)
        if "secret" in secrets or (enabled and not found.enabled):
            await self._store.accounts.reset(found.id)
        replaced = {"replaced": sorted(secrets)} if secrets else {}
        return await self._changed("account.edit", found, replaced)

    def _moved(
        self,
        account_id: str,
        before: Mapping[str, str],
        after: Mapping[str, str],
        has_secret: bool,
        options: object,
    ) -> dict[str, str]:
        """What else changes where the credential goes another way than before: to another scheme,
        host or port, or by another proxy. Who may edit an account need not know its secret, so
        they give it anew, and tokens that were got with it are forgotten.
        """
        old, new = self.kept(account_id, before), self.kept(account_id, after)
        if values.origin(old.base_url) == values.origin(new.base_url) and old.proxy == new.proxy:
            return {}
        if self.kind(before).takes_secret and not has_secret:
            raise AccountProblem(
                "secret: A new address or proxy needs the account's secret anew.", "secret"
            )
        named = isinstance(options, Mapping) and options.get("identity_token_file")
        if before["kind"] == "federation" and not named:
            raise AccountProblem(
                "options: A new address or proxy needs identity_token_file anew.", "options"
            )
        named_by = {"named_by": self._reach.named_by()}
        if not self.kind(before).signs_in:
            return named_by
        now = str(int(datetime.now(UTC).timestamp() * 1000))
        renew_at = "0" if before["kind"] == "federation" else ""
        gone = {"secret": "", "token": "", "token_renew_at": renew_at, **_BELONGS_NOWHERE}
        return {**named_by, **gone, **values.not_signed_in(since=now)}

    async def _check_reach(self, account_id: str, fields: Mapping[str, str]) -> None:
        proxy = self._own_proxy(account_id, fields)
        await self._reach.check(fields["kind"], fields["base_url"], proxy)

    async def doubts(self, account_id: str) -> Sequence[tuple[str, bool]]:
        """Which of today's rules for roles an account does not follow, as it may when the command
        line or an earlier release has set it: sentences, and whether somebody has to look."""
        fields = await self.fields(account_id)
        kind, kept = self.kind(fields), self.kept(account_id, fields)
        found = []
        own_proxy = self._own_proxy(account_id, fields)
        if field := await self._reach.leads_inside(kept.base_url, own_proxy):
            is_meant = fields.get("named_by") == "machine"
            by = "set on the command line" if is_meant else "a role may have set it"
            found.append((
                f"Its {field} lies in a private network or on this machine, outside of"
                f" claude.innerNetworks; {by}.",
                not is_meant,
            ))  # fmt: skip
        if isinstance(kind, Federation) and not kind.may_read(kept):
            text = "Its identity token file lies in no folder of claude.identityTokenFolders."
            found.append((text, True))
        return found

    async def _write(self, account_id: str, fields: Mapping[str, str], seen: str) -> None:
        def version(kept: Mapping[str, str]) -> str:
            return self._account(account_id, kept).version

        with _unique(fields.get("name", "")):
            await versions.write(self._store.accounts, account_id, fields, seen, version)

    async def _changed(
        self, action: str, before: Account, more: Mapping[str, object] | None = None
    ) -> Account:
        """The account as it is now; its change is kept."""
        after = await self.find(before.id)
        await self._audit.note(
            action, before.name, values.settings(before), {**values.settings(after), **(more or {})}
        )
        return after

    def _check(self, account_id: str, fields: Mapping[str, str]) -> None:
        self.kind(fields).check(self.kept(account_id, fields))

    async def list(self) -> Sequence[Account]:
        """All accounts, oldest first."""
        accounts = []
        for account_id in await self._store.accounts.ids():
            fields = await self._store.accounts.read(account_id)
            if fields:
                accounts.append(self._account(account_id, fields))
        return sorted(accounts, key=lambda account: (account.created_at, account.id))

    def _account(self, account_id: str, fields: Mapping[str, str]) -> Account:
        proxy = self._open(account_id, fields, "proxy")
        return values.account(account_id, fields, _without_password(proxy))

    async def find(self, name_or_id: str) -> Account:
        """The account with this id or name; AccountProblem when there is none, or several of the
        name."""
        found = rules.by_name_or_id(await self.list(), name_or_id)
        if not found:
            raise AccountProblem(f"There is no account with the name or id {name_or_id}.")
        if len(found) > 1:
            raise AccountProblem(rules.twins("accounts", name_or_id, found))
        return found[0]

    async def set_enabled(self, name_or_id: str, *, enabled: bool, seen: str = "") -> Account:
        """A disabled account gets no new requests; running ones end in peace.

        Args:
            seen: see edit().
        """
        account = await self.find(name_or_id)
        await self._write(account.id, {"enabled": "1" if enabled else "0"}, seen)
        if enabled:
            await self._store.accounts.reset(account.id)
        return await self._changed("account.enable" if enabled else "account.disable", account)

    async def reset(self, name_or_id: str) -> Account:
        """Forget an account's failures: it may serve again at once."""
        account = await self.find(name_or_id)
        await self._store.accounts.reset(account.id)
        return await self._changed("account.reset", account)

    async def remove(self, name_or_id: str, *, patience_s: float = 0.0) -> Account:
        """Remove an account for good, once the requests on it have ended.

        Args:
            patience_s: how long to wait for them. When that is not enough the account stays,
                disabled, and AccountProblem says so.
        """
        account = await self.set_enabled(name_or_id, enabled=False)
        deadline = trio.current_time() + patience_s
        while running := await self._store.accounts.open_leases(account.id):
            if trio.current_time() >= deadline:
                raise AccountProblem(
                    f"{account.name} still serves {running} requests. It is disabled now and takes"
                    " no more; remove it when they have ended."
                )
            await trio.sleep(_DRAIN_POLL_S)
        await self._store.accounts.remove(account.id)
        await self._audit.note("account.remove", account.name, values.settings(account))
        return account

    async def test(self, name_or_id: str, upstreams: Upstreams) -> TestResult:
        """Ask the account's API for its models: free of charge, and proves the credential.

        Raises whatever the client raises when the upstream cannot be reached.
        """
        account = await self.find(name_or_id)
        fields = await self.fields(account.id)
        if self.kind(fields).signs_in and not fields.get("token"):
            return TestResult(False, None, f"The account has no token. {account.advice}")
        credential = self._credential(account.id, fields)
        async with _asked(credential, upstreams, "GET", _MODELS, b"") as reply:
            ok = reply.status == 200
            listed = b""
            # That the list breaks off says nothing of the credential.
            with contextlib.suppress(UpstreamError), trio.move_on_after(_TEST_DEADLINE_S):
                listed = await _beginning(reply, _LARGEST_LIST) if ok else b""
            return TestResult(ok, reply.status, _verdict(reply.status), listed)

    async def smallest(self, account_id: str, model: str, upstreams: Upstreams) -> SmallAnswer:
        """What the account answers to the smallest message there is, which may cost a token or two.

        Raises whatever the client raises when the upstream cannot be reached.
        """
        credential = self._credential(account_id, await self.fields(account_id))
        turn = {"role": "user", "content": "."}
        body = msgspec.json.encode({"model": model, "max_tokens": 1, "messages": [turn]})
        async with _asked(credential, upstreams, "POST", b"/v1/messages", body) as reply:
            answer = await _beginning(reply, _LARGEST_SMALL_ANSWER)
            return SmallAnswer(reply.status, tuple(reply.headers), answer)

    async def rotate(self) -> int:
        """Encrypt every secret with the current ENCRYPT_KEY; returns how many were not yet.

        May be interrupted and run again: each secret is replaced in one step, and only if it
        still is what was read.
        """
        count = 0
        for account_id in await self._store.accounts.ids():
            fields = await self._store.accounts.read(account_id)
            for name in _SECRETS:
                record = fields.get(name)
                while record and not self._vault.is_current(record):
                    text = self._vault.decrypt(record, purpose=_purpose(account_id, name))
                    after = self.sealed(account_id, {name: text})
                    table = self._store.accounts
                    if await table.change(account_id, after, field=name, before=record):
                        count += 1
                        break
                    record = (await self._store.accounts.read(account_id)).get(name)
        return count


@contextlib.contextmanager
def _unique(name: str) -> Iterator[None]:
    """Turn a name that another account has into a problem of the field."""
    try:
        yield
    except NameTaken:
        raise AccountProblem(f"There is an account named {name} already.", "name") from None


def _asked(
    credential: Credential, upstreams: Upstreams, method: str, target: bytes, body: bytes
) -> AbstractAsyncContextManager[Reply]:
    """A question of our own to an account's API, with its credential."""
    headers = [credential.header, (b"anthropic-version", ANTHROPIC_VERSION)]
    if body:
        headers.append((b"content-type", b"application/json"))
    if credential.beta:
        headers.append((b"anthropic-beta", credential.beta))
    return upstreams.send(
        credential.base_url,
        method,
        target,
        headers,
        body,
        headers_timeout_s=_TEST_DEADLINE_S,
        silence_timeout_s=_TEST_DEADLINE_S,
        proxy=credential.proxy,
        judges_host=credential.judges_host,
        judges_proxy=credential.judges_proxy,
    )


async def _beginning(reply: Reply, most_bytes: int) -> bytes:
    """An answer's body, cut off some way behind `most_bytes`."""
    parts, size = [], 0
    while size < most_bytes and (data := await reply.receive()):
        parts.append(data)
        size += len(data)
    return b"".join(parts)


def _purpose(account_id: str, name: str) -> str:
    """What a record is encrypted for, so that it opens nowhere else."""
    return f"account:{account_id}" if name == "secret" else f"account:{account_id}:{name}"


def _checked_proxy(proxy: str) -> str:
    if proxy and proxy != DIRECT:
        try:
            parse_proxy_url(proxy)
        except ValueError as rule:
            raise AccountProblem(f"proxy: {rule}", "proxy") from None
    return proxy


def _without_password(proxy: str) -> str:
    parts = urlsplit(proxy)
    if not parts.username:
        return proxy
    return f"{parts.scheme}://{parts.username}:***@{parts.netloc.rpartition('@')[2]}"


def _verdict(status: int) -> str:
    if status == 200:
        return "The upstream accepts this account's credential."
    if status in (401, 403):
        return f"The upstream refuses this account's credential (status {status})."
    return f"The upstream answered with status {status}; the credential may still be good."
