"""What every test shares: hypothesis without its clock, and no silent skip in a full run."""

import functools
import os
from collections.abc import Callable, Generator
from typing import Any

import httpx
import hypothesis
import pytest

from relay.admin import app as admin_app
from relay.upstream import pool
from relay.web import app as web_app

# A busy machine is no bug, so no deadline per example; in CI the examples are always the same.
hypothesis.settings.register_profile("relay", deadline=None, derandomize="CI" in os.environ)
hypothesis.settings.load_profile("relay")

FULL_RUN = "RELAY_TESTS_ALL" in os.environ


@pytest.fixture(scope="session", autouse=True)
def _what_each_start_makes_is_made_once() -> Generator[None]:
    """A relay starts in a fifth of the time: what a start makes of the program's own files, and
    httpx of the system's authorities, is the same for each."""
    new_context = httpx._transports.default.create_ssl_context
    new_tls = pool._default_tls

    @functools.cache
    def made_with(make: Callable[[], Any], _authorities: str | None) -> Any:
        return make()

    def context(verify: Any = True, cert: Any = None, trust_env: bool = True) -> Any:
        if verify is True and cert is None:
            return made_with(new_context, os.environ.get("SSL_CERT_FILE"))
        return new_context(verify=verify, cert=cert, trust_env=trust_env)

    def tls() -> Any:
        return made_with(new_tls, os.environ.get("SSL_CERT_FILE"))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(httpx._transports.default, "create_ssl_context", context)
        patch.setattr(pool, "_default_tls", tls)
        for module, name in (
            (admin_app, "described"),
            (web_app.shown, "environment"),
            (web_app.language, "load"),
            (web_app.static_files, "load"),
        ):
            patch.setattr(module, name, functools.cache(getattr(module, name)))
        yield


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what needs root where there is none."""
    if item.get_closest_marker("root") and os.geteuid() != 0:
        pytest.skip("needs root")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Fail each test that was skipped in a full run."""
    report = yield
    if FULL_RUN and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped, which tests/run --all does not allow: {report.longrepr[2]}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Fail each file that was skipped as a whole in a full run."""
    report = yield
    if FULL_RUN and report.skipped:
        report.outcome = "failed"
        report.longrepr = f"skipped, which tests/run --all does not allow: {report.longrepr[2]}"
    return report
