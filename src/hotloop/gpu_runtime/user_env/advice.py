# pyright: basic
# The exceptions are the user's: any class, with any attributes.
"""What to type or change next after an exception: for what people meet who serve models on GPUs."""

from __future__ import annotations

import difflib
import os
import re
import resource
import sys
from collections.abc import Sequence
from types import ModuleType

from hotloop.gpu_runtime.user_env import tensors_seen
from hotloop.gpu_runtime.user_env.app import AppError
from hotloop.gpu_runtime.user_env.client.failure import ClientError
from hotloop.gpu_runtime.user_env.made import is_made_by_hotloop
from hotloop.gpu_runtime.user_env.source import Project

Holders = Sequence[tuple[str, int]]
_REQUIREMENT = re.compile(r"[A-Za-z0-9._-]+")
# Import names that differ from the name to install, for what people use most on GPUs.
_INSTALL_NAMES = {
    "PIL": "pillow",
    "bs4": "beautifulsoup4",
    "cv2": "opencv-python-headless",
    "dotenv": "python-dotenv",
    "faiss": "faiss-cpu",
    "google.protobuf": "protobuf",
    "llama_cpp": "llama-cpp-python",
    "skimage": "scikit-image",
    "sklearn": "scikit-learn",
    "yaml": "pyyaml",
}
_SHAPES = re.compile(
    r"shapes cannot be multiplied|must match the size of tensor|is invalid for input of size|Sizes of tensors must match"
    r"|expected input\[.*channels|Expected size for first two dimensions|expects each tensor to be equal size"
    r"|mismatch in its core dimension|could not be broadcast|index out of range in self|cannot reshape array"
)
_DTYPES = re.compile(
    r"to have the same dtype|must have the same dtype|expected scalar type|type .* should be the same"
    r"|one of the following scalar types|expected target dtype|can't be cast to"
)
_DEVICES = re.compile(r"on the same device|is not on the expected device|Input type .*cuda.* and weight type")
_MEMORY = re.compile(r"out of memory|can't allocate memory|Unable to allocate")
_WEIGHTS = re.compile(r"Error\(s\) in loading state_dict|is not a valid model identifier|couldn't connect to")
_PICKLING = re.compile(r"^(can't|cannot) (pickle|get local object)", re.IGNORECASE)  # the latter from Python 3.12 on
_NO_GPU = re.compile(r"not compiled with CUDA enabled|Found no NVIDIA driver|No CUDA GPUs are available")
_HUB_ERRORS = frozenset(
    {"LocalEntryNotFoundError", "RepositoryNotFoundError", "GatedRepoError", "OfflineModeIsEnabled"}
)
_SHOWN_HOLDERS = 4


def hint_for(
    error: BaseException, text: str, project: Project, packages: tuple[str, ...], holders: Holders = ()
) -> str:
    """Say what to type or change next; empty if there is nothing to add to what the exception says.

    Args:
        error: What was raised.
        text: Its message.
        project: The revision that ran.
        packages: The requirements that the app declares, to name the one that provides a missing module.
        holders: What is known to be in memory, with its bytes.
    """
    if isinstance(error, AppError | ClientError):
        return error.hint
    if shadowing := _shadowing_hint(error, project):
        return shadowing
    if isinstance(error, ModuleNotFoundError) and error.name:
        return _own_module_hint(error.name, project) or _install_hint(error.name, packages)
    if type(error).__name__ in _HUB_ERRORS:
        return _HUB_HINT
    if isinstance(error, FileNotFoundError):
        return _missing_file_hint(error, text, project)
    try:
        return _by_text(error, text, project, holders)
    except Exception:  # noqa: BLE001  a tensor's own attributes may be the user's code: an error is shown without advice
        return ""


