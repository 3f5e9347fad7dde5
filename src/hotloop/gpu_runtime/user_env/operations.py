# pyright: basic, reportMissingImports=false
# (the operations and their tensors are torch's)
"""What torch ran on the GPU in an endpoint's first call, and how a standby runs the same ahead, with made-up tensors.

A process's first use of each operation costs it a load of the kernel, a choice of algorithm and a workspace: a second for
a 12 GB language model on an H200, many times its later calls. A standby pays it while nobody waits. It runs operations of
torch's own by their names, never the project's code, and random numbers are as they were afterwards.
"""

from __future__ import annotations

import dataclasses
import functools
import pickle
import sys
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from typing import Any

from hotloop.frozen import frozen
from hotloop.gpu_runtime.user_env.app import EndpointSpec

MAX_OPERATIONS = 4000
MAX_BYTES = 4 << 30  # of the tensors that one operation takes; what needs more is left to its first call
_PLAIN = (int, float, bool, str, type(None))

Tell = Callable[..., None]


@frozen
class Tensor:
    """What matters of a tensor that an operation took."""

    shape: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: Any
    device: str


@frozen
class Operation:
    """One operation as it was called: its name as ``namespace.name.overload``, and what it took."""

    name: str
    arguments: tuple[Any, ...]
    keywords: tuple[tuple[str, Any], ...]


class Learner:
    """Notes the operations of each endpoint's first call in this process, and tells the runtime.

    Noting makes a call about three times as long where operations are short, so what is known is not noted again.
    """

    def __init__(self, tell: Tell, device_type: str, known: AbstractSet[str]) -> None:
        self._tell = tell
        self._device_type = device_type
        self._known = known

    def learn(self, spec: EndpointSpec) -> EndpointSpec:
        """Give an endpoint whose first call is noted; an async one is left as it is: others may run amid its calls."""
        if spec.kind == "async" or spec.name in self._known:
            return spec
        wrap = self._stream if spec.is_stream else self._call
        return dataclasses.replace(spec, function=wrap(spec))

    def _call(self, spec: EndpointSpec) -> Callable[..., Any]:
        is_known = False

        @functools.wraps(spec.function)
        def call(*given: Any, **named: Any) -> Any:
            nonlocal is_known
            if is_known:
                return spec.function(*given, **named)
            is_known = True
            with recording(self._device_type) as found:
                result = spec.function(*given, **named)
            self._told(spec, found)
            return result

        return call

    def _stream(self, spec: EndpointSpec) -> Callable[..., Any]:
        is_known = False

        @functools.wraps(spec.function)
        def stream(*given: Any, **named: Any) -> Any:
            nonlocal is_known
            items = spec.function(*given, **named)
            if is_known:
                return items
            is_known = True
            return self._noted(spec, items)

        return stream

    def _noted(self, spec: EndpointSpec, items: Any) -> Any:
        """Pass on what a generator gives, and what it is sent."""
        found: dict[Operation, None] = {}
        sent = None
        try:
            while True:
                with recording(self._device_type, found):
                    item = items.send(sent)
                sent = yield item
        except StopIteration as end:
            return end.value
        finally:
            items.close()
            self._told(spec, found)

    def _told(self, spec: EndpointSpec, found: dict[Operation, None]) -> None:
        if found:
            self._tell({"kind": "operations", "endpoint": spec.name}, dump(found))


def learner(tell: Tell, known: AbstractSet[str] = frozenset(), device_type: str = "cuda") -> Learner | None:
    """Make a learner if this process uses the GPU; none if code is compiled, which would not compile while it is noted.

    Args:
        tell: Tells the runtime.
        known: Endpoints whose operations are noted already.
        device_type: Whose operations.
    """
    torch: Any = sys.modules.get("torch")
    if not hasattr(torch, "cuda") or _has_compiled() or (device_type == "cuda" and not torch.cuda.is_initialized()):
        return None
    return Learner(tell, device_type, known)


def _has_compiled() -> bool:
    """Whether torch.compile was called. That its modules are there says nothing: transformers always imports them."""
    frames = sys.modules.get("torch._dynamo.eval_frame")
    if frames is None:
        return "torch._dynamo" in sys.modules
    # By each use of the compiler its backend; None is `torch.compiler.disable`.
    return any(backend is not None for backend in getattr(frames, "cached_backends", {0: "unknown"}).values())


