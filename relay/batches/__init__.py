"""Message batches: read before they are admitted, booked once from their results.

A batch costs money long after the request that made it has ended. So the reservation goes over
to the batch, and whoever sees its results first books them: the job, or its key's holder.
"""

from relay.batches.booking import Tally, book, book_estimated
from relay.batches.making import (
    MOST_SPOOLED_BYTES,
    Reading,
    keep,
    outlasting,
    pieces,
    read,
    spooled,
)
from relay.batches.polling import RUN_DEADLINE_S, before_delete, poll

__all__ = [
    "MOST_SPOOLED_BYTES", "RUN_DEADLINE_S", "Reading", "Tally", "before_delete", "book",
    "book_estimated", "keep", "outlasting", "pieces", "poll", "read", "spooled",
]  # fmt: skip
