"""Claude's errors in OpenAI's words, with the codes by which clients recover.

A client that reads `context_length_exceeded` shortens its conversation and goes on; by
`rate_limit_exceeded` it waits, by `insufficient_quota` it stops, by `model_not_found` it asks for
another model. What an upstream's message says counts only where the message begins with it.
"""

import json
import re
from dataclasses import dataclass

TOO_LONG = "context_length_exceeded"
# OpenAI's own words, by which clients know it where a stream's error has no code.
_TOO_LONG_WORDS = "Your input exceeds the context window of this model."

# OpenAI's type and code for an error type of Claude's.
_OPENAIS: dict[str, tuple[str, str | None]] = {
    "authentication_error": ("invalid_request_error", "invalid_api_key"),
    "not_found_error": ("invalid_request_error", None),
    "request_too_large": ("invalid_request_error", None),
    "rate_limit_error": ("rate_limit_error", "rate_limit_exceeded"),
    "billing_error": ("insufficient_quota", "insufficient_quota"),
    "overloaded_error": ("server_error", "server_is_overloaded"),
    "timeout_error": ("server_error", None),
    "api_error": ("server_error", None),
}
# Sources: platform.claude.com/docs/en/build-with-claude/context-windows; Bedrock's and Vertex'
# wording as platform.claude.com/docs/en/api/errors gives it.
_OVERFLOW = re.compile(
    r"prompt is too long|input is too long|input length and `?max_tokens`? exceeds? context limit",
    re.IGNORECASE,
)
_NOT_ALLOWED = " is not among the models that this key may use."
_PLACE = re.compile(r"([a-z_]+(?:\[\d+\]|\.\w+)*): ")


@dataclass(frozen=True, slots=True)
class Failure:
    """An error as OpenAI's APIs tell it; `param` is the field that it is about."""

    type: str
    code: str | None
    message: str
    param: str | None

    @property
    def message_in_stream(self) -> str:
        """The message where there is no status beside it: what clients know it by comes first."""
        return f"{_TOO_LONG_WORDS} {self.message}" if self.code == TOO_LONG else self.message


def of(kind: str, message: str) -> Failure:
    """The error of one of Claude's types with this message."""
    own_type, code = _OPENAIS.get(kind, (kind, None))
    place = _PLACE.match(message)
    is_about_model = place is not None and place[1] == "model"
    if kind in ("invalid_request_error", "request_too_large") and _OVERFLOW.match(message):
        own_type, code = "invalid_request_error", TOO_LONG
    elif is_about_model and (kind == "not_found_error" or _NOT_ALLOWED in message):
        code = "model_not_found"
    return Failure(own_type, code, message, place[1] if place else None)


def read(status: int, body: bytes) -> Failure:
    """The error that an answer in the Anthropic dialect holds."""
    try:
        error = json.loads(body)["error"]
        return of(str(error["type"]), str(error["message"]))
    except (ValueError, LookupError, TypeError):
        return of("api_error", f"The upstream answered with status {status}.")


def encoded(failure: Failure, *, streams: bool = False) -> bytes:
    """The error as the object that both APIs answer with."""
    told = {
        "message": failure.message_in_stream if streams else failure.message,
        "type": failure.type,
        "param": failure.param,
        "code": failure.code,
    }
    return json.dumps({"error": told}).encode()


def in_openais_words(status: int, body: bytes) -> tuple[int, bytes, bytes]:
    """Status, media type and body of an error, of status and body in the Anthropic dialect."""
    # OpenAI has no 529.
    status_told = 503 if status == 529 else status
    return status_told, b"application/json", encoded(read(status, body))
