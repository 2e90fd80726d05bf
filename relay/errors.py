"""Every error that a client can see, and the one place that writes an error body. In OpenAI's words
dialects/openai/failures.py writes them.

RelayError                     status  type
 ├─ BadRequest                 400     invalid_request_error
 │   ├─ BadField               400     invalid_request_error   (names the field, admin API)
 │   └─ ForbiddenModel         400     invalid_request_error
 ├─ Unauthorized               401     authentication_error    (never retried by clients)
 ├─ Forbidden                  403     permission_error
 ├─ NotFound                   404     not_found_error
 │   └─ UnservedModel          404     not_found_error
 ├─ MethodNotAllowed           405     invalid_request_error
 ├─ RequestTimeout             408     timeout_error
 ├─ Conflict                   409     conflict_error          (admin API)
 ├─ Stale                      412     conflict_error          (admin API)
 ├─ TooLarge                   413     request_too_large
 ├─ RateLimited                429     rate_limit_error
 ├─ BudgetReached              429     billing_error           (never retried by clients)
 ├─ HeadersTooLarge            431     request_too_large
 ├─ InternalError              500     api_error
 ├─ BadGateway                 502     api_error
 ├─ Unavailable                503     api_error
 ├─ GatewayTimeout             504     timeout_error
 └─ Overloaded                 529     overloaded_error

Domain code raises these; only the ASGI front answers them. An upstream's own error
is not one of them: it is a reply and passes through byte for byte.
"""

import json
from typing import ClassVar

Headers = list[tuple[bytes, bytes]]


class RelayError(Exception):
    """An answer of the relay's own making.

    `message` is a sentence for the person at the client: what happened and what to do.
    """

    status: ClassVar[int] = 500
    type: ClassVar[str] = "api_error"
    # What stands in the error's `details` for programs to go by.
    code: ClassVar[str] = ""
    extra_headers: ClassVar[tuple[tuple[bytes, bytes], ...]] = ()

    def __init__(self, message: str, headers: Headers | None = None) -> None:
        super().__init__(message)
        self.message = message
        given = {name for name, _ in headers or ()}
        usual = [pair for pair in self.extra_headers if pair[0] not in given]
        self.headers: Headers = [*usual, *(headers or [])]


class BadRequest(RelayError):
    status = 400
    type = "invalid_request_error"


class BadField(BadRequest):
    """What was sent is wrong in one place: `field` names it, with dots between its steps."""

    def __init__(self, message: str, field: str) -> None:
        super().__init__(message)
        self.field = field


class ForbiddenModel(BadRequest):
    """The key may not use a model."""

    def __init__(self, message: str, model: str) -> None:
        super().__init__(message)
        self.model = model


class Unauthorized(RelayError):
    status = 401
    type = "authentication_error"
    # Without it Claude Code repeats a 401 for about three minutes before it shows the message.
    extra_headers = ((b"x-should-retry", b"false"),)


class UnknownKey(Unauthorized):
    """The key is nobody's; its keyed hash tells it apart from others, and is not shown."""

    def __init__(self, message: str, key_hash: str) -> None:
        super().__init__(message)
        self.key_hash = key_hash


class Forbidden(RelayError):
    status = 403
    type = "permission_error"


class NotFound(RelayError):
    status = 404
    type = "not_found_error"


class UnservedModel(NotFound):
    """No account serves a model."""

    def __init__(self, message: str, model: str) -> None:
        super().__init__(message)
        self.model = model


class ThreadNotFound(NotFound):
    """A message thread cannot be continued; clients then send the whole conversation."""

    code = "thread_not_found"


class ThreadUnsupported(BadRequest):
    """A message thread cannot be continued here; clients send the whole conversation then."""

    code = "thread_unsupported_request"


class MethodNotAllowed(RelayError):
    status = 405
    type = "invalid_request_error"

    def __init__(self, method: str, allowed: tuple[str, ...]) -> None:
        names = ", ".join(allowed)
        super().__init__(
            f"{method} is not allowed on this path; use {names}.",
            [(b"allow", names.encode())],
        )


class RequestTimeout(RelayError):
    status = 408
    type = "timeout_error"
    extra_headers = ((b"connection", b"close"),)


class Conflict(RelayError):
    status = 409
    type = "conflict_error"


class Stale(RelayError):
    status = 412
    type = "conflict_error"


class TooLarge(RelayError):
    status = 413
    type = "request_too_large"
    # The rest of the body is not read, so the connection cannot be used again.
    extra_headers = ((b"connection", b"close"),)


class RateLimited(RelayError):
    status = 429
    type = "rate_limit_error"


class BudgetReached(RelayError):
    status = 429
    type = "billing_error"
    extra_headers = ((b"x-should-retry", b"false"),)


class HeadersTooLarge(RelayError):
    status = 431
    type = "request_too_large"


class InternalError(RelayError):
    status = 500


class BadGateway(RelayError):
    status = 502


class Unavailable(RelayError):
    status = 503
    extra_headers = ((b"retry-after", b"1"),)


class GatewayTimeout(RelayError):
    status = 504
    type = "timeout_error"


class Overloaded(RelayError):
    status = 529
    type = "overloaded_error"


# What the HTTP layer itself has to refuse before there is a request to speak of.
_PROTOCOL_ERRORS: dict[int, tuple[type[RelayError], str]] = {
    400: (BadRequest, "The request is not valid HTTP/1.1."),
    408: (RequestTimeout, "The request's headers did not arrive in time."),
    431: (HeadersTooLarge, "The request's headers are too large; the relay takes up to 64 KiB."),
    500: (InternalError, "The relay failed to answer; its log says why."),
    405: (BadRequest, "The relay is no proxy: CONNECT is not served."),
    501: (BadRequest, "The request asks for something of HTTP that the relay does not do."),
    505: (BadRequest, "The relay speaks HTTP/1.1 and HTTP/1.0."),
}


def envelope(error: RelayError, request_id: str) -> bytes:
    """The Anthropic dialect's error body: one JSON object."""
    told: dict[str, object] = {"type": error.type, "message": error.message}
    if error.code:
        told["details"] = {"error_code": error.code}
    if isinstance(error, BadField):
        told["field"] = error.field
    body = {"type": "error", "error": told, "request_id": request_id}
    return json.dumps(body, ensure_ascii=False).encode()


def response(error: RelayError, request_id: str) -> tuple[int, Headers, bytes]:
    """Status, headers and body that answer `error`."""
    body = envelope(error, request_id)
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        *identity(request_id),
        *error.headers,
    ]
    return error.status, headers, body


def identity(request_id: str) -> Headers:
    """The request's id under both names: Anthropic's SDKs read the first, OpenAI's the second."""
    value = request_id.encode()
    return [(b"request-id", value), (b"x-request-id", value)]


def refusal(status: int, request_id: str) -> tuple[Headers, bytes]:
    """Headers and body for a connection that never became a request.

    The status is the listener's, and so are content-length and connection.
    """
    kind, message = _PROTOCOL_ERRORS.get(status, _PROTOCOL_ERRORS[400])
    body = envelope(kind(message), request_id)
    return [(b"content-type", b"application/json"), *identity(request_id)], body
