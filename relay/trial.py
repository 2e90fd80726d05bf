"""`relay try`: the whole relay on one machine in one command, to be thrown away afterwards.

It serves from a temporary data folder against the built-in simulator, or against the real API
when ANTHROPIC_API_KEY is set, and makes a first streamed request itself.
"""

import dataclasses
import json
import tempfile
from collections.abc import Callable, Mapping
from functools import partial

import httpx
import trio

from relay import listener, server, settings, simulator, usage
from relay.context import Context

MODEL = "claude-haiku-4-5"
_QUESTION = "Say hello in one short sentence."
_ANSWER_DEADLINE_S = 120.0
_SIMULATED_KEY = "simulated-upstream-key"
_DRAIN_S = 5.0

Say = Callable[[str], None]


class TrialFailed(Exception):
    """A sentence about why the trial could not show an answer."""


async def run(environ: Mapping[str, str], say: Say) -> None:
    """Serve until Ctrl-C. `say` gets the lines that a person should see.

    Raises:
        TrialFailed: the first request was not answered.
        settings.SettingsError, listener.ListenError: as for `relay serve`.
    """
    with tempfile.TemporaryDirectory(prefix="relay-try-") as home:
        chosen = settings.load({**environ, "RELAY_HOME": home})
        chosen = dataclasses.replace(
            chosen,
            port=chosen.port if "PORT" in environ else await _free_port(chosen),
            drain_lead_s=0.0,
            drain_timeout_s=_DRAIN_S,
        )
        async with trio.open_nursery() as nursery:
            upstream = await _upstream(nursery, chosen, environ.get("ANTHROPIC_API_KEY", ""), say)
            ctx, url = await nursery.start(_serve, chosen, nursery.cancel_scope)
            await _show(ctx, url, upstream, say)


async def _free_port(chosen: settings.Settings) -> int:
    """The usual port, or any when something listens there already."""
    try:
        listeners = await listener.open_listeners(chosen.host, chosen.port)
    except listener.ListenError:
        return 0
    for one in listeners:
        await one.aclose()
    return chosen.port


async def _upstream(
    nursery: trio.Nursery, chosen: settings.Settings, api_key: str, say: Say
) -> tuple[str, str]:
    if api_key:
        say(f"Using the real API at {chosen.base_url} with ANTHROPIC_API_KEY: requests cost money.")
        return chosen.base_url, api_key
    say("SIMULATED: answers come from a built-in simulator, not from Claude, and cost nothing.")
    say("           Set ANTHROPIC_API_KEY to try the real API.")
    serve = partial(simulator.serve, api_keys=frozenset({_SIMULATED_KEY}))
    simulated = await nursery.start(serve)
    return simulated.base_url, _SIMULATED_KEY


async def _serve(
    chosen: settings.Settings,
    whole: trio.CancelScope,
    *,
    task_status: trio.TaskStatus[tuple[Context, str]],
) -> None:
    await server.serve(chosen, task_status=task_status)
    whole.cancel()


async def _show(ctx: Context, url: str, upstream: tuple[str, str], say: Say) -> None:
    base_url, secret = upstream
    await ctx.accounts.add("first-account", secret=secret, base_url=base_url)
    _, key = await ctx.keys.create("first-key")
    say("")
    say(f"A first streamed request through the relay, to {MODEL}: {_QUESTION}")
    say(f"  {await _ask(url, key)}")
    total = (await usage.report(ctx.store)).total
    say(
        f"  {total['input_tokens']} tokens in, {total['output_tokens']} out,"
        f" cost {usage.dollars(total['cost_micros'])}"
    )
    for line in _what_next(url, key):
        say(line)


async def _ask(url: str, key: str) -> str:
    body = {
        "model": MODEL,
        "max_tokens": 200,
        "stream": True,
        "messages": [{"role": "user", "content": _QUESTION}],
    }
    headers = {"x-api-key": key, "anthropic-version": "2023-06-01"}
    text = ""
    async with (
        httpx.AsyncClient(timeout=_ANSWER_DEADLINE_S, trust_env=False) as client,
        client.stream("POST", f"{url}/api/v1/messages", json=body, headers=headers) as answer,
    ):
        if answer.status_code != 200:
            await answer.aread()
            raise TrialFailed(f"The first request failed with {answer.status_code}: {answer.text}")
        async for line in answer.aiter_lines():
            if line.startswith("data:"):
                text += json.loads(line[5:]).get("delta", {}).get("text", "")
    return text


def _what_next(url: str, key: str) -> list[str]:
    return [
        "",
        f"The relay serves at {url}/api until Ctrl-C. Your key: {key}",
        "",
        f"curl {url}/api/v1/messages \\",
        f"  -H 'x-api-key: {key}' -H 'anthropic-version: 2023-06-01' \\",
        "  -H 'content-type: application/json' \\",
        f"""  -d '{{"model": "{MODEL}", "max_tokens": 100, "stream": true,"""
        """ "messages": [{"role": "user", "content": "Hello"}]}'""",
        "",
        f"Claude Code: ANTHROPIC_BASE_URL={url}/api ANTHROPIC_AUTH_TOKEN={key} claude",
    ]
