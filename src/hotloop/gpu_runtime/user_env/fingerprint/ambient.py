# pyright: basic, reportMissingImports=false
# (it reads and sets settings of torch and numpy)
"""Settings of the whole process that a loader finds or changes: what they are, and how to set them again."""

from __future__ import annotations

import base64
import contextlib
import functools
import gc
import importlib
import itertools
import locale
import os
import pickle
import random
import sys
import time
import types
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from hotloop.gpu_runtime.user_env.fingerprint import gpu_generators
from hotloop.gpu_runtime.user_env.vault.code import hashed


@dataclass(frozen=True)
class Setting:
    """One setting.

    Attributes:
        read: Its value, as JSON can hold it.
        write: Sets it.
        default: What it is before its library is imported.
        is_input: A loader's result may depend on it.
    """

    read: Callable[[], Any]
    write: Callable[[Any], None]
    default: Any = None
    is_input: bool = True


def _change_path(change: dict[str, list[Any]]) -> None:
    """Take entries from `sys.path`, and add others, each behind the one that it was behind."""
    sys.path[:] = [each for each in sys.path if each not in change["gone"]]
    for each, last in change["added"]:
        if each not in sys.path:
            end = 0 if last is None else len(sys.path)
            sys.path.insert(sys.path.index(last) + 1 if last in sys.path else end, each)


def _torch_settings(torch: Any) -> dict[str, Setting]:
    def flag(owner: Any, name: str, default: Any) -> Setting:
        return Setting(lambda: getattr(owner, name), lambda value: setattr(owner, name, value), default)

    settings = {
        "torch's default dtype": Setting(
            lambda: str(torch.get_default_dtype()).removeprefix("torch."),
            lambda value: torch.set_default_dtype(getattr(torch, value)),
            "float32",
        ),
        "torch's default device": Setting(lambda: str(torch.get_default_device()), torch.set_default_device, "cpu"),
        "torch's matmul precision": Setting(
            torch.get_float32_matmul_precision, torch.set_float32_matmul_precision, "highest"
        ),
        "torch's gradient mode": Setting(torch.is_grad_enabled, torch.set_grad_enabled, True),
        "torch's deterministic mode": Setting(  # off, warns, or raises
            torch.get_deterministic_debug_mode, torch.set_deterministic_debug_mode, 0
        ),
        "torch's anomaly detection": Setting(
            lambda: [torch.is_anomaly_enabled(), torch.is_anomaly_check_nan_enabled()],
            lambda value: torch.autograd.set_detect_anomaly(*value),
            [False, True],
        ),
        "torch's current GPU": Setting(
            lambda: torch.cuda.current_device() if torch.cuda.is_initialized() else 0, torch.cuda.set_device, 0
        ),
        "torch's thread count": Setting(torch.get_num_threads, torch.set_num_threads, None, is_input=False),
    }
    cudnn = torch.backends.cudnn
    settings |= {f"torch.backends.cudnn.{name}": flag(cudnn, name, default)
                 for name, default in (("benchmark", False), ("deterministic", False), ("enabled", True))}  # fmt: skip
    return settings


WHERE_THINGS_ARE = frozenset({"the working directory", "sys.path"})  # paths, and modules that are not imported yet
# Of Python's own libraries: the module that has the setting, how it is read and set, and what it is at first.
_OF_PYTHON: dict[str, tuple[str, Callable[[Any], Any], Callable[[Any, Any], Any], Any]] = {
    "the sockets' timeout": (
        "socket", lambda m: m.getdefaulttimeout(), lambda m, value: m.setdefaulttimeout(value), None,
    ),
    "csv's largest field": (
        "csv", lambda m: m.field_size_limit(), lambda m, value: m.field_size_limit(value), 128 * 1024,
    ),
    "how processes are started": (
        "multiprocessing", lambda m: m.get_start_method(allow_none=True),
        lambda m, value: m.set_start_method(value, force=True), None,
    ),
}  # fmt: skip
_TORCH_DEFAULTS = {
    "torch's default dtype": "float32", "torch's default device": "cpu", "torch's matmul precision": "highest",
    "torch's gradient mode": True, "torch's deterministic mode": 0, "torch.backends.cudnn.benchmark": False,
    "torch.backends.cudnn.deterministic": False, "torch.backends.cudnn.enabled": True,
    "torch's anomaly detection": [False, True], "torch's current GPU": 0,
}  # fmt: skip
# What a loader finds that imports the library itself, as far as it may change it.
_AT_FIRST: dict[str, Any] = {
    **_TORCH_DEFAULTS, **{name: each[-1] for name, each in _OF_PYTHON.items()},
    "torch's thread count": None,  # it depends on the machine
    "torch's print options": {
        "precision": 4, "threshold": 1000, "edgeitems": 3, "linewidth": 80, "sci_mode": None,
    },
    "numpy's print options": {
        "edgeitems": 3, "threshold": 1000, "floatmode": "maxprec", "precision": 8, "suppress": False, "linewidth": 75,
        "nanstr": "nan", "infstr": "inf", "sign": "-", "legacy": False,
    },
    "numpy's error handling": {"divide": "warn", "over": "warn", "under": "ignore", "invalid": "warn"},
}  # fmt: skip


