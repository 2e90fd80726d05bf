"""Users: roles, signing in with and without a second factor, lock-out, and sessions' ends."""

import contextlib
import time

import pytest
import trio

from relay import passwords
from relay.audit import Audit
from relay.store import Store, name
from relay.users import SignInRefused, UserProblem, Users
from relay.vault import Vault

VAULT = Vault("e" * 32, "j" * 32)
PASSWORD = "correct horse"
HERE = "192.0.2.1"


@pytest.fixture
async def users(opened: Store) -> Users:
    """Users with one admin, kim."""
    one = Users(opened, VAULT)
    await one.add("kim", PASSWORD, "admin")
    return one


async def fails(
    users: Users, user: str = "kim", address: str = HERE, password: str = "wrong one here"
) -> SignInRefused:
    with pytest.raises(SignInRefused) as refused:
        await users.sign_in(user, password, "", address)
    return refused.value


async def with_second_factor(users: Users) -> tuple[str, list[str]]:
    """Give kim a second factor whose present code is used up; its secret and recovery codes."""
    secret = passwords.new_totp_secret()
    codes = await users.set_second_factor("kim", secret, passwords.totp_code(secret))
    return secret, list(codes)


# The first one.


async def test_the_first_user_is_made_once_and_a_made_up_password_told_once(opened: Store):
    users = Users(opened, VAULT)
    made_up = await users.ensure_first("")
    assert made_up
    assert (await users.sign_in("admin", made_up, "", HERE)).role == "admin"
    assert await users.ensure_first("") is None
    assert await users.ensure_first("another password") is None
    await fails(users, "admin", password="another password")


async def test_a_given_password_is_the_first_users_and_not_told(opened: Store):
    users = Users(opened, VAULT)
    assert await users.ensure_first(PASSWORD) is None
    assert (await users.sign_in("admin", PASSWORD, "", HERE)).name == "admin"


async def test_of_processes_that_start_at_one_time_one_tells_a_password(opened: Store):
    told: list[str | None] = []

    async def start() -> None:
        told.append(await Users(opened, VAULT).ensure_first(""))

    async with trio.open_nursery() as nursery:
        for _ in range(4):
            nursery.start_soon(start)
    (password,) = [one for one in told if one]
    assert await Users(opened, VAULT).sign_in("admin", password, "", HERE)


# Settings.


@pytest.mark.parametrize(
    ("user", "password", "role", "word"),
    [
        ("kim", PASSWORD, "viewer", "already"),
        ("<b>", PASSWORD, "viewer", "plain word"),
        ("", PASSWORD, "viewer", "plain word"),
        ("lee", "short", "viewer", "at least 10"),
        ("lee", PASSWORD, "king", "no role"),
    ],
)
async def test_what_is_no_user_is_refused(
    users: Users, user: str, password: str, role: str, word: str
):
    with pytest.raises(UserProblem, match=word):
        await users.add(user, password, role)


async def test_a_password_is_kept_as_a_hash_and_not_in_the_audit(users: Users, opened: Store):
    await users.set_password("kim", "another password")
    fields = await opened.users.read("kim")
    entries = await Audit(opened, VAULT).newest(10)
    assert "another password" not in str(fields) + str(entries)
    assert [one.action for one in entries] == ["user.password", "user.add"]


async def test_the_last_admin_stays_an_admin(users: Users):
    await users.add("lee", PASSWORD, "operator")
    for change in (
        users.remove("kim"),
        users.set_role("kim", "viewer"),
        users.set_enabled("kim", enabled=False),
    ):
        with pytest.raises(UserProblem, match="last admin"):
            await change
    await users.set_role("lee", "admin")
    await users.set_enabled("kim", enabled=False)
    with pytest.raises(UserProblem, match="last admin"):
        await users.set_role("lee", "viewer")


async def test_a_role_has_what_the_smaller_ones_have(users: Users):
    kim = await users.find("kim")
    lee = await users.add("lee", PASSWORD, "operator")
    assert [kim.may(role) for role in ("viewer", "operator", "admin")] == [True, True, True]
    assert [lee.may(role) for role in ("viewer", "operator", "admin")] == [True, True, False]


# Signing in.


async def test_the_right_password_signs_in_and_a_wrong_one_does_not(users: Users):
    assert (await users.sign_in("kim", PASSWORD, "", HERE)).name == "kim"
    unknown, wrong = await fails(users, "nobody"), await fails(users)
    assert str(unknown) == str(wrong)


