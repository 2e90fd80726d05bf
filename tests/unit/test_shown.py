"""How the console shows values."""

import pytest

from relay.web.shown import browser, coded, listed, short


def test_commands_in_a_sentence_stand_as_code_and_nothing_of_it_is_markup() -> None:
    assert coded("Run `relay <b>`, then wait.") == "Run <code>relay &lt;b&gt;</code>, then wait."
    assert coded("<i>") == "&lt;i&gt;"
    assert coded("one ` alone") == "one ` alone"


@pytest.mark.parametrize(
    ("agent", "words"),
    [
        ("Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0"
         " Safari/537.36", "Chrome, Linux"),
        ("Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko)"
         " Chrome/140.0 Safari/537.36 Edg/140.0", "Edge, Windows"),
        ("Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like"
         " Gecko) Version/18.0 Mobile/15E148 Safari/604.1", "Safari, iPhone"),
        ("python-httpx/0.28.1", "python-httpx/0.28.1"),
        ("", ""),
    ],
)  # fmt: skip
def test_a_browser_is_named_in_two_words(agent: str, words: str) -> None:
    assert browser(agent) == words


def test_a_large_number_is_short_and_whole_in_its_title() -> None:
    assert short(9_999) == "9,999"
    assert short(12_345) == '<data value="12345" title="12,345">12.3 k</data>'
    assert ">1.2 M<" in short(1_234_567)
    assert ">2.0 G<" in short(2 * 10**9)


def test_fields_are_told_in_one_line() -> None:
    assert listed({"a": [1, 2], "b": True, "c": None}) == "a=1, 2, b=true, c="