def settings() -> dict[str, Setting]:
    """The settings of the libraries that are imported."""
    torch, numpy = sys.modules.get("torch"), sys.modules.get("numpy")
    return _settings(
        torch if hasattr(torch, "backends") else None,  # else it is being imported
        numpy if hasattr(numpy, "geterr") else None,
        tuple(name for name, (module, *_) in _OF_PYTHON.items() if module in sys.modules),
    )


@functools.cache
def _settings(torch: Any, numpy: Any, of_python: tuple[str, ...]) -> dict[str, Setting]:
    found = {
        "the working directory": Setting(os.getcwd, os.chdir),
        "sys.path": Setting(lambda: [each for each in sys.path if isinstance(each, str)], _change_path, is_input=False),
        "the umask": Setting(_umask, _set_umask, is_input=False),
        "the recursion limit": Setting(sys.getrecursionlimit, sys.setrecursionlimit, is_input=False),
        "the locale": Setting(lambda: locale.setlocale(locale.LC_ALL), _set_locale, "C"),
        "the longest number in text": Setting(sys.get_int_max_str_digits, sys.set_int_max_str_digits, is_input=False),
        "the switch interval": Setting(sys.getswitchinterval, sys.setswitchinterval, is_input=False),
        "when garbage is collected": Setting(
            lambda: list(gc.get_threshold()), lambda value: gc.set_threshold(*value), is_input=False
        ),
        "whether garbage is collected": Setting(gc.isenabled, _set_collecting, is_input=False),
    }
    for name in of_python:
        module, read, write, default = _OF_PYTHON[name]
        library = sys.modules[module]
        found[name] = Setting(
            functools.partial(read, library), functools.partial(write, library), default, is_input=False
        )
    if torch is not None:
        found |= _torch_settings(torch)
    if numpy is not None and hasattr(numpy, "get_printoptions"):
        found["numpy's print options"] = Setting(
            lambda: {k: v for k, v in numpy.get_printoptions().items() if isinstance(v, PLAIN)},
            lambda value: numpy.set_printoptions(**value),
            is_input=False,
        )
    if torch is not None and hasattr(torch, "_tensor_str"):
        found["torch's print options"] = Setting(
            lambda: {k: v for k, v in vars(torch._tensor_str.PRINT_OPTS).items() if isinstance(v, PLAIN)},  # noqa: SLF001
            lambda value: vars(torch._tensor_str.PRINT_OPTS).update(value),  # noqa: SLF001
            is_input=False,
        )
    if numpy is not None:
        found["numpy's error handling"] = Setting(
            lambda: dict(numpy.geterr()), lambda value: _set_numpy(numpy, value), is_input=False
        )
    return found


def _umask() -> int:
    value = os.umask(0o77)
    os.umask(value)
    return value


def _set_umask(value: int) -> None:
    os.umask(value)


def _set_collecting(is_wanted: bool) -> None:  # noqa: FBT001  a setting's value
    (gc.enable if is_wanted else gc.disable)()


def _set_locale(value: str) -> None:
    locale.setlocale(locale.LC_ALL, value)


def _set_numpy(numpy: Any, value: dict[str, str]) -> None:
    numpy.seterr(**value)


def snapshot() -> dict[str, Any]:
    """All settings as they are."""
    return {name: setting.read() for name, setting in settings().items()}


def inputs() -> dict[str, Any]:
    """The settings that a loader's result may depend on, as they are; defaults of absent libraries filled in."""
    return {**_TORCH_DEFAULTS, **{name: each.read() for name, each in settings().items() if each.is_input}}


