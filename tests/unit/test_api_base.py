"""Addresses of an API as people copy them."""

import pytest

from relay.accounts.values import base_url
from relay.settings import api_base

BASES = ["https://api.anthropic.com", "http://127.0.0.1:8080", "https://h.example/x/y",
         "https://v1", "https://v1.example/api", "http://[::1]:1"]  # fmt: skip
ENDS = ["", "/", "//", "/v1", "/v1/", "/v1/v1", "//v1//", "/v1/messages", "/v1/messages/",
        "/v1/messages/count_tokens", "/v1/messages/batches", "/v1/models", "/v1/files"]  # fmt: skip


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("end", ENDS)
def test_an_address_of_the_apis_own_path_means_its_base(base: str, end: str):
    assert base_url(base + end) == base


@pytest.mark.parametrize(
    "url", ["https://h/v1x", "https://h/v2", "https://h/api/messages", "https://h/v1/other"]
)
def test_every_other_path_stays(url: str):
    assert api_base(url) == url
