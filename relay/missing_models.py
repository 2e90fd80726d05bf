"""What a client reads that asks for a model which has retired, which nobody serves or which its key
may not use: since when, what the key may use instead, and how its operator maps the name."""

import re
from collections.abc import Sequence
from datetime import UTC, date, datetime

import trio

from relay import errors, rules, upstream_errors
from relay.accounts import Account, Accounts
from relay.dialects.retired import retired_on
from relay.errors import Headers
from relay.keys import may_use
from relay.known_models import KnownModels
from relay.lease import Lease
from relay.store import RedisAway, Store

# A refusal is cheap to ask for, so the accounts are not read for each.
_FRESH_S = 10.0
_MOST_NAMES = 8
_ENCODING = (b"content-encoding", b"content-length", b"content-type")
# "model: NAME" is Anthropic's sentence for a model that it does not have, perhaps with more behind.
_NO_MODEL = re.compile(r"model: ")

Refusal = errors.ForbiddenModel | errors.UnservedModel


class MissingModels:
    """Explains that a model cannot be had. Reads only where that is the answer."""

    def __init__(self, store: Store, accounts: Accounts, known: KnownModels) -> None:
        self._store = store
        self._accounts = accounts
        self._known = known
        self._read: tuple[float, Sequence[Account]] | None = None

    async def explained(self, refusal: Refusal, key_id: str, section: str) -> errors.RelayError:
        """A refusal of our own with what helps.

        Args:
            section: of relay.toml, in which other names for models stand.
        """
        since = self._since(refusal.model)
        parts = [refusal.message, f"It retired on {since}." if since else ""]
        parts.append(await self._choice(key_id, refusal.model, ()))
        if since or isinstance(refusal, errors.UnservedModel):
            parts.append(_advice(refusal.model, section))
        return type(refusal)(" ".join(part for part in parts if part), refusal.model)

    async def of_upstream(
        self, lease: Lease, headers: Headers, body: bytes, section: str
    ) -> errors.NotFound | None:
        """What takes the place of an upstream's 404, if that says that there is no such model.

        Args:
            headers, body: the upstream's answer.
            section: as for explained().
        """
        says = upstream_errors.read(headers, body)
        if says.type != "not_found_error" or not _NO_MODEL.match(says.message):
            return None
        asked = lease.call.model
        if not asked or lease.call.kind == "batch":
            return None
        sent = lease.credential.model_map.get(asked, asked)
        since = self._since(sent)
        what = f"retired on {since}" if since else "is a model that the upstream does not have"
        told = f"model: {asked} {what}."
        if sent != asked:
            told = f"model: {asked} is mapped to {sent}, which {what}."
        choice = await self._choice(lease.key.id, sent, lease.tried)
        parts = (told, choice, _advice(asked, section))
        return errors.NotFound(" ".join(part for part in parts if part))

    def _since(self, model: str) -> date | None:
        """The day (UTC) since when a model is gone; None where nothing says that it is."""
        known = self._known.find(model)
        if known is None:
            return retired_on(model)
        now = datetime.now(UTC)
        if known.retires_at and (known.has_retired or known.retires_at <= now):
            return known.retires_at.date()
        return retired_on(model) if known.has_retired else None

    async def _choice(self, key_id: str, missing: str, account_ids: Sequence[str]) -> str:
        """The sentence that names what a key may use; empty where nothing is known of that.

        Args:
            missing: what it must not name.
            account_ids: the accounts in question; none for all that the key may use.
        """
        try:
            fields, accounts = await self._store.keys.read(key_id), await self._all_accounts()
        except RedisAway:
            return ""
        globs = rules.lines(fields.get("models", ""))
        groups = set(rules.lines(fields.get("groups", "")))
        names: dict[str, None] = {}
        for account in accounts:
            is_meant = account.id in account_ids if account_ids else account.enabled
            if is_meant and (not groups or groups & set(account.groups)):
                names |= dict.fromkeys(self._served(account))
        able = [name for name in names if name != missing and may_use(globs, name)]
        return _listed(able or list(globs))

    def _served(self, account: Account) -> Sequence[str]:
        """The names by which an account serves models, as far as its upstream lists them."""
        listed = [one.name for one in self._known.of(account.id) if not one.has_retired]
        mapped = [name for name, target in account.model_map.items() if target in listed]
        allowed = [name for name in listed if may_use(account.models, name)]
        return [*allowed, *(name for name in mapped if name not in allowed)]

    async def _all_accounts(self) -> Sequence[Account]:
        if self._read is None or trio.current_time() - self._read[0] > _FRESH_S:
            self._read = (trio.current_time(), await self._accounts.list())
        return self._read[1]


def answer(error: errors.NotFound, headers: Headers, request_id: str) -> tuple[int, Headers, bytes]:
    """Status, headers and body of an upstream's answer whose error is replaced by ours."""
    body = errors.envelope(error, request_id)
    kept = [pair for pair in headers if pair[0] not in _ENCODING]
    length = (b"content-length", b"%d" % len(body))
    return error.status, [*kept, (b"content-type", b"application/json"), length], body


def section_of(dialect: str) -> str:
    """The section of relay.toml with other names for models, by a dialect's name."""
    return "openai.models" if dialect.startswith("openai") else "claude.models"


def _listed(names: Sequence[str]) -> str:
    if not names:
        return ""
    more = len(names) - _MOST_NAMES
    tail = f" and {more} more" if more > 0 else ""
    return f"This key may use {', '.join(names[:_MOST_NAMES])}{tail}."


def _advice(model: str, section: str) -> str:
    return (
        f"The relay's operator can let the name mean another model: in [{section}] of relay.toml,"
        f" or by `relay account edit ACCOUNT --map {model}=MODEL`."
    )
