"""What the simulated API answers to messages, and that its figures are exact."""

import json

import httpx
import pytest

from relay.simulator import Fault, Simulator

from .conftest import BODY, PATH, STREAM, events_of

FIGURES = {
    "input_tokens": 7,
    "output_tokens": 11,
    "cache_creation_input_tokens": 5,
    "cache_read_input_tokens": 3,
    "cache_creation": {"ephemeral_5m_input_tokens": 4, "ephemeral_1h_input_tokens": 1},
    "server_tool_use": {"web_search_requests": 2},
    "service_tier": "priority",
}
SCHEMA = {
    "type": "object",
    "properties": {"count": {"type": "integer"}, "unit": {"enum": ["m", "km"]}},
    "required": ["count", "unit"],
}
TOOL = {"name": "measure", "description": "Measures.", "input_schema": SCHEMA}


def saying(text: str, **fields: object) -> dict[str, object]:
    return {**BODY, "messages": [{"role": "user", "content": text}], **fields}


async def answer_to(client: httpx.AsyncClient, body: object, **headers: str) -> dict:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    answer = await client.post(PATH, json=body, headers=named)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def stream_of(client: httpx.AsyncClient, body: object, **headers: str) -> list:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return events_of((await client.post(PATH, json=body, headers=named)).text)


def deltas(events: list, name: str, field: str) -> list[str]:
    found = [data["delta"] for event, data in events if event == "content_block_delta"]
    return [delta[field] for delta in found if delta["type"] == name]