def changes(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    """What a loader left different, by name, as it left it."""
    at_first = {**_AT_FIRST, **before}
    return {k: _change(k, at_first[k], v) for k, v in after.items() if v != at_first.get(k, v)}


def _change(name: str, before: Any, after: Any) -> Any:
    """What is to be set again: of settings that several loaders may change parts of, the parts."""
    if name == "sys.path":
        added = [[each, last] for last, each in itertools.pairwise([None, *after]) if each not in before]
        return {"added": added, "gone": [each for each in before if each not in after]}
    if isinstance(after, dict):
        return {key: value for key, value in after.items() if before.get(key, value) != value}
    return after


def environment_changes(before: dict[str, str], after: dict[str, str]) -> dict[str, str | None]:
    """Environment variables that a loader set, or took away (None)."""
    changed: dict[str, str | None] = {k: v for k, v in after.items() if before.get(k) != v}
    return changed | {key: None for key in before if key not in after}


def filters_added(before: list[Any]) -> str:
    """The filters of warnings that a loader added, pickled; what it took away is not told."""
    pickled = [_pickled(each) for each in warnings.filters if each not in before]
    return base64.b64encode(pickle.dumps([each for each in pickled if each])).decode()


def _pickled(filter_: Any) -> bytes:
    try:
        return pickle.dumps(filter_)
    except Exception:  # noqa: BLE001  for warnings of a class that only the loader has: nobody else can give one
        return b""


def add_filters(added: str) -> None:
    """Put filters before all others, as `warnings.filterwarnings` does."""
    found, filters = list(_unpickled(pickle.loads(base64.b64decode(added)))), list(warnings.filters)
    if found:
        warnings.filters[:] = [*found, *(each for each in filters if each not in found)]  # type: ignore[index]
        with warnings.catch_warnings():  # which has Python look at them anew
            pass


def _unpickled(pickled: list[bytes]) -> Iterator[Any]:
    for each in pickled:
        with contextlib.suppress(AttributeError, ImportError):  # the class of its warnings is gone
            yield pickle.loads(each)


_seeded: set[str] = set()
_CHOSEN_BELOW = 1 << 32  # a seed that a person chose; those that torch takes for itself have 53 bits


@contextlib.contextmanager
def noting_seeds() -> Iterator[None]:
    """Note whether Python's generator is seeded meanwhile; torch's and numpy's can be asked."""
    original = random.seed

    @functools.wraps(original)
    def seed(*arguments: Any, **named: Any) -> None:
        _seeded.add("python")
        original(*arguments, **named)

    random.seed = seed
    try:
        yield
    finally:
        if random.seed is seed:
            random.seed = original


def note_seeded(names: Iterable[str]) -> None:
    """Note generators that a loader seeded, or whose state after it was set again."""
    _seeded.update(names)


def seeded() -> set[str]:
    """The random generators whose numbers are the same in every start."""
    found = set(_seeded)
    torch: Any = sys.modules.get("torch")
    numpy = sys.modules.get("numpy.random")
    if hasattr(torch, "default_generator") and torch.default_generator.initial_seed() < _CHOSEN_BELOW:
        found.add("torch")
    if hasattr(torch, "cuda") and any(seed < _CHOSEN_BELOW for seed, _ in gpu_generators.read(torch)):
        found.add("the GPU")
    own = getattr(getattr(getattr(numpy, "mtrand", None), "_rand", None), "_bit_generator", None)
    if own is not None and getattr(own, "_seed_seq", own) is None:  # as `numpy.random.seed` leaves it
        found.add("numpy")
    return found


def generator_digests(names: Iterable[str]) -> dict[str, str]:
    """Digests of the states of random generators."""
    return {name: hashed(state) for name, state in generators(set(names)).items()}


def generators(seeded: set[str]) -> dict[str, str]:
    """States of random generators."""
    torch, numpy = sys.modules.get("torch"), sys.modules.get("numpy")
    states: dict[str, Any] = {}
    if "python" in seeded:
        states["python"] = random.getstate()
    if "torch" in seeded and torch is not None:
        states["torch"] = torch.get_rng_state().numpy().tobytes() if numpy else bytes(torch.get_rng_state().tolist())
    if "the GPU" in seeded and torch is not None and (on_gpu := gpu_generators.read(torch)):
        states["the GPU"] = on_gpu
    if "numpy" in seeded and numpy is not None:
        states["numpy"] = numpy.random.get_state()
    return {name: base64.b64encode(pickle.dumps(state)).decode() for name, state in states.items()}


def restore(changed: dict[str, Any], environment: dict[str, str | None], states: dict[str, str]) -> bool:
    """Set again what a loader left; returns whether it left anything."""
    if not (changed or environment or states):
        return False
    for name, value in environment.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
    if "TZ" in environment:
        time.tzset()
    if any(name.startswith("torch") for name in changed):
        import torch  # noqa: F401
    for name in changed.keys() & _OF_PYTHON.keys():
        importlib.import_module(_OF_PYTHON[name][0])
    known = settings()
    for name, value in changed.items():
        if name in known and known[name].read() != value:
            known[name].write(value)
    note_seeded(states)
    for name, state in states.items():
        _set_generator(name, pickle.loads(base64.b64decode(state)))
    return True


PLAIN = (bool, int, float, str, types.NoneType)


def restore_attributes(attributes: list[list[Any]]) -> list[str]:
    """Set again what a loader set in installed modules; returns a sentence about each that fails."""
    failed: list[str] = []
    for module, path, value in attributes:
        *folders, name = path.split(".")
        try:
            owner = functools.reduce(getattr, folders, importlib.import_module(module))
            now = getattr(owner, name, None)
            if type(now) is not type(value) or now != value:
                setattr(owner, name, value)
        except Exception as error:  # noqa: BLE001  a package's own property may raise anything
            failed.append(f"{module}.{path}, which its loader set, can't be set again: {error!r}")
    return failed


def _set_generator(name: str, state: Any) -> None:
    if name == "python":
        random.setstate(state)
    elif name == "torch":
        import torch

        torch.set_rng_state(torch.tensor(list(state), dtype=torch.uint8, device="cpu"))  # the default may be another
    elif name == "the GPU":
        import torch

        gpu_generators.write(torch, state)
    elif name == "numpy":
        import numpy as np

        np.random.set_state(state)
