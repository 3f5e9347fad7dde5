# pyright: basic
# The values are the user's: any class, with any attributes.
"""Which tensors the line that failed worked on: their names as the user wrote them, shapes, types and devices.

Names are looked up in frames and in the dictionaries of objects, so that no property of the user's runs.
"""

from __future__ import annotations

import itertools
import re
import types
from collections.abc import Iterator
from typing import Any

from hotloop.frozen import frozen
from hotloop.gpu_runtime.user_env.source import Project

MAX_SHOWN = 6
_NAME = re.compile(r"(?<![\w.'\"])[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*")
_PLACES = ("_parameters", "_buffers", "_modules")  # where a torch module has what is read as its attributes
_TENSORS = frozenset({("torch", "Tensor"), ("numpy", "ndarray")})


@frozen
class Seen:
    """One tensor or array.

    Attributes:
        name: As the user wrote it; of a module's weights, with ``.weight`` behind.
        device: Empty for an array of numpy's.
        is_weight: It belongs to a module.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    device: str
    num_bytes: int
    is_weight: bool = False

    def __str__(self) -> str:
        """Write it as ``x [2, 3] float32 cpu``."""
        return f"{self.name} {list(self.shape)} {self.dtype} {self.device}".rstrip()


def at_failure(error: BaseException, project: Project) -> list[Seen]:
    """Name the tensors in the project's innermost line, in the order they are written."""
    frames = list(_project_frames(error, project))
    if not frames:
        return []
    frame, text = frames[-1]
    names = dict.fromkeys(_NAME.findall(text))
    found = {seen.name: seen for name in names for seen in _seen(*_found(frame, name))}
    return list(found.values())[:MAX_SHOWN]


def held(error: BaseException, project: Project) -> list[Seen]:
    """Name the tensors that the project's frames held, the largest first."""
    found: dict[int, Seen] = {}
    for frame, _ in _project_frames(error, project):
        for name, value in list(frame.f_locals.items()):
            if _is_tensor(value):
                found[id(value)] = _describe(name, value)
    return sorted(found.values(), key=lambda seen: -seen.num_bytes)


def _project_frames(error: BaseException, project: Project) -> Iterator[tuple[types.FrameType, str]]:
    """The project's frames, outermost first, each with the text of the statement that it was at."""
    step = error.__traceback__
    while step is not None:
        code = step.tb_frame.f_code
        source = project.source_of(code.co_filename) if project.owns_file(code.co_filename) else None
        if source is not None:
            position = next(itertools.islice(code.co_positions(), step.tb_lasti // 2, None), (None,) * 4)
            first, last = position[0] or step.tb_lineno or 1, position[1] or step.tb_lineno or 1
            yield step.tb_frame, " ".join(source.decode("utf-8", "replace").split("\n")[first - 1 : last])
        step = step.tb_next


def _found(frame: types.FrameType, name: str) -> tuple[str, Any]:
    """Follow a dotted name as far as it can be: to its end, or to the tensor whose method it names."""
    first, *rest = name.split(".")
    path, value = first, frame.f_locals.get(first, frame.f_globals.get(first))
    for part in rest:
        own = _attributes(value)
        places = (own, *(own.get(place) for place in _PLACES))
        found = [place[part] for place in places if isinstance(place, dict) and part in place]
        if not found:
            return path, value if _is_tensor(value) else None
        path, value = f"{path}.{part}", found[0]
    return path, value


def _attributes(value: Any) -> dict[str, Any]:
    try:
        return object.__getattribute__(value, "__dict__")
    except AttributeError:
        return {}


def _seen(name: str, value: Any) -> Iterator[Seen]:
    if _is_tensor(value):
        yield _describe(name, value)
    elif isinstance(value, list | tuple):
        yield from (_describe(f"{name}[{i}]", item) for i, item in enumerate(value[:MAX_SHOWN]) if _is_tensor(item))
    else:
        yield from itertools.islice(_weights(name, value), 1)


def _weights(name: str, module: Any) -> Iterator[Seen]:
    """The parameters of a torch module, its own first, then those of its parts."""
    own = _attributes(module)
    parameters, parts = own.get("_parameters"), own.get("_modules")
    if isinstance(parameters, dict) and isinstance(parts, dict):
        yield from (
            _describe(f"{name}.{key}", each, is_weight=True) for key, each in parameters.items() if _is_tensor(each)
        )
        for key, part in parts.items():
            yield from _weights(f"{name}.{key}", part)


def _is_tensor(value: Any) -> bool:
    return any((cls.__module__.partition(".")[0], cls.__name__) in _TENSORS for cls in type(value).__mro__)


def _describe(name: str, value: Any, *, is_weight: bool = False) -> Seen:
    dtype, device = str(value.dtype).removeprefix("torch."), str(getattr(value, "device", ""))
    is_numpy = type(value).__module__.startswith("numpy")
    return Seen(name, tuple(value.shape), dtype, "" if is_numpy else device, int(value.nbytes), is_weight)
