"""Reading a request's plain data: a value of the right kind, or a refusal that names its place."""

from typing import Any, TypeVar

from relay import errors
from relay.pricing import MOST_TOKENS

Json = dict[str, Any]
T = TypeVar("T")

_WORDS: dict[type, str] = {
    str: "a string",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    dict: "an object",
    list: "a list",
}


def refusal(place: str, sentence: str) -> errors.BadRequest:
    """The error of a value that cannot be taken; `place` is a path such as `input[2].role`."""
    return errors.BadRequest(f"{place}: {sentence}")


def as_kind(value: Any, kind: type[T], place: str) -> T:
    """`value`, which must be of this kind; true and false are no numbers."""
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return value  # type: ignore[return-value]
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise refusal(place, f"must be {_WORDS[kind]}.")
    return value


def given(fields: Json, name: str, kind: type[T], place: str = "") -> T | None:
    """The value of a field, or None where it is left out or null."""
    value = fields.get(name)
    return None if value is None else as_kind(value, kind, below(place, name))


def needed(fields: Json, name: str, kind: type[T], place: str = "") -> T:
    """The value of a field that must be there."""
    value = given(fields, name, kind, place)
    if value is None:
        raise refusal(below(place, name), "this field is required.")
    return value


def most_tokens(fields: Json, name: str) -> int | None:
    """The value of a field that bounds an answer, or None where it is left out."""
    value = given(fields, name, int)
    if value is not None and not 1 <= value <= MOST_TOKENS:
        raise refusal(name, f"must be from 1 to {MOST_TOKENS}.")
    return value


def objects(values: list[Any], place: str) -> list[tuple[str, Json]]:
    """Every object of a list, with its place."""
    places = [f"{place}[{index}]" for index in range(len(values))]
    return [
        (where, as_kind(value, dict, where)) for where, value in zip(places, values, strict=True)
    ]


def choice(fields: Json, name: str, allowed: tuple[str, ...], place: str = "") -> str | None:
    """The value of a field that is one of a few words, or None."""
    value = given(fields, name, str, place)
    if value is not None and value not in allowed:
        raise refusal(below(place, name), f"must be one of {', '.join(allowed)}.")
    return value


def below(place: str, name: str) -> str:
    return f"{place}.{name}" if place else name
