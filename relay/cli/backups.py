"""`relay backup` and `relay restore`."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from relay.cli.common import (
    as_dict,
    chosen_settings,
    json_flag,
    person,
    print_json,
    sentences,
    table,
    with_context,
)

if TYPE_CHECKING:
    from relay.context import Context


@click.command()
@click.option("--init", is_flag=True, help="Make this machine's key and a recovery key, once.")
@click.option("--drill", is_flag=True, help="Try out that the newest backup can be restored.")
@click.option("--keep", is_flag=True, help="Make one that no later backup drops.")
@click.option("--list", "listing", is_flag=True, help="List the backups that are here.")
@json_flag
@sentences
def backup(init: bool, drill: bool, keep: bool, listing: bool, as_json: bool) -> None:
    """Make an encrypted backup of everything, read it back, and keep the right ones."""
    if init + drill + keep + listing > 1:
        raise click.UsageError("Choose one of --init, --drill, --keep and --list.")
    if init:
        _make_keys(as_json)
    elif listing:
        _list(as_json)
    else:
        _make(drill, keep, as_json)


def _make_keys(as_json: bool) -> None:
    from relay.backup import make_identities

    recovery = make_identities(chosen_settings())
    if as_json:
        print_json({"recoveryKey": recovery})
        return
    click.echo(
        "Backups can be restored elsewhere with this recovery key alone. It is shown this once;\n"
        f"keep it somewhere else than on this machine:\n\n{recovery}"
    )


def _list(as_json: bool) -> None:
    from relay.backup import kept

    made = kept(chosen_settings())
    if as_json:
        print_json([as_dict(one) for one in made])
        return
    table(("TIME (UTC)", "BYTES", "FILE"),
          [(f"{one.time:%Y-%m-%d %H:%M}", one.size, one.file) for one in made])  # fmt: skip


def _make(is_drill: bool, for_good: bool, as_json: bool) -> None:
    made = with_context(
        lambda ctx: ctx.backups.drill() if is_drill else ctx.backups.make(for_good=for_good)
    )
    if as_json:
        print_json(as_dict(made))
        return
    words = "can be restored" if is_drill else "was made and read back"
    click.echo(f"{made.file} ({made.size} bytes) {words}: {made.keys} keys,"
               f" {made.accounts} accounts.")  # fmt: skip


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--identity-file",
    type=click.Path(path_type=Path),
    help="File with the recovery key; without it this machine's own key.",
)
@click.option(
    "--redis-folder",
    type=click.Path(path_type=Path),
    help="Data folder of a Redis that the relay does not run itself.",
)
@click.option("--check", is_flag=True, help="Only prove the archive; touch nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_flag
@sentences
def restore(
    file: Path,
    identity_file: Path | None,
    redis_folder: Path | None,
    check: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Put a backup in the place of the data that is here.

    The archive is proven before anything is touched, and what is here is kept aside.
    """
    import trio

    from relay import audit, log
    from relay import backup as backups

    settings = chosen_settings()
    log.set_up("warning", None)
    if check:
        manifest = trio.run(backups.proven, settings, file, identity_file)
        print_json(as_dict(manifest)) if as_json else click.echo(f"{file} can be restored.")
        return
    if not yes:
        click.confirm(f"Put {file} in the place of what is in {settings.home}?", abort=True)

    async def run() -> Any:
        with audit.acting(audit.Actor(f"cli:{person()}")):
            return await backups.restore(
                settings, file, identity_file=identity_file, redis_folder=redis_folder
            )

    done = trio.run(run)
    if as_json:
        print_json(as_dict(done))
        return
    click.echo(f"Restored what was on {done.time}: {done.keys} keys, {done.accounts} accounts.")
    for place in done.aside:
        click.echo(f"Kept aside: {place}")


@click.command("accept-database")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_flag
@sentences
def accept_database(yes: bool, as_json: bool) -> None:
    """Go on with the database that Redis holds now, even an empty one.

    For when the relay says that Redis does not hold its database and no backup is to be restored.
    A relay that runs goes on within seconds; in an empty database it makes the first admin.
    """
    if not yes:
        click.confirm("Take what Redis holds now for this relay's database?", abort=True)

    async def run(ctx: "Context") -> Any:
        from relay.backup import snapshot

        await ctx.store.accept_database()
        await ctx.audit.note("database.accept", "redis")
        return await snapshot.counted(ctx.store)

    found = with_context(run)
    if as_json:
        print_json({"keys": found.keys, "accounts": found.accounts})
        return
    click.echo(f"This relay's database is what Redis holds: {found.keys} keys,"
               f" {found.accounts} accounts.")  # fmt: skip
