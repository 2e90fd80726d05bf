"""When Claude's older models retired, for upstreams whose lists no longer name them.

Source: platform.claude.com/docs/en/about-claude/model-deprecations. A name may have a date, an
edition or another seller's spelling around it.
"""

import re
from datetime import date

_RETIRED: tuple[tuple[str, date], ...] = (
    (r"claude-(?:instant-)?1|claude-instant", date(2024, 11, 6)),
    (r"claude-2", date(2025, 7, 21)),
    (r"claude-3-sonnet", date(2025, 7, 21)),
    (r"claude-3-5-sonnet", date(2025, 10, 28)),
    (r"claude-3-opus", date(2026, 1, 5)),
    (r"claude-3-7-sonnet", date(2026, 2, 19)),
    (r"claude-3-5-haiku", date(2026, 2, 19)),
    (r"claude-3-haiku", date(2026, 4, 20)),
    (r"claude-(?:opus|sonnet)-4(?:-0)?(?:[-@]20\d{6}|-latest)?", date(2026, 6, 15)),
    (r"claude-opus-4-1", date(2026, 8, 5)),
)
# What may stand around a name: a provider's prefix, then a date, an edition or a window.
_AROUND = r"(?:[a-z.]+\.)?(?:{})(?:\.\d)?(?:[-@](?:20\d{{6}}|latest))?(?:-v\d(?::\d+)?)?(?:\[1m\])?"
_PATTERNS = tuple((re.compile(_AROUND.format(name)), day) for name, day in _RETIRED)


def retired_on(model: str) -> date | None:
    """The day on which a model of that name retired at Anthropic's API (UTC); None for others."""
    return next((day for pattern, day in _PATTERNS if pattern.fullmatch(model)), None)
