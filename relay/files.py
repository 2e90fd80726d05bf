"""The files that a request names must be its key's own, and lie where the request is answered."""

import re
from collections.abc import Mapping
from dataclasses import replace

import trio

from relay import errors
from relay.call import Call
from relay.context import Context
from relay.dialects import file_ids
from relay.keys import KeyRef

# What the relay takes for an id in a path.
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:@~-]{0,199}")
_LOOKED_UP_AT_ONCE = 50


async def bound(ctx: Context, key: KeyRef, call: Call) -> Call:
    """The call, held to the account that has the files which its body names, if it names any.

    Raises:
        errors.NotFound: a file is not this key's, or not known here; the field begins the message.
        errors.BadRequest: the files lie in different accounts.
    """
    named = await file_ids.named_in(call.body)
    return replace(call, account_id=await holder(ctx, key, named)) if named else call


async def holder(ctx: Context, key: KeyRef, named: Mapping[str, str]) -> str:
    """The account that has all of a key's files, by their ids and where each is named; empty for
    none. Raises as bound() does."""
    accounts: dict[str, str] = {}
    limit = trio.CapacityLimiter(_LOOKED_UP_AT_ONCE)

    async def look_up(file_id: str) -> None:
        async with limit:
            fields = await ctx.store.objects.read(file_id)
            if fields and (fields["key"], fields["kind"]) == (key.id, "file"):
                accounts[file_id] = fields["account"]

    async with trio.open_nursery() as nursery:
        for file_id in named:
            if _ID.fullmatch(file_id):
                nursery.start_soon(look_up, file_id)
    missing = next((file_id for file_id in named if file_id not in accounts), None)
    if missing is not None:
        await ctx.store.confirm()
        raise errors.NotFound(f"{named[missing]}: this key has no file with that id.")
    first = next(iter(named), "")
    for file_id, place in named.items():
        if accounts[file_id] != accounts[first]:
            raise errors.BadRequest(
                f"{place}: this file and that of {named[first]} lie in different accounts of the"
                " relay, and no account can read both. Upload them anew, one after the other."
            )
    return accounts.get(first, "")
