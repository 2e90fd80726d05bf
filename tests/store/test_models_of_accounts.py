"""No model that a key or an account does not allow is served, wherever a request names it."""

import json
import uuid
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from relay import store
from relay.accounts.values import served_models
from relay.call import Call
from relay.dialects import messages
from relay.store import Admitted, Moved, Refused, Rest, Store, name

MODELS = ("claude-opus-5", "claude-haiku-4-5", "claude-fable-5-2", "claude-sonnet-5")
ACCOUNTS = ("acc_1", "acc_2", "acc_3")
ONE = st.sampled_from(MODELS)


@dataclass(frozen=True)
class Lists:
    """An account's own list of models (empty: all) and what it calls some of them."""

    allowed: tuple[str, ...]
    map: dict[str, str]

    def may_get(self, call: Call) -> bool:
        """Whether it can serve a call, worked out by other means than the relay's."""
        if call.model not in self.map and not self._allows(call.model):
            return False
        return all(self._allows(model) and model not in self.map for model in call.also)

    def _allows(self, model: str) -> bool:
        return not self.allowed or any(fnmatchcase(model, glob) for glob in self.allowed)

    def stored(self) -> dict[str, str]:
        fields = {"allowed_models": "\n".join(self.allowed), "model_map": json.dumps(self.map)}
        return {"models": served_models(fields), "model_map": fields["model_map"]}


GLOBS = st.sampled_from([*MODELS, "claude-*", "*haiku*", "claude-?pus-5"])
LISTS_OF_KEYS = st.lists(GLOBS, max_size=3).map(tuple)
LISTS = st.builds(
    Lists, st.lists(GLOBS, max_size=3).map(tuple), st.dictionaries(ONE, ONE, max_size=2)
)


def advisor(model: str) -> dict[str, Any]:
    return {"type": "advisor_20260301", "name": "advisor", "model": model, "max_uses": 1}


def addition(model: str) -> dict[str, Any]:
    content = [{"type": "tool_addition", "tool": {"definition": advisor(model)}}]
    return {"role": "system", "content": content}


TURN = {"role": "user", "content": "hi"}
# Each place at which a request may name a model, alone or together with the others.
BODIES = st.fixed_dictionaries(
    {"model": ONE, "max_tokens": st.just(5)},
    optional={
        "fallbacks": st.one_of(
            st.just("default"), st.lists(st.fixed_dictionaries({"model": ONE}), max_size=3)
        ),
        "tools": st.lists(st.builds(advisor, ONE), max_size=2),
        "messages": st.lists(st.builds(addition, ONE), max_size=2).map(lambda some: [TURN, *some]),
        "context_management": ONE.map(
            lambda model: {"edits": [{"type": "compact_20260112", "model": model}]}
        ),
        "compaction": ONE.map(lambda model: {"type": "summarize", "model": model}),
    },
)


async def ready(opened: Store, lists: list[Lists], allowed: tuple[str, ...]) -> str:
    """Accounts with these lists; the id of a key with its list, which is its hash as well."""
    known = await opened.accounts.ids()
    for account, some in zip(ACCOUNTS, lists, strict=True):
        if account not in known:
            await opened.accounts.add(account, {"name": account, "enabled": "1"})
        fields = [part for pair in some.stored().items() for part in pair]
        await opened._db.call("HSET", name("account", account), *fields)
    key = f"key_{uuid.uuid4().hex}"
    await opened.keys.add(key, {"name": key, "hash": key, "enabled": "1", "expires_at": "",
                                "models": "\n".join(allowed)})  # fmt: skip
    return key


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(BODIES, st.lists(LISTS, min_size=3, max_size=3), st.one_of(st.just(()), LISTS_OF_KEYS))
def test_no_account_gets_a_name_that_it_or_the_key_does_not_allow(
    redis_url: str, body: dict[str, Any], lists: list[Lists], allowed: tuple[str, ...]
) -> None:
    call = messages.read("messages", "POST", b"/v1/messages", json.dumps(body).encode(), [])
    key_may = Lists(allowed, {}).may_get(call)
    able = {
        account
        for account, some in zip(ACCOUNTS, lists, strict=True)
        if key_may and some.may_get(call)
    }

    async def run() -> None:
        async with store.opened(redis_url) as opened:
            key = await ready(opened, lists, allowed)
            lease = f"req_{uuid.uuid4().hex}"
            answer = await opened.leases.admit(
                lease, "p1", key, key, kind="messages", model=call.model, also=call.also
            )
            tried: list[str] = []
            while isinstance(answer, Admitted | Moved):
                tried.append(answer.account_id)
                moved = await opened.leases.move_on(lease, Rest(), tried)
                if not isinstance(moved, Moved):
                    break
                answer = moved
            # Every account that can serve is reached by failover, and no other.
            assert len(tried) == len(set(tried))
            assert set(tried) == able
            if isinstance(answer, Refused):
                codes = ("account_model", "account_mapped") if key_may else ("key_model",)
                assert answer.code in codes
                assert answer.detail in {call.model, *call.also}

    trio.run(run)
