"""The price table in force: the built-in one, or a newer one that was stored for all processes.

A stored table lies in Redis, so every process of every instance takes it while it serves, and
backups contain it. A release whose own table is newer by its version does not use it any more.
"""

import base64
import binascii
import logging
import tomllib
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from relay import rules
from relay.audit import Audit, acting_name
from relay.pricing import Prices, PricesError, accept
from relay.settings import Settings
from relay.store import Store

log = logging.getLogger("relay.tariff")

FOLLOW_EVERY_S = 5.0
_SIGNATURE_BYTES = 64


class TariffProblem(rules.Problem):
    """A sentence about why a price table is not taken."""


@dataclass(frozen=True, slots=True)
class Updated:
    """A price table that took another one's place.

    Args:
        priced: models that were booked without a row and have one now, with the day (UTC) on
            which that was noticed.
    """

    version: str
    before: str
    is_signed: bool
    priced: dict[str, str]


class Tariff:
    """Keeps a process's prices at the table in force, and takes newer ones."""

    def __init__(self, store: Store, settings: Settings, prices: Prices, audit: Audit) -> None:
        self._store = store
        self._settings = settings
        self._prices = prices
        self._audit = audit
        self._followed = ""

    async def follow(self) -> None:
        """Let this process's prices become those in force. Raises RedisAway.

        A stored table that this release cannot read changes nothing; the log says so.
        """
        version = await self._store.prices.version()
        if version == self._followed:
            return
        stored = await self._store.prices.table()
        self._followed = version
        try:
            loaded = load(self._settings, stored.get("text", ""))
        except (PricesError, tomllib.TOMLDecodeError) as error:
            log.error("the stored price table %s is not used: %s", version, error)
            return
        if loaded.version != self._prices.version:
            log.info("the price table %s is in force now", loaded.version)
            self._prices.become(loaded)

    async def update(
        self,
        text: str,
        signature: bytes = b"",
        *,
        unsigned: bool = False,
        dropped: Collection[str] = (),
    ) -> Updated:
        """Take a newer table, from now on and for every process within a few seconds.

        Args:
            signature: of the text's bytes by the key of `pricing.publicKey`: 64 bytes, or those
                in base64.
            unsigned: take it without a signature.
            dropped: models that may lose their row.

        Raises:
            TariffProblem: it is not signed as it must be, another update came between, or what
                accept() raises.
        """
        if not unsigned:
            self._verify(text, signature)
        stored = await self._store.prices.table()
        running = _running(stored.get("text", ""))
        try:
            offered = accept(text, running, dropped)
            load(self._settings, text)
        except PricesError as problem:
            raise TariffProblem(str(problem), "table") from None
        fields = {
            "version": offered.version,
            "text": text,
            "signed": "" if unsigned else "1",
            "by": acting_name(),
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        if not await self._store.prices.replace(stored.get("version", ""), fields):
            raise TariffProblem("Another price table was stored just now; look at it first.")
        if unsigned:
            log.warning("the price table %s is not signed", offered.version)
        await self._audit.note(
            "prices.update",
            offered.version,
            {"version": running.version},
            {"version": offered.version, "signed": not unsigned, "dropped": sorted(dropped)},
        )
        await self.follow()
        noted = await self._store.prices.unpriced()
        priced = {one: day for one, day in noted.items() if not self._prices.is_stand_in(one)}
        return Updated(offered.version, running.version, not unsigned, priced)

    def _verify(self, text: str, signature: bytes) -> None:
        """Raise TariffProblem unless the signature is that of the key in the settings."""
        key = self._settings.prices_public_key
        if not key:
            raise TariffProblem(
                "There is no key to check a price table by: set pricing.publicKey, or take the"
                " table unsigned.",
                "signature",
            )
        if not signature:
            raise TariffProblem("The price table has no signature.", "signature")
        try:
            given = signature if len(signature) == _SIGNATURE_BYTES else _decoded(signature)
            public = Ed25519PublicKey.from_public_bytes(_decoded(key.encode()))
            public.verify(given, text.encode())
        except (InvalidSignature, ValueError):
            raise TariffProblem(
                "The signature is not that of pricing.publicKey over this table.", "signature"
            ) from None


def _running(stored: str) -> Prices:
    """The table in force without an operator's own rows."""
    try:
        return Prices.load(update=stored)
    except (PricesError, tomllib.TOMLDecodeError):
        return Prices.load()


def _decoded(text: bytes) -> bytes:
    """What base64 says. Raises ValueError."""
    try:
        return base64.b64decode(text.strip(), validate=True)
    except binascii.Error as error:
        raise ValueError(str(error)) from None


def load(settings: Settings, stored: str = "") -> Prices:
    """The prices by the settings and the stored table.

    Raises:
        PricesError, tomllib.TOMLDecodeError: one of them cannot be read.
    """
    return Prices.load(settings.prices_file, settings.price_multiplier, stored)


async def stored_table(store: Store, prices: Prices) -> dict[str, str]:
    """Who stored the table in force (`by`), when (`at`) and whether it is `signed`; nothing where
    the built-in one is in force. Raises RedisAway."""
    stored = await store.prices.table()
    is_in_force = stored.get("version") == prices.version.partition("+")[0]
    return {name: stored[name] for name in ("by", "at", "signed")} if is_in_force else {}


async def in_force(store: Store, settings: Settings) -> Prices:
    """The prices in force, for who serves nothing. Raises RedisAway and PricesError."""
    prices = load(settings)
    try:
        prices.become(load(settings, (await store.prices.table()).get("text", "")))
    except tomllib.TOMLDecodeError as error:
        log.error("the stored price table is not used: %s", error)
    return prices
