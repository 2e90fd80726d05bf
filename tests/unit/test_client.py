"""A client's request: how its body is read, bounded and timed, and how it goes away."""

from collections.abc import Callable

import pytest
import trio
import trio.testing

from relay import errors
from relay.bodies import BodyBudget
from relay.client import Client, ClientGone

KIB = 1024


class Wire:
    """What a client sends, with the seconds before each message."""

    def __init__(self, *messages: tuple[float, dict]) -> None:
        self._messages = list(messages)
        self.sent: list[dict] = []

    async def receive(self) -> dict:
        if not self._messages:
            await trio.sleep_forever()
        seconds, message = self._messages.pop(0)
        await trio.sleep(seconds)
        return message

    async def send(self, message: dict) -> None:
        self.sent.append(message)


def part(data: bytes, *, more: bool = True, after_s: float = 0.0) -> tuple[float, dict]:
    return after_s, {"type": "http.request", "body": data, "more_body": more}


GONE = (0.0, {"type": "http.disconnect"})


def client_of(wire: Wire, method: str = "POST", **headers: str) -> Client:
    scope = {
        "method": method,
        "raw_path": b"/v1/messages",
        "query_string": b"",
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        "client": ("127.0.0.1", 1),
    }
    return Client(scope, wire.receive, wire.send, "req_1")


async def test_a_body_is_joined_and_counted_until_it_is_let_go():
    budget = BodyBudget(100)
    client = client_of(Wire(part(b"abc"), part(b""), part(b"def", more=False)))
    assert await client.body(10, budget, 5.0) == b"abcdef"
    assert budget.held_bytes == 6
    client.let_go()
    client.let_go()
    assert budget.held_bytes == 0


async def test_a_body_over_the_budget_is_refused_and_what_it_held_is_given_back():
    budget = BodyBudget(5)
    client = client_of(Wire(part(b"abc"), part(b"def", more=False)))
    with pytest.raises(errors.Overloaded):
        await client.body(10, budget, 5.0)
    client.let_go()
    assert budget.held_bytes == 0


async def test_a_client_that_closes_within_its_body_is_gone():
    client = client_of(Wire(part(b"abc"), GONE))
    with pytest.raises(ClientGone):
        await client.body(10, BodyBudget(100), 5.0)
    assert client.is_gone


@pytest.mark.parametrize(
    "wire",
    [
        lambda: Wire(),
        lambda: Wire(*[part(b"x", after_s=1.0) for _ in range(100)]),
    ],
    ids=["silent", "one byte a second"],
)
async def test_a_body_that_comes_too_slowly_is_given_up(
    autojump_clock: trio.testing.MockClock, wire: Callable[[], Wire]
):
    client = client_of(wire())
    with pytest.raises(errors.RequestTimeout):
        await client.body(1000, BodyBudget(1000), 5.0)
    assert trio.current_time() < 6


async def test_a_slow_line_gets_the_time_that_its_bytes_need(
    autojump_clock: trio.testing.MockClock,
):
    parts = [part(b"x" * 16 * KIB, after_s=1.0) for _ in range(60)]
    client = client_of(Wire(*parts, part(b"", more=False)))
    body = await client.body(1000 * KIB, BodyBudget(1000 * KIB), 5.0)
    assert len(body) == 60 * 16 * KIB


async def test_a_body_that_began_well_and_stops_is_given_up_soon(
    autojump_clock: trio.testing.MockClock,
):
    client = client_of(Wire(part(b"x" * 900 * KIB)), **{"content-length": str(1000 * KIB)})
    with pytest.raises(errors.RequestTimeout):
        await client.body(1000 * KIB, BodyBudget(1000 * KIB), 60.0)
    assert trio.current_time() <= 20


async def test_a_large_body_must_not_come_at_a_small_ones_pace(
    autojump_clock: trio.testing.MockClock,
):
    parts = [part(b"x" * 16 * KIB, after_s=1.0) for _ in range(2000)]
    client = client_of(Wire(*parts), **{"content-length": str(32 * 1024 * KIB)})
    with pytest.raises(errors.RequestTimeout):
        await client.body(32 * 1024 * KIB, BodyBudget(128 * 1024 * KIB), 60.0)
    assert trio.current_time() <= 120


async def test_a_body_in_chunks_takes_the_most_there_can_be_once_it_is_large():
    budget = BodyBudget(128 * 1024 * KIB)
    parts = [part(b"x" * 600 * KIB) for _ in range(3)]
    client = client_of(Wire(*parts, part(b"", more=False)))
    assert len(await client.body(32 * 1024 * KIB, budget, 5.0)) == 1800 * KIB
    assert budget.held_bytes == 1800 * KIB
    client.let_go()
    assert budget.held_bytes == 0


async def test_going_away_is_seen_once_the_body_is_in():
    client = client_of(Wire(part(b"abc", more=False), GONE))
    await client.body(10, BodyBudget(100), 5.0)
    await client.leaves()
    assert client.is_gone


async def test_going_away_is_seen_without_reading_a_body_that_means_nothing():
    client = client_of(Wire(part(b"", more=False), GONE), method="GET")
    await client.leaves()
    assert client.is_gone


async def test_the_last_of_several_headers_of_one_name_counts():
    client = client_of(Wire())
    client.headers = [(b"a", b"1"), (b"a", b"2")]
    assert client.header(b"a") == b"2"
    assert client.header(b"b") == b""
