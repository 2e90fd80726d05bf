"""Usage to micro-dollars, by hand: every file of golden_usages, in every way an answer may come."""

import json
import math
import re
import tomllib
from collections.abc import Callable, Mapping
from datetime import date
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from relay.batches.booking import Tally
from relay.call import Meter
from relay.dialects import chat, messages, responses
from relay.dialects.openai import Choices
from relay.pricing import Bill, Prices

FILES = sorted((Path(__file__).parent / "golden_usages").glob("*.toml"))
BILLS = [golden for file in FILES for golden in tomllib.loads(file.read_text())["bill"]]
PRICES = Prices.load()
JSON_HEADERS = [(b"content-type", b"application/json")]
EVENT_HEADERS = [(b"content-type", b"text/event-stream")]
# What a stream says of its usage at its start; the rest comes with its last delta.
AT_START = ("input_tokens", "cache_creation", "cache_read_input_tokens", "speed", "inference_geo",
            "service_tier")  # fmt: skip
ASKED = {"model": "claude-opus-5-5", "stream": True}
TURNS = [{"role": "user", "content": "Hello"}]


def asked_by_chat() -> chat.Chat:
    dialect = chat.Chat("req_1", Choices())
    dialect.read((), json.dumps({**ASKED, "messages": TURNS}).encode())
    return dialect


def asked_by_responses() -> responses.Responses:
    dialect = responses.Responses("req_1", Choices())
    dialect.read((), json.dumps({**ASKED, "input": TURNS}).encode())
    return dialect


DIALECTS: dict[str, Callable[[], Any]] = {
    "messages": lambda: messages, "chat": asked_by_chat, "responses": asked_by_responses,
}  # fmt: skip

each = pytest.mark.parametrize("golden", BILLS, ids=[golden["name"] for golden in BILLS])
live = pytest.mark.parametrize(
    "golden",
    [golden for golden in BILLS if not golden.get("batch")],
    ids=[golden["name"] for golden in BILLS if not golden.get("batch")],
)


def value_of(arithmetic: str) -> int:
    """What the sum of a golden bill adds up to, exactly, and rounded up once."""
    assert re.fullmatch(r"[0-9.+*() ]+", arithmetic)
    exact = re.sub(r"\d+(?:\.\d+)?", lambda number: f"Fraction('{number.group()}')", arithmetic)
    return math.ceil(eval(exact, {"Fraction": Fraction}))  # checked above


def day_of(golden: Mapping[str, Any]) -> int | None:
    day: date | None = golden.get("day")
    return None if day is None else (day - date(1970, 1, 1)).days


def micros_of(golden: Mapping[str, Any], billed: Bill) -> int:
    return PRICES.charge(billed.parts, batch=golden.get("batch", False), day=day_of(golden))


def message_of(golden: Mapping[str, Any]) -> dict[str, Any]:
    """The whole answer that carries the usage."""
    hops = list(golden.get("declined", {}).items())
    models = [*(model for model, _ in hops), golden["model"]]
    blocks = [
        {"type": "fallback", "from": {"model": model}, "to": {"model": after},
         "trigger": {"type": "refusal", "category": category}}
        for (model, category), after in zip(hops, models[1:], strict=True)
    ]  # fmt: skip
    reason = golden.get("stop_reason", "end_turn")
    return {
        "id": "msg_1", "type": "message", "role": "assistant", "model": golden["model"],
        "content": [*blocks, {"type": "text", "text": "Hello."}],
        "stop_reason": reason,
        "stop_details": {"type": "refusal", "category": golden.get("category")}
        if reason == "refusal" else None,
        "usage": json.loads(golden["usage"]),
    }  # fmt: skip


def fed_whole(golden: Mapping[str, Any], meter: Meter) -> Meter:
    meter.feed(json.dumps(message_of(golden)).encode())
    meter.finish()
    return meter


def fed_by_events(golden: Mapping[str, Any], meter: Meter) -> Meter:
    """The same answer as a stream: it begins with the first model that tried."""
    message = message_of(golden)
    usage = message["usage"]
    first = next(iter(golden.get("declined", {})), None)
    start = {name: usage[name] for name in AT_START if name in usage}
    if first is not None:
        tried = next(entry for entry in usage["iterations"] if entry["model"] == first)
        start |= {name: value for name, value in tried.items() if name not in ("type", "model")}
    head = {**message, "model": first or message["model"], "content": [], "stop_reason": None,
            "stop_details": None, "usage": {"output_tokens": 1, **start}}  # fmt: skip
    events = [("message_start", {"message": head})]
    for index, block in enumerate(message["content"]):
        events.append(("content_block_start", {"index": index, "content_block": block}))
        events.append(("content_block_stop", {"index": index}))
    delta = {name: message[name] for name in ("stop_reason", "stop_details")}
    ending = {name: value for name, value in usage.items() if name not in AT_START[3:]}
    events.append(("message_delta", {"delta": delta, "usage": ending}))
    events.append(("message_stop", {}))
    for event, data in events:
        body = json.dumps({"type": event, **data})
        meter.feed(f"event: {event}\ndata: {body}\n\n".encode())
    return meter


def billed_by(golden: Mapping[str, Any], meter: Meter) -> Bill:
    assert meter.is_complete
    requested = next(iter(golden.get("declined", {})), golden["model"])
    return meter.bill(requested, writes_long=golden.get("writes_long", False))


def test_there_are_sixty_or_more_and_no_two_of_a_name():
    assert len(BILLS) == len({golden["name"] for golden in BILLS}) >= 60


@each
def test_the_arithmetic_adds_up_to_the_bill(golden: Mapping[str, Any]):
    assert value_of(golden["sum"]) == golden["micros"]


@live
@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_whole_answer_is_billed_to_the_micro_dollar(golden: Mapping[str, Any], dialect: str):
    meter = fed_whole(golden, DIALECTS[dialect]().meter(200, JSON_HEADERS, stream=False))
    billed = billed_by(golden, meter)
    assert micros_of(golden, billed) == golden["micros"]
    expected = golden.get("remarks", [])
    assert [remark.partition(":")[0] for remark in billed.remarks] == expected


@live
@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_stream_is_billed_to_the_micro_dollar(golden: Mapping[str, Any], dialect: str):
    meter = fed_by_events(golden, DIALECTS[dialect]().meter(200, EVENT_HEADERS, stream=True))
    assert micros_of(golden, billed_by(golden, meter)) == golden["micros"]
    assert meter.model == golden["model"]


@pytest.mark.parametrize(
    "golden", [golden for golden in BILLS if golden.get("batch")], ids=lambda golden: golden["name"]
)
def test_a_batchs_result_is_billed_to_the_micro_dollar(golden: Mapping[str, Any]):
    tally = Tally(PRICES)
    line = {"custom_id": "a", "result": {"type": "succeeded", "message": message_of(golden)}}
    tally.feed(json.dumps(line).encode() + b"\n")
    tally.finish()
    assert tally.is_whole(1)
    sums = tally.sums.values()
    cost = sum(PRICES.rounded(one.pico, one.uses, batch=True) for one in sums)
    assert cost == golden["micros"]
