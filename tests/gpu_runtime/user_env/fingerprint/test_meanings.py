"""What a comparison keeps for the next one."""

from __future__ import annotations

import pytest
from tests.gpu_runtime.user_env.conftest import UserProject

from hotloop.gpu_runtime.user_env.fingerprint.compare import Present
from hotloop.gpu_runtime.user_env.fingerprint.uses import Meanings, Uses


def meanings(present: Present, *names: str) -> dict[str, str]:
    found = Meanings(present.project, present.places, present.meanings)
    found.collect({"shop": Uses(set(names))}, is_wide=False)
    return found.digests


def test_what_may_show_variables_is_looked_at_again_when_some_were_set(
    user: UserProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    user.load("import os\nENVIRONMENT, LIMIT, NAMES = os.environ, 3, [os.environ]\n")
    names = ("ENVIRONMENT", "LIMIT", "NAMES", "os")
    present = Present(user.project)
    before, known = meanings(present, *names), dict(present.meanings)
    monkeypatch.setenv("LEFT_BY_A_LOADER", "1")
    present.forget_settings()
    after = meanings(present, *names)

    assert {name for name in before if before[name] != after[name]} == {"shop.ENVIRONMENT", "shop.NAMES"}
    assert present.meanings["shop.LIMIT"] is known["shop.LIMIT"]
    assert present.meanings["shop.os"] is known["shop.os"]


def test_so_is_what_statements_that_run_on_import_name(user: UserProject, monkeypatch: pytest.MonkeyPatch) -> None:
    user.load("import os, sys\nNAMES, LIMIT = [os.environ], 3\nsys.modules.setdefault('a', NAMES)\n")
    present = Present(user.project)
    before = {"shop": present.effects.of_all(["shop"])["shop"]}
    assert present.effects.changed(before, ()) == ("", "")
    monkeypatch.setenv("LEFT_BY_A_LOADER", "1")
    present.forget_settings()

    assert present.effects.changed(before, ()) == ("shop", "shop.NAMES")
