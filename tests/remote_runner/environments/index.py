"""A package index of tiny wheels and source distributions in a folder: real uv, no network."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import io
import tarfile
import zipfile
from pathlib import Path

BACKEND = """
import os, sys, time, zipfile

def build_wheel(folder, config_settings=None, metadata_directory=None):
    {body}
"""
FAILS = 'print("compiling kernel.cu")\n    print("nvcc: command not found", file=sys.stderr)\n    raise SystemExit(3)'
WAITS = """gate = os.environ["TEST_GATE"]
    open(gate + ".reached", "w").close()
    deadline = time.monotonic() + 30
    while not os.path.exists(gate) and time.monotonic() < deadline:
        time.sleep(0.01)
    name = "slow-1.0-py3-none-any.whl"
    with zipfile.ZipFile(os.path.join(folder, name), "w") as wheel:
        wheel.writestr("slow.py", "")
        wheel.writestr("slow-1.0.dist-info/METADATA", "Metadata-Version: 2.1\\nName: slow\\nVersion: 1.0\\n")
        wheel.writestr("slow-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr("slow-1.0.dist-info/RECORD", "slow.py,,\\n")
    return name"""


class Index:
    """The index in a folder, and what tells uv to use it alone."""

    def __init__(self, folder: Path):
        self.folder = folder

    def wheel(self, name, version, requires=(), *, size_bytes=0, tag="py3-none-any"):
        """Add a wheel with a module and a console script of its name."""
        info = f"{name}-{version}.dist-info"
        files = {
            f"{name}/__init__.py": f"__version__ = {version!r}\n\n\ndef main():\n    print({name!r}, __version__)\n",
            f"{name}/data.bin": hashlib.shake_128(name.encode()).hexdigest(size_bytes // 2),
            f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
            + "".join(f"Requires-Dist: {each}\n" for each in requires),
            f"{info}/WHEEL": f"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: {tag}\n",
            f"{info}/entry_points.txt": f"[console_scripts]\n{name} = {name}:main\n",
        }
        record = "".join(f"{path},sha256={_digest(text)},{len(text)}\n" for path, text in files.items())
        made = io.BytesIO()
        with zipfile.ZipFile(made, "w") as archive:
            for path, text in {**files, f"{info}/RECORD": record + f"{info}/RECORD,,\n"}.items():
                archive.writestr(path, text)
        self._add(name, f"{name}-{version}-{tag}.whl", made.getvalue())

    def sdist(self, name, body, version="1.0"):
        """Add a source distribution whose build does something."""
        files = {
            "pyproject.toml": '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
            f'[project]\nname = "{name}"\nversion = "{version}"\n',
            "backend.py": BACKEND.format(body=body),
            "PKG-INFO": f"Metadata-Version: 2.2\nName: {name}\nVersion: {version}\n",
        }
        made = io.BytesIO()
        with tarfile.open(fileobj=made, mode="w:gz") as archive:
            for path, text in files.items():
                member = tarfile.TarInfo(f"{name}-{version}/{path}")
                member.size = len(text)
                archive.addfile(member, io.BytesIO(text.encode()))
        self._add(name, f"{name}-{version}.tar.gz", made.getvalue())

    def digest(self, file):
        """The sha256 of a distribution."""
        return hashlib.sha256(next(self.folder.glob(f"*/{file}")).read_bytes()).hexdigest()

    def settings(self, cache: Path):
        """The variables that uv needs to be told by."""
        return {
            "UV_DEFAULT_INDEX": self.folder.as_uri(), "UV_CACHE_DIR": str(cache), "UV_PYTHON_DOWNLOADS": "never",
            "UV_HTTP_RETRIES": "0", "UV_NO_CONFIG": "", "UV_INDEX": "", "UV_FIND_LINKS": "",
        }  # fmt: skip

    def _add(self, name, file, content):
        folder = self.folder / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes(content)
        links = "".join(f'<a href="{each.name}">{each.name}</a>' for each in folder.iterdir() if each.suffix != ".html")
        (folder / "index.html").write_text(f"<!DOCTYPE html><html><body>{links}</body></html>")


def fill(index: Index) -> Index:
    """Add what the tests ask for."""
    for version in ("1.0", "2.0"):
        index.wheel("alpha", version)
    index.wheel("beta", "1.0", ["alpha<2"])
    index.wheel("gamma", "1.0", ["alpha>=2"])
    index.wheel("weights", "1.0", ["nowhere>=1"])
    index.wheel("large", "1.0", size_bytes=3_000_000)
    index.wheel("windows", "1.0", tag="cp311-cp311-win_amd64")
    index.sdist("broken", FAILS)
    index.sdist("slow", WAITS)
    return index


def _digest(text):
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()


def processes_naming(folder):
    """The processes that have a folder in their command line."""
    found = []
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if str(folder).encode() in process.read_bytes():
                found.append(process.parent.name)
    return found
