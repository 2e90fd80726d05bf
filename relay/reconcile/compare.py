"""Compares a day of the ledger with the same day of Anthropic's books. Reads nothing itself."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction

from relay.pricing import CLASSES, PICO_PER_MICRO, Part, Prices, Tokens, canonical
from relay.reconcile.ledger import Amounts
from relay.reconcile.places import Places, Unit
from relay.reconcile.reports import CostRow, UsageRow
from relay.usage import HOUR_LINES

MOST_DOLLARS, MOST_PERCENT = 500_000, 1
# Of two neighbouring days, what lies on one side of midnight here and on the other there.
_OFFSET_PARTS = 20


@dataclass(frozen=True, slots=True)
class Line:
    """What a model cost in a day by both books, in micro-dollars.

    Args:
        differs: whether the difference is over 1 % or $0.50 and no neighbouring day explains it.
        class_name: where it differs most; empty where it does not.
        because: "tokens" where the classes' tokens differ, "price" where only their price does.
        slack: what rounding alone may come to.
    """

    day: str
    unit: Unit
    model: str
    ours: int
    theirs: int
    differs: bool = False
    class_name: str = ""
    because: str = ""
    our_tokens: int = 0
    their_tokens: int = 0
    slack: int = 0

    @property
    def difference(self) -> int:
        """How much more Anthropic's books say, in micro-dollars."""
        return self.theirs - self.ours


@dataclass(frozen=True, slots=True)
class Day:
    """A day (UTC) by both books.

    Args:
        hours: micro-dollars of container and session hours, by workspace and kind of cost.
    """

    day: str
    lines: Sequence[Line]
    hours: Mapping[tuple[str, str], int]

    @property
    def ours(self) -> int:
        return sum(line.ours for line in self.lines)

    @property
    def theirs(self) -> int:
        return sum(line.theirs for line in self.lines)

    @property
    def differing(self) -> Sequence[Line]:
        """The lines that differ, the largest difference first."""
        found = [line for line in self.lines if line.differs]
        return sorted(found, key=lambda line: -abs(line.difference))


@dataclass(slots=True)
class _Sides:
    """Both sides of a line."""

    ours: int = 0
    theirs: Fraction = Fraction(0)
    requests: int = 0
    our_tokens: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    their_tokens: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    their_micros: dict[str, Fraction] = field(default_factory=lambda: defaultdict(Fraction))


Place = tuple[Unit, str]
# Which units a cost belongs to, each with its tokens or searches.
Shares = Sequence[tuple[Place | None, int]]


class _Books:
    """A day's two books while they are put side by side."""

    def __init__(self, places: Places, prices: Prices) -> None:
        self.places = places
        self.prices = prices
        self.sides: dict[Place, _Sides] = defaultdict(_Sides)
        self.hours: dict[tuple[str, str], Fraction] = defaultdict(Fraction)
        self._shares: dict[tuple[str, ...], list[tuple[Place | None, int]]] = defaultdict(list)

    def take_ours(self, account: str, model: str, amounts: Mapping[str, int]) -> None:
        unit = self.places.of_account(account)
        if unit is None or model in HOUR_LINES.values():
            return
        side = self.sides[unit, canonical(model)]
        side.ours += amounts.get("cost_micros", 0)
        side.requests += amounts.get("requests", 0)
        for class_name in CLASSES:
            side.our_tokens[class_name] += amounts.get(counter_of(class_name), 0)

    def take_usage(self, row: UsageRow) -> None:
        if not self.places.has(row.workspace):
            return
        unit = self.places.of_row(row.workspace, row.api_key)
        place = None if unit is None else (unit, canonical(row.model))
        workspace = self.places.workspace(row.workspace)
        for class_name, amount in row.tokens.items():
            if class_name == "web_searches":
                self._shares[workspace, "web_search"].append((place, amount))
            # The tier of a cost is not always told.
            for tier in (row.tier, "") if row.tier else ("",):
                at = (workspace, canonical(row.model), tier, class_name)
                self._shares[at].append((place, amount))
            if place is not None:
                side = self.sides[place]
                side.their_tokens[class_name] += amount
                if row.tier == "priority":
                    # The cost report leaves these out; Relay books them at list price.
                    self._cost(place, class_name, self.value(row.model, class_name, amount))

    def take_cost(self, row: CostRow) -> None:
        if not self.places.has(row.workspace):
            return
        if row.kind in HOUR_LINES:
            self.hours[row.workspace, row.kind] += row.micros
            return
        workspace, model = self.places.workspace(row.workspace), canonical(row.model)
        class_name = "web_searches" if row.kind == "web_search" else row.class_name
        shares: Shares = (
            self._shares.get((workspace, "web_search"), [])
            if row.kind == "web_search"
            else self._shares.get((workspace, model, row.tier, class_name), [])
        )
        total = sum(amount for _, amount in shares)
        if not total:
            unknown = model or row.kind
            self._cost((self.places.of_cost(row.workspace), unknown), class_name, row.micros)
            return
        for place, amount in shares:
            if place is not None:
                self._cost(place, class_name, row.micros * amount / total)

    def _cost(self, place: Place, class_name: str, micros: Fraction) -> None:
        side = self.sides[place]
        side.theirs += micros
        side.their_micros[class_name] += micros

    def value(self, model: str, class_name: str, amount: int) -> Fraction:
        """Tokens of a class at the list price of short prompts, or searches, in micro-dollars."""
        if class_name == "web_searches":
            return Fraction(self.prices.rounded(0, abs(amount)) * (1 if amount >= 0 else -1))
        if class_name not in CLASSES:
            return Fraction(0)
        part = Part(model, Tokens(**{class_name: abs(amount)}), pass_tokens=1)
        pico = self.prices.pico(part)
        return Fraction(pico if amount >= 0 else -pico, PICO_PER_MICRO)

    def line(self, day: str, place: Place) -> Line:
        side = self.sides[place]
        theirs = round(side.theirs)
        line = Line(day, *place, side.ours, theirs, slack=10 + 2 * side.requests)
        if not differs(line.ours, theirs, line.slack):
            return line
        return self._blamed(replace(line, differs=True), place[1], side)

    def _blamed(self, line: Line, model: str, side: _Sides) -> Line:
        """The line with the class that drifts: by its tokens, else by its price."""
        known = [*CLASSES, *(name for name in side.their_micros if name not in CLASSES)]
        by_tokens = {
            name: self.value(model, name, side.their_tokens[name] - side.our_tokens[name])
            for name in known
        }
        by_price = {
            name: side.their_micros[name] - self.value(model, name, side.their_tokens[name])
            for name in known
        }
        because = "tokens" if any(by_tokens.values()) else "price"
        drift = by_tokens if because == "tokens" else by_price
        worst = max(known, key=lambda name: abs(drift[name]))
        return replace(
            line,
            class_name=worst,
            because=because,
            our_tokens=side.our_tokens[worst],
            their_tokens=side.their_tokens[worst],
        )


