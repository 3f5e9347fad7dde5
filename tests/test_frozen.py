"""`frozen` against what it stands for: ``dataclass(frozen=True, slots=True)``."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from dataclasses import FrozenInstanceError, field, replace

import pytest

from hotloop.frozen import frozen


@frozen
class Point:
    """Two numbers, what they are called, and what is of no account."""

    x: int
    y: int = 2
    names: list[str] = field(default_factory=list)
    note: str = field(default="", compare=False)
    secret: str = field(default="s", repr=False)


@frozen
class One:
    """One value."""

    value: object


@frozen
class Nothing:
    """No value."""


@frozen
class Further(Point):
    """One with another field."""

    z: int = 3


@frozen
class Own:
    """One with methods of its own."""

    value: float

    def __post_init__(self) -> None:
        if self.value < 0:
            msg = "below zero"
            raise ValueError(msg)

    def __repr__(self) -> str:
        return f"<{self.value}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Own) and round(self.value) == round(other.value)

    def __hash__(self) -> int:
        return round(self.value)

    @property
    def doubled(self) -> float:
        return 2 * self.value


def twin(cls):
    """The same class, made by `dataclasses`."""
    fields = [(each.name, each.type, _like(each)) for each in dataclasses.fields(cls)]
    return dataclasses.make_dataclass(cls.__name__, fields, frozen=True, slots=True)


def _like(each):
    given = {name: getattr(each, name) for name in ("default", "default_factory", "compare", "repr")}
    return field(**given)


ARGUMENTS = [((1,), {}), ((1, 5), {}), ((), {"x": 1, "names": ["a"]}), ((1,), {"note": "n", "secret": "t"})]


@pytest.mark.parametrize(("given", "named"), ARGUMENTS)
@pytest.mark.parametrize("cls", [Point, Further])
def test_instances_look_and_are_taken_apart_as_those_of_a_dataclass(cls, given, named):
    made, expected = cls(*given, **named), twin(cls)(*given, **named)

    assert repr(made) == repr(expected)
    assert dataclasses.asdict(made) == dataclasses.asdict(expected)
    assert dataclasses.astuple(replace(made, y=7)) == dataclasses.astuple(replace(expected, y=7))
    assert cls.__match_args__ == twin(cls).__match_args__


@pytest.mark.parametrize(
    ("given", "named"), [((), {}), ((1, 2, [], "", "", 6, 7), {}), ((1,), {"u": 2}), ((1,), {"x": 2})]
)
def test_arguments_that_do_not_fit_are_refused_in_the_same_words(given, named):
    with pytest.raises(TypeError) as expected:
        twin(Point)(*given, **named)
    with pytest.raises(TypeError) as caught:
        Point(*given, **named)

    assert str(caught.value).removeprefix("Point.") == str(expected.value).removeprefix("Point.")


def test_equal_are_those_of_one_class_whose_compared_values_are():
    assert Point(1) == Point(1, note="other")
    assert Point(1) != Point(2)
    assert Point(1) != Further(1)
    assert (Nothing() == Nothing(), One(1) == One(1), One(1) == 1) == (True, True, False)
    assert {One((1,)), One((1,)), One(1), Nothing(), Nothing()} == {One(1), One((1,)), Nothing()}
    with pytest.raises(TypeError, match="unhashable"):
        hash(Point(1))


def test_each_instance_has_a_default_of_its_own():
    first = Point(1)
    first.names.append("a")

    assert Point(1).names == []


@pytest.mark.parametrize("name", ["x", "other"])
def test_nothing_is_set_or_deleted(name):
    point = Point(1)
    with pytest.raises(FrozenInstanceError, match=f"cannot assign to field '{name}'"):
        setattr(point, name, 2)
    with pytest.raises(FrozenInstanceError, match=f"cannot delete field '{name}'"):
        delattr(point, name)
    assert not hasattr(point, "__dict__")


@pytest.mark.parametrize("made", [Point(1, 2, ["a"]), Nothing(), One(None), Further(1)])
def test_instances_can_be_pickled_and_copied(made):
    assert pickle.loads(pickle.dumps(made)) == made
    assert copy.copy(made) == copy.deepcopy(made) == made


def test_methods_of_the_class_stay_and_a_value_may_be_refused():
    assert (repr(Own(1.4)), Own(1.4) == Own(0.6), len({Own(1.4), Own(0.6)}), Own(2).doubled) == ("<1.4>", True, 1, 4)
    with pytest.raises(ValueError, match="below zero"):
        Own(-1)


def test_classes_match_by_position():
    match Further(1, 5):
        case Point(x, y):
            assert (x, y) == (1, 5)
        case _:
            pytest.fail("a pattern of its class did not match")
