"""What a program does with the openai SDK's Responses API: run, not imported."""

import json
import os
import sys
from typing import Any

import openai
import trio
from openai_program import (
    CUT,
    ERROR_EVENT,
    FUNCTION,
    KEY,
    MODEL,
    PIXEL,
    RATE_LIMITED,
    SLOW,
    USAGE,
    City,
    Told,
    client,
    error_of,
    play,
    raised_by,
)

TOOL = {"type": "function", **FUNCTION}
THINKS = {"effort": "low", "summary": "auto"}


def asking(text: Any, **fields: Any) -> dict[str, Any]:
    return {"model": MODEL, "input": text, "store": False, "max_output_tokens": 2000, **fields}


def create() -> Told:
    headers = {"anthropic-sim-usage": json.dumps(USAGE)}
    answer = client().responses.create(**asking("hello", extra_headers=headers))
    return {
        "text": answer.output_text,
        "status": answer.status,
        "model": answer.model,
        "usage": answer.usage.model_dump(),
        "request_id": answer._request_id,
    }


def stream() -> Told:
    with client().responses.stream(**asking("tell me")) as running:
        events = list(running)
        final = running.get_final_response()
    pieces = [one.delta for one in events if one.type == "response.output_text.delta"]
    return {
        "types": [one.type for one in events],
        "pieces": pieces,
        "final": final.output_text,
        "output_tokens": final.usage.output_tokens,
    }


def plain_stream() -> Told:
    events = client().responses.create(**asking("tell me"), stream=True)
    return {"numbers": [event.sequence_number for event in events]}


def thinking() -> Told:
    with client().responses.stream(**asking("think", reasoning=THINKS)) as running:
        final = running.get_final_response()
    return {
        "kinds": [item.type for item in final.output],
        "summary": [one.text for one in final.output[0].summary],
    }


def tools() -> Told:
    """A round trip in which the whole output goes back, thinking too."""
    items: list[Any] = [{"role": "user", "content": "please use tool"}]
    with client().responses.stream(**asking(items, tools=[TOOL], reasoning=THINKS)) as running:
        called = running.get_final_response()
    call = called.output[-1]
    items += called.output
    done = {"type": "function_call_output", "call_id": call.call_id, "output": f"DONE {KEY[-9:]}"}
    items += [done, {"role": "user", "content": "go on"}]
    answer = client().responses.create(**asking(items, tools=[TOOL], reasoning=THINKS))
    return {
        "kinds": [item.type for item in called.output],
        "name": call.name,
        "arguments": json.loads(call.arguments),
        "text": answer.output_text,
    }


def image() -> Told:
    parts = [
        {"type": "input_text", "text": f"what is this {KEY[-9:]}"},
        {"type": "input_image", "image_url": PIXEL, "detail": "auto"},
    ]
    answer = client().responses.create(**asking([{"role": "user", "content": parts}]))
    return {"text": answer.output_text}


def parsed() -> Told:
    said = {"anthropic-sim-text": '{"name": "Bern", "inhabitants": 146000}'}
    answer = client().responses.parse(
        **asking(f"a city {KEY[-9:]}", extra_headers=said), text_format=City
    )
    return {"city": answer.output_parsed.model_dump()}


def cut_short() -> Told:
    answer = client().responses.create(**asking("hello", max_output_tokens=3))
    return {
        "status": answer.status,
        "reason": answer.incomplete_details.reason,
        "text": answer.output_text,
    }


def at_once() -> Told:
    """The asynchronous client: two answers and a stream at one time."""
    told: list[str] = []

    async def one(number: int) -> None:
        asynchronous = openai.AsyncOpenAI(base_url=sys.argv[1], api_key=KEY)
        if number:
            told.append(
                (await asynchronous.responses.create(**asking(f"no. {number}"))).output_text
            )
            return
        async with asynchronous.responses.stream(**asking("no. 0")) as running:
            told.append((await running.get_final_response()).output_text)

    async def all_of_them() -> None:
        async with trio.open_nursery() as nursery:
            for number in range(3):
                nursery.start_soon(one, number)

    trio.run(all_of_them)
    return {"texts": sorted(told)}


def wrong_key() -> Told:
    return error_of(lambda: client("sk-relay-" + "x" * 43).responses.create(**asking("let me in")))


def refused_field() -> Told:
    return error_of(
        lambda: client().responses.create(**asking("go on"), previous_response_id="resp_1")
    )


def refused_item() -> Told:
    items = [{"role": "user", "content": [{"type": "input_file", "file_id": "file_1"}]}]
    return error_of(lambda: client().responses.create(**asking(items)))


def unknown_model() -> Told:
    return error_of(lambda: client().responses.create(**asking("hello", model="gpt-of-old")))


def rate_limited() -> Told:
    quick = client(max_retries=0)
    return error_of(lambda: quick.responses.create(**asking("hello", extra_headers=RATE_LIMITED)))


def error_event() -> Told:
    return error_of(lambda: whole_stream(ERROR_EVENT))


def cut_stream() -> Told:
    return raised_by(lambda: whole_stream(CUT))


def whole_stream(headers: dict[str, str]) -> str:
    with client(max_retries=0).responses.stream(**asking("x", extra_headers=headers)) as running:
        return str(running.get_final_response().output_text)


def leaving() -> Told:
    leaver = client(os.environ["LEAVING_KEY"])
    asked = asking(f"leave {KEY[-9:]}", extra_headers=SLOW)
    with leaver.responses.stream(**asked) as running:
        first = next(one for one in running if one.type == "response.output_text.delta")
    return {"first": first.delta}


if __name__ == "__main__":
    play((
        create, stream, plain_stream, thinking, tools, image, parsed, cut_short, at_once, wrong_key,
        refused_field, refused_item, unknown_model, rate_limited, error_event, cut_stream, leaving,
    ))  # fmt: skip
