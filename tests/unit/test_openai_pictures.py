"""Pictures and files reach Claude with the label of their bytes and in base64 that it reads."""

import base64
from typing import Any

import pytest

from relay import errors

from ..simulator import strict
from .histories import CHAT, RESPONSES, Api, Json

apis = pytest.mark.parametrize("api", [CHAT, RESPONSES], ids=lambda api: api.name)
BYTES = {
    "image/jpeg": b"\xff\xd8\xff\xe0 picture",
    "image/png": b"\x89PNG\r\n\x1a\n picture??>>",
    "image/gif": b"GIF89a picture",
    "image/webp": b"RIFF\x00\x00\x00\x00WEBPVP8 ",
}
LABELS = [*BYTES, "image/jpg", "image/pjpeg", "IMAGE/PNG", "image/x-png", "image/bmp", "",
          "application/octet-stream"]  # fmt: skip
TIFF = "data:image/tiff;base64,SUkqAAgAAAA="


def coded(content: bytes) -> str:
    return base64.b64encode(content).decode()


def picture(api: Api, address: str) -> Json:
    if api is CHAT:
        return {"type": "image_url", "image_url": {"url": address}}
    return {"type": "input_image", "image_url": address}


def own(label: str, text: str) -> Json:
    """A picture in Claude's own words."""
    return {"type": "image", "source": {"type": "base64", "media_type": label, "data": text}}


def file(api: Api, text: str, name: str | None = None) -> Json:
    inner = {"file_data": text, **({"filename": name} if name else {})}
    return {"type": "file", "file": inner} if api is CHAT else {"type": "input_file", **inner}


def sent(api: Api, part: Json, *, result: bool = False) -> Json:
    """The block that Claude gets of a part, of the user's message or of a tool's result."""
    steps: list[Any] = [("user", [part])]
    if result:
        steps = [("user", "a"), ("call", "c"), ("result", "c", [part])]
    body = api.translate(api.asking(steps)).body
    strict.check(body)
    block = body["messages"][-1]["content"][0]
    found: Json = block["content"][0] if result else block
    return found


@pytest.mark.parametrize("result", [False, True], ids=["message", "result"])
@pytest.mark.parametrize("label", LABELS)
@pytest.mark.parametrize("kind", BYTES)
@apis
def test_a_pictures_bytes_tell_what_it_is(api: Api, kind: str, label: str, result: bool):
    text = coded(BYTES[kind])
    assert sent(api, picture(api, f"data:{label};base64,{text}"), result=result) == own(kind, text)


@pytest.mark.parametrize("label", ["image/jpg", "image/pjpeg", "Image/JPG"])
@apis
def test_a_label_of_unknown_bytes_has_its_proper_name(api: Api, label: str):
    part = picture(api, f"data:{label};base64,aGVsbG8=")
    (turn,) = api.claudes(("user", [part]))
    assert turn["content"] == [own("image/jpeg", "aGVsbG8=")]


@pytest.mark.parametrize("result", [False, True], ids=["message", "result"])
@apis
def test_a_picture_in_claudes_own_words_is_labelled_too(api: Api, result: bool):
    text = coded(BYTES["image/png"])
    wrong = own("image/jpg", f"{text[:4]}\n{text[4:]}")
    assert sent(api, wrong, result=result) == own("image/png", text)


@pytest.mark.parametrize("spell", [
    lambda text: f"{text[:4]}\r\n{text[4:8]}\n{text[8:]}\n", lambda text: f" {text}\t",
    lambda text: text.rstrip("="), lambda text: text.replace("+", "-").replace("/", "_"),
    lambda text: text.replace("+", "%2B").replace("/", "%2F").replace("=", "%3D"),
    lambda text: f"{text[:4]}%0A{text[4:]}",
])  # fmt: skip
@apis
def test_base64_is_read_however_it_is_written(api: Api, spell: Any):
    text = coded(BYTES["image/png"])
    address = f"data:image/png;base64,{spell(text)}"
    assert sent(api, picture(api, address)) == own("image/png", text)
    assert sent(api, file(api, spell(text), "a.png")) == own("image/png", text)


@apis
def test_a_file_is_what_its_bytes_say(api: Api):
    pdf = coded(b"%PDF-1.7 page")
    assert sent(api, file(api, pdf))["source"]["media_type"] == "application/pdf"
    assert sent(api, file(api, pdf, "a.bin"))["source"]["media_type"] == "application/pdf"
    assert sent(api, file(api, coded(BYTES["image/gif"]), "a.pdf"))["type"] == "image"
    source = sent(api, file(api, coded(b"fn main() {}"), "main.rs"))["source"]
    assert source == {"type": "text", "media_type": "text/plain", "data": "fn main() {}"}


@pytest.mark.parametrize(("address", "sentence"), [
    (TIFF, "Claude sees images of the types"), ("data:image/png;base64,@@", "not valid base64"),
    ("data:image/png;base64, \n", "is empty"), ("data:image/png,abc", "in base64"),
])  # fmt: skip
@apis
def test_what_is_no_picture_is_refused_by_its_place(api: Api, address: str, sentence: str):
    with pytest.raises(errors.BadRequest, match=sentence) as caught:
        sent(api, picture(api, address))
    assert "content[0].image_url" in caught.value.message


@apis
def test_a_blank_file_is_refused(api: Api):
    with pytest.raises(errors.BadRequest, match="the file is empty"):
        sent(api, file(api, coded(b" \n"), "a.txt"))


@pytest.mark.parametrize("answer", [("assistant", "b"), ("call", "c")], ids=["words", "call"])
@apis
def test_what_claude_cannot_have_becomes_words_once_it_was_answered(api: Api, answer: Any):
    sound = {"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}}
    body = api.translate(
        api.asking([("user", [picture(api, TIFF), sound]), answer, ("user", "so?")])
    ).body
    strict.check(body)
    told = [block["text"] for block in body["messages"][0]["content"]]
    assert [words.partition(":")[0] for words in told] == ["(left out", "(left out"]
    with pytest.raises(errors.BadRequest, match="Claude sees"):
        api.translate(api.asking([("user", "a"), answer, ("user", [picture(api, TIFF)])]))
