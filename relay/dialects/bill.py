"""From the `usage` of an answer to everything that the upstream bills for it.

Top-level figures count what the model that served put out and read; the passes of an advisor, of
a compaction and of models that declined stand beside them in `usage.iterations`, and cost extra.
Figures that the relay does not know are never free.

Source: platform.claude.com/docs/en/api/messages, and the types of Anthropic's SDK (`Usage`,
`BetaUsage`, `Beta*IterationUsage`).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from relay.pricing import MOST_TOKENS, MOST_USES, Bill, Part, Tokens, canonical

Usage = Mapping[str, Any]

_MOST_REMARKS, _LONGEST_REMARK, _LONGEST_NAME = 8, 100, 200

_COUNTED = frozenset({
    "input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens",
    "cache_creation", "server_tool_use",
})  # fmt: skip
_SAID = frozenset({
    "service_tier", "speed", "inference_geo", "iterations", "fallback_credit", "type", "model",
})  # fmt: skip
_SPLIT = frozenset({"ephemeral_5m_input_tokens", "ephemeral_1h_input_tokens"})
_FREE_USES = frozenset({
    "web_fetch_requests", "code_execution_requests", "tool_search_requests",
})  # fmt: skip
_PAID_USES = "web_search_requests"

# Refusals before any output are billed but for these kinds, since 2026-09-24.
_FREE_REFUSALS = (None, "", "cyber", "general_harms")
_SERVING = ("message", "fallback_message")
_BESIDE = ("advisor_message", "compaction")


@dataclass(frozen=True, slots=True)
class Answer:
    """What decides how an answer's usage is billed, beside the usage.

    Args:
        model: the model that served.
        requested: the model that the upstream was asked for; compactions run at it.
        category: why it refused, where it did.
        declined: why each model before the one that served declined, by its canonical name.
        writes_long: the request asked for an hour's cache somewhere, so that writes whose life is
            not reported are taken for such.
    """

    model: str
    requested: str
    stop_reason: str = ""
    category: str | None = None
    declined: Mapping[str, str | None] = field(default_factory=dict)
    writes_long: bool = False


@dataclass(slots=True)
class _Figures:
    """The figures of one usage or iteration, with the life of cache writes as far as it is said."""

    input: int = 0
    output: int = 0
    read: int = 0
    written: int = 0
    written_5m: int = 0
    written_1h: int = 0
    searches: int = 0

    def add(self, other: "_Figures") -> None:
        for name in _Figures.__slots__:
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def exceeds(self, other: "_Figures") -> bool:
        names = ("input", "output", "read", "written")
        return any(getattr(self, name) > getattr(other, name) for name in names)

    def raise_to(self, other: "_Figures") -> None:
        for name in _Figures.__slots__:
            setattr(self, name, max(getattr(self, name), getattr(other, name)))

    @property
    def prompt(self) -> int:
        return self.input + self.read + max(self.written, self.written_5m + self.written_1h)

    def tokens(self, *, writes_long: bool) -> Tokens:
        unsaid = max(0, self.written - self.written_5m - self.written_1h)
        return Tokens(
            self.input,
            self.output,
            self.read,
            self.written_5m + (0 if writes_long else unsaid),
            self.written_1h + (unsaid if writes_long else 0),
            self.searches,
        )


def figure(value: object, most: int = MOST_TOKENS) -> int:
    """A figure of an upstream as a count: 0 for what is none, and never more than can be."""
    if type(value) is int and 0 <= value <= most:
        return value
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        return 0
    return int(min(value, most))


def merged(before: Usage | None, after: Usage) -> Usage:
    """Usage as it is reported piece by piece: the last word on each figure wins."""
    if before is None:
        return after
    whole = dict(before)
    for name, value in after.items():
        known = whole.get(name)
        if isinstance(value, dict) and isinstance(known, dict):
            whole[name] = {**known, **{key: one for key, one in value.items() if one is not None}}
        elif value is not None:
            whole[name] = value
    return whole


def top_level(usage: Usage, *, writes_long: bool = False) -> Tokens:
    """What the answer's own model used."""
    return _figures(usage).tokens(writes_long=writes_long)


