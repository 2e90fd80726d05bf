"""A body's top-level fields: read within bounds, and only as the upstream would read them."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay import body, errors

NAMES = st.text(min_size=0, max_size=20)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=20,
)


def escaped(text: str) -> str:
    """A JSON string in which every character is an escape."""
    units = text.encode("utf-16-be")
    pairs = (units[at : at + 2].hex() for at in range(0, len(units), 2))
    return '"' + "".join(f"\\u{pair}" for pair in pairs) + '"'


@given(st.dictionaries(NAMES, VALUES, max_size=10), st.sampled_from(["", " ", "\n\t "]))
def test_every_field_is_found_at_its_place(fields: dict, space: str):
    pieces = [
        f"{space}{json.dumps(name)}{space}:{space}{json.dumps(value)}{space}"
        for name, value in fields.items()
    ]
    data = f"{space}{{{','.join(pieces)}}}{space}".encode()
    found = body.fields_of(data)
    assert {name: json.loads(bytes(value)) for name, value in found.items()} == fields
    for name, value in fields.items():
        start, end = body.place_of(data, name)
        assert json.loads(data[start:end]) == value


@pytest.mark.parametrize("spelling", ['"model"', escaped("model"), '"mod\\u0065l"'])
def test_a_field_that_stands_twice_is_refused_however_it_is_spelled(spelling: str):
    data = f'{{"model":"a",{spelling}:"b"}}'.encode()
    with pytest.raises(errors.BadRequest, match="model: this field stands twice"):
        body.fields_of(data)


def test_as_many_fields_as_are_taken_and_one_more():
    fields = [f'"{number}":1' for number in range(body.MOST_FIELDS + 1)]
    assert len(body.fields_of(f"{{{','.join(fields[1:])}}}".encode())) == body.MOST_FIELDS
    with pytest.raises(errors.BadRequest, match="over 256 fields"):
        body.fields_of(f"{{{','.join(fields)}}}".encode())


@pytest.mark.parametrize("letter", ["x", "\\n", "\\u00e9", "한"])
def test_a_name_as_long_as_is_taken_and_one_longer(letter: str):
    name = letter * body.LONGEST_NAME
    assert len(body.fields_of(f'{{"{name}":1}}'.encode())) == 1
    with pytest.raises(errors.BadRequest, match="at most 256 characters"):
        body.fields_of(f'{{"{name}{letter}":1}}'.encode())


@pytest.mark.parametrize(
    "data",
    [b"", b"[]", b"1", b'{"a":1', b'{"a":1}x', b'{"a"}', b'{"a":"\xff"}', b'{"\xc3\x28":1}',
     b'{"a":"' + "é".encode()[:1], b'{"a":NaN}', b"[" * 100_000],
)  # fmt: skip
def test_what_is_no_json_object_in_utf8_is_refused(data: bytes):
    with pytest.raises(errors.BadRequest, match="not a JSON object"):
        body.fields_of(data)


HALVES = [
    (rb'{"a":"x\ud83d"}', rb'{"a":"x\ufffd"}'),
    (rb'{"a":"\uDE00x"}', rb'{"a":"\ufffdx"}'),
    (rb'{"\ud83d":1}', rb'{"\ufffd":1}'),
    (rb'{"a":["\ud83d\ud83d\ude00"]}', rb'{"a":["\ufffd\ud83d\ude00"]}'),
    (rb'{"a":"\ude00\ud83d"}', rb'{"a":"\ufffd\ufffd"}'),
    (rb'{"a":"\\\ud83d"}', rb'{"a":"\\\ufffd"}'),
    (b'{"a":"\xed\xa0\xbd"}', '{"a":"\ufffd"}'.encode()),
    (b'{"a":"\xed\xa0\xbd\xed\xb8\x80"}', '{"a":"\U0001f600"}'.encode()),
]


@pytest.mark.parametrize(("data", "whole"), HALVES)
def test_half_a_surrogate_pair_is_named(data: bytes, whole: bytes):
    with pytest.raises(errors.BadRequest, match="half a surrogate pair"):
        body.fields_of(data)
    assert body.joined(data) == whole
    assert body.fields_of(whole)


@pytest.mark.parametrize("data", [
    rb'{"a":"\ud83d\ude00"}', rb'{"a":"\\ud83d"}', rb'{"a":"\n\u00e9"}', '{"a":"한"}'.encode(),
    b'{"a":"\xff\xed\xa0\xbd"}',
])  # fmt: skip
def test_what_holds_no_half_stays_as_it_is(data: bytes):
    assert body.joined(data) is None


@given(st.text(max_size=20), st.integers(0xD800, 0xDFFF), st.text(max_size=20))
def test_any_half_becomes_a_question_mark(before: str, half: int, after: str):
    data = json.dumps({"a": before + chr(half) + after}).encode()
    whole = body.joined(data)
    assert whole is not None
    assert json.loads(whole) == {"a": f"{before}\ufffd{after}"}


def test_a_letter_across_two_pieces_is_still_one():
    data = b'{"a":"' + b"x" * (256 * 1024 - 7) + "한".encode() * 10 + b'"}'
    assert len(body.fields_of(data)) == 1
