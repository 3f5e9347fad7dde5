"""Which statements of a module do something to others, whatever version of Python compiled them."""

from __future__ import annotations

import textwrap

import pytest

from hotloop import App
from hotloop.gpu_runtime.user_env.fingerprint.effects import Statement, statements

PLAIN = """
    "A docstring."
    import os
    import torch.nn as nn
    from collections import deque, abc
    NAME = "x"
    TABLE: dict[str, int] = {"a": 1}
    first, *rest = range(3)
    def f(x=NAME): return x
    class A(dict):
        def g(self): return super().g()
    async def h(): pass
"""


def found(source: str, **namespace: object) -> list[Statement]:
    return list(statements(compile(textwrap.dedent(source), "app.py", "exec"), namespace))


def names(statement: Statement) -> list[object]:
    return [shown for operation, shown in statement if operation.startswith("LOAD") and isinstance(shown, str)]


def test_definitions_imports_and_assignments_do_nothing():
    assert found(PLAIN) == []


@pytest.mark.parametrize(
    ("line", "loads"),
    [
        ("os.environ.setdefault('A', NAME)", ["os", "environ", "setdefault", "NAME"]),
        ("torch.backends.cudnn.benchmark = FLAG", ["FLAG", "torch", "backends", "cudnn"]),
        ("registry[NAME] = make", ["make", "registry", "NAME"]),
        ("del registry[NAME]", ["registry", "NAME"]),
        ("del module.name", ["module"]),
        ("patch(f'{NAME}')", ["patch", "NAME"]),
    ],
)
def test_a_statement_that_does_something_is_found_with_the_names_it_loads(line: str, loads: list[str]):
    (statement,) = found(f"{textwrap.dedent(PLAIN)}\n{line}\n")

    assert [name for name in names(statement) if name in line] == loads


def test_a_decorator_counts_and_hotloops_own_does_not():
    source = "@{0}\ndef f(): pass\n"

    assert len(found(source.format("registry.add"), registry=set())) == 1
    assert found(source.format("app.endpoint"), app=App("x")) == []


def test_names_are_found_beyond_the_reach_of_one_byte():
    many = "\n".join(f"name_{number} = {number}.5" for number in range(700))

    (statement,) = found(f"{many}\npatch(name_699, 'last')\n")

    assert names(statement)[:2] == ["patch", "name_699"]
    assert ("LOAD_CONST", ("str", "'last'")) in statement


def test_a_set_of_constants_is_the_same_in_every_order():
    one, other = found("use(x in {'a', 'b', 'c'})"), found("use(x in {'c', 'b', 'a'})")

    assert repr(one) == repr(other)


@pytest.mark.parametrize(
    "line",
    [
        "TABLE['x'] = make",
        "TABLE['x'] = f'{NAME}'",
        "TABLE[NAME] = {'a': 1}",
        "del TABLE['x']",
        "TABLE.setdefault('x', [])",
        "ALL.append(make)",
        "SET.add(NAME)",
        "for i in range(3): TABLE[i] = i",
    ],
)
def test_what_fills_a_container_of_the_modules_own_is_as_one_written_out(line: str):
    source = f"NAME = 'x'\nALL, TABLE = 1, 2\n{line}\n"
    own = f"NAME = 'x'\nTABLE: dict[str, int] = {{}}\nALL = [NAME]\nSET = {{NAME}}\n{line}\n"

    assert found(own, TABLE={}, ALL=[], SET=set()) == []
    assert found(source, TABLE={}, ALL=[], SET=set()) != []  # it came from elsewhere


@pytest.mark.parametrize(
    "source",
    [
        "OWN = library.TABLE\nOWN['x'] = 1",
        "OWN = library.TABLE or {}\nOWN['x'] = 1",
        "OWN = library.TABLE if library else {}\nOWN['x'] = 1",
        "OWN = {} if library else library.TABLE\nOWN['x'] = 1",
        "OWN = {}\nOWN = library.TABLE\nOWN['x'] = 1",
        "OWN = {}\nfrom library import OWN\nOWN['x'] = 1",
        "OWN = {}\nfor OWN in library.TABLES: pass\nOWN['x'] = 1",
        "OWN = {'a': library.TABLE}\nOWN['a']['x'] = 1",
        "OWN = {'a': library.TABLE}\nOWN['a'] += [1]",
        "OWN = {'a': library.TABLE}\nOWN['a'].x = 1",
        "OWN = {}\nOWN.append(register(1))",
        "OWN = {}\nOWN.pop('a').clear()",
        "OWN = {}\nOWN.update(register)",
    ],
)
def test_what_changes_anothers_container_is_an_effect(source: str):
    assert "OWN" in names(found(source, OWN={}, library=None)[-1])
