"""Which files a request names: wherever its upstream would read one, however it is written."""

import json
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay import errors
from relay.dialects.file_ids import named, named_in

FILE = {"type": "file", "file_id": "file_1"}


def messages(*blocks: object, role: str = "user") -> dict[str, object]:
    return {"model": "m", "messages": [{"role": role, "content": list(blocks)}]}


READ = {
    "a document": (
        messages({"type": "document", "source": FILE}),
        "messages[0].content[0].source.file_id",
    ),
    "a picture, later": (
        messages({"type": "text", "text": "a, [b] {c} \\\" d"}, {"type": "image", "source": FILE}),
        "messages[0].content[1].source.file_id",
    ),
    "a container's upload": (
        messages({"type": "container_upload", "file_id": "file_1"}),
        "messages[0].content[0].file_id",
    ),
    "a tool's result": (
        messages({"type": "tool_result", "content": [{"type": "document", "source": FILE}]}),
        "messages[0].content[0].content[0].source.file_id",
    ),
    "the system prompt": (
        {"system": [{"type": "document", "source": FILE}]},
        "system[0].source.file_id",
    ),
    "a request of a batch": (
        {"custom_id": "a", "params": messages({"type": "document", "source": FILE})},
        "params.messages[0].content[0].source.file_id",
    ),
    "a field that nobody knows yet": ({"attachments": [FILE]}, "attachments[0].file_id"),
    "a tool of the upstream's": ({"tools": [{"type": "x", "file_id": "file_1"}]},
                                 "tools[0].file_id"),
    "a document in something that calls itself a tool's input": (
        messages({"type": "document", "input": FILE}),
        "messages[0].content[0].input.file_id",
    ),
}  # fmt: skip
UNREAD = {
    "a text about one": messages({"type": "text", "text": '{"file_id": "file_1"}'}),
    "the arguments of a tool": messages(
        {"type": "tool_use", "id": "t", "name": "drive", "input": {"a": [FILE]}}
    ),
    "the arguments before the type": messages({"input": FILE, "type": "mcp_tool_use"}),
    "a tool's schema": {
        "tools": [{"input_schema": {"properties": {"file_id": {"type": "string"}},
                                    "examples": [{"file_id": "file_1"}]}}]
    },
    "an answer's schema": {"output_config": {"format": {"schema": {"default": FILE}}}},
    "what the upstream's own tool made": messages(
        {"type": "bash_code_execution_tool_result",
         "content": {"type": "bash_code_execution_result",
                     "content": [{"type": "bash_code_execution_output", "file_id": "file_1"}]}}
    ),
    "no id at all": messages({"source": {"type": "file", "file_id": None}}),
}  # fmt: skip


@pytest.mark.parametrize(("body", "place"), READ.values(), ids=READ)
def test_a_file_is_found_with_its_place(body: object, place: str):
    assert named(json.dumps(body).encode()) == {"file_1": place}


@pytest.mark.parametrize("body", UNREAD.values(), ids=UNREAD)
def test_what_is_no_file_of_the_request_is_left_alone(body: object):
    assert named(json.dumps(body).encode()) == {}


@given(st.data())
def test_a_file_is_found_however_its_name_and_id_are_escaped(data: st.DataObject):
    def written(text: str) -> str:
        escape = data.draw(st.lists(st.sampled_from(("", "x", "X")), min_size=len(text)))
        return "".join(
            (f"\\u{ord(letter):04{how}}" if how else letter)
            for letter, how in zip(text, escape, strict=False)
        )

    space = data.draw(st.text(" \t\r\n", max_size=3))
    field = f'"{written("file_id")}"{space}:{space}"{written("file_1")}"'
    source = f'{space}"{written("type")}":"file",{field}'
    body = f'{{"messages":[{{"content":[{{"source":{{{source}}}}}]}}]}}'
    assert json.loads(body)["messages"][0]["content"][0]["source"]["file_id"] == "file_1"
    assert list(named(body.encode())) == ["file_1"]


def test_each_of_two_ids_under_one_name_is_found():
    body = b'{"messages":[{"content":[{"source":{"file_id":"file_a","file_id":"file_b"}}]}]}'
    assert set(named(body)) == {"file_a", "file_b"}


def test_a_block_of_two_types_is_not_taken_for_a_tools():
    body = b'{"messages":[{"content":[{"type":"tool_use","type":"x","input":{"file_id":"f"}}]}]}'
    assert list(named(body)) == ["f"]


def test_more_files_than_are_looked_up_are_refused():
    with pytest.raises(errors.BadRequest, match="up to 1000 files"):
        named(json.dumps({"messages": [{"file_id": str(one)} for one in range(1001)]}).encode())


async def test_a_large_body_is_read_with_little_memory():
    blocks = [{"type": "text", "text": "x"}] * 50_000 + [{"source": FILE}]
    body = json.dumps(messages(*blocks, {"type": "text", "text": 'y\\"' * 200_000})).encode()
    tracemalloc.start()
    try:
        found = await named_in(body)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert found == {"file_1": "messages[0].content[50000].source.file_id"}
    assert peak < len(body) / 4


async def test_a_name_across_two_slices_is_found(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("relay.dialects.file_ids._SLICE_BYTES", 7)
    body = json.dumps(messages({"source": FILE})).encode()
    assert list(await named_in(body)) == ["file_1"]
    escaped = body.replace(b"file_id", rb"f\u0069le_id")
    assert list(await named_in(escaped)) == ["file_1"]
