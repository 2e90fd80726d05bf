"""Users of the console with their sessions, and admin tokens."""

from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, UnsetType

from relay.admin.fields import Moment, Role, Word, must_exist, wrong_fields
from relay.admin.routing import Call, In, Out, Page, PageQuery, page
from relay.settings import LEAST_PASSWORD
from relay.tokens import Token as TokenValue
from relay.tokens import TokenProblem
from relay.users import Session as SessionValue
from relay.users import User as UserValue
from relay.users import UserProblem

Password = Annotated[str, Meta(min_length=LEAST_PASSWORD, max_length=1024)]


class User(Out):
    """A person who may open the console."""

    name: str
    role: Role
    enabled: bool
    has_second_factor: bool
    created_at: Moment
    signed_in_at: Moment | None


class UserAdd(In):
    """A new user."""

    name: Word
    password: Password
    role: Role = "viewer"


class UserEdit(In):
    """What is to change. A new password and `enabled: false` sign the user out everywhere."""

    role: Role | UnsetType = UNSET
    enabled: bool | UnsetType = UNSET
    password: Password | UnsetType = UNSET


class Session(Out):
    """A browser that is signed in; `id` tells sessions apart and opens none."""

    id: str
    user: str
    address: str
    agent: str
    began_at: Moment
    used_at: Moment


class Token(Out):
    """An admin token; `hint` is its start, `expiresAt` null for never."""

    id: str
    name: str
    role: Role
    hint: str
    created_at: Moment
    expires_at: Moment | None
    used_at: Moment | None


class MadeToken(Token):
    """A token with its secret text, `token`, which is told this once."""

    token: str


class TokenCreate(In):
    """A new admin token; `expiresAt` null, which must be said, for never."""

    name: Word
    expires_at: Moment | None
    role: Role = "viewer"


def _user(user: UserValue) -> User:
    return msgspec.convert(user, User, from_attributes=True)


async def _found(call: Call, user: str) -> UserValue:
    with must_exist():
        return await call.ctx.users.find(user)


async def users(call: Call) -> Page[User]:
    query: PageQuery = call.query
    return page([_user(one) for one in await call.ctx.users.list()], query, lambda one: one.name)


async def user(call: Call, user: str) -> User:
    return _user(await _found(call, user))


async def add(call: Call) -> User:
    body: UserAdd = call.body
    with wrong_fields({}):
        return _user(await call.ctx.users.add(body.name, body.password, body.role))


async def edit(call: Call, user: str) -> User:
    body: UserEdit = call.body
    name = (await _found(call, user)).name
    users = call.ctx.users
    with wrong_fields({}):
        if not isinstance(body.role, UnsetType):
            await users.set_role(name, body.role)
        if not isinstance(body.enabled, UnsetType):
            await users.set_enabled(name, enabled=body.enabled)
        if not isinstance(body.password, UnsetType):
            await users.set_password(name, body.password)
    return _user(await _found(call, name))


async def remove(call: Call, user: str) -> None:
    """Remove a user; that there is none is as good."""
    try:
        await call.ctx.users.find(user)
    except UserProblem:
        return
    with wrong_fields({}):
        await call.ctx.users.remove(user)


async def drop_second_factor(call: Call, user: str) -> None:
    found = await _found(call, user)
    if found.has_second_factor:
        await call.ctx.users.drop_second_factor(found.name)


# Sessions.


def _session(session: SessionValue) -> Session:
    return Session(
        id=session.id,
        user=session.user.name,
        address=session.address,
        agent=session.agent,
        began_at=session.began_at,
        used_at=session.used_at,
    )


async def sessions(call: Call, user: str) -> Page[Session]:
    found = await call.ctx.users.sessions((await _found(call, user)).name)
    query: PageQuery = call.query
    return page([_session(one) for one in found], query, lambda one: one.id)


async def all_sessions(call: Call) -> Page[Session]:
    query: PageQuery = call.query
    found = [_session(one) for one in await call.ctx.users.all_sessions()]
    return page(found, query, lambda one: one.id)


async def sign_out(call: Call, user: str) -> None:
    await call.ctx.users.sign_out_everywhere((await _found(call, user)).name)


async def sign_everybody_out(call: Call) -> None:
    await call.ctx.users.sign_everybody_out()


async def close_session(call: Call, user: str, session: str) -> None:
    await call.ctx.users.close_session((await _found(call, user)).name, session)


# Admin tokens.


def _token(token: TokenValue) -> Token:
    return msgspec.convert(token.to_json(), Token)


async def tokens(call: Call) -> Page[Token]:
    query: PageQuery = call.query
    return page([_token(one) for one in await call.ctx.tokens.list()], query, lambda one: one.id)


async def create_token(call: Call) -> MadeToken:
    body: TokenCreate = call.body
    with wrong_fields({}):
        made, text = await call.ctx.tokens.create(body.name, body.role, body.expires_at)
    return msgspec.convert({**made.to_json(), "token": text}, MadeToken)


async def delete_token(call: Call, token: str) -> None:
    """Delete a token; that there is none is as good."""
    try:
        await call.ctx.tokens.delete(token)
    except TokenProblem:
        return
