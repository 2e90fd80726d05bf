"""The parts of a message or of a tool's output as Claude's blocks."""

import base64
import binascii
import mimetypes
from typing import Any

from relay.dialects.openai.fields import (
    Json,
    as_kind,
    below,
    choice,
    given,
    needed,
    objects,
    refusal,
)

_IMAGES = ("image/jpeg", "image/png", "image/gif", "image/webp")
_PDF = "application/pdf"
_TEXTS = ("input_text", "output_text", "text")
NO_FILES = "files by id belong to OpenAI's store; send the data or an address instead."


def read(content: Any, place: str, *, said_by: str) -> list[Json]:
    """The blocks of a content, which is a string or a list of parts; blank texts are left out.

    Args:
        said_by: user, assistant, system or tool; only a user and a tool have more than text.
    """
    if content is None:
        raise refusal(place, "this field is required.")
    if isinstance(content, str):
        text = _text(content)
        return [text] if text else []
    blocks = []
    if not isinstance(content, list):
        raise refusal(place, "must be a string or a list of parts.")
    for where, part in objects(content, place):
        block = _block(part, where, said_by)
        if block is not None:
            blocks.append(_cached(block, part, where))
    return blocks


def _block(part: Json, place: str, said_by: str) -> Json | None:
    kind = needed(part, "type", str, place)
    if kind in _TEXTS:
        return _text(needed(part, "text", str, place))
    if kind == "refusal" and said_by == "assistant":
        return _text(needed(part, "refusal", str, place))
    if said_by in ("user", "tool"):
        if kind == "input_image":
            return _image(part, place)
        if kind == "input_file":
            return _file(part, place)
        if kind == "file":
            return _file(needed(part, "file", dict, place), below(place, "file"))
    who = {"system": "an instruction", "assistant": "the assistant"}.get(said_by, "a message")
    raise refusal(below(place, "type"), f"{kind} cannot stand in what {who} says to Claude.")


def _text(text: str) -> Json | None:
    """A text as it is, white space included; none where it is blank, which Claude refuses."""
    return {"type": "text", "text": text} if text and not text.isspace() else None


def _cached(block: Json, part: Json, place: str) -> Json:
    """The block with the mark up to which the prompt is cached, in either API's words."""
    own = given(part, "cache_control", dict, place)
    mark = given(part, "prompt_cache_breakpoint", dict, place)
    if own is not None:
        where = below(place, "cache_control")
        choice(own, "type", ("ephemeral",), where)
        lives = choice(own, "ttl", ("5m", "1h"), where)
    elif mark is not None:
        # A cache of Claude's lives five minutes or an hour.
        where = below(place, "prompt_cache_breakpoint")
        lives = "1h" if choice(mark, "ttl", ("30m", "12h"), where) else None
    else:
        return block
    return {**block, "cache_control": {"type": "ephemeral", **({"ttl": lives} if lives else {})}}


def _image(part: Json, place: str) -> Json:
    if given(part, "file_id", str, place):
        raise refusal(below(place, "file_id"), NO_FILES)
    where = below(place, "image_url")
    address = needed(part, "image_url", str, place)
    if not address.startswith("data:"):
        return {"type": "image", "source": {"type": "url", "url": _web(address, where)}}
    media_type, data = _of_data_url(address, where)
    if media_type not in _IMAGES:
        raise refusal(where, f"Claude sees images of the types {', '.join(_IMAGES)} only.")
    return {"type": "image", "source": _base64(media_type, data)}


def _file(part: Json, place: str) -> Json:
    if given(part, "file_id", str, place):
        raise refusal(below(place, "file_id"), NO_FILES)
    if address := given(part, "file_url", str, place):
        block: Json = {"type": "url", "url": _web(address, below(place, "file_url"))}
        return _titled({"type": "document", "source": block}, part, place)
    where = below(place, "file_data")
    data = needed(part, "file_data", str, place)
    name = given(part, "filename", str, place) or ""
    if data.startswith("data:"):
        media_type, data = _of_data_url(data, where)
    else:
        media_type = mimetypes.guess_type(name)[0] or _PDF
        _checked(data, where)
    if media_type in _IMAGES:
        return {"type": "image", "source": _base64(media_type, data)}
    if media_type == _PDF:
        return _titled({"type": "document", "source": _base64(_PDF, data)}, part, place)
    try:
        text = base64.b64decode(data).decode()
    except UnicodeDecodeError:
        raise refusal(where, f"Claude reads PDF, images and text, not {media_type}.") from None
    if not text:
        raise refusal(where, "the file is empty.")
    source = {"type": "text", "media_type": "text/plain", "data": text}
    return _titled({"type": "document", "source": source}, part, place)


def _titled(block: Json, part: Json, place: str) -> Json:
    title = given(part, "filename", str, place)
    return {**block, "title": title[:500]} if title else block


def _base64(media_type: str, data: str) -> Json:
    return {"type": "base64", "media_type": media_type, "data": data}


def _web(address: str, place: str) -> str:
    if not address.startswith(("https://", "http://")):
        raise refusal(place, "must be a data: or http(s): address.")
    return address


def _of_data_url(address: str, place: str) -> tuple[str, str]:
    """The media type and the base64 text of a data: address."""
    head, comma, data = address[5:].partition(",")
    media_type, *options = [part.strip().lower() for part in head.split(";")]
    if not comma or "base64" not in options:
        raise refusal(place, "must be a data: address in base64.")
    return media_type, _checked(data, place)


def _checked(data: str, place: str) -> str:
    try:
        is_empty = not base64.b64decode(as_kind(data, str, place), validate=True)
    except (binascii.Error, ValueError):
        raise refusal(place, "is not valid base64.") from None
    if is_empty:
        raise refusal(place, "is empty.")
    return data
