"""Real clients against a relay that runs as a process of its own."""

import functools
from collections.abc import Iterator

import pytest

from ..process.conftest import Home
from .aimock import Aimock, started
from .programs import Played, told_by
from .relays import Relay, Upstream, serve


@pytest.fixture(scope="session")
def upstream() -> Iterator[Upstream]:
    one = Upstream()
    one.start()
    yield one
    one.stop()


@pytest.fixture(scope="session")
def relay(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Relay]:
    """A relay whose upstream is the simulator."""
    home = Home(tmp_path_factory.mktemp("relay"))
    try:
        yield serve(home, upstream.base_url)
    finally:
        home.end()


@pytest.fixture(scope="session")
def played(relay: Relay, tmp_path_factory: pytest.TempPathFactory) -> Played:
    """What a program sees before the simulator, by its name; each is run once."""
    return functools.cache(lambda name: told_by(name, relay, tmp_path_factory.mktemp(name)))


@pytest.fixture(scope="module")
def module_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    one = Home(tmp_path_factory.mktemp("module"))
    yield one
    one.end()


@pytest.fixture(scope="module")
def aimock(module_home: Home, request: pytest.FixtureRequest) -> Aimock:
    """An aimock that answers by the module's FIXTURES."""
    return started(module_home, request.module.FIXTURES)


@pytest.fixture(scope="module")
def before_aimock(module_home: Home, aimock: Aimock) -> Relay:
    """A relay whose upstream is that aimock."""
    return serve(module_home, aimock.url)
