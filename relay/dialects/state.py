"""Which of an upstream's stored state a request names: container, skills, thread, credit.

Each lives in one account, whose answer named it first. What is read here is read as strictly as
the body itself, so that the upstream cannot read another id than the relay did.
"""

import json
import re
from collections.abc import Iterator, Mapping

import msgspec

from relay import errors
from relay.body import fields_of
from relay.call import Named

# An object of these that is longer holds something else than ids.
_LONGEST_OBJECT, _LONGEST_ID = 64 * 1024, 4096
_MOST_SKILLS = 64
# The field, what it names, and which field of it holds the id where it is an object.
_FIELDS = (
    ("container", "container", "id"),
    ("thread", "thread", "previous_message_id"),
    ("fallback_credit_token", "credit", "token"),
)
# Of these the id may be the field's whole value.
_PLAIN = {"container", "credit"}


def named_by(fields: Mapping[str, msgspec.Raw]) -> tuple[Named, ...]:
    """What a request's top-level fields name, with the skills of its container.

    Raises:
        errors.BadRequest: a field has another shape than the upstream documents.
    """
    found = (_named(fields[name], name, kind, inner) for name, kind, inner in _FIELDS
             if name in fields)  # fmt: skip
    skills = _skills(fields["container"]) if "container" in fields else ()
    return tuple(named for named in (*found, *skills) if named is not None)


def _skills(container: msgspec.Raw) -> Iterator[Named]:
    """The custom skills of a container that was read; those of Anthropic live everywhere."""
    if not bytes(container).startswith(b"{"):
        return
    listed = fields_of(bytes(container)).get("skills", _NULL)
    try:
        skills = msgspec.json.decode(listed, type=list[msgspec.Raw] | None) or []
    except (msgspec.ValidationError, msgspec.DecodeError):
        raise errors.BadRequest("container.skills: must be a list.") from None
    for number, raw in enumerate(skills):
        place = f"container.skills[{number}]"
        if number >= _MOST_SKILLS:
            raise errors.BadRequest(f"{place}: a request names up to {_MOST_SKILLS} skills.")
        try:
            skill = fields_of(bytes(raw))
        except errors.BadRequest as error:
            raise errors.BadRequest(f"{place}: {error.message}") from None
        if _text(skill.get("type", _NULL), f"{place}.type") != "anthropic":
            place = f"{place}.skill_id"
            yield Named("skill", _text(skill.get("skill_id", _NULL), place), place)


def _named(raw: msgspec.Raw, name: str, kind: str, inner: str) -> Named | None:
    if len(memoryview(raw)) > _LONGEST_OBJECT:
        raise errors.BadRequest(f"{name}: is longer than 64 KiB.")
    text = bytes(raw)
    if text.startswith(b"{"):
        try:
            raw = fields_of(text).get(inner, _NULL)
        except errors.BadRequest as error:
            raise errors.BadRequest(f"{name}: {error.message}") from None
        name = f"{name}.{inner}"
    elif text != b"null" and kind not in _PLAIN:
        raise errors.BadRequest(f"{name}: must be an object.")
    return None if bytes(raw) == b"null" else Named(kind, _text(raw, name), name)


def _text(raw: msgspec.Raw, place: str) -> str:
    try:
        text = msgspec.json.decode(raw, type=str)
    except (msgspec.ValidationError, msgspec.DecodeError):
        raise errors.BadRequest(f"{place}: must be a string.") from None
    if len(text) > _LONGEST_ID:
        raise errors.BadRequest(f"{place}: has at most {_LONGEST_ID} characters.")
    return text


def signatures(body: bytes, most: int) -> Iterator[str]:
    """The values of fields called signature, and of redacted thinking, in a JSON text; the newest,
    which stand last, first.

    In a JSON text such a name cannot stand within a string: quotes are escaped there.
    """
    places = {name: body.rfind(name) for name in (_SIGNATURE, _REDACTED)}
    for _ in range(most):
        name, at = max(places.items(), key=lambda place: place[1])
        if at < 0:
            return
        places[name] = body.rfind(name, 0, at)
        if found := _SIGNED.match(body, at):
            # Some programs escape a slash or an equals sign.
            yield str(json.loads(found[1])) if b"\\" in found[1] else found[1][1:-1].decode()


def made_by(
    message_id: object, container: object, details: object, signature: str
) -> Iterator[tuple[str, str]]:
    """Kind and id of what an answer names and a later request may name.

    Args:
        message_id, container, details: the answer's `id`, `container` and `stop_details`, of any
            shape.
        signature: of what it thought last, or empty.
    """
    if signature:
        yield "thinking", signature
    credit = details.get("fallback_credit_token") if isinstance(details, dict) else None
    place = container.get("id") if isinstance(container, dict) else None
    for kind, value in (("thread", message_id), ("container", place), ("credit", credit)):
        if isinstance(value, str) and 0 < len(value) <= _LONGEST_ID:
            yield kind, value


_SIGNATURE, _REDACTED = b'"signature"', b'"redacted_thinking"'
_SIGNED = re.compile(
    rb'"(?:signature"\s*:|redacted_thinking"\s*,\s*"data"\s*:)\s*'
    rb'("(?:[A-Za-z0-9+/=_.:-]|\\/|\\u00[0-7][0-9A-Fa-f]){8,}")'
)
_NULL = msgspec.Raw(b"null")
