"""A call that sets a package up is data that makes the same call again, or nothing."""

from __future__ import annotations

import enum
import functools
import pathlib
import sys
from collections.abc import Callable
from types import CodeType
from typing import Any, cast

import pytest

from hotloop.gpu_runtime.user_env.fingerprint import setters
from hotloop.gpu_runtime.user_env.source import Project

SENTINEL = object()
MADE: list[tuple[Any, ...]] = []


class Level(enum.Enum):
    HIGH = 2


class Own:
    pass


class OneProject:
    """A project that has the module ``mine``."""

    def owns_module(self, name: str) -> bool:
        return name == "mine"


Own.__module__ = "mine"


def is_of_project(code: CodeType) -> bool:
    return code.co_name.startswith("loader")


def noted() -> bytes:
    return setters.call_of(sys._getframe(1), cast("Project", OneProject()), is_of_project)


def set_level(level: Any = 0, *more: Any, default: Any = SENTINEL, **named: Any) -> bytes:
    MADE.append((level, more, default, named))
    return noted()


def wrapping(function: Callable[..., bytes]) -> Callable[..., bytes]:
    @functools.wraps(function)
    def wrapper(*given: Any, **named: Any) -> bytes:
        return function(*given, **named)

    return wrapper


@wrapping
def set_wrapped(level: Any) -> bytes:
    MADE.append((level,))
    return noted()


def set_through_another(level: Any) -> bytes:
    return set_level(level)


class Package:
    def set_level(self) -> bytes:
        return noted()


def loader(function: Callable[..., bytes], *given: Any, **named: Any) -> bytes:
    return function(*given, **named)


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ((), {}),
        ((3,), {}),
        ((), {"level": Level.HIGH, "other": [1, {"a": (2.5, None)}]}),
        ((1, 2, b"3"), {"default": True, "other": pathlib.PurePath("x")}),
        ((dict,), {"default": print, "other": {frozenset({1})}}),
    ],
)
def test_a_call_is_made_again_with_what_it_was_given(given: tuple[Any, ...], named: dict[str, Any]):
    call = loader(set_level, *given, **named)
    made = MADE[-1]

    assert setters.call_again(setters.as_text([call, call])) == []
    assert MADE[-1] == made
    assert len(setters.as_text([call, call])) == 1


def test_a_function_behind_a_decorator_is_called_through_it():
    call = loader(set_wrapped, 5)
    MADE.clear()

    assert setters.call_again(setters.as_text([call])) == []
    assert MADE == [(5,)]


@pytest.mark.parametrize("given", [(SENTINEL,), (Own,), (Own(),), ([Own()],), (lambda: 0,), (Level,) * 2 + (iter(()),)])
def test_what_is_not_plain_or_is_the_projects_is_not_passed_again(given: tuple[Any, ...]):
    assert loader(set_level, *given) == b""


def test_calls_of_packages_among_themselves_and_of_methods_are_not_made_again():
    assert set_level(1) == b""
    assert loader(set_through_another, 1) == b""
    assert loader(Package().set_level) == b""


def test_an_argument_that_can_not_be_pickled_is_not_the_loaders_trouble():
    class Local(str):
        __slots__ = ()

    endless: list[Any] = []
    endless.append(endless)

    for given in (sys.stdout.write, Local("x"), endless):
        assert loader(set_level, given) == b""


def test_a_call_that_fails_when_it_is_made_again_is_told():
    call = loader(set_wrapped, 5)
    text = setters.as_text([call.replace(b"set_wrapped", b"set_missing")])

    (told,) = setters.call_again(text)

    assert "set_missing(), which its loader called, failed when called again: AttributeError" in told
