"""What a chart of bars shows: figures over hours or days, and what stands at its axes."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from relay.store import COUNTERS
from relay.usage import Archive, Ask, Report, report
from relay.web.visit import Visit

# Longer periods are drawn by day.
_HOURS_UP_TO = timedelta(days=3)
_HOUR, _DAY = timedelta(hours=1), timedelta(days=1)
_MOST_LABELS = 6
_HOURS_APART = (1, 2, 3, 6, 12, 24)
_STEPS = (1, 2, 5, 10)


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar: the hour or day (UTC) that it stands for, its figure, and its height up to 100."""

    label: str
    value: int
    high: float


@dataclass(frozen=True, slots=True)
class Label:
    """What stands below a bar, and where: its middle, in hundredths of the chart's width."""

    text: str
    at: float


@dataclass(frozen=True, slots=True)
class Chart:
    """Bars with what stands at their axes.

    Attributes:
        top: a round figure that no bar goes beyond; half of it is the axis' middle.
    """

    bars: Sequence[Bar]
    top: int
    labels: Sequence[Label]


@dataclass(frozen=True, slots=True)
class Charts:
    """The two figures over one period; cost in micro-dollars."""

    cost: Chart
    requests: Chart


async def of_last_day(visit: Visit) -> Charts:
    """The last 24 hours by hour."""
    now = datetime.now(UTC)
    return await of_period(visit, now.replace(minute=0, second=0, microsecond=0) - 23 * _HOUR, None)


async def of_period(
    visit: Visit, since: datetime, until: datetime | None, model: str = ""
) -> Charts:
    """A period by hour or day, those without any request among them."""
    is_by_hour = (until or datetime.now(UTC)) - since <= _HOURS_UP_TO
    by, step, form = ("hour", _HOUR, "%Y-%m-%dT%H") if is_by_hour else ("day", _DAY, "%Y-%m-%d")
    archive = Archive(visit.ctx.settings.usage_folder)
    found = await report(visit.ctx.store, Ask(since, until, (by,), model=model), archive)
    figures = {getattr(row, by): row.counters for row in found.rows}
    none = dict.fromkeys(COUNTERS, 0)
    moments = list(_moments(found, step))
    told = [figures.get(f"{at:{form}}", none) for at in moments]
    return Charts(
        _chart(moments, told, "cost_micros", is_by_hour=is_by_hour),
        _chart(moments, told, "requests", is_by_hour=is_by_hour),
    )


def _moments(found: Report, step: timedelta) -> Iterable[datetime]:
    at = found.since
    while at < found.until:
        yield at
        at += step


def _chart(
    moments: Sequence[datetime],
    told: Sequence[Mapping[str, int]],
    name: str,
    *,
    is_by_hour: bool,
) -> Chart:
    top = rounded_up(max((one[name] for one in told), default=0))
    form = "%Y-%m-%d %H:00" if is_by_hour else "%Y-%m-%d"
    bars = [
        Bar(f"{at:{form}}", one[name], round(100 * one[name] / top, 1))
        for at, one in zip(moments, told, strict=True)
    ]
    return Chart(bars, top, named(moments, is_by_hour=is_by_hour))


def rounded_up(value: int) -> int:
    """The next of 2, 4, 10, 20, 40, 100 ...: even, so that its half is a whole number as well."""
    size = 1
    while True:
        for step in _STEPS:
            if value <= 2 * step * size:
                return 2 * step * size
        size *= 10


def named(moments: Sequence[datetime], *, is_by_hour: bool) -> Sequence[Label]:
    """The moments that are named: full hours of the day's parts, or every so many days."""
    count = len(moments)
    every = next(one for one in _HOURS_APART if count <= one * _MOST_LABELS) if is_by_hour else 1
    days_apart = -(-count // _MOST_LABELS)
    return [
        Label(f"{at:%H:00}" if is_by_hour else f"{at:%m-%d}", round(100 * (place + 0.5) / count, 2))
        for place, at in enumerate(moments)
        if (at.hour % every == 0 if is_by_hour else place % days_apart == 0)
    ]