def served_by(usage: Usage) -> str:
    """The model that served in place of others, where the usage names one, else empty."""
    names = [_model(entry) for entry in _iterations(usage) if entry.get("type") == _SERVING[1]]
    return names[-1] if names else ""


def bill_of(usage: Usage, answer: Answer) -> Bill:
    """All that the upstream bills for an answer; the answer's own part comes first."""
    remarks: list[str] = []
    is_fast, is_us = _way(usage, remarks)
    own = _figures(usage)
    passes, beside = _sorted(usage, answer) if usage.get("iterations") else ([], [])
    if passes:
        serving = _Figures()
        for figures in passes:
            serving.add(figures)
        if serving.exceeds(own):
            remarks.append("usage.iterations: they add up to more than usage itself")
        own.raise_to(serving)
    unknown_tokens, unknown_uses = _unknown(usage, remarks)
    tokens = own.tokens(writes_long=answer.writes_long)
    is_free = answer.stop_reason == "refusal" and _is_free(own.output, answer.category)
    largest = max(figures.prompt for figures in passes) if len(passes) > 1 else 0
    parts = [
        Part(
            answer.model,
            tokens,
            "unbilled" if is_free else "message",
            is_fast,
            is_us,
            largest,
            unknown_tokens,
            unknown_uses,
        )
    ]
    parts.extend(_part_beside(entry, answer, (is_fast, is_us), remarks) for entry in beside)
    noted = tuple(remark[:_LONGEST_REMARK] for remark in remarks[:_MOST_REMARKS])
    return Bill(tuple(parts), noted)


def _sorted(usage: Usage, answer: Answer) -> tuple[list[_Figures], list[Usage]]:
    """The passes that the top level counts, and the iterations that stand beside it."""
    passes: list[_Figures] = []
    beside: list[Usage] = []
    served = canonical(answer.model)
    for entry in _iterations(usage):
        kind, model = entry.get("type"), _model(entry)
        is_own = kind == _SERVING[1] or (kind == _SERVING[0] and canonical(model) in ("", served))
        if is_own:
            passes.append(_figures(entry))
        else:
            beside.append(entry)
    return passes, beside


def _part_beside(entry: Usage, answer: Answer, way: tuple[bool, bool], remarks: list[str]) -> Part:
    """An iteration that the top level does not count."""
    kind = str(entry.get("type") or "unknown")[:_LONGEST_NAME]
    model = _model(entry)
    is_fast, is_us = _way(entry, remarks) if "speed" in entry or "inference_geo" in entry else way
    figures = _figures(entry)
    tokens = figures.tokens(writes_long=answer.writes_long)
    unknown_tokens, unknown_uses = _unknown(entry, remarks)
    if kind == _SERVING[0]:
        category = answer.declined.get(canonical(model), answer.category)
        kind = "unbilled" if _is_free(figures.output, category) else "declined"
    elif kind == "compaction":
        model = model or answer.requested
    elif kind not in _BESIDE:
        remarks.append(f"usage.iterations: the relay knows no {kind!r}")
        unknown_tokens += tokens.prompt + tokens.output
        tokens = Tokens(web_searches=tokens.web_searches)
    if not model or canonical(model) == canonical(answer.model):
        # One model has one name in a bill, by which it is counted.
        model = answer.model
    return Part(
        model, tokens, kind, is_fast, is_us, 0, unknown_tokens, unknown_uses
    )  # fmt: skip


def _is_free(output: int, category: str | None) -> bool:
    """Whether a model that declined did so for nothing."""
    return output == 0 and category in _FREE_REFUSALS