def counter_of(class_name: str) -> str:
    """The ledger's counter of a class of tokens."""
    return class_name if class_name == "web_searches" else f"{class_name}_tokens"


def differs(ours: int, theirs: int, slack: int) -> bool:
    """Whether two sums differ by over $0.50 or 1 %, and by more than rounding."""
    difference = abs(theirs - ours)
    if difference <= slack:
        return False
    return difference > MOST_DOLLARS or difference * 100 > MOST_PERCENT * abs(theirs)


def compare(
    day: str,
    places: Places,
    ours: Amounts,
    usage: Iterable[UsageRow],
    costs: Iterable[CostRow],
    prices: Prices,
) -> Day:
    """A day's books side by side.

    Args:
        ours: the ledger's counters, by account and model.
        usage, costs: the rows of this day.
    """
    books = _Books(places, prices)
    for (account, model), amounts in ours.items():
        books.take_ours(account, model, amounts)
    for used in usage:
        books.take_usage(used)
    for cost in costs:
        books.take_cost(cost)
    order = sorted(books.sides, key=lambda place: (place[0].workspace, place[0].account, place[1]))
    lines = [books.line(day, place) for place in order]
    hours = {place: round(micros) for place, micros in books.hours.items()}
    return Day(day, _with_total(lines), hours)


def _with_total(lines: list[Line]) -> list[Line]:
    """The lines; where each is near enough and their sum is not, the one that drifts most."""
    difference = sum(line.difference for line in lines)
    if any(line.differs for line in lines) or abs(difference) <= MOST_DOLLARS:
        return lines
    worst = max(lines, key=lambda line: abs(line.difference))
    return [
        replace(line, differs=True, class_name="all", because="sum") if line is worst else line
        for line in lines
    ]


def settled(days: Sequence[Day]) -> Sequence[Day]:
    """Days without the differences that a neighbouring day offsets: what was asked for before
    midnight may be on the other books a day later, and a batch a day after it was made."""
    by_day = [{(line.unit, line.model): line for line in day.lines} for day in days]

    def explained(at: int, line: Line) -> bool:
        for other in (at - 1, at + 1):
            if 0 <= other < len(by_day):
                found = by_day[other].get((line.unit, line.model))
                if found is not None and _offset(line, found):
                    return True
        return False

    return [
        replace(
            day,
            lines=[
                replace(line, differs=False, class_name="", because="")
                if line.differs and explained(at, line)
                else line
                for line in day.lines
            ],
        )
        for at, day in enumerate(days)
    ]


def _offset(line: Line, other: Line) -> bool:
    left = abs(line.difference + other.difference)
    return line.difference * other.difference < 0 and (
        left <= line.slack + other.slack
        or left * _OFFSET_PARTS <= min(abs(line.difference), abs(other.difference))
    )
