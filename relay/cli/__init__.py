"""The command line: each command parses, calls one function, and shows what it returned.

Exit status: 0 done, 1 failed (one sentence on stderr), 2 wrong usage; those of monitor and doctor
are told there. A secret is never taken
from the arguments, and shown only when it is made. Imports are lazy, so that --help is quick.
"""

import io
import sys
from typing import Any

import click

import relay
from relay import hardening
from relay.cli import common
from relay.cli.accounts import account
from relay.cli.audit import audit
from relay.cli.backups import accept_database, backup, restore
from relay.cli.keys import create_api_key, key
from relay.cli.menu import menu
from relay.cli.monitor import doctor, monitor
from relay.cli.owners import owner
from relay.cli.prices import prices
from relay.cli.reconcile import admin_key, reconcile
from relay.cli.releases import rollback, upgrade
from relay.cli.reports import why
from relay.cli.service import build, canary, serve, try_
from relay.cli.signins import oauth, rotate_encryption
from relay.cli.tokens import token
from relay.cli.usage import report, usage
from relay.cli.users import user
from relay.cli.webhooks import webhook


class _Main(click.Group):
    """All commands; what a terminal cannot show never stops one of them."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run a command, help and errors included."""
        for stream in (sys.stdout, sys.stderr):
            # What stands in for a terminal may be no text file of Python's own.
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="replace")
        return super().main(*args, **kwargs)


@click.group(cls=_Main, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(relay.__version__, prog_name="relay", message="%(prog)s %(version)s")
def main() -> None:
    """Stand between your Claude clients and your Claude API accounts."""
    hardening.forbid_dumps()
    common.take_environment()


for _command in (
    serve,
    try_,
    canary,
    key,
    create_api_key,
    owner,
    account,
    oauth,
    usage,
    report,
    why,
    prices,
    reconcile,
    admin_key,
    audit,
    user,
    token,
    webhook,
    monitor,
    doctor,
    rotate_encryption,
    backup,
    restore,
    accept_database,
    upgrade,
    rollback,
    build,
    menu,
):
    main.add_command(_command)
