"""What a process noticed of bills that nobody may miss: models without a price, unknown usage.

Booking only notes it; a job reports each once, to the log and to the webhooks.
"""

import logging
from collections.abc import Iterable
from dataclasses import dataclass

from relay.pricing import Prices
from relay.usage import Attempt

log = logging.getLogger("relay.remarks")

REPORT_EVERY_S = 30.0
# An upstream chooses these words: neither their number nor their length may fill the memory.
_MOST_REMEMBERED = 1000
_LONGEST_NAME = 100
ONCE_FOR_S = 30 * 24 * 3600.0


@dataclass(frozen=True, slots=True)
class Remark:
    """Something to report once.

    Args:
        event: the alert's, one of settings.EVENTS.
        subject: what it is about; with the event it tells one remark from another.
    """

    event: str
    subject: str
    title: str
    text: str


class Remarks:
    """The remarks of one process that are to be reported."""

    def __init__(self, prices: Prices) -> None:
        self._prices = prices
        self._seen: set[tuple[str, str]] = set()
        self._waiting: list[Remark] = []

    def of(self, attempts: Iterable[Attempt], model: str) -> None:
        """Note what is remarkable in attempts that are booked.

        Args:
            model: that served the last of them, as the upstream names it, or empty.
        """
        for attempt in attempts:
            for remark in attempt.remarks:
                self._usage(remark)
            for part in attempt.parts:
                self._model(part.model)
        self._model(model)

    def take(self) -> list[Remark]:
        """What was noted since the last time."""
        waiting, self._waiting = self._waiting, []
        return waiting

    def put_back(self, remarks: Iterable[Remark]) -> None:
        """Remarks that could not be reported."""
        self._waiting.extend(remarks)

    def _usage(self, remark: str) -> None:
        field = remark.partition(":")[0]
        self._note(
            "usage_unknown",
            field,
            f"An upstream's bill has something the relay does not know: {field}",
            f"{remark}. It is booked at the dearest known price. `relay upgrade` may know it; until"
            " then compare the account's bill with `relay usage`.",
        )

    def _model(self, model: str) -> None:
        if not model or not self._prices.is_stand_in(model):
            return
        name = model[:_LONGEST_NAME]
        self._note(
            "price_unknown",
            name,
            f"The model {name} has no price of its own",
            f"It is booked as {self._prices.booked_as(model)}. Give it a row by a newer table"
            " (`relay prices update`) or in `pricing.file`, or upgrade the relay;"
            " see docs/prices.md.",
        )

    def _note(self, event: str, subject: str, title: str, text: str) -> None:
        if (event, subject) in self._seen or len(self._seen) >= _MOST_REMEMBERED:
            return
        self._seen.add((event, subject))
        log.warning("%s. %s", title, text)
        self._waiting.append(Remark(event, subject, title, text))
