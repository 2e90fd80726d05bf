"""An account's states over the last day, as the console draws them."""

from datetime import UTC, datetime, timedelta

from relay.web.timeline import WIDTH, spans

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


def change(hours_ago: float, before: str, state: str, of_class: str = "") -> dict[str, object]:
    at = NOW - timedelta(hours=hours_ago)
    return {"at": at, "before": before, "state": state, "class": of_class}


def drawn(*changes: dict[str, object], state: str = "ok") -> list[tuple[str, float, float]]:
    return [(one.state, one.left, one.width) for one in spans(changes, state, NOW)]


def test_a_day_without_changes_is_one_state() -> None:
    assert drawn(state="failing") == [("failing", 0, WIDTH)]


def test_each_state_lasts_from_its_change_to_the_next() -> None:
    told = drawn(change(6, "failing", "ok"), change(12, "cooling", "failing"),
                 change(18, "ok", "cooling"))  # fmt: skip
    assert told == [
        ("ok", 0, WIDTH / 4), ("cooling", WIDTH / 4, WIDTH / 4),
        ("failing", WIDTH / 2, WIDTH / 4), ("ok", 3 * WIDTH / 4, WIDTH / 4),
    ]  # fmt: skip


def test_what_was_before_the_day_began_is_cut_off() -> None:
    told = drawn(change(12, "failing", "ok"), change(30, "ok", "failing"), change(40, "x", "ok"))
    assert told == [("failing", 0, WIDTH / 2), ("ok", WIDTH / 2, WIDTH / 2)]


def test_a_class_of_models_does_not_count() -> None:
    assert drawn(change(3, "ok", "cooling", "opus")) == [("ok", 0, WIDTH)]
