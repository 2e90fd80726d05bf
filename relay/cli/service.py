"""The commands that run the whole: serve, try, build."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from relay.cli.common import chosen_settings, environment, sentences

if TYPE_CHECKING:
    from relay.settings import Settings


@click.command()
@click.option("--host", help="Address to listen on (HOST, 127.0.0.1).")
@click.option("--port", type=click.IntRange(0, 65535), help="Port to listen on (PORT, 3000).")
@sentences
def serve(host: str | None, port: int | None) -> None:
    """Serve in the foreground until SIGTERM or Ctrl-C."""
    import trio

    from relay import log, server

    settings = chosen_settings(HOST=host, PORT=port)
    log.set_up(settings.log_level, _log_file(settings))
    trio.run(server.serve, settings)


def _log_file(settings: "Settings") -> Path | None:
    return settings.log_directory / "relay.log" if settings.log_to_file else None


@click.command("try")
@sentences
def try_() -> None:
    """Try the relay on this machine: simulated, or real with ANTHROPIC_API_KEY set."""
    import trio

    from relay import log, trial

    log.set_up("warning", None)
    trio.run(trial.run, environment(), click.echo)


@click.command()
@sentences
def canary() -> None:
    """Prove that this release serves on this machine, by calls to a built-in simulator.

    It uses the machine's settings and a database of its Redis that is empty; clients, accounts and
    what is stored do not notice it.
    """
    import trio

    from relay import canary as proof
    from relay import log

    log.set_up("warning", None)
    for called in trio.run(proof.run, chosen_settings()):
        click.echo(f"ok  {called}")


@click.command()
@click.option("--output", type=click.Path(path_type=Path), default=Path("dist/relay.pyz"))
@sentences
def build(output: Path) -> None:
    """Build relay.pyz, the whole relay in one file, and the release archive beside it."""
    from relay import build as building
    from relay import release

    click.echo(building.build(output))
    click.echo(release.pack(building.CHECKOUT, output, output.parent))
