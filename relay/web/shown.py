"""How values look on a page: the templates' environment and its filters."""

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from decimal import Decimal

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

_TONES = {
    "ok": "good", "enabled": "good", "cooling": "fair", "overloaded": "fair", "failing": "bad",
    "exhausted": "bad", "unauthorized": "bad", "expired": "bad", "warning": "fair",
    "critical": "bad",
}  # fmt: skip
_COMMAND = re.compile(r"`([^`]*)`")
# The first that fits counts: each says the names of those that it wants to be taken for.
_BROWSERS = (
    ("Edg/", "Edge"), ("OPR/", "Opera"), ("Firefox/", "Firefox"), ("HeadlessChrome/", "Chrome"),
    ("Chrome/", "Chrome"), ("Safari/", "Safari"),
)  # fmt: skip
_SYSTEMS = (
    ("Android", "Android"), ("iPhone", "iPhone"), ("iPad", "iPad"), ("Windows", "Windows"),
    ("Mac OS X", "macOS"), ("Linux", "Linux"),
)  # fmt: skip


def environment() -> Environment:
    """The templates; whatever they show is escaped, and a name that is not given is an error."""
    made = Environment(
        loader=PackageLoader("relay.web"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "money": money, "dollars": dollars, "number": number, "short": short, "when": when,
        "listed": listed, "tone": tone, "coded": coded, "browser": browser,
    }  # fmt: skip
    made.tests["moment"] = lambda value: isinstance(value, datetime)
    return made


def money(micros: object) -> Markup:
    """Micro-dollars (a number) or dollars (a text); all six places are in the title."""
    amount = Decimal(micros) if isinstance(micros, str) else Decimal(int(str(micros))) / 1_000_000
    places = 2 if abs(amount) >= 1 or not amount else 4
    return Markup('<data value="{0}" title="${0}">${1}</data>').format(
        f"{amount:.6f}", f"{amount:,.{places}f}"
    )


def dollars(micros: int) -> str:
    """Micro-dollars in as few digits as tell them, for the axis of a chart."""
    return f"${Decimal(micros) / 1_000_000:,f}"


def number(value: object) -> str:
    """A whole number with its thousands apart."""
    return f"{int(str(value)):,}"


def short(value: object) -> Markup:
    """A large number in a few digits; all of them are in the title."""
    count = int(str(value))
    for size, unit in ((10**9, "G"), (10**6, "M"), (10**4, "k")):
        if count >= size:
            return Markup('<data value="{0}" title="{0:,}">{1:.1f} {2}</data>').format(
                count, count / (1000 if unit == "k" else size), unit
            )
    return Markup(f"{count:,}")  # noqa: S704  # digits and commas


def tone(state: str) -> str:
    """How good a state is: the class of what shows it."""
    return _TONES.get(state, "off")


def coded(text: str) -> Markup:
    """A sentence in which `commands` stand between backticks."""
    parts = _COMMAND.split(text)
    return Markup().join(
        Markup("<code>{}</code>").format(part) if number % 2 else part
        for number, part in enumerate(parts)
    )


def browser(agent: str) -> str:
    """What a User-Agent says in two words; the beginning of it where it is no known browser's."""
    name = next((name for mark, name in _BROWSERS if mark in agent), "")
    system = next((name for mark, name in _SYSTEMS if mark in agent), "")
    return f"{name}, {system}" if name and system else name or agent[:60]


def when(value: datetime | str | None) -> Markup:
    """A moment, UTC; the page's script turns it into the viewer's own time."""
    if not value:
        return Markup("")
    moment = datetime.fromisoformat(value) if isinstance(value, str) else value
    moment = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    return Markup('<time datetime="{}" title="{} UTC">{} UTC</time>').format(
        moment.isoformat(timespec="seconds"),
        f"{moment:%Y-%m-%d %H:%M:%S}",
        f"{moment:%Y-%m-%d %H:%M}",
    )


def listed(value: object) -> str:
    """What a field holds, in one line; a pair of braces or brackets shows nobody anything."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return ", ".join(f"{name}={listed(one)}" for name, one in value.items())
    if isinstance(value, str):
        return value
    if isinstance(value, Iterable):
        return ", ".join(listed(one) for one in value)
    return "" if value is None else str(value)
