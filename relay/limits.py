"""What a key may use, in the words of people and of the admission script, and its refusals."""

import functools
import ipaddress
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from relay import errors

PERIODS = ("daily", "weekly", "monthly", "total")
MODES = ("strict", "soft")
# A budget for good must hold; one that comes back tomorrow may be passed by what is under way.
_USUAL_MODE = {"total": "strict"}
_MOST_MICROS = 10**15
# IPv4 as IPv6 sees it (RFC 4291 section 2.5.5.2), so that both are compared in one way.
_MAPPED = int(ipaddress.IPv6Address("::ffff:0:0"))
# Forms of today and of the guide; see the clients' own User-Agents.
PREDEFINED_CLIENTS = {
    "claude_code": r"claude-(?:cli|code)/[\d.]+",
    "gemini_cli": r"GeminiCLI(?:-[a-z]+)?/v?[\d.]+",
}
_FORBIDDEN = {
    "address": "This API key may not be used from your address.",
    "client": "This API key may not be used with this client.",
}
# What to do where a strict budget finds no bound, by the field.
_ADVICE = {
    "container": " What runs in it has no limit.",
    "max_tokens": " Name it.",
    "mcp_servers": " Their tools may be used any number of times.",
    "messages": " A tool that a message adds needs `max_uses`, and what runs in a container has no"
    " limit.",
    "safeguards": " Send the request without it: Claude Code then does so itself, and checks by"
    " requests of its own.",
    "thread": " Send the whole conversation without it.",
    "tools": " Give each tool that runs at the upstream `max_uses`; code execution, tool search and"
    " tools of MCP servers have no limit.",
}
# Each request asks for its caller, and callers are few.
_CALLERS_REMEMBERED = 1024
_DURATION = re.compile(r"(\d{1,9})/(\d{1,7})")


def micros(value: object) -> int:
    """US dollars as micro-dollars. Raises ValueError with a sentence."""
    try:
        amount = Decimal(str(value)) * 1_000_000
    except ArithmeticError:
        amount = Decimal("NaN")
    if not amount.is_finite() or amount != amount.to_integral_value() or not amount > 0:
        raise ValueError(f"{str(value)[:40]!r} is not an amount of US dollars, to six places.")
    if amount > _MOST_MICROS:
        raise ValueError("A budget is at most a billion US dollars.")
    return int(amount)


def budgets(amounts: Mapping[str, object], mode: str = "") -> str:
    """Budgets as the script reads them: period, mode and micro-dollars, one a line.

    Args:
        amounts: US dollars by period, with a mode of its own after a space where there is one,
            as shown() writes them; None or an empty text is no budget.
        mode: strict or soft for all; empty for the usual one of each period.
    """
    if mode and mode not in MODES:
        raise ValueError(f"{mode!r} is not a mode of budgets; use strict or soft.")
    lines = []
    for period in PERIODS:
        amount = amounts.get(period)
        if amount not in (None, ""):
            dollars, _, own = str(amount).partition(" ")
            if own and own not in MODES:
                raise ValueError(f"{own[:40]!r} is not a mode of budgets; use strict or soft.")
            word = mode or own or _USUAL_MODE.get(period, "soft")
            lines.append(f"{period} {word} {micros(dollars)}")
    return "\n".join(lines)


def shown(text: str) -> dict[str, str]:
    """Budgets as people read them: US dollars and mode by period."""
    rows = (line.split(" ") for line in text.split("\n") if line)
    return {period: f"{Decimal(amount) / 1_000_000:f} {mode}" for period, mode, amount in rows}


def rate(value: object) -> tuple[int, int]:
    """N/SECONDS as requests and milliseconds."""
    match = _DURATION.fullmatch(str(value))
    if match is None or int(match[1]) < 1 or not 1 <= int(match[2]) <= 86_400:
        raise ValueError(f"{value!r} is not a rate; use REQUESTS/SECONDS, such as 100/60.")
    return int(match[1]), int(match[2]) * 1000


