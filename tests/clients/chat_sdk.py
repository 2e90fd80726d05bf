"""What a program does with the openai SDK's Chat Completions: run, not imported."""

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

TOOL = {"type": "function", "function": FUNCTION}


def asking(text: Any, **fields: Any) -> dict[str, Any]:
    messages = text if isinstance(text, list) else [{"role": "user", "content": text}]
    return {"model": MODEL, "messages": messages, "max_completion_tokens": 2000, **fields}


def create() -> Told:
    headers = {"anthropic-sim-usage": json.dumps(USAGE)}
    answer = client().chat.completions.create(**asking("hello", extra_headers=headers))
    return {
        "text": answer.choices[0].message.content,
        "finish": answer.choices[0].finish_reason,
        "model": answer.model,
        "usage": answer.usage.model_dump(),
        "request_id": answer._request_id,
    }


def stream() -> Told:
    asked = asking("tell me", stream_options={"include_usage": True})
    with client().chat.completions.stream(**asked) as running:
        pieces = [one.delta for one in running if one.type == "content.delta"]
        final = running.get_final_completion()
    return {
        "pieces": pieces,
        "final": final.choices[0].message.content,
        "output_tokens": final.usage.completion_tokens,
    }


def plain_stream() -> Told:
    chunks = list(client().chat.completions.create(**asking("tell me"), stream=True))
    return {
        "ids": len({chunk.id for chunk in chunks}),
        "first": chunks[0].choices[0].delta.role,
        "last": chunks[-1].choices[0].finish_reason,
        "usage": [chunk.usage for chunk in chunks if chunk.usage],
    }


def thinking() -> Told:
    answer = client().chat.completions.create(**asking("think", reasoning_effort="low"))
    return {"thought": answer.choices[0].message.model_extra["reasoning_content"]}


def tools() -> Told:
    """A round trip: the call comes as a stream, its result goes back."""
    messages: list[Any] = [{"role": "user", "content": "please use tool"}]
    with client().chat.completions.stream(**asking(messages, tools=[TOOL])) as running:
        called = running.get_final_completion().choices[0]
    (call,) = called.message.tool_calls
    messages.append(called.message.model_dump(exclude_none=True, exclude={"parsed"}))
    messages[-1]["tool_calls"] = [
        {"id": call.id, "type": "function",
         "function": {"name": call.function.name, "arguments": call.function.arguments}}
    ]  # fmt: skip
    messages.append({"role": "tool", "tool_call_id": call.id, "content": f"DONE {KEY[-9:]}"})
    messages.append({"role": "user", "content": "go on"})
    answer = client().chat.completions.create(**asking(messages, tools=[TOOL]))
    return {
        "finish": called.finish_reason,
        "name": call.function.name,
        "arguments": json.loads(call.function.arguments),
        "text": answer.choices[0].message.content,
    }


def image() -> Told:
    parts = [
        {"type": "text", "text": f"what is this {KEY[-9:]}"},
        {"type": "image_url", "image_url": {"url": PIXEL}},
    ]
    answer = client().chat.completions.create(**asking([{"role": "user", "content": parts}]))
    return {"text": answer.choices[0].message.content}


def parsed() -> Told:
    said = {"anthropic-sim-text": '{"name": "Bern", "inhabitants": 146000}'}
    answer = client().chat.completions.parse(
        **asking(f"a city {KEY[-9:]}", extra_headers=said), response_format=City
    )
    return {"city": answer.choices[0].message.parsed.model_dump()}


def cut_short() -> Told:
    answer = client().chat.completions.create(**asking("hello", max_completion_tokens=3))
    return {"finish": answer.choices[0].finish_reason, "text": answer.choices[0].message.content}


def at_once() -> Told:
    """The asynchronous client: two answers and a stream at one time."""
    told: list[str] = []

    async def one(number: int) -> None:
        asynchronous = openai.AsyncOpenAI(base_url=sys.argv[1], api_key=KEY)
        asked = asking(f"no. {number}")
        if number:
            answer = await asynchronous.chat.completions.create(**asked)
            told.append(answer.choices[0].message.content)
            return
        chunks = await asynchronous.chat.completions.create(**asked, stream=True)
        told.append("".join([chunk.choices[0].delta.content or "" async for chunk in chunks]))

    async def all_of_them() -> None:
        async with trio.open_nursery() as nursery:
            for number in range(3):
                nursery.start_soon(one, number)

    trio.run(all_of_them)
    return {"texts": sorted(told)}


def models() -> Told:
    listed = [one.id for one in client().models.list()]
    return {"listed": listed, "one": client().models.retrieve(MODEL).id}


def wrong_key() -> Told:
    stranger = client("sk-relay-" + "x" * 43)
    return error_of(lambda: stranger.chat.completions.create(**asking("let me in")))


def refused_field() -> Told:
    return error_of(lambda: client().chat.completions.create(**asking("hello"), n=2))


def refused_part() -> Told:
    content = [{"type": "file", "file": {"file_id": "file_1"}}]
    asked = asking([{"role": "user", "content": content}])
    return error_of(lambda: client().chat.completions.create(**asked))


def unknown_model() -> Told:
    return error_of(lambda: client().chat.completions.create(**asking("hello", model="gpt-of-old")))


def rate_limited() -> Told:
    asked = asking("hello", extra_headers=RATE_LIMITED)
    return error_of(lambda: client(max_retries=0).chat.completions.create(**asked))


def error_event() -> Told:
    return error_of(lambda: whole_stream(ERROR_EVENT))


def cut_stream() -> Told:
    return raised_by(lambda: whole_stream(CUT))


def whole_stream(headers: dict[str, str]) -> str:
    asked = asking("x", extra_headers=headers)
    chunks = client(max_retries=0).chat.completions.create(**asked, stream=True)
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks)


def leaving() -> Told:
    asked = asking(f"leave {KEY[-9:]}", extra_headers=SLOW)
    leaver = client(os.environ["LEAVING_KEY"])
    with leaver.chat.completions.create(**asked, stream=True) as chunks:
        first = next(one for one in chunks if one.choices[0].delta.content)
    return {"first": first.choices[0].delta.content}


if __name__ == "__main__":
    play((
        create, stream, plain_stream, thinking, tools, image, parsed, cut_short, at_once, models,
        wrong_key, refused_field, refused_part, unknown_model, rate_limited, error_event,
        cut_stream, leaving,
    ))  # fmt: skip
