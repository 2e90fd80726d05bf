"""`relay upgrade` and `relay rollback`: handed to the install.sh that put this release here."""

import os
import sys
from pathlib import Path

import click

from relay.cli.common import sentences


@click.command()
@click.argument(
    "archive", type=click.Path(exists=True, dir_okay=False, resolve_path=True, path_type=Path)
)
@click.option("--yes", is_flag=True, help="Do not ask, not even where there is no way back.")
@click.option("--no-backup", is_flag=True, help="Do not make a backup first.")
@click.option("--dry-run", is_flag=True, help="Print what would change, and change nothing.")
@sentences
def upgrade(archive: Path, yes: bool, no_backup: bool, dry_run: bool) -> None:
    """Let another release serve: ARCHIVE is its relay-VERSION.tar.gz.

    A backup is made, the release is unpacked beside this one, and one instance after another
    takes it; running streams end first. When one does not come up, everything goes back.
    """
    flags = {"--yes": yes, "--no-backup": no_backup, "--dry-run": dry_run}
    _become("upgrade", str(archive), *(flag for flag, is_set in flags.items() if is_set))


@click.command()
@click.option("--dry-run", is_flag=True, help="Print what would change, and change nothing.")
@sentences
def rollback(dry_run: bool) -> None:
    """Let the release before this one serve again, one instance after another."""
    _become("rollback", *(["--dry-run"] if dry_run else []))


def _become(*words: str) -> None:
    script = Path(sys.argv[0]).resolve().with_name("install.sh")
    if not script.exists() or not script.with_name("appliance").is_dir():
        raise click.ClickException(
            "This relay was not put here by install.sh. Replace its relay.pyz by the new one and"
            " restart it."
        )
    if script.with_name("pyproject.toml").exists():
        raise click.ClickException("This is a checkout: update it by git, and restart the relay.")
    os.execv("/bin/bash", ["bash", str(script), *words])  # noqa: S606  # no shell's words in it