def _by_text(error: BaseException, text: str, project: Project, holders: Holders) -> str:
    if _MEMORY.search(text) or isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return _memory_hint(error, project, holders)
    if "CUDA error" in text:
        return _cuda_hint(text)
    if _NO_GPU.search(text):
        return f"the Python that runs the app ({sys.executable}) sees no GPU: choose a runner that has one, or device='cpu'"
    if _PICKLING.search(text):
        return _pickling_hint(text)
    if _WEIGHTS.search(text):
        return _weights_hint(text)
    for pattern, advise in ((_DEVICES, _device_hint), (_DTYPES, _dtype_hint), (_SHAPES, _shape_hint)):
        if pattern.search(text):
            return advise(text, tensors_seen.at_failure(error, project))
    return ""


# --- tensors ----------------------------------------------------------------------------------------------------


def _shape_hint(text: str, seen: list[tensors_seen.Seen]) -> str:
    if "index out of range in self" in text:
        return f"an id is not below the number of rows of the embedding{_listed(': ', seen)}"
    return _listed("shapes: ", seen)


def _dtype_hint(text: str, seen: list[tensors_seen.Seen]) -> str:
    if "Long" in text and "but got" in text:
        return f"ids are whole numbers: {_first_input(seen)}.long(){_listed('; types: ', seen)}"
    wanted = next((each.dtype for each in seen if each.is_weight), "") or (seen[-1].dtype if seen else "")
    if len({each.dtype for each in seen}) < 2:  # what differs is made within the line
        wanted = ""
    change = (
        f"convert one of them, such as {_first_input(seen)}.to(torch.{wanted})"
        if wanted
        else "convert one with .to(dtype)"
    )
    return f"{change}{_listed('; types: ', seen)}"


def _device_hint(_: str, seen: list[tensors_seen.Seen]) -> str:
    weights = [each.device for each in seen if each.is_weight]
    devices = weights or sorted({each.device for each in seen}, reverse=True)
    change = (
        f"move one of them, such as {_first_input(seen)}.to({devices[0]!r})" if devices else "move one with .to(device)"
    )
    return f"{change}{_listed('; devices: ', seen)}"


def _first_input(seen: list[tensors_seen.Seen]) -> str:
    return next((each.name for each in seen if not each.is_weight), "x")


def _listed(before: str, seen: list[tensors_seen.Seen]) -> str:
    return before + ", ".join(map(str, seen)) if seen else ""


def _memory_hint(error: BaseException, project: Project, holders: Holders) -> str:
    local = [
        (f"{each.name} {list(each.shape)} {each.dtype}", each.num_bytes) for each in tensors_seen.held(error, project)
    ]
    largest = sorted([*holders, *local], key=lambda holder: -holder[1])[:_SHOWN_HOLDERS]
    listed = ", ".join(f"{name} {_size(num_bytes)}" for name, num_bytes in largest if num_bytes)
    held = f"largest in memory: {listed}; " if listed else ""
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit != resource.RLIM_INFINITY:
        held += f"a process may have {_size(limit)} of address space here (ulimit -v); "
    return (
        f"{held}take a smaller batch (Batch(max_size=...)), torch.inference_mode(), or a smaller type for the weights"
    )


def _size(num_bytes: int) -> str:
    value, unit = float(num_bytes), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if value < 999.5:
            break
        value, unit = value / 1000, larger
    return f"{value:.0f} {unit}" if unit == "B" or value >= 9.95 else f"{value:.1f} {unit}"


def _cuda_hint(text: str) -> str:
    if "illegal memory access" in text:
        return "if the app changes a model's weights in place, declare it with @app.model(mutable=True): they are shared otherwise"
    return "the line may be a later one than the cause's: CUDA_LAUNCH_BLOCKING=1 dev serve names the operation"


# --- weights, files, pickles ------------------------------------------------------------------------------------

_HUB_HINT = (
    "the runner downloads it: it needs the network, and for a private or gated model a token: "
    'export HF_TOKEN here and name it in [tool.hotloop]: pass_env = ["HF_TOKEN"]'
)