async def test_a_disabled_user_cannot_sign_in(users: Users):
    await users.add("lee", PASSWORD, "viewer")
    await users.set_enabled("lee", enabled=False)
    await fails(users, "lee", password=PASSWORD)
    await users.set_enabled("lee", enabled=True)
    assert await users.sign_in("lee", PASSWORD, "", HERE)


async def test_a_name_waits_at_one_address_and_at_no_other(users: Users):
    for _ in range(5):
        assert (await fails(users)).wait_s == 0
    refused = await fails(users, password=PASSWORD)
    assert 0 < refused.wait_s <= 30
    assert await users.sign_in("kim", PASSWORD, "", "192.0.2.2")


async def test_an_address_that_tries_many_names_waits(users: Users):
    for number in range(20):
        assert (await fails(users, f"user{number}")).wait_s == 0
    assert 0 < (await fails(users, password=PASSWORD)).wait_s <= 30


async def attack(users: Users, addresses: int, each: int = 5, name: str = "kim") -> None:
    """Wrong passwords for a name from many addresses."""
    for number in range(addresses):
        for _ in range(each):
            with pytest.raises(SignInRefused):
                await users.sign_in(name, "not this one", "", f"198.51.100.{number}")


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """By how much answers were delayed; nothing waits for it."""
    delays: list[float] = []

    async def sleep_until(deadline: float) -> None:
        delays.append(deadline - trio.current_time())
        await trio.lowlevel.checkpoint()

    monkeypatch.setattr("relay.users.trio.sleep_until", sleep_until)
    return delays


async def test_a_name_that_is_tried_from_everywhere_is_only_answered_later(
    users: Users, slept: list[float]
):
    await attack(users, 10)
    assert (await users.sign_in("kim", PASSWORD, "", "203.0.113.1")).name == "kim"
    assert 0 < slept[-1] <= 3


async def test_a_user_at_an_address_of_before_is_not_slowed_by_others(
    users: Users, slept: list[float]
):
    await users.sign_in("kim", PASSWORD, "", "203.0.113.1")
    await attack(users, 10)
    # Somebody else there tries every name.
    for number in range(25):
        with pytest.raises(SignInRefused):
            await users.sign_in(f"user{number}", "not this one", "", "203.0.113.1")
    slept.clear()
    assert await users.sign_in("kim", PASSWORD, "", "203.0.113.1")
    assert slept == []


async def test_a_right_code_is_answered_at_once(users: Users, slept: list[float]):
    secret, codes = await with_second_factor(users)
    await attack(users, 10)
    slept.clear()
    later = passwords.totp_code(secret, time.time() + 30)
    assert await users.sign_in("kim", PASSWORD, later, "203.0.113.1")
    assert await users.sign_in("kim", PASSWORD, codes[0], "203.0.113.2")
    assert slept == []


async def test_an_unknown_name_is_slowed_like_a_users(users: Users, slept: list[float]):
    await attack(users, 4)
    of_user = len(slept)
    slept.clear()
    await attack(users, 4, name="nobody")
    assert len(slept) == of_user > 0


async def test_the_addresses_of_one_subscriber_are_one(users: Users):
    for number in range(5):
        assert (await fails(users, address=f"2001:db8::{number:x}")).wait_s == 0
    assert (await fails(users, address="2001:db8::ffff:1")).wait_s > 0
    assert (await fails(users, address="2001:db8:0:1::1")).wait_s == 0
    assert (await fails(users, address="::ffff:192.0.2.7")).wait_s == 0


async def test_codes_are_not_guessed_with_the_right_password_from_many_addresses(
    users: Users, slept: list[float]
):
    secret, codes = await with_second_factor(users)
    await users.sign_in("kim", PASSWORD, passwords.totp_code(secret, time.time() + 30), HERE)
    for number in range(9):
        await fails(users, password=PASSWORD, address=f"198.51.100.{number}")
    await users.sign_in("kim", PASSWORD, codes[0], "198.51.100.99")
    await fails(users, password=PASSWORD, address="198.51.100.100")
    with pytest.raises(SignInRefused):
        await users.sign_in("kim", PASSWORD, codes[1], "198.51.100.101")
    # A place of before has tries of its own.
    assert await users.sign_in("kim", PASSWORD, codes[1], HERE)


