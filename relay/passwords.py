"""Passwords, one-time codes and recovery codes: made and compared, stored by nobody here."""

import base64
import os
import secrets
import time

import trio
from cryptography.exceptions import InvalidKey
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from cryptography.hazmat.primitives.twofactor.totp import TOTP

from relay.settings import LEAST_PASSWORD
from relay.vault import same_secret

# OWASP's choice for Argon2id: 19 MiB, two passes, about 30 ms.
_MEMORY_KIB, _PASSES = 19 * 1024, 2
_MOST_LENGTH = 1024
_STEP_S = 30
_RECOVERY_CODES = 10


def check_password(password: str) -> None:
    """Raise ValueError with a sentence unless it may be a password."""
    if not LEAST_PASSWORD <= len(password) <= _MOST_LENGTH:
        raise ValueError(f"A password has at least {LEAST_PASSWORD} characters.")


def new_password() -> str:
    """A password that nobody guesses."""
    return secrets.token_urlsafe(15)


async def hashed(password: str, limiter: trio.CapacityLimiter | None = None) -> str:
    """A password as it is kept: Argon2id in the PHC form.

    Args:
        limiter: bounds how many are worked on at one time; each takes 19 MiB.
    """

    def derive() -> str:
        kdf = Argon2id(
            salt=os.urandom(16), length=32, iterations=_PASSES, lanes=1, memory_cost=_MEMORY_KIB
        )
        return kdf.derive_phc_encoded(password.encode())

    return await trio.to_thread.run_sync(derive, limiter=limiter)


async def is_password(
    password: str, kept: str, limiter: trio.CapacityLimiter | None = None
) -> bool:
    """Whether `kept` was made of this password; takes as long when `kept` is empty."""
    if not kept:
        await hashed(password, limiter)
        return False

    def verify() -> bool:
        try:
            Argon2id.verify_phc_encoded(password.encode(), kept)
        except InvalidKey:
            return False
        return True

    return await trio.to_thread.run_sync(verify, limiter=limiter)


def new_totp_secret() -> str:
    """A secret for an authenticator app, base32."""
    return base64.b32encode(os.urandom(20)).decode()


def totp_uri(secret: str, user: str, issuer: str) -> str:
    """What an authenticator app reads out of the QR code (RFC 6238: SHA-1, 6 digits, 30 s)."""
    return _totp(secret).get_provisioning_uri(user, issuer)


def totp_step(secret: str, code: str, now: float | None = None) -> int | None:
    """The time step whose code this is, of the last, this and the next one; None for none.

    A step that was used before must not be taken again.
    """
    step = int((time.time() if now is None else now) // _STEP_S)
    given = code.replace(" ", "")
    for one in (step - 1, step, step + 1):
        if same_secret(_totp(secret).generate(one * _STEP_S).decode(), given):
            return one
    return None


def totp_code(secret: str, now: float | None = None) -> str:
    """The code that an authenticator app shows now."""
    return _totp(secret).generate(time.time() if now is None else now).decode()


def _totp(secret: str) -> TOTP:
    # SHA-1 is what every authenticator app knows; HMAC does not need it to resist collisions.
    return TOTP(base64.b32decode(secret), 6, SHA1(), _STEP_S)  # noqa: S303


def new_recovery_codes() -> list[str]:
    """Codes that each work once in the place of the second factor, 50 bits each."""
    texts = (base64.b32encode(os.urandom(7)).decode()[:10].lower() for _ in range(_RECOVERY_CODES))
    return [f"{text[:5]}-{text[5:]}" for text in texts]
