"""What runs in the user's environment needs the standard library alone."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "src" / "hotloop"
USER_ENV = PACKAGE / "gpu_runtime" / "user_env"
HOTLOOPS_OWN = (
    "typer",
    "rich",
    "watchfiles",
    "ignore",
    "grpc",
    "grpc_health",
    "grpc_reflection",
    "google.protobuf",
    "httptools",
    "uvloop",
)
OTHERS_OF_THE_USER = ("torch", "numpy", "pydantic")


def newest_pythons() -> list[str]:
    """Find the interpreters on this machine that a user may have: this one's version, and newer ones."""
    found = [sys.executable]
    for place in (Path.home() / ".pyenv" / "versions", Path("/usr")):
        found += [str(path) for version in ("3.12", "3.13", "3.14") for path in _interpreters(place, version)]
    return found


def _interpreters(place: Path, version: str) -> list[Path]:
    return sorted(place.glob(f"{version}*/bin/python{version}")) + sorted(place.glob(f"bin/python{version}"))


@pytest.fixture(scope="module", params=newest_pythons(), ids=lambda python: "-".join(Path(python).parts[-3:]))
def bare_python(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh environment without pip, and a folder that holds hotloop's package and nothing else."""
    place = tmp_path_factory.mktemp("bare")
    base = subprocess.run(
        [request.param, "-c", "import sys; print(sys.base_prefix)"], capture_output=True, text=True, check=True
    ).stdout.strip()
    candidates = [Path(base) / "bin" / Path(request.param).name, Path(base) / "bin" / "python3"]
    subprocess.run(
        [next(str(path) for path in candidates if path.exists()), "-m", "venv", "--without-pip", place / "env"],
        check=True,
    )
    (place / "only").mkdir()
    (place / "only" / "hotloop").symlink_to(PACKAGE)
    return place / "env" / "bin" / "python"


def run(python: Path, code: str) -> str:
    done = subprocess.run(
        [python, "-I", "-c", f"import sys; sys.path.insert(0, {str(python.parents[2] / 'only')!r})\n{code}"],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        cwd="/",
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_nothing_of_hotloops_environment_can_be_imported(bare_python: Path) -> None:
    names = json.dumps(HOTLOOPS_OWN + OTHERS_OF_THE_USER)
    code = f"""
import importlib, json
def can(name):
    try: importlib.import_module(name)
    except ImportError: return False
    return True
print([name for name in {names} if can(name)])
"""

    assert run(bare_python, code) == "[]\n"


def test_an_app_is_written_with_the_standard_library_alone(bare_python: Path) -> None:
    code = """
import hotloop
app = hotloop.App("search", packages=["torch"])

@app.model
def encoder():
    return str.upper

@app.endpoint(batch=hotloop.Batch(max_size=4))
def embed(text: list[str], encoder) -> list[str]:
    return [encoder(item) for item in text]

print(embed(["a"], encoder=encoder()), list(app.endpoints), hotloop.__version__ > "")
"""

    assert run(bare_python, code) == "['A'] ['embed'] True\n"


def test_a_client_needs_the_standard_library_alone(bare_python: Path) -> None:
    code = """
import asyncio, hotloop
async def call(url): await hotloop.AsyncClient(url, retries=hotloop.Retries(0)).embed()
def blocking(url): hotloop.Client(url, retries=hotloop.Retries(0)).embed()
for attempt in (blocking, lambda url: asyncio.run(call(url))):
    try: attempt("http://127.0.0.1:1")
    except hotloop.ClientError as error: print(error.type)
"""

    assert run(bare_python, code) == "Unreachable\nUnreachable\n"


def test_every_module_of_the_users_side_is_imported(bare_python: Path) -> None:
    # `rehearsal` is a project like a user's, with a path of its own, and no part of the package's modules.
    unwanted = {"__init__.py", *(path.name for path in (USER_ENV / "rehearsal").glob("*.py"))}
    files = [path for path in sorted(USER_ENV.rglob("*.py")) if path.name not in unwanted]
    names = [".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts) for path in files]

    code = f"import importlib\nfor name in {names!r}: importlib.import_module(name)\nprint('imported')"

    assert len(names) > 10
    assert run(bare_python, code) == "imported\n"


@pytest.mark.parametrize("arguments", [["--help"], ["serve", "--help"], ["version"]])
def test_a_quick_command_imports_nothing_heavy(arguments: list[str]) -> None:
    code = f"import sys; from hotloop.cli.main import main; sys.argv = ['dev', *{arguments!r}]; main()"
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", code], capture_output=True, text=True, timeout=30, check=False
    )
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}

    assert done.returncode == 0, done.stderr[-2000:]
    assert len(imported) > 50
    assert imported & {"torch", "numpy", "grpc", "textual", "google.protobuf", "uvloop", "httptools"} == set()