async def test_the_figures_follow_the_rule_of_four_characters(client: httpx.AsyncClient):
    answer = await answer_to(client, BODY)
    counted = json.dumps({"messages": BODY["messages"]}, separators=(",", ":"))
    assert answer["content"] == [{"type": "text", "text": "Simulated answer to: hello"}]
    assert answer["usage"]["output_tokens"] == 7
    assert answer["usage"]["input_tokens"] == -(-len(counted) // 4)


@pytest.mark.parametrize("header", ["x-sim-usage", "anthropic-sim-usage"])
@pytest.mark.parametrize("is_stream", [False, True])
async def test_given_figures_are_reported_and_kept_in_the_journal(
    sim: Simulator, client: httpx.AsyncClient, header: str, is_stream: bool
):
    headers = {header: json.dumps(FIGURES)}
    answer = await client.post(PATH, json={**BODY, "stream": is_stream}, headers=headers)
    if is_stream:
        events = events_of(answer.text)
        assert events[0][1]["message"]["usage"] == {**FIGURES, "output_tokens": 1}
        assert events[-2][1]["usage"].items() <= FIGURES.items()
        assert events[-2][1]["usage"]["output_tokens"] == FIGURES["output_tokens"]
    else:
        assert answer.json()["usage"] == FIGURES
    assert sim.requests[-1].usage == FIGURES


async def test_the_script_can_set_text_and_figures(sim: Simulator, client: httpx.AsyncClient):
    sim.script.append(Fault(text="Said.", usage={"output_tokens": 99}))
    answer = await answer_to(client, BODY)
    assert answer["content"][0]["text"] == "Said."
    assert answer["usage"]["output_tokens"] == 99


async def test_a_header_sets_the_text(client: httpx.AsyncClient):
    answer = await answer_to(client, BODY, anthropic_sim_text="caf%C3%A9%0Aau lait")
    assert answer["content"][0]["text"] == "café\nau lait"


async def test_the_events_come_in_the_apis_order(client: httpx.AsyncClient):
    events = await stream_of(client, STREAM, x_sim_chunks="2")
    assert [name for name, _ in events] == [
        "message_start",
        "ping",
        "content_block_start",
        "content_block_delta",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    assert all(data["type"] == name for name, data in events)


@pytest.mark.parametrize("chunks", [1, 3, 26, 200])
async def test_a_stream_has_the_chunks_asked_for_and_says_what_a_plain_answer_says(
    client: httpx.AsyncClient, chunks: int
):
    plain = await answer_to(client, BODY, x_sim_chunks=str(chunks))
    events = await stream_of(client, STREAM, x_sim_chunks=str(chunks))
    texts = deltas(events, "text_delta", "text")
    assert len(texts) == chunks
    assert all(texts)
    assert "".join(texts) == plain["content"][0]["text"]
    assert events[-2][1]["usage"]["output_tokens"] == -(-len("".join(texts)) // 4)


@pytest.mark.parametrize("kind", ["enabled", "adaptive"])
async def test_thinking_comes_before_the_text_with_its_signature(
    client: httpx.AsyncClient, kind: str
):
    events = await stream_of(client, {**STREAM, "thinking": {"type": kind}})
    starts = [data["content_block"] for name, data in events if name == "content_block_start"]
    assert [block["type"] for block in starts] == ["thinking", "text"]
    assert "".join(deltas(events, "thinking_delta", "thinking")) == "Let me see."
    assert len(deltas(events, "signature_delta", "signature")) == 1


async def test_citations_come_on_demand(client: httpx.AsyncClient):
    events = await stream_of(client, STREAM, x_sim_citations="2")
    assert len(deltas(events, "citations_delta", "citation")) == 2
    plain = await answer_to(client, BODY, x_sim_citations="2")
    assert len(plain["content"][0]["citations"]) == 2


async def test_a_tool_is_used_when_the_text_asks_for_it(client: httpx.AsyncClient):
    events = await stream_of(client, saying("Use tool now", tools=[TOOL], stream=True))
    parts = deltas(events, "input_json_delta", "partial_json")
    assert json.loads("".join(parts)) == {"count": 1, "unit": "m"}
    assert events[-2][1]["delta"]["stop_reason"] == "tool_use"


@pytest.mark.parametrize(
    ("choice", "used"),
    [
        ({"type": "any"}, "measure"),
        ({"type": "tool", "name": "other"}, "other"),
        ({"type": "auto"}, None),
        ({"type": "none"}, None),
    ],
)
async def test_the_tool_choice_decides(client: httpx.AsyncClient, choice: dict, used: str | None):
    tools = [TOOL, {**TOOL, "name": "other"}]
    answer = await answer_to(client, saying("hello", tools=tools, tool_choice=choice))
    names = [block["name"] for block in answer["content"] if block["type"] == "tool_use"]
    assert names == ([used] if used else [])


async def test_a_tools_result_ends_the_loop(client: httpx.AsyncClient):
    result = [{"type": "tool_result", "tool_use_id": "t", "content": "use tool again"}]
    messages = [*saying("use tool")["messages"], {"role": "user", "content": result}]
    answer = await answer_to(client, {**BODY, "messages": messages, "tools": [TOOL]})
    assert answer["stop_reason"] == "end_turn"
    assert answer["content"][0]["text"] == "Simulated answer to: use tool again"


@pytest.mark.parametrize("is_thinking", [False, True])
async def test_an_answer_is_cut_at_max_tokens(client: httpx.AsyncClient, is_thinking: bool):
    thinking = {"thinking": {"type": "enabled"}} if is_thinking else {}
    answer = await answer_to(client, saying("hello", max_tokens=4, **thinking), x_sim_chunks="1")
    assert answer["stop_reason"] == "max_tokens"
    assert answer["usage"]["output_tokens"] == 4


async def test_an_answer_of_exactly_max_tokens_is_not_cut(client: httpx.AsyncClient):
    answer = await answer_to(client, saying("hello", max_tokens=7))
    assert answer["stop_reason"] == "end_turn"


async def test_the_first_stop_sequence_in_the_text_ends_it(client: httpx.AsyncClient):
    answer = await answer_to(client, saying("hello", stop_sequences=["to", "answer", "absent"]))
    assert answer["content"][0]["text"] == "Simulated "
    assert (answer["stop_reason"], answer["stop_sequence"]) == ("stop_sequence", "answer")


async def test_count_tokens_agrees_with_the_answers_figure(client: httpx.AsyncClient):
    body = saying("count me", system="Be brief.", tools=[TOOL])
    counted = await client.post("/v1/messages/count_tokens", json=body)
    answer = await answer_to(client, body)
    assert counted.json() == {"input_tokens": answer["usage"]["input_tokens"]}
