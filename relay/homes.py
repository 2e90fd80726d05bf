"""What a request names that lives in one account: only that account may answer it.

Which account that is, the admission script finds (lua/homes.lua); here stand the words for it and
what a client is answered when that account is not there for it.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace

import trio

from relay import errors
from relay.body import LARGE_BYTES
from relay.call import Call, Meter, Named
from relay.dialects import file_ids, state

# What the relay takes for an id in a path.
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:@~-]{0,199}")
# Found in the table of objects; everything else was named by an answer.
_OBJECTS = {"file", "skill"}
_NOUNS = {"credit": "fallback credit", "thread": "message thread"}
# When nobody knows when an account serves again, a client asks once a minute.
_UNKNOWN_WAIT_S = b"60"
# Models whose thinking an organisation reads alone, and those that read such thinking.
_MAKES = re.compile(r"(?:sonnet|haiku)-5-5(?!\d)")
_READS = re.compile(r"(?:sonnet|haiku|opus)-5-5(?!\d)")
_IS_CLAUDES = re.compile(r"claude-(?:[a-z]+-)?\d")
# What a tool was called with may hold fields of that name as well.
_MOST_SIGNATURES = 8
_WHY = {
    "cooling": "is at its limits",
    "exhausted": "has nothing left to spend",
    "overloaded": "is overloaded",
    "failing": "is failing",
    "unauthorized": "needs a new credential from the relay's operator",
    "expired": "needs its sign-in renewed by the relay's operator",
    "disabled": "is disabled",
    "group": "is not open to this key",
    "budget": "reached its budget",
}


async def found_in(call: Call) -> Call:
    """The call with what its body names and thinks: files, and thinking of one organisation.

    Raises:
        errors.BadRequest: it names more than the relay looks up.
    """
    files = await file_ids.named_in(call.body)
    if len(call.body) > LARGE_BYTES:
        thinking = await trio.to_thread.run_sync(thinking_of, call)
    else:
        thinking = thinking_of(call)
    if not files and not thinking:
        return call
    return replace(call, named=(*call.named, *of_files(files)), thinking=thinking)


def thinking_of(call: Call) -> tuple[str, ...]:
    """The newest signatures of thinking in a call's conversation, if its model may read such
    thinking as one organisation alone can read; see Call.thinking.

    Only that organisation's accounts read it: at another one it is dropped without a word.
    Source: platform.claude.com/docs/en/build-with-claude/preserved-thinking, in October 2026.
    """
    if call.kind != "messages":
        return ()
    return signatures((call.model, *call.also), call.body, _MOST_SIGNATURES)


def signatures(models: Iterable[str], body: bytes, most: int) -> tuple[str, ...]:
    """The newest signatures of thinking in a request, where one of its models may read such as is
    bound to an organisation. What a name of an account's own stands for is not known here."""
    if not any(_READS.search(model) or not _IS_CLAUDES.search(model) for model in models):
        return ()
    return tuple(state.signatures(body, most))


def of_files(places: Mapping[str, str]) -> Iterable[Named]:
    """Files by their ids and where each is named."""
    return (Named("file", file_id, place) for file_id, place in places.items())


def entry(key_id: str, kind: str, object_id: str) -> str:
    """How the store finds the account of something: 'KIND FIELD', see lua/homes.lua."""
    if kind in _OBJECTS:
        # What is no id is nobody's; "-" is none either.
        return f"{kind} {object_id if _ID.fullmatch(object_id) else '-'}"
    text = f"{key_id}|{kind}|{object_id}"
    return f"{kind} {hashlib.sha256(text.encode()).hexdigest()[:32]}"


def entries(key_id: str, call: Call) -> list[str]:
    """As entry(), of all that a call names."""
    found = [entry(key_id, named.kind, named.id) for named in call.named]
    return [*found, *(entry(key_id, "thinking", signature) for signature in call.thinking)]


