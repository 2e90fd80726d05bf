"""The headers of a request as the upstream gets them, and of its answer as the client does."""

from collections.abc import Sequence

from relay import errors, limits
from relay.client import Client
from relay.lease import Lease
from relay.upstream import Reply

Headers = list[tuple[bytes, bytes]]

# Everything a client's request may tell the upstream. `anthropic-*` is an open list: new
# headers and beta values must pass. The client's credential, cookies and addresses must not.
_PASSED_TO_UPSTREAM = frozenset({b"accept", b"content-type", b"user-agent", b"x-app"})
_PASSED_PREFIXES = (b"anthropic-", b"x-stainless-")
# A credential may be good for several workspaces. Which of them a key reaches is not its to say:
# what lives there belongs to other keys.
_WORKSPACE, _ORGANIZATION = b"anthropic-workspace-id", b"anthropic-organization-id"

# RFC 9110 section 7.6.1, and what speaks of the upstream's own connection or quota.
_KEPT_FROM_CLIENT = frozenset(
    {
        b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-connection", b"te",
        b"trailer", b"transfer-encoding", b"upgrade", b"alt-svc", b"date", b"server",
        b"set-cookie", b"strict-transport-security", b"via", b"request-id", b"x-request-id",
        b"x-accel-buffering",
    }
)  # fmt: skip
_LONGEST_PLACE = 100
_QUOTA_PREFIX = b"anthropic-ratelimit-"


def upstream_headers(client: Client, lease: Lease, *, plain: bool) -> Headers:
    """The headers that go upstream: the account's credential in, the client's out."""
    headers = [
        (name, value)
        for name, value in client.headers
        if name in _PASSED_TO_UPSTREAM or (name.startswith(_PASSED_PREFIXES) and name != _WORKSPACE)
    ]
    packed = not plain and not lease.call.stream and b"gzip" in client.header(b"accept-encoding")
    headers.append((b"accept-encoding", b"gzip" if packed else b"identity"))
    headers.append(lease.credential.header)
    return _with_beta(headers, lease.credential.beta) if lease.credential.beta else headers


def _with_beta(headers: Headers, beta: bytes) -> Headers:
    """The headers with `beta` among the values of `anthropic-beta`."""
    name = b"anthropic-beta"
    given = [value for known, value in headers if known == name]
    if any(beta in value.replace(b" ", b"").split(b",") for value in given):
        return headers
    others = [pair for pair in headers if pair[0] != name]
    return [*others, (name, b",".join([*given, beta]))]


def answer_headers(client: Client, lease: Lease, reply: Reply) -> Headers:
    """The upstream's headers as the client sees them: ours is the request's id."""
    return passed_headers(client, lease, reply.headers)


def passed_headers(client: Client, lease: Lease, given: Sequence[tuple[bytes, bytes]]) -> Headers:
    """The same of an answer that is over."""
    headers = [
        (name, value)
        for name, value in given
        if name not in _KEPT_FROM_CLIENT and not name.startswith(_QUOTA_PREFIX)
    ]
    headers += errors.identity(client.request_id)
    if lease.upstream_request_id:
        headers.append((b"x-upstream-request-id", lease.upstream_request_id.encode("latin-1")))
    if lease.status == 200:
        headers += limits.utilisation(lease.account.budget)
    if lease.call.left_out:
        headers.append((b"x-relay-left-out", "; ".join(lease.call.left_out).encode("ascii")))
    if lease.account.shows_account:
        headers.append((b"x-relay-account", lease.account.account_name.encode()))
    return headers


def belongs_to(headers: Sequence[tuple[bytes, bytes]]) -> tuple[str, str]:
    """The organisation and the workspace of the account that answered; empty where not told."""
    named = dict(headers)
    organization = named.get(_ORGANIZATION, b"")[:_LONGEST_PLACE].decode("latin-1")
    workspace = named.get(_WORKSPACE, b"")[:_LONGEST_PLACE].decode("latin-1")
    is_plain = organization.isprintable() and workspace.isprintable()
    return (organization, workspace) if organization and is_plain else ("", "")


def value_of(headers: Sequence[tuple[bytes, bytes]], name: bytes) -> bytes:
    """The first value of a header, or empty."""
    return next((value for given, value in headers if given == name), b"")
