"""What every test shares: hypothesis without its clock, and no silent skip in a full run."""

import os
from collections.abc import Generator

import hypothesis
import pytest

# A busy machine is no bug, so no deadline per example; in CI the examples are always the same.
hypothesis.settings.register_profile("relay", deadline=None, derandomize="CI" in os.environ)
hypothesis.settings.load_profile("relay")

FULL_RUN = "RELAY_TESTS_ALL" in os.environ


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