def networks(values: Iterable[object]) -> str:
    """Addresses and networks as the script compares them: 32 hex digits and a length in bits."""
    lines = []
    for value in values:
        try:
            network = ipaddress.ip_network(str(value))
        except ValueError:
            raise ValueError(f"{value!r} is not an address or a network.") from None
        bits = network.prefixlen + (96 if network.version == 4 else 0)
        lines.append(f"{address(str(network.network_address))}/{bits}")
    return "\n".join(lines)


@functools.lru_cache(_CALLERS_REMEMBERED)
def address(text: str) -> str:
    """An address as 32 hex digits; zeros, which no network should name, for what is none."""
    try:
        given = ipaddress.ip_address(text)
    except ValueError:
        return "0" * 32
    number = int(given) | (_MAPPED if given.version == 4 else 0)
    return f"{number:032x}"


class Clients:
    """Programs that keys can be held to, known by their User-Agent.

    That is policy, not security: a User-Agent is whatever its sender says.

    Args:
        own: more of them, id → regular expression; one may replace a predefined one.
    """

    def __init__(self, own: Mapping[str, str]) -> None:
        self.patterns = {**PREDEFINED_CLIENTS, **own}
        self._compiled = {
            name: re.compile(text, re.IGNORECASE) for name, text in self.patterns.items()
        }
        self.of = functools.lru_cache(_CALLERS_REMEMBERED)(self._of)

    @property
    def ids(self) -> tuple[str, ...]:
        """Every id that a key may name."""
        return tuple(self.patterns)

    def _of(self, user_agent: str) -> tuple[str, ...]:
        """The clients that a caller with this User-Agent may be."""
        return tuple(name for name, one in self._compiled.items() if one.match(user_agent))


def refusal(
    code: str, detail: str, back_s: str, blocked_message: str = ""
) -> errors.RelayError | None:
    """What a client is told when its key's limits forbid a call; None for any other refusal.

    Args:
        blocked_message: what the operator tells those whose budget is spent.
    """
    if code in _FORBIDDEN:
        return errors.Forbidden(_FORBIDDEN[code])
    wait = [(b"retry-after", back_s.encode())] if back_s else []
    match code:
        case "rate":
            count, _, window_ms = detail.partition("|")
            return errors.RateLimited(
                f"Rate limit exceeded: {count} requests per {int(window_ms) / 1000:g} s."
                f" The next one may come in {back_s} s.",
                wait,
            )
        case "tokens":
            return errors.RateLimited(
                f"Rate limit exceeded: {detail} tokens per minute. Try again in {back_s} s.", wait
            )
        case "daily_limit" | "monthly_limit":
            word = code.removesuffix("_limit")
            return errors.RateLimited(
                f"Rate limit exceeded: {word} limit of {detail} requests."
                f" It begins anew in {back_s} s.",
                [*wait, (b"x-should-retry", b"false")],
            )
        case "concurrency":
            return errors.RateLimited(
                f"Rate limit exceeded: this key may have {detail} requests at one time.",
                [(b"retry-after", b"1")],
            )
        case "relay_full":
            return errors.Overloaded(
                f"The relay's {detail} slots are in use, or left to other keys; try again in a"
                " moment.",
                [(b"retry-after", b"1")],
            )
        case "budget":
            return _of_budget(json.loads(detail), wait, blocked_message)
        case "unbounded":
            return unbounded(detail, "this API key has a strict budget")
    return None


def unbounded(field: str, why: str) -> errors.BadRequest:
    """What a client is told whose request has no bound.

    Args:
        field: what has none, a top-level field; in a batch behind its place.
        why: who needs a bound, as a clause.
    """
    name = field.rpartition(".")[2]
    kind = errors.ThreadUnsupported if name == "thread" else errors.BadRequest
    advice = _ADVICE.get(name, "")
    return kind(f"{field}: {why}, and what this costs cannot be bounded beforehand.{advice}")


