"""Has tests of screens wait for what there is to do, and no longer."""

from __future__ import annotations

import pytest
from tests.tui.idle import wait_for_idle


@pytest.fixture(autouse=True)
def _no_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("textual.app.wait_for_idle", wait_for_idle)
    monkeypatch.setattr("textual.pilot.wait_for_idle", wait_for_idle)
