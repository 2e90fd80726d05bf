"""Every field that a specification's types name, as paths such as `messages[user].content[file]`.

A list's kinds stand in its brackets: by them one field of two kinds is two fields.
"""

import copy
import re
import types
import typing
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Literal, Union

import pydantic

# A field that tells the kinds of a union's members apart.
_MARKS = ("type", "role")


def paths(kind: Any, path: str = "", seen: frozenset[Any] = frozenset()) -> set[str]:
    """Every path of a type's fields, at any depth; a type inside of itself is walked once."""
    found: set[str] = set()
    for where, one in _structures(kind, path):
        if one in seen:
            continue
        for name, hint in _fields(one).items():
            below = f"{where}.{name}" if where else name
            found |= {below} | paths(hint, below, seen | {one})
    return found


def kinds(kind: Any, mark: str = "type") -> set[str]:
    """The words that tell the members of a union apart."""
    return {word for _, one in _structures(kind, "") for word in literals(_fields(one).get(mark))}


def values(whole: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Every field inside of a value: its path, what holds it, and its name there."""
    if isinstance(whole, dict):
        for name, value in whole.items():
            below = f"{path}.{name}" if path else name
            yield below, whole, name
            yield from values(value, below)
    elif isinstance(whole, list):
        for one in whole:
            yield from values(one, f"{path}[{kind_of(one)}]")


def kind_of(value: Any) -> str:
    """The word that tells of which kind an object in a list is, or nothing."""
    marks = [value.get(mark) for mark in _MARKS] if isinstance(value, dict) else []
    return next((mark for mark in marks if isinstance(mark, str)), "")


def counting(corpus: Iterable[Any], outcome: Callable[[Any], Any]) -> dict[str, bool]:
    """Every field of a corpus, and whether the outcome is ever another one without it."""
    found: dict[str, bool] = {}
    for whole in corpus:
        expected = copy.deepcopy(outcome(whole))
        for path, holder, name in values(whole):
            kept = dict(holder)
            del holder[name]
            found[path] = found.get(path, False) or outcome(whole) != expected
            # In its old place: the order of fields may count.
            holder.clear()
            holder.update(kept)
    return found


def table(page: str, heading: str, column: int = 1) -> dict[str, str]:
    """What a page's table says of each field, under a heading; a `*` stands for any kind."""
    section = re.split(rf"^#+ {re.escape(heading)}$", page, flags=re.MULTILINE)[1]
    lines = re.split(r"^#", section, flags=re.MULTILINE)[0].splitlines()
    rows = [line.split("|") for line in lines if line.startswith("| `")]
    return {row[1].strip(" `"): row[column + 1].strip() for row in rows}


def stands_for(row: str, path: str) -> bool:
    """Whether a row of a table is about a field."""
    return re.fullmatch(re.escape(row).replace(r"\*", r"[^]]*"), path) is not None


def lies_below(row: str, path: str) -> bool:
    """Whether a field is that of a row, or inside of it."""
    return re.match(re.escape(row).replace(r"\*", r"[^]]*") + r"(?![^.[])", path) is not None


# Other makers tell so what was thought, and clients read it there.
_BESIDE = {"reasoning_content"}


def check_known(model: Any) -> None:
    """No field anywhere that OpenAI's types do not have, but for what they lack a place for."""
    if isinstance(model, list):
        for one in model:
            check_known(one)
    if isinstance(model, pydantic.BaseModel):
        assert set(model.model_extra or ()) <= _BESIDE, (type(model), model.model_extra)
        for name in type(model).model_fields:
            check_known(getattr(model, name))


def literals(hint: Any) -> set[str]:
    """The words that a type takes."""
    if typing.get_origin(hint) is Literal:
        return {word for word in typing.get_args(hint) if isinstance(word, str)}
    return {word for inner in typing.get_args(hint) for word in literals(inner)}


def _structures(kind: Any, path: str) -> Iterator[tuple[str, Any]]:
    """The objects that a type can be, each with its path."""
    if _is_structure(kind):
        yield path, kind
        return
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin is not None and origin not in (Union, types.UnionType) and _is_list(origin):
        for _, one in _structures(inner[0], ""):
            for word in sorted(_words(one)) or [""]:
                yield f"{path}[{word}]", one
    elif origin is not Literal and origin is not dict:
        for one in inner:
            yield from _structures(one, path)


def _is_list(origin: Any) -> bool:
    return isinstance(origin, type) and issubclass(origin, Iterable) and origin is not dict


def _is_structure(kind: Any) -> bool:
    return _is_model(kind) or hasattr(kind, "__required_keys__")


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, pydantic.BaseModel)


def _words(kind: Any) -> set[str]:
    fields = _fields(kind)
    for mark in _MARKS:
        if words := literals(fields.get(mark)):
            return words
    return set()


def _fields(kind: Any) -> dict[str, Any]:
    if _is_model(kind):
        return {name: field.annotation for name, field in kind.model_fields.items()}
    return typing.get_type_hints(kind)
