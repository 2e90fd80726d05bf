"""Every secret that is encrypted at rest, encrypted anew with the current ENCRYPT_KEY."""

from relay.context import Context


async def rotate_encryption(ctx: Context) -> int:
    """Encrypt the secrets of accounts, admin keys and second factors with the current key.

    May be interrupted and run again: each is replaced in one step, and only if it still is what
    was read.

    Returns how many were not under the current key yet.

    Raises:
        VaultError: one was made with a key that is neither the current nor the previous one.
    """
    count = 0
    for rotate in (ctx.accounts.rotate, ctx.admin_keys.rotate, ctx.users.rotate):
        count += await rotate()
    if count:
        await ctx.audit.note("encryption.rotate", f"{count} secrets")
    return count
