"""Backups: which there are, making one now, and trying out that the newest can be restored."""

from collections.abc import Awaitable

import trio
from quart import Response

from relay import backup
from relay.backup import BackupProblem, Made
from relay.web.visit import Visit

_DEADLINE_S = 900.0


async def listing(visit: Visit) -> Response:
    return await _listing(visit)


async def _listing(visit: Visit, said: str = "", problem: str = "") -> Response:
    notes = await visit.ctx.store.upkeep.backup_notes()
    settings = visit.ctx.settings
    folder, made = await trio.to_thread.run_sync(backup.listed, settings, notes)
    return visit.page(
        "backups.html",
        422 if problem else 200,
        notes=notes,
        made=made,
        folder=folder,
        is_here=folder == settings.backup_folder,
        said=said,
        problem=problem,
    )


async def make(visit: Visit) -> Response:
    """Make a backup; the page comes when it has been read back."""
    said = visit.text("The backup was made and read back.")
    return await _done(visit, visit.ctx.backups.make(patience_s=_DEADLINE_S), said)


async def drill(visit: Visit) -> Response:
    """Restore the newest backup into a throw-away Redis."""
    said = visit.text("The newest backup can be restored: all of it is there.")
    return await _done(visit, visit.ctx.backups.drill(patience_s=_DEADLINE_S), said)


async def _done(visit: Visit, making: Awaitable[Made], said: str) -> Response:
    try:
        made = await making
    except BackupProblem as problem:
        return await _listing(visit, problem=visit.told(problem))
    counts = visit.text("{keys} keys, {accounts} accounts.", keys=made.keys, accounts=made.accounts)
    return await _listing(visit, f"{said} {counts}")
