"""Tokens to money: exact, in integers, by a table that an operator can override."""

from relay.pricing.prices import MOST_MICROS, PICO_PER_MICRO, PriceRow, Prices
from relay.pricing.table import PricesError, canonical
from relay.pricing.tokens import CLASSES, MOST_TOKENS, MOST_USES, NO_BILL, Bill, Part, Tokens

__all__ = [
    "CLASSES",
    "MOST_MICROS",
    "MOST_TOKENS",
    "MOST_USES",
    "NO_BILL",
    "PICO_PER_MICRO",
    "Bill",
    "Part",
    "PriceRow",
    "Prices",
    "PricesError",
    "Tokens",
    "canonical",
]
