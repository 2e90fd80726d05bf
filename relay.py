"""The command line, from a checkout: `python3 relay.py …` and `relay.pyz …` are one and the same.

A Python that lacks what Relay needs hands over to the environment that install.sh made.
"""

import importlib.util
import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
PRIVATE = Path(os.environ.get("RELAY_VENV", HERE / ".venv"), "bin", "python")
NEEDED = ("click", "cryptography", "httptools", "hypercorn", "msgspec", "redis", "trio")

if __name__ == "__main__":
    if not all(importlib.util.find_spec(name) for name in NEEDED):
        if not PRIVATE.exists() or PRIVATE.parent.parent.samefile(sys.prefix):
            sys.exit("relay.py: this Python lacks what Relay needs; first run ./install.sh --try")
        os.execv(PRIVATE, [str(PRIVATE), *sys.argv])  # noqa: S606  no shell is wanted

    from relay.cli import main

    main()