def recording(device_type: str, found: dict[Operation, None] | None = None) -> Any:
    """Note the operations that run on a kind of device within the block; gives the dict that they are put into."""
    from torch.utils._python_dispatch import TorchDispatchMode

    into: dict[Operation, None] = {} if found is None else found

    class Recorder(TorchDispatchMode):
        def __enter__(self) -> Any:
            super().__enter__()
            return into

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            result = func(*args, **(kwargs or {}))
            if len(into) < MAX_OPERATIONS and _bears_zeros(func):
                try:
                    operation = Operation(
                        str(func), _noted(args), tuple((name, _noted(each)) for name, each in (kwargs or {}).items())
                    )
                    if _is_on(device_type, operation):
                        into[operation] = None
                except TypeError:  # it takes something that has no counterpart in a standby
                    pass
            return result

    return Recorder()


def dump(found: dict[Operation, None]) -> bytes:
    """As bytes, for the runtime to keep."""
    return pickle.dumps(list(found), protocol=5)


def run_ahead(data: bytes, is_asked: Callable[[], bool] = lambda: False) -> int:
    """Run noted operations with made-up tensors; what fails is left for its first call.

    Args:
        data: From `dump`.
        is_asked: Whether this process has something better to do now: the rest is left.

    Returns:
        How many ran.
    """
    import torch

    states = torch.get_rng_state(), torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
    num_run = 0
    with torch.inference_mode():
        for operation in pickle.loads(data):
            if is_asked():
                break
            try:
                _run(torch, operation)
            except Exception:  # noqa: BLE001, S112  made-up tensors need not suit every operation
                continue
            num_run += 1
    torch.set_rng_state(states[0])
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()
        torch.cuda.set_rng_state_all(states[1])
        torch.cuda.empty_cache()
    return num_run


def _run(torch: Any, operation: Operation) -> None:
    space, name, overload = operation.name.split(".")
    function = getattr(getattr(getattr(torch.ops, space), name), overload)
    if _bytes_of(operation) <= MAX_BYTES:
        function(*_made_up(operation.arguments), **{key: _made_up(each) for key, each in operation.keywords})


def _noted(value: Any) -> Any:
    """As a value that can be compared and pickled.

    Raises:
        TypeError: It is of another kind than torch's operations usually take.
    """
    import torch

    if type(value) is torch.Tensor or type(value) is torch.nn.Parameter:
        return Tensor(tuple(value.shape), tuple(value.stride()), value.dtype, str(value.device))
    if isinstance(value, list | tuple):
        return tuple(map(_noted, value))
    if isinstance(value, (*_PLAIN, torch.dtype, torch.layout, torch.memory_format)):
        return value
    if isinstance(value, torch.device):
        return ("device", str(value))
    msg = f"a {type(value)}"
    raise TypeError(msg)


def _made_up(value: Any) -> Any:
    import torch

    if isinstance(value, Tensor):
        # Zeros: as an index they are inside of anything.
        made = torch.empty_strided(value.shape, value.stride, dtype=value.dtype, device=value.device)
        return made.zero_()
    if isinstance(value, tuple):
        if len(value) == 2 and value[0] == "device":
            return torch.device(value[1])
        return [_made_up(each) for each in value]
    return value


def _tensors(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    return [tensor for each in value for tensor in _tensors(each)] if isinstance(value, tuple) else []


def _bears_zeros(function: Any) -> bool:
    """Whether an operation can be run with made-up values.

    One that draws may not: `multinomial` of zeros is an error that ends the context. Attention counts as one that draws,
    for its dropout, and is what gains most: its plans are made anew for each shape.
    """
    import torch

    return torch.Tag.nondeterministic_seeded not in function.tags or "attention" in str(function)


def _is_on(device_type: str, operation: Operation) -> bool:
    tensors = _tensors((operation.arguments, tuple(each for _, each in operation.keywords)))
    return any(tensor.device.startswith(device_type) for tensor in tensors)


def _bytes_of(operation: Operation) -> int:
    total = 0
    for tensor in _tensors((operation.arguments, tuple(each for _, each in operation.keywords))):
        extent = sum((size - 1) * step for size, step in zip(tensor.shape, tensor.stride, strict=True)) + 1
        total += extent * tensor.dtype.itemsize
    return total
