"""Requests in the shapes that real clients were seen to send, filled with text to their sizes."""

import json
import random
from dataclasses import dataclass

WORDS = (
    "the relay passes every byte — naïve café 日本語",
    "\"quoted\" back\\slash \t tab 🚀 <xml a='b'> & $0",
)
STAINLESS = {
    "x-stainless-lang": "js",
    "x-stainless-os": "Linux",
    "x-stainless-package-version": "0.128.0",
    "x-stainless-retry-count": "0",
    "x-stainless-timeout": "600",
}


@dataclass(frozen=True, slots=True)
class Shape:
    """One recorded request: who sent it, where to, with which headers and body."""

    name: str
    path: str
    headers: dict[str, str]
    body: bytes


def prose(seed: int, size: int) -> str:
    """`size` characters of text with everything that JSON has to escape."""
    choice = random.Random(seed)
    text = ""
    while len(text) < size:
        text += choice.choice(" ".join(WORDS).split(" ")) + choice.choice((" ", "\n", "  "))
    return text[:size]


def _cached(text: str) -> dict[str, object]:
    return {"type": "text", "text": text, "cache_control": {"type": "ephemeral", "ttl": "1h"}}


def _tools(count: int) -> list[dict[str, object]]:
    tools: list[dict[str, object]] = [
        {
            "name": f"Tool{number}",
            "description": prose(number, 1500),
            "input_schema": {
                "type": "object",
                "properties": {"model": {"type": "string"}, "stream": {"type": "boolean"}},
                "required": ["model"],
                "additionalProperties": False,
            },
        }
        for number in range(count)
    ]
    tools[-1]["defer_loading"] = True
    return tools


def _claude_code_body(tools: int, size: int, loop: bool) -> dict[str, object]:
    ids = {"device_id": "d" * 64, "account_uuid": "", "session_id": "3f0c-session"}
    messages: list[dict[str, object]] = [
        {"role": "user", "content": [{"type": "text", "text": prose(1, 580)}]},
        {
            "role": "system",
            "content": [_cached(prose(2, size))],
            "output_config": {"effort": "medium"},
        },
    ]
    if loop:
        use = {"type": "tool_use", "id": "toolu_1", "name": "Bash", "input": {"command": "ls"}}
        result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": prose(3, 300)}
        thought = {"type": "thinking", "thinking": "", "signature": "c2ln" * 40}
        messages.append({"role": "assistant", "content": [thought, use]})
        messages.append({"role": "user", "content": [result]})
    return {
        "model": "claude-opus-5-5",
        "messages": messages,
        "system": [
            {"type": "text", "text": "x-anthropic-billing-header: cc_version=2.1.330.839;"},
            _cached(prose(4, 60)),
            _cached(prose(5, 7000)),
        ],
        "tools": _tools(tools),
        "metadata": {"user_id": json.dumps(ids)},
        "max_tokens": 128000,
        "thinking": {"type": "adaptive", "display": "updates"},
        "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
        "safeguards": [{"type": "dangerous_tool_use", "classifier_context": {"v": 1}}],
        "output_config": {"effort": "medium"},
        "stream": True,
    }


def _claude_code(name: str, agent: str, *, tools: int, size: int, loop: bool = False) -> Shape:
    headers = {
        **STAINLESS,
        "accept": "application/json",
        "content-type": "application/json",
        "user-agent": agent,
        "x-claude-code-session-id": "3f0c-session",
        "anthropic-beta": "claude-code-20250219,interleaved-thinking-2025-05-14,effort-2025-11-24",
        "anthropic-dangerous-direct-browser-access": "true",
        "anthropic-version": "2023-06-01",
        "x-app": "cli",
        "accept-encoding": "gzip, deflate, br, zstd",
    }
    body = json.dumps(
        _claude_code_body(tools, size, loop), ensure_ascii=False, separators=(",", ":")
    )
    return Shape(name, "/api/v1/messages?beta=true", headers, body.encode())


def _sdk(name: str, agent: str, version: str, fields: dict[str, object], path: str) -> Shape:
    headers = {
        **STAINLESS,
        "accept": "application/json",
        "content-type": "application/json",
        "user-agent": agent,
        "anthropic-version": version,
        "accept-encoding": "gzip, deflate",
    }
    return Shape(name, path, headers, json.dumps(fields).encode())


HELLO: dict[str, object] = {
    "max_tokens": 64,
    "messages": [{"role": "user", "content": "hello é"}],
    "model": "claude-sonnet-4-5-20250929",
}
SHAPES = (
    _claude_code(
        "claude-code-print", "claude-cli/2.1.330 (external, sdk-cli)", tools=12, size=9198
    ),
    _claude_code("claude-code-cli", "claude-cli/2.1.330 (external, cli)", tools=13, size=10773),
    _claude_code("claude-code-older", "claude-cli/2.1.197 (external, cli)", tools=24, size=30000),
    _claude_code(
        "claude-code-tools",
        "claude-cli/2.1.330 (external, sdk-cli)",
        tools=12,
        size=9198,
        loop=True,
    ),
    _sdk("python", "Anthropic/Python 2.12.0", "2026-10-21", HELLO, "/api/v1/messages"),
    _sdk(
        "python-stream",
        "Anthropic/Python 2.12.0",
        "2026-10-21",
        {**HELLO, "stream": True},
        "/api/v1/messages",
    ),
    _sdk(
        "typescript-tools",
        "Anthropic/JS 1.12.0",
        "2023-06-01",
        {**HELLO, "tools": _tools(1), "stream": True},
        "/v1/messages",
    ),
    _sdk(
        "continue",
        "node-fetch",
        "2023-06-01",
        {**HELLO, "system": prose(9, 4000), "stream": True, "tools": _tools(2)},
        "/api/messages",
    ),
)
