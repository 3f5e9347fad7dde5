# pyright: basic
# pydantic is the user's, if anyone's: it is looked up among the imported modules, never imported here.
"""Values that pydantic checks, if the user has it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from hotloop.gpu_runtime.user_env.scalars import Decoder, Mismatch


def pydantic() -> Any:
    """The user's pydantic, None if nothing has imported it."""
    return sys.modules.get("pydantic")


def is_pydantic(cls: type) -> bool:
    """Whether a class is a model of pydantic 2."""
    return hasattr(cls, "model_validate") and issubclass(cls, getattr(pydantic(), "BaseModel", ()))


def has_constraints(hint: Any) -> bool:
    """Whether an Annotated type carries checks that only pydantic can make, such as ``Field(ge=0)``."""
    packages = {type(extra).__module__.partition(".")[0] for extra in getattr(hint, "__metadata__", ())}
    return pydantic() is not None and not packages.isdisjoint({"pydantic", "annotated_types"})


def has_checks_only(hint: Any) -> bool:
    """Whether all that an Annotated type carries looks at the value, and nothing of it makes another one."""
    makers = ("Validator", "Serializer", "Discriminator", "Tag")
    return not any(type(extra).__name__.endswith(makers) for extra in getattr(hint, "__metadata__", ()))


def validated(validate: Callable[[Any], Any]) -> Decoder:
    """Make a decoder of a function that raises pydantic's ValidationError."""

    def decode(value: Any) -> Any:
        try:
            return validate(value)
        except ValueError as error:  # pydantic's ValidationError is one
            raise _first_mismatch(error) from error

    return decode


def _first_mismatch(error: Any) -> Mismatch:
    details = error.errors(include_url=False) if hasattr(error, "errors") else []
    if not details:
        return Mismatch(first_line(error))
    first = details[0]
    message = first["msg"][:1].lower() + first["msg"][1:]
    return Mismatch(message, *reversed(first["loc"]))


def first_line(error: BaseException) -> str:
    """Give the first line of an exception's text, or its class if there is none."""
    return (str(error).splitlines() or [type(error).__name__])[0]
