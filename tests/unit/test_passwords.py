"""Passwords and codes: what is accepted, against the vectors of RFC 6238."""

import base64

import pytest

from relay import passwords

# RFC 6238, appendix B: SHA-1 with this secret; the last six of its eight digits.
SECRET = base64.b32encode(b"12345678901234567890").decode()
VECTORS = {
    59: "287082",
    1111111109: "081804",
    1111111111: "050471",
    1234567890: "005924",
    2000000000: "279037",
    20000000000: "353130",
}


@pytest.mark.parametrize(("now", "code"), VECTORS.items())
def test_codes_are_those_of_the_rfc(now: int, code: str):
    assert passwords.totp_code(SECRET, now) == code
    assert passwords.totp_step(SECRET, code, now) == now // 30


@pytest.mark.parametrize(
    ("late_s", "is_good"), [(-60, False), (-30, True), (30, True), (60, False)]
)
def test_a_code_is_good_one_step_before_and_after_its_own(late_s: int, is_good: bool):
    now = 1111111111 // 30 * 30
    step = passwords.totp_step(SECRET, passwords.totp_code(SECRET, now), now + late_s)
    assert step == (now // 30 if is_good else None)


@pytest.mark.parametrize("code", ["", "0", "0504710", "05047", "abcdef", "０５０４７１"])  # noqa: RUF001
def test_what_is_no_code_is_no_code(code: str):
    assert passwords.totp_step(SECRET, code, 1111111111) is None


def test_a_code_may_have_spaces_as_phones_show_it():
    assert passwords.totp_step(SECRET, " 050 471 ", 1111111111) is not None


def test_phones_read_the_secret_out_of_the_uri():
    uri = passwords.totp_uri(SECRET, "kim", "Relay")
    assert uri.startswith("otpauth://totp/Relay:kim?")
    assert f"secret={SECRET}" in uri


async def test_a_password_is_known_by_its_hash_alone():
    kept = await passwords.hashed("correct horse")
    assert kept.startswith("$argon2id$")
    assert await passwords.is_password("correct horse", kept)
    assert not await passwords.is_password("correct horsf", kept)
    assert not await passwords.is_password("", kept)
    assert kept != await passwords.hashed("correct horse")


async def test_nobody_has_the_password_of_somebody_who_has_none():
    assert not await passwords.is_password("", "")


@pytest.mark.parametrize(
    ("length", "is_good"), [(9, False), (10, True), (1024, True), (1025, False)]
)
def test_a_password_has_a_length(length: int, is_good: bool):
    if is_good:
        passwords.check_password("x" * length)
    else:
        with pytest.raises(ValueError, match="at least 10"):
            passwords.check_password("x" * length)


def test_recovery_codes_are_ten_and_all_differ():
    codes = passwords.new_recovery_codes()
    assert len(set(codes)) == 10
    assert all(len(code) == 11 and code[5] == "-" for code in codes)
