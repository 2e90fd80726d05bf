"""The values that one request hands from room to room, and what a dialect must offer."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from relay.errors import RelayError
from relay.pricing import PLAIN, Bill, Reach, Tokens

Headers = Sequence[tuple[bytes, bytes]]

# The floor estimate: one token per four characters.
CHARS_PER_TOKEN = 4
# The name that stands in `Call.also` for whichever model the upstream chooses.
ANY_FALLBACK = "default"


@dataclass(frozen=True, slots=True)
class Named:
    """Something that lives in one account, and that a request names.

    Args:
        kind: "file", "skill", "container", "thread" or "credit".
        id: as the request has it; what the relay takes for no id at all is not found.
        place: where in the request it stands.
    """

    kind: str
    id: str
    place: str


@dataclass(frozen=True, slots=True)
class Call:
    """What the relay read of a request; its bytes go on as they came.

    Args:
        body: what the upstream gets; the client's own bytes, but for a dialect that translates.
        kind: "messages" and "batch" are counted and cost money; every other kind only holds a slot.
        target: path and query at the upstream, below the account's base URL.
        model: empty when the call names none; a batch's, one a line.
        session: the client's conversation, or empty.
        thread: what tells one conversation of a key from another: the session, else a hash of
            how the conversation begins; empty when it does not matter.
        account_id: the account that must serve, or empty for any.
        unbounded: the field whose cost cannot be bounded beforehand, or empty.
        reach: what it may bring about beside one answer of its model, where that is bounded.
        most_micros, expected_micros: what a batch can cost at most, and what it is likely to.
        most_global_micros: the most at an account that is known to serve everywhere.
        places: where in the request a model stands, for a message about it.
        left_out: what the dialect could not translate and passed over, by its place.
        also: models that may serve beside `model`, each with the field that names it.
        named: what it names that lives in one account: only that account may serve.
        thinking: signatures of what was thought in its conversation, newest first, where one
            organisation alone may be able to read that.
        spare_bytes: what its body may grow by before it is sent.
        has_thread: it begins or continues a message thread, which a later request may continue.
    """

    kind: str
    method: str
    target: bytes
    body: bytes = b""
    model: str = ""
    max_tokens: int = 0
    stream: bool = False
    session: str = ""
    thread: str = ""
    agent: str = ""
    account_id: str = ""
    unbounded: str = ""
    reach: Reach = PLAIN
    most_micros: int = 0
    most_global_micros: int = 0
    expected_micros: int = 0
    places: Mapping[str, str] = field(default_factory=dict)
    also: Mapping[str, str] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()
    named: tuple[Named, ...] = ()
    has_thread: bool = False
    thinking: tuple[str, ...] = ()
    spare_bytes: int = 0


class Reader(Protocol):
    """Reads an answer on the side; never delays or alters a byte."""

    def feed(self, data: bytes) -> None:
        """Look at the next bytes of the answer."""

    def finish(self) -> None:
        """The answer has ended: read what can only be read whole."""


class Meter(Reader, Protocol):
    """Reads usage out of an answer."""

    @property
    def has_usage(self) -> bool:
        """Whether the upstream has given figures; quicker to ask than `tokens`."""

    @property
    def tokens(self) -> Tokens | None:
        """The upstream's own figures so far; None before it gave any."""

    def bill(self, requested: str, *, writes_long: bool) -> Bill:
        """All that the upstream bills for the answer so far, once it gave figures.

        Args:
            requested: the model that the upstream was asked for.
            writes_long: the request asked for an hour's cache somewhere.
        """

    @property
    def chars(self) -> int:
        """Characters of output seen so far: the floor estimate of an answer that breaks off."""

    @property
    def model(self) -> str:
        """The model that answered, as the upstream names it, or empty."""

    @property
    def made(self) -> Iterable[tuple[str, str]]:
        """Kind and id of what the answer names and a later request may name."""

    @property
    def stop_reason(self) -> str:
        """Why the answer ended, or empty."""

    @property
    def is_complete(self) -> bool:
        """Whether the answer is whole, so that its figures are final."""

    @property
    def has_ended(self) -> bool:
        """Whether the upstream said that it ends here, well or with an error."""

    @property
    def has_begun(self) -> bool:
        """Whether the answer's first event has been seen."""

    @property
    def has_started(self) -> bool:
        """Whether an event has come that is neither a ping nor an error."""

    @property
    def first_error(self) -> bytes | None:
        """The data of an error's event before which nothing but pings came; else None."""

    @property
    def body(self) -> bytes:
        """A whole answer as it was read, uncompressed; empty for a stream."""

    def passed(self, data: bytes) -> bytes:
        """What passes on of the bytes that were just read."""

    @property
    def at_boundary(self) -> bool:
        """Whether bytes of our own may go in here without breaking an event."""


class Dialect(Protocol):
    """What the exchange needs of an API's dialect."""

    name: str
    ping: bytes
    # Whether answers are told in another API's words instead of passed on as they came.
    retells: bool

    def meter(self, status: int, headers: Headers, *, stream: bool) -> Meter:
        """A meter for one answer."""

    def error_frame(self, error: RelayError, request_id: str) -> bytes:
        """The event by which a stream that broke off says so."""

    def suited(self, traits: Any, most_tokens: int) -> bytes | None:
        """The request as it suits the model that serves; None where it is sent as it was read."""

    def retold(self, meter: Meter, data: bytes) -> bytes:
        """What the client gets of a stream's bytes, once the meter has seen them."""

    def retold_whole(self, body: bytes) -> bytes:
        """What the client gets of an answer that came whole."""
