"""`relay user`: the people who may use the console."""

from datetime import datetime
from typing import TYPE_CHECKING, TextIO

import click

from relay.cli.common import (
    as_dict,
    json_flag,
    on_one,
    print_json,
    sentences,
    show,
    table,
    with_context,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from relay.context import Context
    from relay.users import Session

_ROLE = click.Choice(["viewer", "operator", "admin"])
_password_file = click.option("--password-file", type=click.File(),
                              help="File with the password; - is standard input. Asked for when"
                              " left out.")  # fmt: skip


@click.group()
def user() -> None:
    """Users: who may open the console, and what they may do there.

    A viewer sees, an operator changes keys and accounts, an admin changes users as well.
    """


def _password(name: str, given: TextIO | None) -> str:
    if given is not None:
        return given.read().rstrip("\r\n")
    return str(click.prompt(f"Password of {name}", hide_input=True, confirmation_prompt=True))


@user.command("add")
@click.argument("name")
@click.option("--role", type=_ROLE, default="viewer", show_default=True)
@_password_file
@json_flag
@sentences
def user_add(name: str, role: str, password_file: TextIO | None, as_json: bool) -> None:
    """Add a user."""
    password = _password(name, password_file)
    show(with_context(lambda ctx: ctx.users.add(name, password, role)), as_json)


@user.command("list")
@json_flag
@sentences
def user_list(as_json: bool) -> None:
    """List all users."""
    users = with_context(lambda ctx: ctx.users.list())
    if as_json:
        print_json([as_dict(one) for one in users])
        return
    table(
        ("NAME", "ROLE", "STATE", "SECOND FACTOR", "LAST SIGN-IN"),
        [
            (one.name, one.role, "enabled" if one.enabled else "disabled",
             "yes" if one.has_second_factor else "no", _moment(one.signed_in_at))
            for one in users
        ],
    )  # fmt: skip


def _moment(when: datetime | None) -> str:
    return f"{when:%Y-%m-%d %H:%M:%S}" if when else "never"


@user.command("role")
@click.argument("name")
@click.argument("role", type=_ROLE)
@json_flag
@sentences
def user_role(name: str, role: str, as_json: bool) -> None:
    """Give a user another role, from their next page on."""
    show(with_context(lambda ctx: ctx.users.set_role(name, role)), as_json)


@user.command("password")
@click.argument("name")
@_password_file
@json_flag
@sentences
def user_password(name: str, password_file: TextIO | None, as_json: bool) -> None:
    """Give a user a new password; they are signed out everywhere."""
    password = _password(name, password_file)
    show(with_context(lambda ctx: ctx.users.set_password(name, password)), as_json)


on_one(
    user,
    "disable",
    "Let a user in no more, and sign them out everywhere.",
    lambda ctx, one: ctx.users.set_enabled(one, enabled=False),
)
on_one(
    user,
    "enable",
    "Let a disabled user in again.",
    lambda ctx, one: ctx.users.set_enabled(one, enabled=True),
)
on_one(
    user,
    "remove",
    "Remove a user for good; what they did stays in the audit.",
    lambda ctx, one: ctx.users.remove(one),
    question="Remove the user {} for good?",
)
on_one(
    user,
    "reset-second-factor",
    "Ask a user for the password alone again, when phone and recovery codes are lost.",
    lambda ctx, one: ctx.users.drop_second_factor(one),
)


@user.command("sessions")
@click.argument("name")
@json_flag
@sentences
def user_sessions(name: str, as_json: bool) -> None:
    """List the browsers in which a user is signed in."""

    async def read(ctx: "Context") -> "Sequence[Session]":
        await ctx.users.find(name)
        return await ctx.users.sessions(name)

    sessions = with_context(read)
    if as_json:
        print_json(
            [{k: v for k, v in as_dict(one).items() if k not in ("user", "csrf")}
             for one in sessions]
        )  # fmt: skip
        return
    table(
        ("BEGAN", "LAST USED", "FROM", "BROWSER"),
        [(_moment(one.began_at), _moment(one.used_at), one.address, one.agent[:80])
         for one in sessions],
    )  # fmt: skip


@user.command("sign-out")
@click.argument("name")
@sentences
def user_sign_out(name: str) -> None:
    """Sign a user out everywhere."""

    async def close(ctx: "Context") -> None:
        await ctx.users.find(name)
        await ctx.users.sign_out_everywhere(name)

    with_context(close)
    click.echo(f"{name} is signed out everywhere.")
