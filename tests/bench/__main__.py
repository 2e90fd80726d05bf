"""The benchmark's command line; tests/bench/run prepares what it needs and calls it.

It prints tables and asserts no figure: those of one machine and one hour are not a test. It
exits with 1 when a contender failed, for then the table is not whole.
"""

import json
import signal
import sys
import tempfile
from functools import partial
from pathlib import Path

import click
import trio

from tests.bench import measure, peers, table, together
from tests.bench.contenders import Caddy, Contender, Direct, Hypercorn, Nginx
from tests.bench.processes import StartError
from tests.bench.relay_contender import ChatRelay, Relay, ResponsesRelay
from tests.bench.streams_load import Shape

BARE = "bare answer"
YARDSTICKS = (BARE, Caddy.name)
USUAL_PARTS = ("requests", "streams")
USUAL_SHAPES = (Shape(50, 50), Shape(200, 50))
LONG_SHAPE = Shape(50, 500)


def everyone() -> list[Contender]:
    """All contenders in the order of the tables."""
    return [
        Direct(),
        Hypercorn(BARE, "answer"),
        Hypercorn("bare httpx", "passthrough"),
        Nginx(),
        Caddy(),
        Relay(),
        ChatRelay(),
        ResponsesRelay(),
    ]


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--peers", "with_peers", is_flag=True, help="Also the gateways of others.")
@click.option("--quick", is_flag=True, help="A smoke run of seconds: is everything in order?")
@click.option("--rounds", default=3, show_default=True, type=click.IntRange(1, 20))
@click.option(
    "--seconds", default=3, show_default=True, type=click.IntRange(1, 30),
    help="How long one round of requests is.",
)  # fmt: skip
@click.option(
    "--part", "parts", multiple=True, type=click.Choice((*USUAL_PARTS, *together.PARTS)),
    help="Only this part; may be repeated. Limits and faults (two relays) run only if named.",
)  # fmt: skip
@click.option(
    "--only", multiple=True,
    type=click.Choice([one.name for one in (*everyone(), *peers.everyone())]),
    help="Only this contender; may be repeated.",
)  # fmt: skip
@click.option(
    "--streams", multiple=True, type=click.IntRange(1, 1000),
    help="Also so many streams of 50 chunks, such as 500; may be repeated.",
)  # fmt: skip
@click.option("--long-streams", is_flag=True, help="Also 50 streams of 500 chunks.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON for a program.")
def main(
    with_peers: bool,
    quick: bool,
    rounds: int,
    seconds: int,
    parts: tuple[str, ...],
    only: tuple[str, ...],
    streams: tuple[int, ...],
    long_streams: bool,
    as_json: bool,
) -> None:
    """Measure the relay, its bare stack, and plain proxies, side by side on this machine."""
    more = [Shape(count, 50) for count in streams] + [LONG_SHAPE] * long_streams
    plan = _plan(quick, rounds, seconds, parts or USUAL_PARTS, tuple(more))
    known = [*everyone(), *(peers.everyone() if with_peers else ())]
    contenders = [one for one in known if not only or one.name in only]
    results = trio.run(_run, contenders, plan) if plan.clients or plan.shapes else []
    found = trio.run(_run_together, parts, quick)
    if as_json:
        figures = [*table.values(results), *found.values()]
        click.echo(json.dumps(figures, indent=2, ensure_ascii=False))
    else:
        tables = [table.text(results, YARDSTICKS) if results else "", found.text()]
        click.echo("\n\n".join(filter(None, tables)))
    sys.exit(1 if any(one.failure for one in results) or not found.holds else 0)


def _plan(
    quick: bool, rounds: int, seconds: int, parts: tuple[str, ...], more: tuple[Shape, ...]
) -> measure.Plan:
    shapes = (Shape(10, 10, spread_s=0.2),) if quick else USUAL_SHAPES
    return measure.Plan(
        rounds=1 if quick else rounds,
        seconds=1 if quick else seconds,
        clients=((32,) if quick else (1, 32)) if "requests" in parts else (),
        shapes=(*shapes, *more) if "streams" in parts else (),
        warm_up=not quick,
    )


async def _run(contenders: list[Contender], plan: measure.Plan) -> list[measure.Result]:
    say = partial(click.echo, err=True)
    results, reason = None, "ended by a signal"
    # A unix socket's path is short, so the folder's is as well.
    with tempfile.TemporaryDirectory(prefix="bench-", dir="/tmp") as folder:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_end_on_signal, nursery)
            try:
                results = await measure.run(contenders, plan, Path(folder), say)
            except* StartError as group:
                reason = f"an upstream {group.exceptions[0]}"
            nursery.cancel_scope.cancel()
    if results is None:
        raise click.ClickException(reason)
    return results


async def _run_together(parts: tuple[str, ...], quick: bool) -> together.Together:
    say = partial(click.echo, err=True)
    with tempfile.TemporaryDirectory(prefix="bench-", dir="/tmp") as folder:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_end_on_signal, nursery)
            found = None
            try:
                found = await together.run(parts, Path(folder), say, quick=quick)
            except* (StartError, AssertionError) as group:
                say(f"failed: {group.exceptions[0]!r}")
            nursery.cancel_scope.cancel()
    if found is None:
        raise click.ClickException("the parts with two relays did not come to their end")
    return found


async def _end_on_signal(nursery: trio.Nursery) -> None:
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async for _ in signals:
            nursery.cancel_scope.cancel()


if __name__ == "__main__":
    main()
