"""The kinds of accounts: how each is authenticated, how its credential is renewed and refused."""

import os
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

import trio

from relay import oauth
from relay.accounts.values import AccountProblem
from relay.settings import is_anthropics

Header = tuple[bytes, bytes]

KIND_NAMES = ("api_key", "oauth", "federation", "session_key")
# What a claude.ai login looks like. The provider's terms do not allow passing these on, and
# its API refuses them outside its own apps.
_LOGIN_PREFIXES = ("sk-ant-oat", "sk-ant-sid", "sk-ant-session")
# What an admin key looks like: it reads the organisation's books, and must never serve.
ADMIN_KEY_PREFIX = "sk-ant-admin"
_NOT_ALLOWED = (
    "The provider's terms do not allow a service to hold or pass on claude.ai logins"
    " and session tokens"
)
_NEEDS_ATTENTION = "The upstream account that serves this request needs its operator's attention."
_MOST_TOKEN_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Kept:
    """What an account keeps of its credential, decrypted.

    Args:
        secret: the API key, the session key, or OAuth's refresh token.
        token: the short-lived access token of the kinds that sign in.
    """

    base_url: str
    auth: str = "x-api-key"
    secret: str = field(default="", repr=False)
    token: str = field(default="", repr=False)
    options: Mapping[str, str] = field(default_factory=dict)
    proxy: str | None = field(default=None, repr=False)


class Kind(Protocol):
    """One way in which an account signs in at its upstream.

    Attributes:
        signs_in: whether it works by a short-lived token that must be renewed.
        takes_secret: whether a person gives it a secret.
        refused: the state of an account whose credential the upstream refuses.
        sentence: what a client is told then, if no other account can serve.
        beta: a value that `anthropic-beta` must have for such a credential, or empty.
    """

    signs_in: bool
    takes_secret: bool
    refused: str
    sentence: str
    beta: bytes

    def check(self, kept: Kept) -> None:
        """Raise AccountProblem when such an account may not be."""

    def header(self, kept: Kept) -> Header:
        """The header that authenticates a request."""

    async def renew(self, kept: Kept) -> oauth.Grant:
        """A new token. Raises oauth.OAuthProblem, or AccountProblem with what is missing."""


class _NoToken:
    """A kind whose credential is what a person gave."""

    signs_in = False
    takes_secret = True
    sentence = _NEEDS_ATTENTION
    beta = b""

    async def renew(self, kept: Kept) -> oauth.Grant:
        raise AccountProblem("This kind of account has no token to renew.")


class ApiKey(_NoToken):
    """A key from the Console, or of any API that speaks its dialect."""

    refused = "unauthorized"

    def check(self, kept: Kept) -> None:
        _check_secret(kept)

    def header(self, kept: Kept) -> Header:
        return (
            _bearer(kept.secret) if kept.auth == "bearer" else (b"x-api-key", kept.secret.encode())
        )


class SessionKey(_NoToken):
    """A session cookie of an endpoint of the operator's own."""

    refused = "expired"
    sentence = f"Invalid session key or expired. {_NEEDS_ATTENTION}"

    def check(self, kept: Kept) -> None:
        _check_own_host(kept)
        _check_secret(kept)
        if set(';,"\\') & set(kept.secret):
            raise AccountProblem('A session key has none of ; , " and \\ in it.', "secret")

    def header(self, kept: Kept) -> Header:
        return b"cookie", b"sessionKey=" + kept.secret.encode()


class OAuth:
    """A sign-in at an endpoint of the operator's own, behind the operator's OAuth server."""

    signs_in = True
    takes_secret = False
    refused = "expired"
    sentence = _NEEDS_ATTENTION
    beta = b""

    def __init__(self, provider: oauth.Provider | None) -> None:
        self._provider = provider

    def check(self, kept: Kept) -> None:
        _check_own_host(kept)

    def header(self, kept: Kept) -> Header:
        return _bearer(kept.token)

    async def renew(self, kept: Kept) -> oauth.Grant:
        if self._provider is None:
            raise AccountProblem("CLAUDE_OAUTH_CLIENT_ID and its companions are not set.")
        if not kept.secret:
            raise oauth.GrantRefused("Its sign-in brought no refresh token.")
        return await oauth.renew(self._provider, kept.secret, proxy=kept.proxy)


