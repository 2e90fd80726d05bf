"""What the documentation tells people to write for their client."""

import re

from ..process.conftest import ROOT
from .relays import Relay


def documented(page: str, language: str, words: str, relay: Relay) -> str:
    """The one example in a language, with these words, of a page of docs/; for this relay."""
    text = (ROOT / "docs" / page).read_text()
    blocks = re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    (example,) = (block for block in blocks if words in block)
    assert "http://127.0.0.1:3000/" in example
    return str(example).replace("http://127.0.0.1:3000", relay.url.removesuffix("/api"))
