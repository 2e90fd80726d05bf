"""The console's languages: nothing that a page says is missing in one, and nothing is left over."""

import ast
import inspect
import re
from pathlib import Path

import pytest

import relay.web
from relay.accounts import KIND_NAMES
from relay.accounts.values import _ADVICE
from relay.lease import Lease
from relay.limits import PERIODS
from relay.reconcile.runs import _TOO_LONG
from relay.users import ROLES
from relay.web.language import Language, chosen, load
from relay.web.visit import _DONE

from . import sentences

CHOOSE = Path(relay.web.__file__).parents[1] / "lua" / "choose.lua"
FOLDER = Path(relay.web.__file__).parent
LANGUAGES = load()
# What pages put together from a word of the program.
BUILT = {
    *(f"limit {name}" for name in ("rate", "tokens", "daily", "monthly", "concurrency")),
    *(f"{kind} {period}" for kind in ("budget", "word") for period in PERIODS),
    *(f"whose {one}" for one in ("relay", "key", "owner", "account")),
    "strict", "soft", *ROLES, *_DONE.values(),
    "ok", "enabled", "disabled", "cooling", "overloaded", "failing", "exhausted", "unauthorized",
    *(f"advice {state}" for state in _ADVICE), *(f"advice expired {kind}" for kind in KIND_NAMES),
    "by a person", "its token has run out", "not signed in yet",
    "expired", "warning", "critical", "unseen",
}  # fmt: skip
# Sentences that are not made where they are told: why an account was chosen, why others were not.
UNRAISED = {
    *re.findall(r'return "(.*)"', inspect.getsource(Lease.reason)),
    *set(re.findall(r"nil, a\[1\], '(\w+)'", CHOOSE.read_text())) - BUILT,
    "It cannot be reached.",
    _TOO_LONG,
}


def said() -> set[str]:
    """Every English text that a template or a module asks for."""
    found = set(BUILT)
    for template in (FOLDER / "templates").glob("*.html"):
        for pattern in (r'\bt\("((?:[^"\\]|\\.)*)"[,)]', r"\bt\('((?:[^'\\]|\\.)*)'[,)]"):
            found |= set(re.findall(pattern, template.read_text()))
    for module in FOLDER.glob("*.py"):
        for node in ast.walk(ast.parse(module.read_text())):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr == "text"
                and isinstance(node.args[0], ast.Constant)
            ):
                found.add(str(node.args[0].value))
    return found


def fields(text: str) -> set[str]:
    return set(re.findall(r"{(\w+)}", text))


@pytest.mark.parametrize("language", [one for one in LANGUAGES.values() if one.code != "en"])
def test_a_language_says_all_that_the_pages_say_and_no_more(language: Language):
    assert set(language.texts) == said()


@pytest.mark.parametrize("language", [one for one in LANGUAGES.values() if one.code != "en"])
def test_a_language_says_each_sentence_of_the_program_and_no_more(language: Language):
    assert set(language.sentences) == sentences.templates() | UNRAISED


@pytest.mark.parametrize(
    ("sentence", "told"),
    [
        ("There is no code in it.", "코드가 들어 있지 않습니다."),
        ("There is a key named a.b* already.", "a.b* 이름의 키가 이미 있습니다."),
        ("'x' is not a whole number from 0 to 9.", "'x'은(는) 0에서 9 사이의 정수가 아닙니다."),
        ("'a' is not a base URL: Port {1}.", "'a'은(는) API 주소가 아닙니다: Port {1}."),
        ("disabled", "중지됨"),
        ("Nobody wrote this.", "Nobody wrote this."),
    ],
)
def test_a_sentence_is_found_by_its_words_around_what_it_names(sentence: str, told: str):
    assert LANGUAGES["ko"].told(sentence) == told
    assert LANGUAGES["en"].told(sentence) == sentence


def test_english_has_a_text_for_each_word_of_the_program_and_no_more():
    coded = {
        text
        for text in BUILT
        if text.split(" ")[0] in ("limit", "budget", "word", "whose", "advice")
    }
    assert set(LANGUAGES["en"].texts) == coded


@pytest.mark.parametrize("language", LANGUAGES.values())
def test_a_text_has_the_same_fields_in_each_language(language: Language):
    for english, text in language.texts.items():
        assert fields(text) == fields(english), english
        assert text.strip(), english


def test_the_texts_of_the_pages_are_found_at_all():
    assert len(said()) > 200


@pytest.mark.parametrize(
    ("cookie", "accepted", "code"),
    [
        ("", "", "en"),
        ("", "ko-KR,ko;q=0.9,en;q=0.8", "ko"),
        ("", "en-US,en;q=0.9,ko;q=0.1", "en"),
        ("", "en;q=0.3, ko;q=0.7", "ko"),
        ("", "fr, ko;q=0.5", "ko"),
        ("", "fr", "en"),
        ("ko", "en", "ko"),
        ("xx", "ko", "ko"),
        ("", "ko;q=much", "ko"),
    ],
)
def test_a_person_gets_the_language_that_they_ask_for(cookie: str, accepted: str, code: str):
    assert chosen(LANGUAGES, cookie, accepted).code == code
