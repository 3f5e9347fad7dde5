"""What every test shares: the user's interpreter, a state directory of its own, and no silent skips in CI."""

from __future__ import annotations

import gc
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# A law holds on a machine that is busy with other tests too: no example may fail by how long it takes.
settings.register_profile("hotloop", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("hotloop")

# Hundreds of processes run hotloop from its source: each would compile it again, which takes as long as all else that it does.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
os.environ.setdefault("HOTLOOP_UI", "plain")  # terminals that tests open have the dashboard only where it is asked for

# Why a test may be skipped where CI runs. Anything else means that the set-up broke, so CI fails instead.
EXPECTED_SKIPS = (
    "no CUDA device",
    "no inotify on this system",
    "no memory cgroup can be made here",
    "no Python 3.12 or newer found",
)

# What is collected stays until the end: to look through it for garbage took a tenth of the tests' own CPU time.
gc.disable()


def pytest_collection_finish(session: pytest.Session) -> None:
    gc.enable()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


_unexpected_skips: list[tuple[str, str]] = []


@pytest.fixture(scope="session")
def user_python() -> Path:
    """The interpreter of an environment as a user has it: torch and the real models, no hotloop."""
    value = os.environ.get("HOTLOOP_USER_PYTHON")
    if not value:
        pytest.skip("HOTLOOP_USER_PYTHON is not set: `make test` makes the environment and sets it")
    return Path(value)


@pytest.fixture(autouse=True)
def own_state_directory(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep the developer's own sessions and history out of the tests, and the tests out of them."""
    state = tmp_path_factory.mktemp("state", numbered=True)
    monkeypatch.setenv("HOTLOOP_STATE_DIR", str(state))
    return state


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    _note_skip(report)


def pytest_collectreport(report: pytest.CollectReport) -> None:
    _note_skip(report)  # a whole file that skips itself


def _note_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    if report.skipped and isinstance(report.longrepr, tuple):
        reason = str(report.longrepr[2]).removeprefix("Skipped: ")
        if not reason.startswith(EXPECTED_SKIPS):
            _unexpected_skips.append((report.nodeid, reason))


def pytest_sessionfinish(session: pytest.Session) -> None:
    if _unexpected_skips and os.environ.get("CI") == "true" and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if not _unexpected_skips or os.environ.get("CI") != "true":
        return
    terminalreporter.section("unexpected skips: CI fails on them", red=True)
    for node, reason in _unexpected_skips:
        terminalreporter.write_line(f"{node}: {reason}")
