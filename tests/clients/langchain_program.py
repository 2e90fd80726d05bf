"""What a program does with LangChain's ChatOpenAI: run, not imported.

Its second argument is the API that LangChain speaks: chat or responses.
"""

import asyncio
import json
import os
import sys
from collections.abc import Callable
from typing import Any

from langchain_core.messages import BaseMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from openai_program import (
    CUT,
    ERROR_EVENT,
    KEY,
    MODEL,
    PIXEL,
    RATE_LIMITED,
    SLOW,
    USAGE,
    City,
    Told,
    error_of,
    play,
    raised_by,
)

IS_RESPONSES = sys.argv[2] == "responses"
THINKS: dict[str, Any] = (
    {"reasoning": {"effort": "low", "summary": "auto"}}
    if IS_RESPONSES
    else {"reasoning_effort": "low"}
)


@tool
def shout(text: str) -> str:
    """Says it loudly."""
    return text.upper()


def chat(key: str = KEY, **options: Any) -> ChatOpenAI:
    asked: dict[str, Any] = {"model": MODEL, "max_tokens": 2000, "max_retries": 0, **options}
    return ChatOpenAI(base_url=sys.argv[1], api_key=key, use_responses_api=IS_RESPONSES, **asked)


def create() -> Told:
    model = chat(include_response_headers=True)
    headers = {"anthropic-sim-usage": json.dumps(USAGE)}
    answer = model.invoke(
        [SystemMessage("Be brief."), HumanMessage("hello")], extra_headers=headers
    )
    return {
        "text": answer.text,
        "model": answer.response_metadata["model_name"],
        "usage": answer.usage_metadata,
        "request_id": answer.response_metadata["headers"]["x-request-id"],
    }


def stream() -> Told:
    chunks = list(chat(stream_usage=True).stream("tell me"))
    whole = chunks[0]
    for chunk in chunks[1:]:
        whole += chunk
    return {
        "pieces": [chunk.text for chunk in chunks],
        "final": whole.text,
        "output_tokens": whole.usage_metadata["output_tokens"],
    }


def tools() -> Told:
    """A round trip in which the answer goes back as LangChain holds it, thinking too."""
    model = chat(**THINKS).bind_tools([shout], strict=True)
    messages: list[BaseMessage] = [HumanMessage("please use tool")]
    called = model.invoke(messages)
    (call,) = called.tool_calls
    result = shout.invoke(call["args"])
    messages += [called, ToolMessage(f"{result} {KEY[-9:]}", tool_call_id=call["id"])]
    messages.append(HumanMessage("go on"))
    return {"name": call["name"], "arguments": call["args"], "text": model.invoke(messages).text}


def streamed_tools() -> Told:
    """The pieces of a call add up."""
    running = chat().bind_tools([shout], tool_choice="shout").stream("anything at all")
    whole = next(running)
    for chunk in running:
        whole += chunk
    (call,) = whole.tool_calls
    return {"name": call["name"], "arguments": call["args"]}


def image() -> Told:
    parts = [
        {"type": "text", "text": f"what is this {KEY[-9:]}"},
        {"type": "image", "base64": PIXEL.rpartition(",")[2], "mime_type": "image/png"},
    ]
    return {"text": chat().invoke([HumanMessage(parts)]).text}


def parsed() -> Told:
    said = {"anthropic-sim-text": '{"name": "Bern", "inhabitants": 146000}'}
    model = chat(default_headers=said).with_structured_output(City, method="json_schema")
    city = model.invoke(f"a city {KEY[-9:]}")
    assert isinstance(city, City)
    return {"city": city.model_dump()}


def at_once() -> Told:
    """LangChain's asynchronous calls: two answers and a stream at one time."""

    async def one(number: int) -> str:
        if number:
            return (await chat().ainvoke(f"no. {number}")).text
        return "".join([chunk.text async for chunk in chat().astream(f"no. {number}")])

    async def all_of_them() -> list[str]:
        return await asyncio.gather(*(one(number) for number in range(3)))

    return {"texts": sorted(asyncio.run(all_of_them()))}


def wrong_key() -> Told:
    return failing(chat("sk-relay-" + "x" * 43))


def unknown_model() -> Told:
    return failing(chat(model="gpt-of-old"))


def rate_limited() -> Told:
    return failing(chat(default_headers=RATE_LIMITED))


def error_event() -> Told:
    """LangChain raises errors of its own kind for it."""
    try:
        return {"text": streaming(ERROR_EVENT)()}
    except Exception as error:  # noqa: BLE001  # a program sees a failure
        return {"raised": str(error)}


def cut_stream() -> Told:
    return raised_by(streaming(CUT))


def failing(model: ChatOpenAI) -> Told:
    return error_of(lambda: model.invoke("hello"))


def streaming(headers: dict[str, str]) -> Callable[[], str]:
    """A call that reads a whole stream which the simulator spoils."""
    model = chat(default_headers=headers)
    return lambda: "".join(chunk.text for chunk in model.stream("x"))


def leaving() -> Told:
    chunks = chat(os.environ["LEAVING_KEY"], default_headers=SLOW).stream(f"leave {KEY[-9:]}")
    first = next(chunk.text for chunk in chunks if chunk.text)
    chunks.close()
    return {"first": first}


if __name__ == "__main__":
    play((
        create, stream, tools, streamed_tools, image, parsed, at_once, wrong_key, unknown_model,
        rate_limited, error_event, cut_stream, leaving,
    ))  # fmt: skip
