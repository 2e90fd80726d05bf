"""The results as plain text, or as values for JSON.

A ratio compares CPU per request or per chunk with the same run's other rows; it is what lasts
when the machine is a noisy one.
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence

from tests.bench.measure import Memory, Result
from tests.bench.requests_load import RequestsRound
from tests.bench.streams_load import Shape, StreamsRound

NOTHING = "-"
LEGEND = """\
Added: beside `direct`, which is the load on the upstream itself. / NAME: CPU compared with NAME's.
Redis scripts: what the relay calls, each a round trip. Reads: fewer, where calls travel together.
Commands: with those that scripts call. RSS: sum over a contender's processes.
The figures are medians of the rounds; errors are summed, and completed is the worst round's."""
Cells = list[str]


def text(results: Sequence[Result], yardsticks: Sequence[str]) -> str:
    """All tables. `yardsticks` name the rows that the ratios compare with."""
    return "\n\n".join(_tables(results, yardsticks))


def values(results: Sequence[Result]) -> list[dict[str, object]]:
    """The same figures for a program."""
    return [
        {
            "name": one.name,
            "failure": one.failure,
            "idle": one.idle and dataclasses.asdict(one.idle),
            "loaded": one.loaded and dataclasses.asdict(one.loaded),
            "requests": [
                {"clients": clients, **dataclasses.asdict(figures)}
                for clients, figures in one.requests.items()
            ],
            "streams": [
                {**dataclasses.asdict(shape), **dataclasses.asdict(figures)}
                for shape, figures in one.streams.items()
            ],
        }
        for one in results
    ]


def _tables(results: Sequence[Result], yardsticks: Sequence[str]) -> Iterator[str]:
    for clients in _in_order(key for one in results for key in one.requests):
        found = {one.name: one.requests.get(clients) for one in results}
        title = f"Requests, {clients} at a time"
        yield _requests_table(title, results, found, yardsticks)
    for shape in _in_order(key for one in results for key in one.streams):
        found = {one.name: one.streams.get(shape) for one in results}
        yield _streams_table(shape, results, found, yardsticks)
    yield _memory_table(results)
    yield LEGEND


def _requests_table(
    title: str,
    results: Sequence[Result],
    found: dict[str, RequestsRound | None],
    yardsticks: Sequence[str],
) -> str:
    head = ["req/s", "p50 ms", "p99 ms", "p50 added", "errors"]
    head += ["CPU ms/req", "+ Redis", *(f"/ {name}" for name in yardsticks)]
    head += ["Redis scripts/req", "reads/req", "commands/req"]
    direct = found.get("direct")

    def cells(name: str) -> Cells:
        one = found[name]
        return [
            f"{one.requests_per_s:.0f}",
            _figure(one.p50_ms),
            _figure(one.p99_ms),
            _figure(one.p50_ms - direct.p50_ms if direct else None),
            str(one.errors),
            _figure(one.cpu_ms),
            _figure(one.aside_cpu_ms or None),
            *(_ratio(one.cpu_ms, found.get(yard), "cpu_ms") for yard in yardsticks),
            _figure(one.store_scripts or None),
            _figure(one.store_reads or None),
            _figure(one.store_commands or None),
        ]

    return _table(title, head, results, found, cells)


def _streams_table(
    shape: Shape,
    results: Sequence[Result],
    found: dict[str, StreamsRound | None],
    yardsticks: Sequence[str],
) -> str:
    title = f"{shape.streams} streams of {shape.chunks} chunks, ideal wall {shape.ideal_s:.1f} s"
    head = ["completed", "wall s", "TTFB p50 ms", "TTFB p99 ms", "delay p99 ms"]
    head += ["CPU s/1000 chunks", "+ Redis", *(f"/ {name}" for name in yardsticks)]

    def cells(name: str) -> Cells:
        one = found[name]
        return [
            f"{one.completed}/{shape.streams}",
            f"{one.wall_s:.2f}",
            _figure(one.ttfb_p50_ms),
            _figure(one.ttfb_p99_ms),
            _figure(one.delay_p99_ms),
            _figure(one.cpu_s_per_1000),
            _figure(one.aside_cpu_s_per_1000 or None),
            *(_ratio(one.cpu_s_per_1000, found.get(yard), "cpu_s_per_1000") for yard in yardsticks),
        ]

    return _table(title, head, results, found, cells)


def _memory_table(results: Sequence[Result]) -> str:
    def mib(idle: float, loaded: float) -> str:
        return f"{idle:.0f} → {loaded:.0f}" if loaded else NOTHING

    def cells(name: str) -> Cells:
        idle, loaded = found[name]
        return [mib(idle.own_mib, loaded.own_mib), mib(idle.aside_mib, loaded.aside_mib)]

    found: dict[str, tuple[Memory, Memory] | None] = {
        one.name: (one.idle, one.loaded) if one.idle and one.loaded else None for one in results
    }
    head = ["RSS MiB idle → loaded", "Redis"]
    return _table("Memory", head, results, found, cells)


def aligned(title: str, head: Cells, rows: Sequence[Cells]) -> str:
    """A table whose first column are words and whose others are figures."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]

    def line(row: Cells) -> str:
        first, *rest = row
        figures = (cell.rjust(width) for cell, width in zip(rest, widths[1:], strict=True))
        return "  ".join([first.ljust(widths[0]), *figures])

    return "\n".join([title, *map(line, [head, *rows])])


def _table(
    title: str,
    head: Cells,
    results: Sequence[Result],
    found: dict[str, object],
    cells: Callable[[str], Cells],
) -> str:
    """Rows of aligned cells. Who has no figures gets its failure, or is left out without one."""
    rows = {one.name: cells(one.name) for one in results if found[one.name] is not None}
    widths = [max(map(len, column)) for column in zip(head, *rows.values(), strict=True)]
    first = max(len(one.name) for one in results)

    def line(name: str, row: Cells) -> str:
        aligned = (cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        return "  ".join([name.ljust(first), *aligned]).rstrip()

    lines = [title, line("", head)]
    for one in results:
        if one.name in rows:
            lines.append(line(one.name, rows[one.name]))
        elif one.failure:
            lines.append(f"{one.name.ljust(first)}  failed: {one.failure}")
    return "\n".join(lines)


def _figure(value: float | None) -> str:
    if value is None:
        return NOTHING
    return f"{value:.3f}" if abs(value) < 1 else f"{value:.2f}"


def _ratio(value: float | None, yard: object, name: str) -> str:
    measure = getattr(yard, name, None)
    return f"{value / measure:.2f}" if value is not None and measure else NOTHING


def _in_order(keys: Iterator) -> list:
    return list(dict.fromkeys(keys))