def _weights_hint(text: str) -> str:
    if "state_dict" not in text:
        return _HUB_HINT
    if '"module.' in text:
        return "these were saved from a wrapped model: take 'module.' off their names before load_state_dict"
    return "the weights are of another architecture than this class: build it as it was when they were saved"


def _missing_file_hint(error: FileNotFoundError, text: str, project: Project) -> str:
    name = os.fspath(error.filename) if isinstance(error.filename, str | os.PathLike) else text.rpartition(": ")[2]
    name = os.fsdecode(name).strip("'\"")
    if not name or "\n" in name:
        return ""
    inside = name.removeprefix(f"{project.root}/")
    if os.path.isabs(inside):  # noqa: PTH117
        return "a path is looked up where the app runs; what lies in the project is there by its relative path"
    return f"{inside} is not in the workspace, where the app runs: dev sync --why {inside} says whether it is synced"


def _pickling_hint(text: str) -> str:
    if re.search(r"local object|lambda|<locals>", text):
        return "what is pickled is found by its name: define it at the top of a module, with def or class"
    return "such a thing can't leave its process: make it where it is used, and keep it out of what is passed on or returned"


# --- modules ----------------------------------------------------------------------------------------------------


def _shadowing_hint(error: BaseException, project: Project) -> str:
    """Name the project's file that was meant, if its name means a module that is there before any of the project's."""
    module = getattr(error, "obj", None) if isinstance(error, AttributeError) else None
    name = module.__name__ if isinstance(module, ModuleType) else error.name if isinstance(error, ImportError) else ""
    top = (name or "").partition(".")[0]
    file = next((file for file in (f"{top}.py", f"{top}/__init__.py") if file in project.manifest), "")
    if not file or top not in sys.modules:
        return ""
    shown = file.removesuffix("__init__.py")
    if not project.owns_module(top):
        return f"{top} is a module of Python's own here, not {shown}: rename that, such as my_{shown}"
    if top in sys.stdlib_module_names:
        return f"{shown} comes before Python's own {top}, for libraries too: rename it, such as my_{shown}"
    return ""


def _own_module_hint(module: str, project: Project) -> str:
    """Name the project's own module that was probably meant: to install a misspelt name is dangerous advice."""
    top = module.partition(".")[0]
    own = {path.split("/")[0].removesuffix(".py") for path in project.manifest}
    close = difflib.get_close_matches(top, own - {top}, n=1, cutoff=0.8)
    return f"did you mean {close[0]!r}, which is in the project?" if close else ""


def _install_hint(module: str, packages: tuple[str, ...]) -> str:
    top = module.partition(".")[0]
    if top in sys.modules:
        return f"{top} is there, but has no {module.removeprefix(top + '.')!r}: its version or the name is another"
    if top in sys.stdlib_module_names:
        return f"{top} belongs to Python, but not to this one ({sys.executable})"
    requirement = _requirement_for(top, packages)
    if is_made_by_hotloop():
        return (
            f"add {requirement} to what the app asks for: its lock, requirements.txt, pyproject.toml or packages=[...]"
        )
    return f"{sys.executable} -m pip install {requirement}"


def _requirement_for(module: str, packages: tuple[str, ...]) -> str:
    """Choose the declared requirement that provides a module, else guess by the module's name."""
    wanted = _normal(_INSTALL_NAMES.get(module, module))
    for requirement in packages:
        name = _REQUIREMENT.match(requirement.strip())
        if name and _normal(name[0]) in {wanted, _normal(module)}:
            plain = name[0] == requirement.strip()
            return requirement.strip() if plain else f'"{requirement.strip()}"'
    names = {_normal(match[0]): match[0] for r in packages if (match := _REQUIREMENT.match(r.strip()))}
    close = difflib.get_close_matches(wanted, names, n=1, cutoff=0.8)
    return names[close[0]] if close else _INSTALL_NAMES.get(module, module)


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
