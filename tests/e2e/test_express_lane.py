"""Which of the two servers of HTTP answers, and that a connection may need both."""

from pathlib import Path

import httpx
import pytest

from relay.http import Lane

from .conftest import BODY, Running, relay_running


@pytest.fixture
def on_lane(monkeypatch: pytest.MonkeyPatch) -> list[Lane]:
    """The connections that began on the express lane."""
    begun: list[Lane] = []
    run = Lane.run

    async def noted(lane: Lane) -> None:
        begun.append(lane)
        await run(lane)

    monkeypatch.setattr(Lane, "run", noted)
    return begun


@pytest.mark.parametrize("is_on", [True, False])
async def test_the_setting_says_whether_there_is_a_lane(
    redis_url: str, tmp_path: Path, on_lane: list[Lane], is_on: bool
):
    async with relay_running(redis_url, tmp_path, express_lane=is_on) as relay:
        async with relay.client() as client:
            assert (await client.post("/v1/messages", json=BODY)).status_code == 200
            assert (await client.get("/health")).status_code == 200
        assert (await relay.report()).total["requests"] == 1
    assert len(on_lane) == is_on


async def test_one_connection_may_be_for_the_api_and_for_the_console(
    relay: Running, on_lane: list[Lane]
):
    only_one = httpx.Limits(max_connections=1)
    async with relay.client(limits=only_one) as client:
        for path in ("/health", "/web/", "/health", "/admin/api/v1/keys", "/v1/models"):
            assert (await client.get(path)).status_code < 500
        assert (await client.post("/v1/messages", json=BODY)).status_code == 200
    assert len(on_lane) == 1
