"""What a function's annotations say, though some of them name what only a type checker knows."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable
from typing import Any

from hotloop.gpu_runtime.user_env.app import AppError, EndpointSpec, at


class Annotations:
    """A function's annotations, evaluated one by one: a name that only a type checker imports spoils only its own.

    Attributes:
        parameters: As `inspect` has them, by name, with annotations that are not evaluated.
    """

    def __init__(self, function: Callable[..., Any], signature: inspect.Signature) -> None:
        self._globals: dict[str, Any] = getattr(inspect.unwrap(function), "__globals__", {})
        self.parameters = signature.parameters
        self._returns: Any = signature.return_annotation

    def of_parameter(self, name: str, spec: EndpointSpec) -> Any:
        """Give the type of a parameter that comes from the request, `typing.Any` if it has none.

        Raises:
            AppError: It can't be evaluated.
        """
        try:
            return self._evaluated(self.parameters[name].annotation)
        except Exception as error:  # noqa: BLE001 - an annotation is code of the user's
            msg = (
                f"endpoint {spec.name!r} at {at(spec.file, spec.line)} takes "
                f"'{name}: {self.parameters[name].annotation}', which can't be evaluated: {error}"
            )
            advice = "import the type where the module runs, not only under TYPE_CHECKING"
            raise AppError(msg, advice, spec.file, spec.line) from None

    def of_injected(self, name: str) -> Any:
        """Give the type of a parameter that is given a model, `typing.Any` if it can't be evaluated."""
        try:
            return self._evaluated(self.parameters[name].annotation)
        except Exception:  # noqa: BLE001 - a model's annotation is for people and type checkers
            return Any

    def of_return(self) -> Any:
        """Give the type of what is returned, `typing.Any` if it can't be evaluated."""
        try:
            return self._evaluated(self._returns)
        except Exception:  # noqa: BLE001 - the result is encoded by its value, not by this
            return Any

    def _evaluated(self, annotation: Any) -> Any:
        if annotation is inspect.Parameter.empty:
            return Any
        if not _mentions_text(annotation):
            return annotation
        carrier = types.SimpleNamespace(__annotations__={"it": annotation})
        return typing.get_type_hints(carrier, globalns=self._globals, include_extras=True)["it"]


def _mentions_text(annotation: Any) -> bool:
    return not isinstance(annotation, type) or bool(typing.get_args(annotation))
