"""What a zygote sets for libraries, which read it while they are imported."""

from __future__ import annotations

import pytest

from hotloop.gpu_runtime.user_env.zygote import Clean


def test_threads_are_told_to_spin_shortly():
    assert Clean({}, frozenset()).ours["GOMP_SPINCOUNT"] == "30000"


@pytest.mark.parametrize("name", ["GOMP_SPINCOUNT", "OMP_WAIT_POLICY"])
@pytest.mark.parametrize("whose", ["environment", "preset"])
def test_what_the_user_or_the_project_chose_stands(name: str, whose: str):
    assert "GOMP_SPINCOUNT" not in Clean(**{"environment": {}, "modules": frozenset(), whose: {name: "1"}}).ours
