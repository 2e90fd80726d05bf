"""The monitor: looks at the machine and the relay on it, mends what is down, and tells of it.

A run takes one look (look.py), judges it by checks that are functions over that look (checks.py),
starts what is down within limits (mending.py), and tells the webhooks once of each problem and once
that it is over (telling.py), by what it remembers of the runs before (notes.py). It never starts a
Redis of the relay's own, and runs as well when the settings are broken or Redis is away.
"""

from relay.monitor.doctor import examine
from relay.monitor.findings import EXIT_STATUS, Finding
from relay.monitor.report import Report, failed, line, sheet
from relay.monitor.run import watch

__all__ = ["EXIT_STATUS", "Finding", "Report", "examine", "failed", "line", "sheet", "watch"]
