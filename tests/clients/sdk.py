"""What a program does with the anthropic SDK, today's or an older one: run, not imported.

    python sdk.py BASE_URL      with KEY, OTHER_KEY and LEAVING_KEY in the environment

Prints one JSON object: what came of each scenario. sdk.mjs does the same in TypeScript.
"""

import json
import os
import sys
from collections.abc import Callable
from typing import Any

import anthropic

KEY = os.environ["KEY"]
OPUS, HAIKU = "claude-opus-5", "claude-haiku-4-5"
FIGURES = {"anthropic-sim-usage": json.dumps({"input_tokens": 1000, "output_tokens": 200})}
SLOW = {"anthropic-sim-chunks": "1000", "anthropic-sim-delay-ms": "20"}
TOOL = {
    "name": "shout",
    "description": "Says it loudly.",
    "input_schema": {"type": "object", "properties": {"text": {"type": "string"}}},
}
Told = dict[str, Any]


def client(key: str = KEY, **options: Any) -> anthropic.Anthropic:
    return anthropic.Anthropic(base_url=sys.argv[1], api_key=key, **options)


def asking(text: str, model: str = HAIKU, **fields: Any) -> dict[str, Any]:
    return {
        "model": model,
        "max_tokens": 2000,
        "messages": [{"role": "user", "content": text}],
        **fields,
    }


def failing(**fault: Any) -> dict[str, Any]:
    return asking("spoil it", extra_headers={"anthropic-sim-fault": json.dumps(fault)})


def error_of(call: Callable[[], object]) -> Told:
    """What a program learns of the error that a call ends with."""
    try:
        call()
    except anthropic.APIError as error:
        body = error.body if isinstance(error.body, dict) else {}
        response = getattr(error, "response", None)
        return {
            "classes": [one.__name__ for one in type(error).__mro__],
            "status": getattr(error, "status_code", None),
            "type": body.get("error", {}).get("type"),
            "message": body.get("error", {}).get("message"),
            "request_id": getattr(error, "request_id", None),
            "retry_after": response.headers.get("retry-after") if response else None,
        }
    return {"classes": ["nothing was raised"]}


def message() -> Told:
    answer = client().messages.create(**asking("hello", OPUS, extra_headers=FIGURES))
    return {
        "text": answer.content[0].text,
        "stop_reason": answer.stop_reason,
        "input_tokens": answer.usage.input_tokens,
        "output_tokens": answer.usage.output_tokens,
        "request_id": answer._request_id,
    }


def stream() -> Told:
    with client().messages.stream(**asking("tell me")) as running:
        pieces = list(running.text_stream)
        final = running.get_final_message()
    return {
        "pieces": pieces,
        "final": final.content[0].text,
        "output_tokens": final.usage.output_tokens,
    }


def thinking() -> Told:
    budget = {"type": "enabled", "budget_tokens": 1024}
    with client().messages.stream(**asking("think", thinking=budget)) as running:
        final = running.get_final_message()
    return {"kinds": [block.type for block in final.content]}


def tools() -> Told:
    first = asking("please use tool", tools=[TOOL])
    with client().messages.stream(**first) as running:
        called = running.get_final_message()
    use = called.content[-1]
    result = {"type": "tool_result", "tool_use_id": use.id, "content": "done"}
    first["messages"] += [
        {"role": "assistant", "content": called.to_dict()["content"]},
        {"role": "user", "content": [result, {"type": "text", "text": "go on"}]},
    ]
    answer = client().messages.create(**first)
    return {
        "stop_reason": called.stop_reason,
        "name": use.name,
        "input": use.input,
        "text": answer.content[0].text,
    }


def count_tokens() -> Told:
    asked = [{"role": "user", "content": "how many"}]
    return {"tokens": client().messages.count_tokens(model=OPUS, messages=asked).input_tokens}


def models() -> Told:
    return {
        "ids": [model.id for model in client().models.list(limit=2)],
        "one": client().models.retrieve(OPUS).display_name,
    }


def wrong_key() -> Told:
    requests: list[object] = []
    counting = anthropic.DefaultHttpxClient(event_hooks={"request": [requests.append]})
    wrong = client("sk-relay-" + "x" * 43, http_client=counting)
    told = error_of(lambda: wrong.messages.create(**asking("let me in")))
    return {**told, "requests": len(requests)}


def unknown_model() -> Told:
    return error_of(lambda: client().messages.create(**asking("hello", "gpt-of-old")))


def rate_limited() -> Told:
    fault = failing(
        status=429, error_type="rate_limit_error", message="Slowly.", headers={"retry-after": "0"}
    )
    return error_of(lambda: client(max_retries=0).messages.create(**fault))


def overloaded() -> Told:
    fault = failing(status=529, error_type="overloaded_error", message="Busy.")
    return error_of(lambda: client(max_retries=0).messages.create(**fault))


def error_event() -> Told:
    spoiled = failing(error_event="overloaded_error", message="Busy.", after_events=4)
    return error_of(lambda: whole_stream(spoiled))


def cut_stream() -> Told:
    try:
        return {"text": whole_stream(failing(cut_at=2200))}
    except Exception as error:  # noqa: BLE001  # whatever it is, a program sees a failure
        return {"raised": type(error).__name__}


def whole_stream(asked: dict[str, Any]) -> str:
    with client(max_retries=0).messages.stream(**asked) as running:
        return running.get_final_text()


def leaving() -> Told:
    leaver = client(os.environ["LEAVING_KEY"])
    with leaver.messages.stream(**asking(f"leave {KEY[-9:]}", extra_headers=SLOW)) as running:
        first = next(iter(running.text_stream))
    return {"first": first}


def made_batch() -> Any:
    one = {"custom_id": "one", "params": asking("in bulk")}
    return client().messages.batches.create(requests=[one])


def batch() -> Told:
    batches, others = client().messages.batches, client(os.environ["OTHER_KEY"]).messages.batches
    made = made_batch()
    return {
        "status": batches.retrieve(made.id).processing_status,
        "is_listed": made.id in [one.id for one in batches.list()],
        "others": [one.id for one in others.list()],
        "others_error": error_of(lambda: others.retrieve(made.id)),
        "deleted": batches.delete(made.id).type,
    }


def batch_results() -> Told:
    lines = client().messages.batches.results(made_batch().id)
    return {line.custom_id: line.result.message.content[0].text for line in lines}


def file() -> Told:
    files, others = client().beta.files, client(os.environ["OTHER_KEY"]).beta.files
    made = files.upload(file=("notes.txt", b"some notes", "text/plain"))
    return {
        "name": files.retrieve_metadata(made.id).filename,
        "content": files.download(made.id).read().decode(),
        "is_listed": made.id in [one.id for one in files.list()],
        "others": [one.id for one in others.list()],
        "others_error": error_of(lambda: others.download(made.id)),
        "deleted": files.delete(made.id).id == made.id,
    }


SCENARIOS = (
    message, stream, thinking, tools, count_tokens, models, wrong_key, unknown_model,
    rate_limited, error_event, cut_stream, leaving, batch,
    batch_results, file,
    # The last, because its account rests afterwards.
    overloaded,
)  # fmt: skip


def told_by(scenario: Callable[[], Told]) -> Told:
    try:
        return scenario()
    except Exception as error:  # noqa: BLE001  # the test that looks at this scenario shows it
        return {"failed": repr(error)}


if __name__ == "__main__":
    told = {scenario.__name__: told_by(scenario) for scenario in SCENARIOS}
    sys.stdout.write(json.dumps({"version": anthropic.__version__, **told}))