def made(key_id: str, call: Call, meter: Meter) -> tuple[str, ...]:
    """As entry(), of what the answer to a call named."""
    is_bound = _MAKES.search(meter.model) or _MAKES.search(call.model)
    return tuple(
        entry(key_id, kind, object_id)
        for kind, object_id in meter.made
        if (kind != "thread" or call.has_thread) and (kind != "thinking" or is_bound)
    )


def continues_thread(call: Call) -> bool:
    """Whether a call continues a message thread, for which its client has another way."""
    return any(named.kind == "thread" for named in call.named)


def thread_not_found(call: Call) -> errors.ThreadNotFound:
    """The error by which clients go on with the whole conversation."""
    place = next((named.place for named in call.named if named.kind == "thread"), "thread")
    return errors.ThreadNotFound(
        f"{place}: this message thread cannot be continued here. Send the whole conversation."
    )


def refusal(code: str, detail: str, back_s: str, call: Call) -> errors.RelayError | None:
    """What a client is answered whose request names what lives in one account; None where it
    names nothing, or where that is not the reason.

    Args:
        code, detail, back_s: the admission script's refusal; see store.Refused.
    """
    if code == "home_unknown":
        return _unknown(call, call.named[int(detail)])
    if code == "home_split":
        return _split(*(call.named[int(number)] for number in detail.split()))
    if code.startswith("thinking_"):
        return _thinking_away(code.removeprefix("thinking_"), back_s)
    is_away = code == "no_account" or code.startswith("account_")
    if not is_away or not (call.named or call.account_id):
        return None
    if continues_thread(call):
        return thread_not_found(call)
    place = f"{call.named[0].place}: " if call.named else ""
    holder = f"the account that holds {_this(call.named[0]) if call.named else 'it'}"
    if code == "no_account":
        return errors.NotFound(_sentence(f"{place}{holder} is no longer there."))
    why = code.removeprefix("account_")
    if why == "model":
        named_at = "model" if detail == call.model else call.also.get(detail, "model")
        return errors.NotFound(f"{named_at}: {detail} is not served by {holder}.")
    if why not in _WHY:
        return None
    known = f"; try again in {back_s} s" if back_s else ""
    told = f"{place}{holder} {_WHY[why]}, and no other has it{known}."
    return errors.Unavailable(
        _sentence(told), [(b"retry-after", back_s.encode() or _UNKNOWN_WAIT_S)]
    )


def _thinking_away(why: str, back_s: str) -> errors.RelayError | None:
    """Of a conversation whose organisation's accounts cannot serve now."""
    if why not in _WHY:
        return None
    known = f"; try again in {back_s} s" if back_s else ""
    return errors.Unavailable(
        "messages: the accounts of one organisation alone can read what was thought in this"
        f" conversation, and that organisation's account {_WHY[why]}{known}.",
        [(b"retry-after", back_s.encode() or _UNKNOWN_WAIT_S)],
    )


def _unknown(call: Call, named: Named) -> errors.NotFound:
    if named.kind == "thread":
        return thread_not_found(call)
    return errors.NotFound(f"{named.place}: this key has no {_noun(named)} with that id.")


def _split(first: Named, other: Named) -> errors.RelayError:
    if other.kind == first.kind == "file":
        return errors.BadRequest(
            f"{other.place}: this file and that of {first.place} lie in different accounts of the"
            " relay, and no account can read both. Upload them anew, one after the other."
        )
    return errors.BadRequest(
        f"{other.place}: {_this(other)} and {_this(first)} of {first.place} lie in different"
        " accounts of the relay, and no account has both."
    )


def _noun(named: Named) -> str:
    return _NOUNS.get(named.kind, named.kind)


def _this(named: Named) -> str:
    return f"this {_noun(named)}"


def _sentence(text: str) -> str:
    """A sentence begins with a capital, unless a field's name does."""
    return text if ": " in text else text[:1].upper() + text[1:]
