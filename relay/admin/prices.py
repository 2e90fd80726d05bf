"""The price table in force, and a newer one instead of it."""

from dataclasses import asdict
from decimal import Decimal
from typing import Annotated

import msgspec
from msgspec import Meta

from relay.admin.fields import day, wrong_fields
from relay.admin.routing import Call, In, Out, Page, camel
from relay.pricing import MOST_BYTES, days_since_epoch


class Price(Out):
    """US dollars per million tokens; `aboveTokens` where the row is for longer prompts.

    `since` is the first day (UTC) on which the row holds, empty for one that always did.
    """

    name: str
    input: str
    output: str
    cache_read: str
    cache_write_5m: str
    cache_write_1h: str
    above_tokens: int | None
    since: str


class PricesQuery(In):
    """Only the rows that hold on a day (UTC, YYYY-MM-DD)."""

    at: Annotated[str, Meta(max_length=10)] = ""


class PriceTable(In):
    """A newer table, as TOML. `signature` is base64 of its Ed25519 signature by the key of
    `pricing.publicKey`; `dropped` are models that may lose their row."""

    table: Annotated[str, Meta(max_length=MOST_BYTES)]
    signature: Annotated[str, Meta(max_length=200)] = ""
    unsigned: bool = False
    dropped: Annotated[list[str], Meta(max_length=100)] = []  # noqa: RUF012  # msgspec copies it


class PricesUpdated(Out):
    """The version in force now and the one before; `priced` are models that have a row at last,
    with the day on which it was noticed that they had none."""

    version: str
    before: str
    is_signed: bool
    priced: dict[str, str]


async def listing(call: Call) -> Page[Price]:
    query: PricesQuery = call.query
    at = days_since_epoch(day(query.at, "at")) if query.at else None
    rows = [asdict(row) for row in call.ctx.prices.rows(at)]
    found = [
        msgspec.convert({camel(name): _text(value) for name, value in row.items()}, Price)
        for row in rows
    ]
    return Page(data=found, next=None)


async def update(call: Call) -> PricesUpdated:
    body: PriceTable = call.body
    with wrong_fields({}):
        done = await call.ctx.tariff.update(
            body.table,
            body.signature.encode(),
            unsigned=body.unsigned,
            dropped=body.dropped,
        )
    return msgspec.convert(done, PricesUpdated, from_attributes=True)


def _text(value: object) -> object:
    """A price as JSON has it: exact."""
    return str(value) if isinstance(value, Decimal) else value
