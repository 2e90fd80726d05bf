"""Tokens to money: exact, in integers, by a table that an operator can override."""

from relay.pricing.acceptance import MOST_BYTES, accept
from relay.pricing.prices import MOST_MICROS, PICO_PER_MICRO, Prices
from relay.pricing.reach import (
    ANY_MODEL,
    LARGEST_CONTEXT,
    LARGEST_OUTPUT,
    PLAIN,
    Advisor,
    Fallback,
    Reach,
)
from relay.pricing.rows import PriceRow
from relay.pricing.table import PricesError, canonical, days_since_epoch
from relay.pricing.tokens import CLASSES, MOST_TOKENS, MOST_USES, NO_BILL, Bill, Part, Tokens

__all__ = [
    "ANY_MODEL",
    "CLASSES",
    "LARGEST_CONTEXT",
    "LARGEST_OUTPUT",
    "MOST_BYTES",
    "MOST_MICROS",
    "MOST_TOKENS",
    "MOST_USES",
    "NO_BILL",
    "PICO_PER_MICRO",
    "PLAIN",
    "Advisor",
    "Bill",
    "Fallback",
    "Part",
    "PriceRow",
    "Prices",
    "PricesError",
    "Reach",
    "Tokens",
    "accept",
    "canonical",
    "days_since_epoch",
]
