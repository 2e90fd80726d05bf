"""Fields that several parts of the API have, and how a problem names one of them."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import date, datetime
from typing import Annotated, Literal

from msgspec import UNSET, Meta, UnsetType

from relay import errors, rules
from relay.admin.routing import In, camel
from relay.usage import a_day
from relay.versions import Changed

Moment = Annotated[datetime, Meta(tz=True)]
Name = Annotated[str, Meta(min_length=1, max_length=100)]
Word = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$", max_length=64)]
Line = Annotated[str, Meta(max_length=500)]
Words = Annotated[list[Word], Meta(max_length=100)]
Globs = Annotated[list[Annotated[str, Meta(min_length=1, max_length=256)]], Meta(max_length=100)]
Role = Literal["viewer", "operator", "admin"]
Mode = Literal["strict", "soft"]
Count = Annotated[int, Meta(ge=0, le=10**9)]
# A number, or a text such as "2.50" or "2.50 strict", as budgets are answered.
Amount = str | int | float | None


class Budgets(In):
    """US dollars by period, `strict` or `soft` after them; what is not named here ends."""

    daily: Amount = None
    weekly: Amount = None
    monthly: Amount = None
    total: Amount = None


def amounts(sent: Budgets | UnsetType, mode: str | UnsetType) -> tuple[dict[str, object], str]:
    """Budgets as limits.budgets() takes them: amounts by period, and one mode for all or none.

    Raises:
        errors.BadField: a mode without budgets.
    """
    if sent is UNSET:
        if mode is not UNSET:
            raise errors.BadField("A mode goes with budgets.", "budgetMode")
        return {}, ""
    assert isinstance(sent, Budgets)  # noqa: S101  # for mypy: UNSET is the other one
    values = {name: getattr(sent, name) for name in sent.__struct_fields__}
    found = {name: value for name, value in values.items() if value not in (None, "")}
    return found, "" if isinstance(mode, UnsetType) else mode


def day(text: str, field: str) -> date:
    """A day of a field.

    Raises:
        errors.BadField: it is none.
    """
    try:
        return a_day(text)
    except ValueError:
        raise errors.BadField("A day is YYYY-MM-DD.", field) from None


@contextmanager
def wrong_fields(names: Mapping[str, str]) -> Iterator[None]:
    """Turn a problem with a setting into an error that names the field which was sent.

    Args:
        names: fields of the code by the names that problems have for them, where they differ.
    """
    try:
        yield
    except Changed:
        raise errors.Stale(
            "It was changed since it was read. Read it again, and send its version as If-Match."
        ) from None
    except rules.Problem as problem:
        if not problem.field:
            raise errors.Conflict(str(problem)) from None
        field = camel(names.get(problem.field, problem.field))
        raise errors.BadField(problem.rule, field) from None


@contextmanager
def must_exist() -> Iterator[None]:
    """Turn a problem of finding something into a 404."""
    try:
        yield
    except rules.Problem as problem:
        raise errors.NotFound(str(problem)) from None
