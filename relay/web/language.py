"""The console's languages, one file each; the pages themselves are written in English."""

import importlib.resources
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

ENGLISH = "en"
_PLACE = re.compile(r"\\?{\d\\?}")


@dataclass(frozen=True, slots=True)
class Language:
    """A language: its code, its own name, and what it says for each English text of the pages and
    for the sentences of the program below them."""

    code: str
    name: str
    texts: Mapping[str, str]
    sentences: Mapping[str, str]
    patterns: Sequence[tuple[re.Pattern[str], str]] = ()

    def text(self, english: str, **values: object) -> str:
        """The text in this language, with {name} replaced by values."""
        found = self.texts.get(english, english)
        return found.format(**values) if values else found

    def told(self, sentence: str) -> str:
        """A sentence of the program in this language, as it is where the language has none."""
        if known := self.sentences.get(sentence) or self.texts.get(sentence):
            return known
        for pattern, text in self.patterns:
            if found := pattern.fullmatch(sentence):
                return text.format("", *found.groups())
        return sentence


def _patterns(sentences: Mapping[str, str]) -> Sequence[tuple[re.Pattern[str], str]]:
    """What finds a sentence by its words around what it names; the most words first."""
    named = [one for one in sentences if "{1}" in one]
    return [
        (re.compile(_PLACE.sub("(.*?)", re.escape(one)), re.DOTALL), sentences[one])
        for one in sorted(named, key=lambda one: -len(_PLACE.sub("", one)))
    ]


def load() -> Mapping[str, Language]:
    """Every language by its code."""
    found: dict[str, Language] = {}
    folder = importlib.resources.files("relay.web") / "languages"
    for file in sorted(folder.iterdir(), key=lambda one: one.name):
        if file.name.endswith(".toml"):
            code = file.name.removesuffix(".toml")
            table = tomllib.loads(file.read_text(encoding="utf-8"))
            sentences = table.get("sentences", {})
            patterns = _patterns(sentences)
            found[code] = Language(code, table["name"], table["texts"], sentences, patterns)
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
