"""A batch's body is read request by request, wherever its bytes are cut."""

import json
from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay import errors
from relay.batches import reading

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


class Dripping(BytesIO):
    """A file that gives a few bytes at a time."""

    def __init__(self, data: bytes, size: int) -> None:
        super().__init__(data)
        self._size = size

    def read(self, size: int | None = -1) -> bytes:
        return super().read(self._size)


@given(
    requests=st.lists(VALUES, max_size=6),
    more=st.dictionaries(st.text().filter(lambda one: one != "requests"), VALUES, max_size=3),
    size=st.integers(1, 40),
    indent=st.sampled_from([None, 1]),
)
def test_the_requests_are_those_that_the_body_has(
    requests: list[object], more: dict[str, object], size: int, indent: int | None
) -> None:
    body = json.dumps({**more, "requests": requests}, indent=indent, ensure_ascii=False)
    found = reading.requests_of(Dripping(body.encode(errors="surrogatepass"), size))
    try:
        assert [json.loads(one) for one in found] == requests
    except (errors.BadRequest, UnicodeDecodeError):
        assert "\\ud" in json.dumps(body)


@given(st.binary(max_size=200), st.integers(1, 40))
def test_what_is_no_batch_is_refused(body: bytes, size: int) -> None:
    with pytest.raises(errors.BadRequest):
        list(reading.requests_of(Dripping(body, size)))


@given(st.integers(1, 80))
def test_a_body_that_is_cut_anywhere_is_refused(size: int) -> None:
    body = json.dumps({"requests": [{"a": [1, "}]"]}, {"b": {}}], "more": [True, None]}).encode()
    for end in range(len(body)):
        with pytest.raises(errors.BadRequest):
            list(reading.requests_of(Dripping(body[:end], size)))
