"""What can go wrong with an upstream, and the table from foreign exceptions to sentences."""

import errno
import socket
import ssl
from collections.abc import Iterator
from typing import Literal

import trio

Stage = Literal["connect", "send", "headers", "body"]


class UpstreamError(Exception):
    """The upstream could not be reached, broke off, or does not speak proper HTTP/1.1.

    Attributes:
        stage: how far the request had come.
        reason: one short sentence without secrets.
        never_left: provably nothing of the request can have been processed.
        is_ours: this machine lacks what it takes (file descriptors, memory, ports), so it says
            nothing of the upstream.
        is_local: the way there failed at our own end (no network, no answer of the resolver, the
            outbound proxy, a process that was held up), so it says nothing of the upstream either;
            another upstream may have another way.
    """

    def __init__(
        self,
        stage: Stage,
        reason: str,
        *,
        never_left: bool = False,
        is_ours: bool = False,
        is_local: bool = False,
    ) -> None:
        super().__init__(reason)
        self.is_local = is_local
        self.stage = stage
        self.reason = reason
        self.never_left = never_left
        self.is_ours = is_ours


class UpstreamTimeoutError(UpstreamError):
    """A deadline of the stage passed."""


class AnswerTooLargeError(UpstreamError):
    """A sound answer that is larger than the relay reads; it may repeat what a client sent."""


_BROKE = "The connection to the upstream broke."
# The border: what sockets, TLS and name resolution raise, the more specific first.
_SENTENCES: tuple[tuple[type[Exception], str], ...] = (
    (ssl.SSLError, "The upstream does not speak TLS as the relay does."),
    (socket.gaierror, "The upstream's host name cannot be resolved."),
    (UnicodeError, "The upstream's host name cannot be resolved."),
    (ConnectionRefusedError, "The upstream refuses connections."),
    (ConnectionError, "The upstream broke the connection."),
    (EOFError, "The upstream closed the connection before it answered."),
    (OSError, "The upstream cannot be reached."),
    (trio.BrokenResourceError, _BROKE),
    (trio.ClosedResourceError, _BROKE),
)
FAILURES = tuple(kind for kind, _ in _SENTENCES)
# What a machine runs out of, whoever is at the other end.
_OURS = frozenset((
    errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.ENOSPC, socket.EAI_MEMORY,
))  # fmt: skip
# What a machine says of its own network: no route, a filter of its own, no answer of its resolver.
_LOCAL = frozenset((
    errno.ENETUNREACH, errno.ENETDOWN, errno.EADDRNOTAVAIL, errno.EPERM, errno.EACCES,
    socket.EAI_AGAIN, socket.EAI_FAIL, socket.EAI_SYSTEM,
))  # fmt: skip
# A deadline that is noticed so much later passed while the process was held up, and what it waited
# for may have been there.
_HELD_UP_S = 1.0


def is_local(error: BaseException) -> bool:
    """Whether the way to an upstream failed at our own end, as far as every attempt tells."""
    numbers = set(_numbers(error))
    return bool(numbers) and numbers <= _LOCAL


def was_held_up(deadline: float) -> bool:
    """Whether this process noticed a deadline (trio's clock) only long after it had passed."""
    return trio.current_time() - deadline > _HELD_UP_S


def is_ours(error: BaseException) -> bool:
    """Whether this machine's own want of something made `error` happen."""
    numbers = set(_numbers(error))
    # No address is also what a machine without IPv6 says of a host's ::1; then only the other
    # attempts say why the host cannot be reached.
    return bool(numbers & _OURS) or numbers == {errno.EADDRNOTAVAIL}


def _numbers(error: BaseException) -> Iterator[int]:
    """The error numbers of `error` and of everything that led to it."""
    if isinstance(error, OSError) and error.errno is not None:
        yield error.errno
    inner = list(error.exceptions) if isinstance(error, BaseExceptionGroup) else []
    inner += [cause for cause in (error.__cause__, error.__context__) if cause is not None]
    for cause in inner:
        yield from _numbers(cause)


def sentence(error: BaseException) -> str:
    """Why `error` happened: trio wraps the cause that tells, so the innermost decides."""
    inner: BaseException | None = error
    while inner is not None:
        error = inner
        inner = error.exceptions[0] if isinstance(error, BaseExceptionGroup) else error.__cause__
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"The upstream's certificate is not trusted: {error.verify_message}."
    return next((text for kind, text in _SENTENCES if isinstance(error, kind)), _BROKE)
