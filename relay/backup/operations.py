"""Making and trying out backups, whoever asks: the audit names it, webhooks hear of a failure."""

import logging
import time
from collections.abc import Awaitable, Callable

import trio

from relay.alerts import Alerts
from relay.audit import Audit
from relay.backup import backups
from relay.backup.archive import BackupProblem
from relay.backup.backups import Made
from relay.settings import Settings
from relay.store import RedisAway, ReplyError, Store

log = logging.getLogger("relay.backup")

_REPORT_DEADLINE_S = 30.0


class Backups:
    """The backups of a relay, for the command line, the console and the admin API alike."""

    def __init__(self, settings: Settings, opened: Store, audit: Audit, alerts: Alerts) -> None:
        self._settings = settings
        self._store = opened
        self._audit = audit
        self._alerts = alerts

    async def make(self, *, for_good: bool = False, patience_s: float = float("inf")) -> Made:
        """Make a backup; see backups.backup().

        Args:
            patience_s: after so long it is given up.

        Raises:
            BackupProblem: it failed. The webhooks hear of that, and of any other failure.
        """

        async def make() -> Made:
            return await backups.backup(self._settings, self._store, for_good=for_good)

        return await self._do("backup.make", "The backup failed", patience_s, make)

    async def drill(self, *, patience_s: float = float("inf")) -> Made:
        """Try out that the newest backup can be restored; see backups.drill() and make()."""

        async def drill() -> Made:
            return await backups.drill(self._settings, self._store)

        failed = "The newest backup cannot be restored"
        return await self._do("backup.drill", failed, patience_s, drill)

    async def _do(
        self, action: str, failed: str, patience_s: float, do: Callable[[], Awaitable[Made]]
    ) -> Made:
        problem: Exception
        try:
            with trio.fail_after(patience_s):
                made = await do()
        except trio.TooSlowError:
            problem = BackupProblem(f"It took over {patience_s / 60:.0f} minutes and was given up.")
        except Exception as error:  # noqa: BLE001  # raised again below
            problem = error
        else:
            await self._audit.note(action, made.file.name)
            return made
        await report_failure(self._alerts, failed, problem)
        raise problem


async def report_failure(alerts: Alerts, title: str, problem: Exception) -> None:
    """Report a failure to the webhooks, straight where Redis cannot hold it."""
    text = str(problem) or type(problem).__name__
    log.error("%s: %s", title, text)
    with trio.move_on_after(_REPORT_DEADLINE_S, shield=True):
        try:
            await alerts.add("monitor", title, text)
        except (RedisAway, ReplyError):
            await alerts.send_now("monitor", f"backup-{time.time_ns()}", title, text)
