"""The base addresses that people type, and what they are told where none of them leads anywhere.

A client puts its API's path behind a base address that a person gave it: with a `/v1` too many or
too few, a slash doubled or at the end. All of these mean the same.
"""

import json
import re
from dataclasses import dataclass

from relay.client import Client

_SLASHES = re.compile(rb"/{2,}")
_BASE = re.compile(rb"(?:/api|/claude)?(/openai(?:/claude)?)?(?:/v1)*(?:/(.+))?")
_OPENAI_ENDS = re.compile(
    rb"(?:.*/)?(?:chat/completions|completions|responses|embeddings|moderations|assistants|realtime"
    rb"|images|audio|fine_tuning|vector_stores|engines)(?:/.*)?"
)
_GEMINI = re.compile(rb"/(?:.*/)?(?:v1beta\d?|v1alpha)(?:/.*)?|.*:(?:streamG|g)enerateContent")
_HOST = re.compile(rb"[A-Za-z0-9.\-]{1,253}(?::\d{1,5})?|\[[0-9a-fA-F:.]{2,45}\](?::\d{1,5})?")
_MANAGED_AGENTS = frozenset(
    b"agents sessions environments deployments deployment_runs dreams memory_stores vaults tunnels"
    b" user_profiles".split()
)
OPENAI, ANTHROPIC = "/openai/claude/v1", "/api"


@dataclass(frozen=True, slots=True)
class Asked:
    """A path without what belongs to its base address.

    Args:
        rest: what stands behind the base, such as `messages`; empty for the base itself.
        is_openai: whether the base says that OpenAI's APIs are meant.
    """

    rest: bytes
    is_openai: bool


def plain(path: bytes) -> bytes:
    """A path without doubled slashes and without one at its end; empty for the root."""
    return _SLASHES.sub(b"/", path).rstrip(b"/")


def asked(path: bytes) -> Asked:
    """What a path asks for, under whichever base address."""
    match = _BASE.fullmatch(plain(path))
    if match is None:
        return Asked(b"", False)
    return Asked(match[2] or b"", match[1] is not None)


def speaks_openai(path: bytes) -> bool:
    """Whether a path that is not served is one of OpenAI's APIs."""
    found = asked(path)
    return found.is_openai or _OPENAI_ENDS.fullmatch(found.rest) is not None


def speaks_gemini(path: bytes) -> bool:
    """Whether a path is one of Gemini's API."""
    return _GEMINI.fullmatch(plain(path)) is not None


def unknown(client: Client) -> str:
    """The sentence about a path that is not served; it names the right base address."""
    host = client.header(b"host")
    named = host.decode() if _HOST.fullmatch(host) else "HOST"
    here = f"{client.scheme if client.scheme in ('http', 'https') else 'https'}://{named}"
    if speaks_gemini(client.path):
        return (
            "There is nothing at this path: the relay does not speak Gemini's API, so gemini-cli"
            f" cannot use it. The base URL for Anthropic's API is {here}{ANTHROPIC}, for OpenAI's"
            f" {here}{OPENAI}."
        )
    if speaks_openai(client.path):
        return (
            f"There is nothing at this path. The base URL for OpenAI's APIs is {here}{OPENAI};"
            " there are chat/completions, responses and models."
        )
    family = asked(client.path).rest.partition(b"/")[0]
    if family in _MANAGED_AGENTS:
        return (
            "The relay does not serve Managed Agents (agents, sessions, environments, vaults and"
            " their like), and no setting opens them."
        )
    if family == b"organizations":
        return "The relay does not serve the Admin API: it takes an organization's own admin key."
    return (
        "There is nothing at this path. The Anthropic API is at /api/v1/…, its base URL is"
        f" {here}{ANTHROPIC}; the base URL for OpenAI's APIs is {here}{OPENAI}."
    )


def in_geminis_words(status: int, body: bytes) -> tuple[int, bytes, bytes]:
    """Status, media type and body of an error, of status and body in the Anthropic dialect."""
    message = str(json.loads(body)["error"]["message"])
    word = "NOT_FOUND" if status == 404 else "FAILED_PRECONDITION"
    told = {"error": {"code": status, "message": message, "status": word}}
    return status, b"application/json", json.dumps(told).encode()
