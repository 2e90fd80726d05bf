"""Which unknown keys are new for an address."""

import pytest

from relay import strangers
from relay.strangers import Strangers


def test_an_unknown_key_is_new_once_per_address() -> None:
    seen = Strangers()

    assert seen.is_new("192.0.2.1", "one")
    assert not seen.is_new("192.0.2.1", "one")
    assert seen.is_new("192.0.2.1", "another")
    assert seen.is_new("192.0.2.2", "one")


def test_what_is_remembered_has_an_end_in_number_and_in_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 1000.0
    monkeypatch.setattr(strangers.time, "monotonic", lambda: now)
    monkeypatch.setattr(strangers, "_MOST", 2)
    seen = Strangers()
    for key in ("one", "two", "three"):
        assert seen.is_new("192.0.2.1", key)

    assert seen.is_new("192.0.2.1", "one")
    assert not seen.is_new("192.0.2.1", "three")
    now += 601
    assert seen.is_new("192.0.2.1", "three")
