"""`relay monitor` and `relay doctor`: whether all is well, for cron and for a person.

Exit status: 0 ok, 1 warning, 2 critical, 3 wrong usage.
"""

import logging
from typing import TYPE_CHECKING, Any

import click

from relay.cli.common import environment, json_flag, print_json

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from relay.monitor import Report


class _WrongUsage(click.UsageError):
    exit_code = 3


class _Watchman(click.Command):
    """A command whose status 2 has another meaning than wrong usage."""

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        try:
            return super().make_context(*args, **kwargs)
        except click.UsageError as error:
            raise _WrongUsage(error.format_message(), error.ctx) from None


@click.command(cls=_Watchman)
@json_flag
def monitor(as_json: bool) -> None:
    """Look at everything, start what is down, and tell the webhooks; cron runs it.

    Exit status: 0 ok, 1 warning, 2 critical, 3 wrong usage.
    """
    from relay.monitor import line, watch

    _show(watch, line, as_json)


@click.command(cls=_Watchman)
@json_flag
def doctor(as_json: bool) -> None:
    """Show what is wrong and the command that mends it; changes nothing.

    Exit status: 0 ok, 1 warning, 2 critical, 3 wrong usage.
    """
    from relay.monitor import examine, sheet

    _show(examine, sheet, as_json)


def _show(
    run: "Callable[[Mapping[str, str]], Awaitable[Report]]",
    words: "Callable[[Report], str]",
    as_json: bool,
) -> None:
    import trio

    from relay import log
    from relay.monitor import failed

    # What the parts say of a Redis that is away stands in the findings.
    log.set_up("critical", None)
    try:
        report = trio.run(run, environment())
    except Exception as error:
        # Whatever it was, the one who reads the status must not take it for a warning.
        logging.getLogger("relay.monitor").critical("the run failed", exc_info=True)
        report = failed(error)
    if as_json:
        print_json(report.to_json())
    else:
        click.echo(words(report))
    raise click.exceptions.Exit(report.exit_status)
