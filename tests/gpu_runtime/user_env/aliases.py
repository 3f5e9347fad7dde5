"""Aliases as Python 3.12's ``type`` statement makes them: evaluated when they are used, so one may hold itself."""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any, Union


class TypeAliasType:
    """Stands for ``typing.TypeAliasType``, which Python 3.11 does not have."""

    def __init__(self, name: str, value: Callable[[], Any], type_params: tuple[Any, ...] = ()) -> None:
        self.__name__ = name
        self.__type_params__ = type_params
        self._value = value

    @property
    def __value__(self) -> Any:
        return self._value()

    def __getitem__(self, arguments: Any) -> Any:
        return types.GenericAlias(self, arguments)  # type: ignore[arg-type]

    def __or__(self, other: Any) -> Any:
        return Union[self, other]  # noqa: UP007  which is this

    def __call__(self) -> None:
        """Nothing: on Python 3.11 typing takes only what can be called for a type."""

    def __repr__(self) -> str:
        return self.__name__