class Federation:
    """Workload Identity Federation: an identity token file against a short-lived token.

    Source: platform.claude.com/docs/en/manage-claude/workload-identity-federation.
    """

    signs_in = True
    takes_secret = False
    refused = "unauthorized"
    sentence = _NEEDS_ATTENTION
    beta = oauth.API_BETA
    _needed = ("federation_rule_id", "organization_id", "identity_token_file")

    def __init__(self, folders: Sequence[Path]) -> None:
        self._folders = folders

    def check(self, kept: Kept) -> None:
        missing = [name for name in self._needed if not kept.options.get(name)]
        if missing:
            raise AccountProblem(
                f"An account of kind federation needs {', '.join(missing)}.", "options"
            )
        if not kept.base_url.startswith("https://") and not _is_loopback(kept.base_url):
            raise AccountProblem("An identity token goes to an https address only.", "base_url")

    def header(self, kept: Kept) -> Header:
        return _bearer(kept.token)

    def may_read(self, kept: Kept) -> bool:
        """Whether the identity token's file lies where the settings allow it."""
        try:
            return _is_below(Path(kept.options.get("identity_token_file", "")), self._folders)
        except (OSError, RuntimeError, ValueError):
            return False

    async def renew(self, kept: Kept) -> oauth.Grant:
        options = kept.options
        return await oauth.federate(
            kept.base_url,
            await trio.to_thread.run_sync(_token_in, options["identity_token_file"], self._folders),
            rule_id=options["federation_rule_id"],
            organization_id=options["organization_id"],
            service_account_id=options.get("service_account_id", ""),
            workspace_id=options.get("workspace_id", ""),
            proxy=kept.proxy,
        )


def table(
    provider: oauth.Provider | None, token_folders: Sequence[Path] = ()
) -> Mapping[str, Kind]:
    """Every kind by its name.

    Args:
        provider: the operator's OAuth server, if there is one.
        token_folders: below which identity tokens may be read; none means nowhere.
    """
    return {
        "api_key": ApiKey(),
        "oauth": OAuth(provider),
        "federation": Federation(token_folders),
        "session_key": SessionKey(),
    }


def _is_below(path: Path, folders: Sequence[Path]) -> bool:
    real = path.resolve()
    return any(real.is_relative_to(folder.resolve()) for folder in folders)


def _token_in(path: str, folders: Sequence[Path]) -> str:
    """The identity token, read anew each time: the platform rotates the file.

    Raises:
        AccountProblem: the file lies, wherever its links lead, below none of the folders that
            the settings allow, or it cannot be read or holds no token.
    """
    try:
        # Where all links lead, as platforms rotate their tokens by links.
        real = Path(path).resolve()
        if not _is_below(real, folders):
            raise AccountProblem(
                "The identity token file lies in no folder of claude.identityTokenFolders."
            )
        handle = os.open(real, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(handle, "rb") as file:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise AccountProblem("The identity token file is no regular file.")
            return file.read(_MOST_TOKEN_BYTES).decode("ascii").strip()
    except OSError as error:
        raise AccountProblem(f"The identity token file cannot be read: {error.strerror}.") from None
    except (UnicodeDecodeError, ValueError, RuntimeError):
        raise AccountProblem("The identity token file holds no token.") from None


def _bearer(token: str) -> Header:
    return b"authorization", b"Bearer " + token.encode()


def _check_own_host(kept: Kept) -> None:
    if is_anthropics(kept.base_url):
        raise AccountProblem(
            f"{_NOT_ALLOWED}: accounts of this kind speak only to an endpoint of your own."
            " Use an API key from the Console (--kind api_key).",
            "base_url",
        )


def _check_secret(kept: Kept) -> None:
    secret = kept.secret
    if not secret or not secret.isascii() or not secret.isprintable() or " " in secret:
        raise AccountProblem("A secret is one line of printable ASCII without spaces.", "secret")
    if secret.startswith(ADMIN_KEY_PREFIX):
        raise AccountProblem(
            "This is an admin key of an organisation, which serves no request; add it by"
            " `relay admin-key add`.",
            "secret",
        )
    if is_anthropics(kept.base_url) and secret.startswith(_LOGIN_PREFIXES):
        raise AccountProblem(
            f"This looks like one. {_NOT_ALLOWED}; use an API key from the Console.", "secret"
        )


def _is_loopback(base_url: str) -> bool:
    return urlsplit(base_url).hostname in ("127.0.0.1", "localhost", "::1")
