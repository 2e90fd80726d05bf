"""Files in a request: their base64 as Claude reads it, and what their bytes are.

Claude refuses a label that the bytes contradict, and base64 with line breaks; OpenAI's APIs look at
neither.
"""

import base64
import binascii
from typing import Any
from urllib.parse import unquote

from relay.dialects.openai.fields import Json, as_kind, refusal

IMAGES = ("image/jpeg", "image/png", "image/gif", "image/webp")
PDF = "application/pdf"
_BEGINNINGS = (
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"GIF8", "image/gif"),
    (b"%PDF-", PDF),
)
_OTHER_NAMES = {"image/jpg": "image/jpeg", "image/pjpeg": "image/jpeg", "image/x-png": "image/png"}
_URL_SAFE = str.maketrans("-_", "+/")


def read(data: Any, place: str) -> tuple[str, bytes]:
    """Base64 as Claude takes it, and its bytes.

    Line breaks and escapes of a data: address are left out, the letters of addresses are replaced,
    and missing padding is added.

    Raises:
        errors.BadRequest: it is no base64, or of nothing.
    """
    plain = "".join(as_kind(data, str, place).split())
    if "%" in plain:
        plain = "".join(unquote(plain).split())
    if "-" in plain or "_" in plain:
        plain = plain.translate(_URL_SAFE)
    plain += "=" * (-len(plain) % 4)
    try:
        content = base64.b64decode(plain, validate=True)
    except (binascii.Error, ValueError):
        raise refusal(place, "is not valid base64.") from None
    if not content:
        raise refusal(place, "is empty.")
    return plain, content


def type_of(content: bytes, label: str) -> str:
    """The media type of a file by its first bytes, else by its label."""
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "image/webp"
    label = label.strip().lower()
    found = [kind for beginning, kind in _BEGINNINGS if content.startswith(beginning)]
    return found[0] if found else _OTHER_NAMES.get(label, label)


def labelled(block: Json, place: str) -> Json:
    """A picture or document in Claude's own words, with the label and the base64 it takes.

    Raises:
        errors.BadRequest: its data are no base64, or of nothing.
    """
    source = block.get("source")
    if not isinstance(source, dict) or source.get("type") != "base64":
        return block
    plain, content = read(source.get("data"), f"{place}.source.data")
    kind = type_of(content, str(source.get("media_type")))
    if kind not in (IMAGES if block["type"] == "image" else (PDF,)):
        return block
    return {**block, "source": {**source, "media_type": kind, "data": plain}}
