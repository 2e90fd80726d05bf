"""Does the ledger equal Anthropic's books? Compares them by day and books what only those know.

An admin key of an organisation reads its usage and cost reports and nothing else. What the reports
and the ledger say of a day is put side by side by workspace, account and model; container and
session hours, which no answer tells of, are booked to the account as lines of their own.
"""

from relay.reconcile.admin_api import AdminApi
from relay.reconcile.compare import Day, Line
from relay.reconcile.keys import (
    DEFAULT_WORKSPACE,
    AdminKey,
    AdminKeyProblem,
    AdminKeys,
    Link,
    ReconcileProblem,
)
from relay.reconcile.reports import AdminApiProblem
from relay.reconcile.runs import MOST_DAYS, RUN_DEADLINE_S, Reconciler
from relay.reconcile.standings import Result, Standing, standings

__all__ = [
    "DEFAULT_WORKSPACE", "MOST_DAYS", "RUN_DEADLINE_S", "AdminApi", "AdminApiProblem", "AdminKey",
    "AdminKeyProblem", "AdminKeys", "Day", "Line", "Link", "ReconcileProblem", "Reconciler",
    "Result", "Standing", "standings",
]  # fmt: skip
