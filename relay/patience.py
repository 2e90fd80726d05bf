"""How long and how often one request is tried again at the same account before its client hears.

Exponential backoff with jitter, bounded in count and in time: see
docs/decisions/0010-failures-are-judged-by-evidence.md.
"""

import random
from dataclasses import dataclass

# An account that states when it is ready is asked so much of the first pause later at most.
_SPREAD = 0.2


@dataclass(slots=True)
class Patience:
    """What is left of one request's patience.

    Args:
        most: so often the same account may be asked again.
        delay_s: the first pause, which doubles with each; each is halved or lengthened by half at
            random, so that the requests of one moment do not come back in one.
        left_s: all pauses together are no longer.
    """

    most: int
    delay_s: float
    left_s: float
    repeats: int = 0

    def pause_s(self, stated_s: float = 0.0) -> float | None:
        """The pause before the same account is asked again; None when that may not be.

        Args:
            stated_s: what the upstream asked for; 0 when it stated nothing.
        """
        if self.repeats >= self.most:
            return None
        pause_s = self.delay_s * 2**self.repeats * random.uniform(0.5, 1.5)  # noqa: S311
        if stated_s:
            pause_s = stated_s + self.delay_s * random.uniform(0.0, _SPREAD)  # noqa: S311
        return pause_s if pause_s <= self.left_s else None

    def use(self, pause_s: float) -> None:
        """The same account is asked again after a pause."""
        self.repeats += 1
        self.left_s = max(0.0, self.left_s - pause_s)
