"""What a request carries, as the types of its route: whatever does not fit names its field."""

import re
from typing import Any, TypeVar
from urllib.parse import parse_qsl, unquote_to_bytes

import msgspec
import msgspec.inspect

from relay import errors
from relay.admin.routing import In

M = TypeVar("M", bound=In)

_MOST_FIELDS, MOST_PART = 100, 200
_PLACE = re.compile(r" - at `(?:key in )?\$(?P<place>[^`]*)`$")
_NAMED = re.compile(r"(?:unknown|required) field `(?P<name>[^`]*)`")


def path_parts(match: "re.Match[bytes]") -> dict[str, str]:
    """The named parts of a path. Raises NotFound for what can be no name of anything."""
    try:
        found = {
            name: unquote_to_bytes(value).decode() for name, value in match.groupdict().items()
        }
    except UnicodeDecodeError:
        found = {"": ""}
    if any(not 0 < len(part) <= MOST_PART for part in found.values()):
        raise errors.NotFound("There is nothing at this path.")
    return found


def query_of(text: bytes, wanted: type[M]) -> M:
    """The words after the question mark, each once but for those of which several may be."""
    try:
        pairs = parse_qsl(
            text.decode("ascii"), keep_blank_values=True, errors="strict",
            max_num_fields=_MOST_FIELDS,
        )  # fmt: skip
    except ValueError:
        raise errors.BadRequest("The query of the address is not as it should be.") from None
    lists = _lists_of(wanted)
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in lists:
            found.setdefault(name, []).append(value)
        elif name in found:
            raise errors.BadField("This may be given once only.", name)
        else:
            found[name] = value
    try:
        return msgspec.convert(found, wanted, strict=False)
    except msgspec.ValidationError as error:
        raise _wrong(error) from None


def _lists_of(wanted: type[In]) -> set[str]:
    told = msgspec.inspect.type_info(wanted)
    fields = told.fields if isinstance(told, msgspec.inspect.StructType) else ()
    return {one.encode_name for one in fields if isinstance(one.type, msgspec.inspect.ListType)}


def body_of(text: bytes, wanted: type[M]) -> M:
    """The body as JSON; one that is empty stands for an object without fields."""
    try:
        return msgspec.json.decode(text or b"{}", type=wanted)
    except msgspec.ValidationError as error:
        raise _wrong(error) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise errors.BadRequest("The body is not a JSON object in UTF-8.") from None


def _wrong(error: msgspec.ValidationError) -> errors.RelayError:
    """What msgspec found wrong, and where."""
    text = str(error)
    place = _PLACE.search(text)
    steps = place["place"].lstrip(".") if place else ""
    if named := _NAMED.search(text):
        steps = f"{steps}.{named['name']}".lstrip(".")
    sentence = _PLACE.sub("", text).replace("`", "") + "."
    return errors.BadField(sentence, steps) if steps else errors.BadRequest(sentence)
