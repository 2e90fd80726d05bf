"""What the programs of the openai SDK have in common.

They are run, with BASE_URL as their argument and KEY and LEAVING_KEY in the environment, and print
one JSON object: what came of each scenario.
"""

import json
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

import openai
import pydantic

KEY = os.environ["KEY"]
MODEL = "claude-opus-5"
SLOW = {"anthropic-sim-chunks": "1000", "anthropic-sim-delay-ms": "20"}
USAGE = {"input_tokens": 100, "cache_read_input_tokens": 900, "output_tokens": 200}
FUNCTION = {
    "name": "shout",
    "description": "Says it loudly.",
    "strict": True,
    "parameters": {
        "type": "object",
        "properties": {"text": {"type": "string"}},
        "required": ["text"],
        "additionalProperties": False,
    },
}
PIXEL = "data:image/png;base64,iVBORw0KGgo="
Told = dict[str, Any]
Scenario = Callable[[], Told]


class City(pydantic.BaseModel):
    """What an answer by a schema is read into."""

    name: str
    inhabitants: int


def client(key: str = KEY, **options: Any) -> openai.OpenAI:
    return openai.OpenAI(base_url=sys.argv[1], api_key=key, **options)


def steered(**fault: Any) -> dict[str, str]:
    """Headers by which the simulator does something wrong."""
    return {"anthropic-sim-fault": json.dumps(fault)}


RATE_LIMITED = steered(
    status=429, error_type="rate_limit_error", message="Slowly.", headers={"retry-after": "0"}
)
ERROR_EVENT = steered(error_event="overloaded_error", message="Busy.", after_events=5)
CUT = steered(cut_at=2200)


def error_of(call: Callable[[], object]) -> Told:
    """What a program learns of the error that a call ends with."""
    try:
        call()
    except openai.APIError as error:
        return {
            "classes": [one.__name__ for one in type(error).__mro__],
            "status": getattr(error, "status_code", None),
            "type": error.type,
            "code": error.code,
            "param": error.param,
            "message": error.message,
            "request_id": getattr(error, "request_id", None),
        }
    return {"classes": ["nothing was raised"]}


def raised_by(call: Callable[[], str]) -> Told:
    """The text of an answer, or what was raised instead, whatever it is."""
    try:
        return {"text": call()}
    except Exception as error:  # noqa: BLE001  # a program sees a failure
        return {"raised": type(error).__name__}


def play(scenarios: Sequence[Scenario]) -> None:
    """Print what each scenario told; one that failed is shown by the test that looks at it."""
    told = {scenario.__name__: _told_by(scenario) for scenario in scenarios}
    sys.stdout.write(json.dumps({"version": openai.__version__, **told}))


def _told_by(scenario: Scenario) -> Told:
    try:
        return scenario()
    except Exception as error:  # noqa: BLE001  # told below its name
        return {"failed": repr(error)}
