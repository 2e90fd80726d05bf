"""The console's languages, one file each; the pages themselves are written in English."""

import importlib.resources
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass

ENGLISH = "en"


@dataclass(frozen=True, slots=True)
class Language:
    """A language: its code, its own name, and what it says for each English text."""

    code: str
    name: str
    texts: Mapping[str, str]

    def text(self, english: str, **values: object) -> str:
        """The text in this language, with {name} replaced by values."""
        found = self.texts.get(english, english)
        return found.format(**values) if values else found


def load() -> Mapping[str, Language]:
    """Every language by its code."""
    found: dict[str, Language] = {}
    folder = importlib.resources.files("relay.web") / "languages"
    for file in sorted(folder.iterdir(), key=lambda one: one.name):
        if file.name.endswith(".toml"):
            code = file.name.removesuffix(".toml")
            table = tomllib.loads(file.read_text(encoding="utf-8"))
            found[code] = Language(code, table["name"], table["texts"])
    return found


def chosen(languages: Mapping[str, Language], cookie: str, accepted: str) -> Language:
    """The language of a person's cookie, else the first that their browser asks for."""
    codes = [cookie]
    weighed = (one.strip().partition(";q=") for one in accepted.split(",") if one.strip())
    ranked = sorted(weighed, key=lambda one: -_weight(one[2]))
    codes += [tag.partition("-")[0].lower() for tag, _, _ in ranked]
    return languages[next((code for code in codes if code in languages), ENGLISH)]


def _weight(text: str) -> float:
    try:
        return float(text or 1)
    except ValueError:
        return 0.0
