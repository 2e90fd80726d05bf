"""What a client reads about a model that it cannot have, through a whole relay."""

import json
from typing import Any

import pytest

from relay.simulator import Fault

from .conftest import UPSTREAM_KEY, Running

OLD = "claude-3-sonnet-20240229"
HELLO = {"max_tokens": 50, "messages": [{"role": "user", "content": "hello"}]}
MESSAGES, CHAT = "/api/v1/messages", "/openai/claude/v1/chat/completions"


async def ask(
    relay: Running, model: str = OLD, path: str = MESSAGES, key: str = "", **fields: Any
) -> dict[str, Any]:
    """The error that a client gets."""
    headers = {"authorization": f"Bearer {key or relay.key}"}
    async with relay.client(headers=headers) as client:
        answer = await client.post(path, json={"model": model, **HELLO, **fields})
    assert answer.status_code in (400, 404), answer.text
    return {"status": answer.status_code, **answer.json()["error"]}


def gone(relay: Running, model: str = OLD, **changes: Any) -> None:
    """Let the upstream not have that model."""
    relay.sim.by_key[UPSTREAM_KEY] = Fault(status=404, message=f"model: {model}", **changes)


async def learn(relay: Running, *entries: dict[str, Any]) -> None:
    """Let the account's upstream list these models."""
    [account] = await relay.ctx.accounts.list()
    await relay.ctx.models.learn(account.id, json.dumps({"data": entries}).encode())


@pytest.mark.parametrize("path", [MESSAGES, f"{MESSAGES}/count_tokens", CHAT])
async def test_a_retired_model_is_named_with_its_day_and_what_takes_its_place(
    relay: Running, path: str
):
    await learn(
        relay, {"id": "claude-opus-5-5"}, {"id": OLD, "lifecycle": "retired"},
        {"id": "claude-haiku-5-5"},
    )  # fmt: skip
    gone(relay)

    error = await ask(relay, path=path)

    section = "openai.models" if path == CHAT else "claude.models"
    assert error["status"] == 404
    assert error["message"] == (
        f"model: {OLD} retired on 2025-07-21. This key may use claude-opus-5-5, claude-haiku-5-5."
        f" The relay's operator can let the name mean another model: in [{section}] of relay.toml,"
        f" or by `relay account edit ACCOUNT --map {OLD}=MODEL`."
    )
    if path == CHAT:
        assert (error["code"], error["param"]) == ("model_not_found", "model")
    else:
        assert error["type"] == "not_found_error"


async def test_the_upstreams_list_tells_the_day_of_models_that_no_table_has(relay: Running):
    entry = {"lifecycle": "retired", "retires_at": "2026-11-20T00:00:00Z"}
    await learn(relay, {"id": "claude-new-7", **entry})
    gone(relay, "claude-new-7")

    assert "claude-new-7 retired on 2026-11-20. " in (await ask(relay, "claude-new-7"))["message"]


async def test_a_model_that_never_was_is_not_called_retired(relay: Running):
    gone(relay, "claude-typo")

    message = (await ask(relay, "claude-typo"))["message"]

    assert message.startswith("model: claude-typo is a model that the upstream does not have. ")
    assert "retired" not in message
    assert "--map claude-typo=MODEL" in message


async def test_a_key_reads_only_of_models_that_it_may_use(relay: Running):
    await learn(relay, {"id": "claude-opus-5-5"}, {"id": "claude-haiku-5-5"})
    _, key = await relay.ctx.keys.create("bob", models=["claude-haiku-*", "claude-3-*"])
    gone(relay)

    assert "may use claude-haiku-5-5." in (await ask(relay, key=key))["message"]


async def test_a_key_of_a_group_reads_of_its_accounts_models_alone(relay: Running):
    await learn(relay, {"id": "claude-opus-5-5"})
    other = await relay.ctx.accounts.add(
        "other", secret=UPSTREAM_KEY, base_url=relay.sim.base_url, groups=["team"]
    )
    listed = json.dumps({"data": [{"id": "claude-haiku-5-5"}]}).encode()
    await relay.ctx.models.learn(other.id, listed)
    _, key = await relay.ctx.keys.create("bob", groups=["team"], models=["claude-*-5-5"])

    assert "may use claude-haiku-5-5." in (await ask(relay, key=key))["message"]


async def test_a_retired_model_outside_of_a_keys_models_is_explained_too(relay: Running):
    _, key = await relay.ctx.keys.create("bob", models=["claude-haiku-*"])

    error = await ask(relay, key=key)
    by_openai = await ask(relay, key=key, path=CHAT)

    told = f"model: {OLD} is not among the models that this key may use. It retired on 2025-07-21."
    assert error["message"].startswith(f"{told} This key may use claude-haiku-*. ")
    assert (error["status"], by_openai["code"]) == (400, "model_not_found")


async def test_a_model_that_no_account_serves_is_explained(relay: Running):
    await relay.ctx.accounts.edit("main", allowed_models=["claude-opus-*"])
    await learn(relay, {"id": "claude-opus-5-5"}, {"id": "claude-haiku-5-5"})

    message = (await ask(relay))["message"]

    told = f"model: {OLD} is served by no account of this relay. It retired on 2025-07-21."
    assert message.startswith(f"{told} This key may use claude-opus-5-5. ")


async def test_a_map_to_a_model_that_is_gone_names_both(relay: Running):
    await relay.ctx.accounts.edit("main", model_map={"quick": OLD})
    gone(relay)

    message = (await ask(relay, "quick"))["message"]

    assert message.startswith(f"model: quick is mapped to {OLD}, which retired on 2025-07-21. ")


@pytest.mark.parametrize(
    "fault",
    [
        Fault(status=404, message="container: cntr_1 was not found"),
        Fault(status=404, message="A tool says model: x", body=None),
        Fault(status=404, error_type="invalid_request_error", message="model: x"),
        Fault(status=404, body="<html>"),
    ],
)
async def test_other_answers_of_404_are_passed_on_as_they_are(relay: Running, fault: Fault):
    relay.sim.by_key[UPSTREAM_KEY] = fault
    async with relay.client() as client:
        answer = await client.post(MESSAGES, json={"model": OLD, **HELLO})

    assert answer.status_code == 404
    assert "retired" not in answer.text


async def test_the_relay_names_at_most_some_models(relay: Running):
    await learn(relay, *({"id": f"claude-x-{n}"} for n in range(300)))
    gone(relay)

    assert "claude-x-7 and 292 more." in (await ask(relay))["message"]
