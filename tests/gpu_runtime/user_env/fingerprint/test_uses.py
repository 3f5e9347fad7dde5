"""What code refers to by name."""

from __future__ import annotations

from hotloop.gpu_runtime.user_env.fingerprint.uses import uses_of


def test_each_import_has_the_names_of_the_code_as_parts_of_its_own_alone() -> None:
    lines = [f"import package{number}.part as p{number}\nfrom .near import name{number}" for number in range(12)]
    used = uses_of(compile("\n".join(lines), "app.py", "exec"), "mine")

    assert {"package3.part", "package3", "mine.near", "mine.near.name3"} <= used.imports
    assert len(used.imports) < 24 * 4 * 60  # imports, what each may mean, names: those of several never multiply
