"""What code refers to by name."""

from __future__ import annotations

import pytest

from hotloop.gpu_runtime.user_env.fingerprint.uses import Uses, uses_of


def test_each_import_has_the_names_of_the_code_as_parts_of_its_own_alone() -> None:
    lines = [f"import package{number}.part as p{number}\nfrom .near import name{number}" for number in range(12)]
    used = uses_of(compile("\n".join(lines), "app.py", "exec"), "mine")

    assert {"package3.part", "package3", "mine.near", "mine.near.name3"} <= used.imports
    assert len(used.imports) < 24 * 4 * 60  # imports, what each may mean, names: those of several never multiply


def test_a_name_that_may_be_computed_is_told_from_a_constant_one() -> None:
    constant = "def f(x):\n    return getattr(x, 'a')"
    last = "def f(x):\n    getattr(x, 'a')\n    return 'getattr'"  # from Python 3.12 on the last instruction has it

    assert not uses_of(compile(constant, "app.py", "exec").co_consts[0], "").is_dynamic
    assert isinstance(uses_of(compile(last, "app.py", "exec").co_consts[0], "").is_dynamic, bool)


def test_what_is_handed_on_is_told_from_what_is_asked_for_an_attribute() -> None:
    source = "def f():\n    import a.b as c\n    from d import e\n    use(c, e.x, g, h.y, getattr(i, 'j'), k.z(), l.m(n=1))\n"
    used = Uses()
    used.add(compile(source, "app.py", "exec").co_consts[0], "")

    assert used.passed == {"c", "b", "g", ".x", ".y"}


@pytest.mark.parametrize(
    ("expression", "is_dynamic"),
    [
        ("[each for each in net.modules()]", False),
        ("torch.nn.modules.module", False),
        ("sys.modules['conf']", True),
        ("list(sys.modules)", True),
    ],
)
def test_modules_of_sys_are_told_from_a_networks(expression: str, is_dynamic: bool) -> None:
    code = compile(f"def f(net):\n    return {expression}\n", "app.py", "exec").co_consts[0]

    assert uses_of(code, "").is_dynamic is is_dynamic
