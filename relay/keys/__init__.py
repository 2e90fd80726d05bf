"""Keys: who may use the relay, for which models, and how much.

values.py says what a key is, register.py makes, finds and changes keys.
"""

from relay.keys.register import DISABLED_KEY, INVALID_KEY, KeyRef, Keys, expired_key
from relay.keys.values import USUAL_PREFIX, Key, KeyProblem, may_use

__all__ = [
    "DISABLED_KEY",
    "INVALID_KEY",
    "USUAL_PREFIX",
    "Key",
    "KeyProblem",
    "KeyRef",
    "Keys",
    "expired_key",
    "may_use",
]