async def test_what_is_stored_of_attempts_has_a_bound(
    users: Users, opened: Store, monkeypatch: pytest.MonkeyPatch, slept: list[float]
):
    monkeypatch.setattr("relay.attempts._SLOTS", 4)
    for number in range(30):
        with pytest.raises(SignInRefused):
            await users.sign_in(f"user{number}", "x", "", f"2001:db8:0:{number:x}::1")
    assert len(await opened._db.call("KEYS", name("attempts", "*"))) <= 12


async def test_of_a_users_addresses_the_newest_are_kept(users: Users, opened: Store):
    for number in range(25):
        await users.sign_in("kim", PASSWORD, "", f"198.51.100.{number}")
    [known] = await opened._db.call("KEYS", name("known", "*"))
    assert await opened._db.call("ZCARD", known) == 20
    await users.add("boss", PASSWORD, "admin")
    await users.remove("kim")
    assert not await opened._db.call("EXISTS", known)


async def test_the_log_counts_a_wrong_password_once_and_none_of_a_known_address(
    users: Users, caplog: pytest.LogCaptureFixture
):
    await fails(users)
    await fails(users)
    await users.sign_in("kim", PASSWORD, "", "203.0.113.1")
    await fails(users, address="203.0.113.1")
    counted = [text for text in caplog.messages if text.endswith("could not sign in")]
    assert len(counted) == 1
    assert sum("could not sign in" in text for text in caplog.messages) == 3


async def test_who_is_signed_in_is_not_slowed_by_others(users: Users, slept: list[float]):
    await attack(users, 10)
    await users.confirm("kim", PASSWORD, "203.0.113.1")
    assert slept[-1] <= 3


async def test_one_address_cannot_lock_a_name_for_others(users: Users):
    for _ in range(60):
        await fails(users)
    assert await users.sign_in("kim", PASSWORD, "", "192.0.2.2")


async def test_guesses_at_one_time_are_no_more_than_one_by_one(users: Users):
    tried: list[int] = []

    async def guess() -> None:
        tried.append((await fails(users)).wait_s)

    async with trio.open_nursery() as nursery:
        for _ in range(30):
            nursery.start_soon(guess)
    assert tried.count(0) == 5


async def test_people_who_sign_in_often_are_not_locked_out(users: Users):
    for _ in range(25):
        await users.sign_in("kim", PASSWORD, "", HERE)


async def test_counts_end_by_themselves(users: Users, opened: Store):
    for _ in range(6):
        await fails(users)
    for key in await opened._db.call("KEYS", name("attempts", "*")):
        assert 0 < await opened._db.call("TTL", key) <= 15 * 60


# The second factor.


async def test_a_second_factor_is_asked_for_and_a_code_works_once(users: Users):
    secret, _ = await with_second_factor(users)
    await fails(users, password=PASSWORD)
    with pytest.raises(SignInRefused):
        await users.sign_in("kim", PASSWORD, passwords.totp_code(secret), HERE)
    later = passwords.totp_code(secret, time.time() + 30)
    assert await users.sign_in("kim", PASSWORD, later, HERE)
    with pytest.raises(SignInRefused):
        await users.sign_in("kim", PASSWORD, later, HERE)


async def test_of_two_with_the_same_code_at_one_time_one_gets_in(users: Users):
    secret, _ = await with_second_factor(users)
    code, got_in = passwords.totp_code(secret, time.time() + 30), []

    async def sign_in() -> None:
        with contextlib.suppress(SignInRefused):
            got_in.append(await users.sign_in("kim", PASSWORD, code, HERE))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(sign_in)
        nursery.start_soon(sign_in)
    assert len(got_in) == 1


async def test_a_recovery_code_works_once(users: Users, opened: Store):
    _, codes = await with_second_factor(users)
    assert await users.sign_in("kim", PASSWORD, codes[3].upper() + " ", HERE)
    with pytest.raises(SignInRefused):
        await users.sign_in("kim", PASSWORD, codes[3], HERE)
    assert await opened.users.recovery_count("kim") == 9
    kept = await opened._db.call("SMEMBERS", name("recovery", "kim"))
    assert not any(code.encode() in kept for code in codes)


