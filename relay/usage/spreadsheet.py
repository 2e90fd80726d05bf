"""A report as others read it: the names of its columns, and CSV for a spreadsheet."""

import csv
import io

from relay.store import COUNTERS
from relay.usage.report import Report
from relay.usage.sums import BY

# A cell that begins so is a formula to a spreadsheet (OWASP, CSV injection); full width as well.
_FORMULA = tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")


def fields(found: Report) -> list[str]:
    """The fields of its rows that are filled."""
    return [name for one in BY if one in found.by for name in BY[one]]


def as_csv(found: Report) -> str:
    """A head and a line for each row; no cell is a formula."""
    named = fields(found)
    counted = [*COUNTERS, *(name for name in ("refused",) if name in found.total)]
    text = io.StringIO()
    lines = csv.writer(text)
    lines.writerow([*named, *counted, "cost_usd"])
    for row in found.rows:
        micros = row.counters["cost_micros"]
        figures = [row.counters[name] for name in counted]
        names = [_harmless(getattr(row, name)) for name in named]
        lines.writerow([*names, *figures, f"{micros // 1_000_000}.{micros % 1_000_000:06d}"])
    return text.getvalue()


def as_json(found: Report) -> dict[str, object]:
    """The report for a program."""
    named = fields(found)
    rows = [
        {
            **{name: getattr(row, name) for name in named},
            "counters": row.counters,
            "refusals": row.refusals,
        }
        for row in found.rows
    ]
    return {
        "since": found.since, "until": found.until, "by": found.by, "rows": rows,
        "total": found.total,
    }  # fmt: skip


def _harmless(text: str) -> str:
    """A text that no spreadsheet takes for a formula."""
    return f"'{text}" if text.startswith(_FORMULA) else text