def _of_budget(
    passed: Mapping[str, object], wait: errors.Headers, blocked_message: str
) -> errors.RelayError:
    if passed.get("crowded"):
        return _crowded(passed)
    till = passed.get("till")
    whose = {"key": "", "owner": " of this key's owner", "relay": " of this relay"}
    scope = str(passed["scope"]).partition(":")[0]
    limit = Decimal(str(passed["limit"])) / 1_000_000
    ends, told = "it does not reset", []
    shared = [] if scope == "key" else [("overage-scope", "group_pool")]
    if isinstance(till, (int, float)):
        ends = f"resets {datetime.fromtimestamp(till / 1000, UTC):%Y-%m-%d %H:%M} UTC"
        told = _unified(
            ("status", "rejected"),
            ("reset", str(int(till) // 1000)),
            ("overage-reset", str(int(till) // 1000)),
            ("overage-utilization", "1"),
            ("overage-surpassed-threshold", "1"),
            ("overage-period", str(passed["period"])),
            *shared,
            ("overage-disabled-reason", "org_spend_cap_reached"),
        )
    return errors.BudgetReached(
        f"spend limit reached ({passed['period']}{whose.get(scope, '')}, ${limit:.2f}; {ends})"
        + (f". {blocked_message}" if blocked_message else ""),
        [*wait, *told],
    )


def _crowded(passed: Mapping[str, object]) -> errors.RelayError:
    """A burst that a soft budget does not let through at once."""
    scope = str(passed["scope"]).partition(":")[0]
    whose = {"key": "this key", "owner": "this key's owner", "relay": "this relay"}
    limit = Decimal(str(passed["limit"])) / 1_000_000
    return errors.RateLimited(
        f"Rate limit exceeded: what runs already may use up the {passed['period']} budget of"
        f" {whose.get(scope, scope)} (${limit:.2f}). Try again when some of it has ended; a smaller"
        " max_tokens lets more run at one time.",
        [(b"retry-after", b"1")],
    )


def utilisation(budget: Mapping[str, Any] | None) -> errors.Headers:
    """How full a key's fullest budget is, as Claude Code reads it from a good answer.

    Source: GET /protocol of a Claude apps gateway 2.1.332.
    """
    if budget is None:
        return []
    # While requests are allowed it is never shown as full.
    used = min(99, percent(budget["used"], budget["limit"]))
    passed = next((mark for mark in (95, 75) if used >= mark), 0)
    status = "allowed_warning" if passed else "allowed"
    till = str(int(budget["till"]) // 1000)
    told = [
        ("status", status),
        ("overage-status", status),
        ("representative-claim", "overage"),
        ("overage-utilization", f"{used / 100:.2f}"),
        ("reset", till),
        ("overage-reset", till),
    ]
    mark = [("overage-surpassed-threshold", f"{passed / 100:.2f}")] if passed else []
    return _unified(*told, *mark)


def percent(used: float, limit: float) -> int:
    """How much of a budget is used, in whole percents that are full; over 100 once it is passed."""
    return int(100 * used // limit)


def governing(budgets: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The budget that the headers of a key's answers describe, of those that reset.

    That is the fullest; once any is spent, the spent one that resets last.

    Args:
        budgets: each with its `limit`, what is `used` of it, and `till` when.
    """
    spent = [budget for budget in budgets if budget["used"] >= budget["limit"]]
    if spent:
        return max(spent, key=lambda budget: float(budget["till"]))
    return max(budgets, key=lambda budget: float(budget["used"]) / budget["limit"], default=None)


def _unified(*pairs: tuple[str, str]) -> errors.Headers:
    prefix = "anthropic-ratelimit-unified-"
    return [(f"{prefix}{name}".encode(), value.encode()) for name, value in pairs]