async def test_a_secret_without_its_code_is_not_taken(users: Users):
    with pytest.raises(UserProblem, match="clock"):
        await users.set_second_factor("kim", passwords.new_totp_secret(), "000000")
    assert not (await users.find("kim")).has_second_factor


async def test_the_second_factor_is_encrypted_and_can_be_taken_away(users: Users, opened: Store):
    secret, _ = await with_second_factor(users)
    assert secret not in str(await opened.users.read("kim"))
    assert (await users.find("kim")).has_second_factor
    await users.drop_second_factor("kim")
    assert await users.sign_in("kim", PASSWORD, "", HERE)
    assert await opened.users.recovery_count("kim") == 0


# Sessions.


async def opens(users: Users, address: str = HERE) -> str:
    return await users.open_session(await users.find("kim"), address, "Browser/1")


async def test_a_session_is_known_by_its_token_alone(users: Users, opened: Store):
    token = await opens(users)
    session = await users.session(token)
    assert session
    assert (session.user.name, session.address, session.agent) == ("kim", HERE, "Browser/1")
    assert await users.session(token + "x") is None
    assert await users.session("") is None
    assert await users.session(session.id) is None
    assert token.encode() not in b"".join(await opened._db.call("KEYS", "*"))


async def test_a_new_role_counts_from_the_next_look_on(users: Users):
    await users.add("lee", PASSWORD, "admin")
    token = await opens(users)
    await users.set_role("kim", "viewer")
    session = await users.session(token)
    assert session
    assert session.user.role == "viewer"


@pytest.mark.parametrize("end", ["password", "disable", "remove", "everywhere"])
async def test_sessions_end_with(users: Users, end: str):
    await users.add("lee", PASSWORD, "admin")
    tokens = [await opens(users), await opens(users, "192.0.2.9")]
    assert len(await users.sessions("kim")) == 2
    match end:
        case "password":
            await users.set_password("kim", "another password")
        case "disable":
            await users.set_enabled("kim", enabled=False)
        case "remove":
            await users.remove("kim")
        case _:
            await users.sign_out_everywhere("kim")
    assert [await users.session(token) for token in tokens] == [None, None]
    assert await users.sessions("kim") == []


async def test_who_closes_sessions_stands_in_the_audit(opened: Store, users: Users):
    """A browser that signs itself out changes nothing for anybody else."""
    audit = Audit(opened, VAULT)
    before = len(await audit.newest(50))
    sessions = [await users.session(await opens(users)) for _ in range(3)]
    assert sessions[0] is not None
    assert sessions[1] is not None
    await users.sign_out(sessions[0])
    await users.close_session("kim", sessions[1].id)
    await users.close_session("kim", "unknown")
    await users.sign_out_everywhere("kim")
    await users.sign_everybody_out()
    written = (await audit.newest(50))[: -before or None][::-1]
    assert [(one.action, one.subject) for one in written] == [
        ("session.close", "user kim"),
        ("session.close_all", "user kim"),
        ("session.close_all", "everybody"),
    ]
    assert await users.sessions("kim") == []


async def test_one_session_is_closed_by_its_owner_alone(users: Users):
    await users.add("lee", PASSWORD, "admin")
    token, other = await opens(users), await opens(users)
    session = await users.session(token)
    assert session
    await users.close_session("lee", session.id)
    assert await users.session(token)
    await users.close_session("kim", session.id)
    assert await users.session(token) is None
    assert await users.session(other)


async def test_a_session_ends_a_week_after_it_began_however_much_it_is_used(
    users: Users, opened: Store
):
    token = await opens(users)
    session = await users.session(token)
    assert session
    begun = str(int((time.time() - 7 * 24 * 3600 - 1) * 1000))
    await opened._db.call("HSET", name("session", session.id), "began_at", begun)
    assert await users.session(token) is None
    assert await opened._db.call("EXISTS", name("session", session.id)) == 0


async def test_a_session_that_nobody_uses_ends_after_half_a_day(users: Users, opened: Store):
    token = await opens(users)
    session = await users.session(token)
    assert session
    key = name("session", session.id)
    assert 0 < await opened._db.call("TTL", key) <= 12 * 3600
    await opened._db.call("EXPIRE", key, 60)
    await opened._db.call("HSET", key, "used_at", str(int((time.time() - 120) * 1000)))
    assert await users.session(token)
    assert await opened._db.call("TTL", key) > 3600
