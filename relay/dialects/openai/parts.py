"""The parts of a message or of a tool's output as Claude's blocks."""

import mimetypes
from typing import Any

from relay import errors
from relay.dialects.openai import claudes, data
from relay.dialects.openai.calls import input_of
from relay.dialects.openai.fields import (
    Json,
    below,
    given,
    needed,
    objects,
    refusal,
)
from relay.dialects.openai.tools import claude_name

_TEXTS = ("input_text", "output_text", "text")
NO_FILES = "files by id belong to OpenAI's store; send the data or an address instead."


def read(
    content: Any,
    place: str,
    *,
    said_by: str,
    left_out: list[str] | None = None,
    is_past: bool = False,
) -> list[Json]:
    """The blocks of a content, which is a string or a list of parts; blank texts are left out.

    Args:
        said_by: user, assistant, system or tool.
        left_out: gets the places of thinking that Claude cannot check.
        is_past: whether an answer came after it; a part that Claude cannot have becomes words.
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
        if said_by == "assistant" and claudes.is_thought(part):
            block = claudes.thought(part, where)
            if block is None and left_out is not None:
                left_out.append(where)
        else:
            block = _block_of(part, where, said_by, is_past=is_past)
        if block is not None:
            blocks += claudes.marked([block], part, where)
    return blocks


def _block_of(part: Json, place: str, said_by: str, *, is_past: bool) -> Json | None:
    """A part's block; in the past, where another model may have had it, words for what is none."""
    try:
        return _block(part, place, said_by)
    except errors.BadRequest as error:
        if not is_past:
            raise
        return _text(f"(left out: {error.message.partition(': ')[2]})")


def _claudes(part: Json, place: str, said_by: str) -> Json | None:
    """A block of Claude's that a client wrote, or None where the part is none."""
    kind = part["type"]
    if kind == "tool_use" and said_by == "assistant":
        name = claude_name(needed(part, "name", str, place), "", place)
        value = input_of(part.get("input"))
        return {"type": kind, "id": needed(part, "id", str, place), "name": name, "input": value}
    if kind == "tool_result" and said_by == "user":
        block: Json = {"type": kind, "tool_use_id": needed(part, "tool_use_id", str, place)}
        content = part.get("content")
        if content and (blocks := read(content, below(place, "content"), said_by="tool")):
            block["content"] = blocks
        return {**block, "is_error": True} if part.get("is_error") is True else block
    if claudes.is_block(part, said_by):
        own = {name: value for name, value in part.items() if name not in claudes.MARKS}
        return data.labelled(own, place)
    return None


def _block(part: Json, place: str, said_by: str) -> Json | None:
    kind = needed(part, "type", str, place)
    if (block := _claudes(part, place, said_by)) is not None:
        return block
    if kind in _TEXTS:
        return _text(needed(part, "text", str, place))
    if kind == "refusal" and said_by == "assistant":
        return _text(needed(part, "refusal", str, place))
    if said_by in ("user", "tool"):
        if kind in ("input_image", "image_url"):
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


def _image(part: Json, place: str) -> Json:
    if given(part, "file_id", str, place):
        raise refusal(below(place, "file_id"), NO_FILES)
    where = below(place, "image_url")
    if isinstance(inner := part.get("image_url"), dict):
        # Chat Completions put an object around the address.
        address = needed(inner, "url", str, where)
    else:
        address = needed(part, "image_url", str, place)
    if not address.startswith("data:"):
        return {"type": "image", "source": {"type": "url", "url": _web(address, where)}}
    label, coded = _of_data_url(address, where)
    coded, content = data.read(coded, where)
    media_type = data.type_of(content, label)
    if media_type not in data.IMAGES:
        raise refusal(where, f"Claude sees images of the types {', '.join(data.IMAGES)} only.")
    return {"type": "image", "source": _base64(media_type, coded)}


def _file(part: Json, place: str) -> Json:
    if given(part, "file_id", str, place):
        raise refusal(below(place, "file_id"), NO_FILES)
    if address := given(part, "file_url", str, place):
        block: Json = {"type": "url", "url": _web(address, below(place, "file_url"))}
        return _titled({"type": "document", "source": block}, part, place)
    where = below(place, "file_data")
    coded = needed(part, "file_data", str, place)
    name = given(part, "filename", str, place) or ""
    label = mimetypes.guess_type(name)[0] or "text/plain"
    if coded.startswith("data:"):
        label, coded = _of_data_url(coded, where)
    coded, content = data.read(coded, where)
    media_type = data.type_of(content, label)
    if media_type in data.IMAGES:
        return {"type": "image", "source": _base64(media_type, coded)}
    if media_type == data.PDF:
        return _titled({"type": "document", "source": _base64(data.PDF, coded)}, part, place)
    try:
        text = content.decode()
    except UnicodeDecodeError:
        raise refusal(where, f"Claude reads PDF, images and text, not {media_type}.") from None
    if text.isspace():
        raise refusal(where, "the file is empty.")
    source = {"type": "text", "media_type": "text/plain", "data": text}
    return _titled({"type": "document", "source": source}, part, place)


def _titled(block: Json, part: Json, place: str) -> Json:
    title = given(part, "filename", str, place)
    return {**block, "title": title[:500]} if title and not title.isspace() else block


def _base64(media_type: str, coded: str) -> Json:
    return {"type": "base64", "media_type": media_type, "data": coded}


def _web(address: str, place: str) -> str:
    if not address.startswith(("https://", "http://")):
        raise refusal(place, "must be a data: or http(s): address.")
    return address


def _of_data_url(address: str, place: str) -> tuple[str, str]:
    """The label and the base64 text of a data: address."""
    head, comma, coded = address[5:].partition(",")
    label, *options = [part.strip().lower() for part in head.split(";")]
    if not comma or "base64" not in options:
        raise refusal(place, "must be a data: address in base64.")
    return label, coded
