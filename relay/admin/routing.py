"""What a route is, and what its function is handed."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Generic, TypeVar

import msgspec
import trio

from relay import errors
from relay.context import Context
from relay.users import ROLES
from relay.web.overview_data import Live

PUBLIC = "public"
VIEWER, OPERATOR, ADMIN = ROLES
CSV, LINES = "text/csv", "application/x-ndjson"

T = TypeVar("T")


def camel(name: str) -> str:
    """A name of the code as JSON has it."""
    first, *others = name.split("_")
    return first + "".join(one.capitalize() for one in others)


class In(msgspec.Struct, rename=camel, kw_only=True, forbid_unknown_fields=True):
    """What is sent: a field that is not known is refused, for it may be a limit misspelt."""


class Out(msgspec.Struct, rename=camel, kw_only=True):
    """What is answered."""


class Page(Out, Generic[T]):
    """A part of a list; `next` is the `after` of the following part, null where it ends."""

    data: list[T]
    next: str | None


class PageQuery(In):
    """Which part of a list."""

    limit: Annotated[int, msgspec.Meta(ge=1, le=500)] = 100
    after: Annotated[str, msgspec.Meta(max_length=200)] = ""


class NoQuery(In):
    """Nothing may stand in the query."""


@dataclass(frozen=True, slots=True)
class File:
    """An answer that is no JSON: one of CSV and LINES, under the name that it is saved by."""

    kind: str
    body: bytes
    name: str


@dataclass(frozen=True, slots=True)
class Who:
    """Who asks, as the audit names them, and their role."""

    name: str
    role: str

    def may(self, role: str) -> bool:
        """Whether they have this role or a greater one."""
        return ROLES.index(self.role) >= ROLES.index(role)


@dataclass(frozen=True, slots=True)
class Shared:
    """What all requests of a process share.

    Args:
        live: the relay's state, read once for all who ask.
        searching: bounds how many searches read files at one time.
        document: the OpenAPI document, encoded.
    """

    ctx: Context
    live: Live
    searching: trio.CapacityLimiter
    document: bytes


@dataclass(frozen=True, slots=True)
class Call:
    """One request: `query` and `body` are of the types that its route names.

    Args:
        match: of If-Match: the version that is to be changed, or empty.
    """

    shared: Shared
    query: Any
    body: Any
    match: str = ""

    @property
    def ctx(self) -> Context:
        return self.shared.ctx

    @property
    def seen(self) -> str:
        """The version that is to be changed; empty for any."""
        return "" if self.match == "*" else self.match


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One path and method.

    Args:
        path: below /admin/api/v1, with {names} of parts that are handed to `do`.
        role: PUBLIC or one of ROLES; a greater role may do what a smaller one may.
        answer: the type of what `do` returns; None for nothing, CSV or LINES for a File.
        body, query: the types of what may be sent.
        patience_s: how long it may take.
        may_break: whether it may be broken off when who asked has gone, or the relay ends; other
            changes go on to their end.
    """

    method: str
    path: str
    role: str
    do: Callable[..., Awaitable[object]]
    summary: str
    answer: Any
    status: int = 200
    body: type[In] | None = None
    query: type[In] = NoQuery
    patience_s: float = 30.0
    may_break: bool = False

    @property
    def name(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def is_change(self) -> bool:
        return self.method != "GET"

    @property
    def has_version(self) -> bool:
        """Whether If-Match is heeded: what is changed has a version."""
        return self.method in ("PATCH", "PUT") and hasattr(self.answer, "version")

    @property
    def part(self) -> str:
        """What it is about: the first word of its path."""
        return self.path.split("/")[1].partition(".")[0]


def page(items: Sequence[T], query: PageQuery, id_of: Callable[[T], str]) -> Page[T]:
    """The part of a whole list that is asked for.

    Raises:
        errors.BadField: nothing in the list has the id `after`.
    """
    start = 0
    if query.after:
        ids = [id_of(one) for one in items]
        if query.after not in ids:
            raise errors.BadField("There is nothing with this id to go on after.", "after")
        start = ids.index(query.after) + 1
    part = list(items[start : start + query.limit])
    more = start + query.limit < len(items)
    return Page(data=part, next=id_of(part[-1]) if more else None)


def given(body: In) -> dict[str, Any]:
    """The fields that were sent, by the names of the code."""
    values = ((name, getattr(body, name)) for name in body.__struct_fields__)
    return {name: value for name, value in values if value is not msgspec.UNSET}
