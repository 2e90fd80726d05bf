"""Where Claude caches a prompt: OpenAI's APIs cache by themselves, Claude's only up to a mark.

A request marks its last block, and the place where the request before it ended: there lies what
that one wrote, however many blocks have come since (Claude looks back over twenty only).
"""

from relay.dialects.openai.fields import Json, choice, given

_MOST_MARKS = 4
_MARK: Json = {"type": "ephemeral"}
# Claude refuses a mark at its own thinking, and wants its summary back as it was.
_UNMARKABLE = frozenset({"thinking", "redacted_thinking", "compaction"})


def settle_marks(body: Json, fields: Json, *, by_default: bool) -> None:
    """Leave Claude the last four of the client's marks, else put some where they save most.

    Args:
        body: the request in Claude's form; changed in place.
        fields: the client's request.
        by_default: whether the operator lets the relay mark what the client does not.

    Raises:
        errors.BadRequest: `prompt_cache_options` is of the wrong kind.
    """
    options = given(fields, "prompt_cache_options", dict) or {}
    mode = choice(options, "mode", ("implicit", "explicit"), "prompt_cache_options")
    marked = [block for block in _blocks(body) if "cache_control" in block]
    if "cache_control" in body or mode == "explicit" or not by_default:
        ours: list[Json] = []
    elif not marked:
        ours = [*_beginning(body), *_conversation(body, fields)]
    else:
        # The client's own strategy, unless it asks for a mark of the server's beside it.
        ours = _conversation(body, fields)[-1:] if mode == "implicit" else []
    ours = [block for block in ours if "cache_control" not in block]
    room = _MOST_MARKS - len(ours) - ("cache_control" in body)
    for block in marked[: max(0, len(marked) - room)]:
        del block["cache_control"]
    for block in ours:
        block["cache_control"] = dict(_MARK)


def _blocks(body: Json) -> list[Json]:
    """All that may carry a mark, in the order of the prompt."""
    blocks = [*body.get("tools", ()), *body.get("system", ())]
    for message in body["messages"]:
        for block in message["content"]:
            inner = block.get("content")
            blocks += [part for part in inner if isinstance(part, dict)] if inner else []
            blocks.append(block)
    return blocks


def _beginning(body: Json) -> list[Json]:
    """The last tool and the system prompt's last block: what many conversations share."""
    return [body[name][-1] for name in ("tools", "system") if body.get(name)]


def _conversation(body: Json, fields: Json) -> list[Json]:
    """Where the request before this one ended, and where this one ends, if it will go on."""
    messages = body["messages"]
    has_answer = any(message["role"] == "assistant" for message in messages)
    if not (has_answer or body.get("tools") or fields.get("prompt_cache_key")):
        return []
    earlier = [message for message in messages[:-1] if message["role"] == "user"]
    ends = [_last_markable([message]) for message in earlier[-1:]]
    return [block for block in (*ends, _last_markable(messages)) if block is not None]


def _last_markable(messages: list[Json]) -> Json | None:
    for message in reversed(messages):
        for block in reversed(message["content"]):
            if block["type"] not in _UNMARKABLE:
                found: Json = block
                return found
    return None