def _figures(usage: Usage) -> _Figures:
    split = usage.get("cache_creation")
    split = split if isinstance(split, dict) else {}
    used = usage.get("server_tool_use")
    return _Figures(
        input=figure(usage.get("input_tokens")),
        output=figure(usage.get("output_tokens")),
        read=figure(usage.get("cache_read_input_tokens")),
        written=figure(usage.get("cache_creation_input_tokens")),
        written_5m=figure(split.get("ephemeral_5m_input_tokens")),
        written_1h=figure(split.get("ephemeral_1h_input_tokens")),
        searches=figure(used.get(_PAID_USES), MOST_USES) if isinstance(used, dict) else 0,
    )


def _way(usage: Usage, remarks: list[str]) -> tuple[bool, bool]:
    """Whether it was served in fast mode, and held to the US; of words not known the dearer."""
    speed, geo = usage.get("speed"), usage.get("inference_geo")
    if speed not in (None, "standard", "fast"):
        remarks.append(f"usage.speed: the relay knows no {speed!r}")
    if geo not in (None, "", "global", "not_available", "us"):
        remarks.append(f"usage.inference_geo: the relay knows no {geo!r}")
    tier = usage.get("service_tier")
    if tier not in (None, "standard", "batch"):
        remarks.append(f"usage.service_tier: {tier!r} is booked at list prices")
    return speed not in (None, "standard"), geo not in (None, "", "global", "not_available")


def _iterations(usage: Usage) -> list[Usage]:
    entries = usage.get("iterations")
    if not isinstance(entries, list):
        return []
    return [entry for entry in entries if isinstance(entry, dict)]


def _model(entry: Usage) -> str:
    model = entry.get("model")
    return model[:_LONGEST_NAME] if isinstance(model, str) else ""


def _unknown(usage: Usage, remarks: list[str]) -> tuple[int, int]:
    """Tokens and uses in fields that the relay does not know; notes each."""
    tokens = uses = 0
    for place, value in _unknown_fields(usage):
        remarks.append(f"{place}: the relay does not know this field")
        tokens += figure(value) if place.endswith("_tokens") else 0
        uses += figure(value, MOST_USES) if place.endswith("_requests") else 0
    return tokens, uses


def _unknown_fields(usage: Usage) -> Iterator[tuple[str, Any]]:
    if usage.keys() - _COUNTED - _SAID:
        yield from _leaves("usage", usage, _COUNTED | _SAID)
    split, used = usage.get("cache_creation"), usage.get("server_tool_use")
    if isinstance(split, dict) and split.keys() - _SPLIT:
        yield from _leaves("usage.cache_creation", split, _SPLIT)
    if isinstance(used, dict) and used.keys() - _FREE_USES - {_PAID_USES}:
        yield from _leaves("usage.server_tool_use", used, _FREE_USES | {_PAID_USES})


def _leaves(
    place: str, value: Usage, known: frozenset[str], depth: int = 0
) -> Iterator[tuple[str, Any]]:
    """The fields of an object that are not known and say something; details only tell shares."""
    for name, inner in value.items():
        if name in known or name.endswith("_details"):
            continue
        if isinstance(inner, dict) and depth < 3:
            yield from _leaves(f"{place}.{name}", inner, frozenset(), depth + 1)
        elif inner not in (None, 0, "", False) and not isinstance(inner, str):
            yield f"{place}.{name}", inner


def without_figures(usage: Usage) -> Usage:
    """How an answer is served, without what was used so far: another model goes on with it."""
    return {
        name: usage[name] for name in ("speed", "inference_geo", "service_tier") if name in usage
    }


def declined_part(model: str, usage: Usage, output: int, answer: Answer) -> Part:
    """What a model used that declined in the middle of a stream which broke off afterwards."""
    part = bill_of(usage, replace(answer, model=model, stop_reason="")).parts[0]
    output = max(output, part.tokens.output)
    is_free = _is_free(output, answer.declined.get(canonical(model)))
    return replace(
        part,
        kind="unbilled" if is_free else "declined",
        tokens=replace(part.tokens, output=output),
    )
