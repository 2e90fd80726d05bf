"""What an account is: an upstream's address and the credential that the relay holds for it.

Secrets are encrypted at rest and readable only here; the admission script chooses an account by
id and version, and this room hands out the decrypted one. It must never show a secret, and never
send one to a host that its kind may not speak to.
"""

from relay.accounts.kinds import ADMIN_KEY_PREFIX, KIND_NAMES
from relay.accounts.reach import Reach
from relay.accounts.register import Accounts, TestResult
from relay.accounts.signins import SignIns
from relay.accounts.values import AUTH_HEADERS, Account, AccountProblem, Credential

__all__ = [
    "ADMIN_KEY_PREFIX",
    "AUTH_HEADERS",
    "KIND_NAMES",
    "Account",
    "AccountProblem",
    "Accounts",
    "Credential",
    "Reach",
    "SignIns",
    "TestResult",
]
