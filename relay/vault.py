"""Encryption at rest, the hash of keys, and the making of keys and ids.

Nothing here stores anything, and no message of an error carries a secret. Rotating ENCRYPT_KEY
never touches the hash of keys, which hangs on JWT_SECRET alone.
"""

import base64
import hmac
import os
import string

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

_VERSION = "v1"
# What AES-GCM is made for; random ones are safe for four billion records under one key.
_NONCE_BYTES = 12
_KEY_ID_BYTES = 6
_KEY_LENGTH = 43  # 256 bits in base62
_ID_LENGTH = 22  # 131 bits in base62

_ALPHABET = (string.digits + string.ascii_uppercase + string.ascii_lowercase).encode()
_BASE62 = bytes(_ALPHABET[byte % 62] for byte in range(256))
# 248 is four times 62: with these bytes left out every character is equally likely.
_UNEVEN = bytes(range(248, 256))


class VaultError(Exception):
    """A sentence about why a record cannot be made or read; never a secret in it."""


class Vault:
    """Encrypts what must be read again and hashes what must only be recognised.

    Args:
        encrypt_key: encrypts every new record.
        jwt_secret: keys the hash of keys.
        previous_encrypt_key: still opens its own records while a rotation goes on.
    """

    def __init__(
        self, encrypt_key: str, jwt_secret: str, previous_encrypt_key: str | None = None
    ) -> None:
        self._hash_key = _derived(jwt_secret, b"key-hash")
        self._seal_key = _derived(jwt_secret, b"seal")
        self._current, cipher = _cipher(encrypt_key)
        ciphers = {self._current: cipher}
        if previous_encrypt_key is not None:
            key_id, cipher = _cipher(previous_encrypt_key)
            ciphers.setdefault(key_id, cipher)
        self._ciphers = ciphers

    def encrypt(self, plain: str, *, purpose: str) -> str:
        """`plain` as a record "v1.KEY-ID.BASE64URL" that opens for the same `purpose` only."""
        nonce = os.urandom(_NONCE_BYTES)
        sealed = self._ciphers[self._current].encrypt(nonce, plain.encode(), purpose.encode())
        return f"{_VERSION}.{self._current}.{base64.urlsafe_b64encode(nonce + sealed).decode()}"

    def decrypt(self, record: str, *, purpose: str) -> str:
        """The text in a record that encrypt() made for `purpose`.

        Raises:
            VaultError: another ENCRYPT_KEY made it, it is damaged, or it has another purpose.
        """
        version, _, rest = record.partition(".")
        key_id, _, text = rest.partition(".")
        if version != _VERSION:
            raise VaultError(f"The encrypted {purpose} has a form that this version cannot read.")
        cipher = self._ciphers.get(key_id)
        if cipher is None:
            raise VaultError(
                f"The encrypted {purpose} was made with another ENCRYPT_KEY;"
                " give that one as ENCRYPT_KEY_PREVIOUS."
            )
        try:
            sealed = base64.b64decode(text, altchars=b"-_", validate=True)
            nonce, sealed = sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:]
            return cipher.decrypt(nonce, sealed, purpose.encode()).decode()
        except (InvalidTag, ValueError):
            raise VaultError(
                f"The encrypted {purpose} is damaged or belongs to something else."
            ) from None

    def is_current(self, record: str) -> bool:
        """Whether a record was made with the current ENCRYPT_KEY."""
        return record.startswith(f"{_VERSION}.{self._current}.")

    def key_hash(self, key: str) -> str:
        """The hex HMAC-SHA256 by which a key is recognised; an empty key has none."""
        if not key:
            raise VaultError("An empty key cannot be hashed.")
        return hmac.digest(self._hash_key, key.encode(), "sha256").hex()

    def seal(self, text: str, *, purpose: str) -> str:
        """The hex HMAC-SHA256 by which text is known to be ours, for one purpose alone."""
        return hmac.digest(self._seal_key, f"{purpose}|{text}".encode(), "sha256").hex()


def _derived(secret: str, info: bytes, length: int = 32) -> bytes:
    if not secret:
        raise VaultError("A secret is empty; JWT_SECRET and ENCRYPT_KEY must both be given.")
    return HKDF(SHA256(), length=length, salt=None, info=info).derive(secret.encode())


def _cipher(encrypt_key: str) -> tuple[str, AESGCM]:
    key_id = _derived(encrypt_key, b"encrypt-key-id", _KEY_ID_BYTES).hex()
    return key_id, AESGCM(_derived(encrypt_key, b"encrypt"))


def new_key(prefix: str) -> str:
    """A key as a client presents it: the prefix and 256 random bits in base62."""
    return prefix + _random_base62(_KEY_LENGTH)


def new_id(kind: str) -> str:
    """A fresh id such as "req_…"; cheap, because each request gets one."""
    return f"{kind}_{_random_base62(_ID_LENGTH)}"


def _random_base62(length: int) -> str:
    text = b""
    while len(text) < length:
        text += os.urandom(2 * length).translate(_BASE62, _UNEVEN)
    return text[:length].decode()


def same_secret(a: str, b: str) -> bool:
    """Whether both are the same, in constant time; an empty one equals nothing."""
    return bool(a) and bool(b) and hmac.compare_digest(a.encode(), b.encode())
