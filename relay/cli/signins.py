"""`relay oauth` and `relay rotate-encryption`: credentials that change."""

from typing import TYPE_CHECKING

import click

from relay.cli.common import sentences, with_context

if TYPE_CHECKING:
    from relay.accounts import Account
    from relay.context import Context


@click.group()
def oauth() -> None:
    """OAuth: sign accounts of kind oauth in at your own OAuth server."""


@oauth.command("login")
@click.argument("name_or_id")
@sentences
def oauth_login(name_or_id: str) -> None:
    """Sign an account in, in a browser or with a code that is pasted here.

    Open the address that is printed. If your browser is sent back to this relay, the sign-in ends
    there: press Enter here. If not, paste the code, or the whole address that the browser shows.
    """
    from relay.oauth import code_in

    begun = with_context(lambda ctx: ctx.signins.begin(name_or_id))
    click.echo(f"Open this address and sign in:\n\n{begun.url}\n")
    pasted = click.prompt(
        "Code, or Enter when the browser says it is done", default="", show_default=False
    ).strip()

    async def finish(ctx: "Context") -> "Account":
        if pasted:
            return await ctx.signins.finish(begun.state, code_in(pasted, begun.state))
        if await ctx.signins.is_pending(begun.state):
            raise click.ClickException("The browser has not come back to this relay yet.")
        return await ctx.accounts.find(name_or_id)

    done = with_context(finish)
    if done.state == "expired":
        raise click.ClickException(
            f"{done.name} is still not signed in: {done.reason.rstrip('.')}."
        )
    click.echo(f"{done.name} is signed in.")


@click.command("rotate-encryption")
@sentences
def rotate_encryption() -> None:
    """Encrypt every secret with the current ENCRYPT_KEY.

    Give the new key as ENCRYPT_KEY and the old one as ENCRYPT_KEY_PREVIOUS, restart the relay, run
    this, and take ENCRYPT_KEY_PREVIOUS out again. It may be interrupted and run again.
    """
    from relay.rotation import rotate_encryption as rotate

    count = with_context(rotate)
    click.echo(f"{count} secrets were encrypted anew; every secret is under the current key now.")
