"""The packages of hotloop's environment on a runner, fetched by this machine for one that reaches no registry."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import stat
import tempfile
import zipfile
from pathlib import Path

from hotloop.remote_runner.bootstrap.failures import Failure, Kind

FETCH_TIMEOUT_S = 600.0
MANYLINUX = ("2_17", "2_28", "2_31", "2_32", "2_33", "2_34", "2_35", "2_36", "2_37", "2_38", "2_39", "2_40")


def cache_folder() -> Path:
    """Where this machine keeps what it fetched for runners."""
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "hotloop" / "packages"


def uv_platform(tag: str, glibc: str) -> str:
    """Say a runner's platform as uv does.

    Args:
        tag: As `on_host/bridge.py` says it: ``x86_64-gnu``.
        glibc: Such as ``2.36``; empty on musl.

    Raises:
        Failure: hotloop's packages are not built for it.
    """
    machine, _, libc = tag.rpartition("-")
    if machine not in {"x86_64", "aarch64"}:
        raise Failure(Kind.NO_BUILD, f"its processor is {machine}")
    if libc == "musl":
        return f"{machine}-unknown-linux-musl"
    have = tuple(map(int, glibc.split(".")[:2]))
    fitting = [level for level in MANYLINUX if tuple(map(int, level.split("_"))) <= have]
    if not fitting:
        raise Failure(Kind.NO_BUILD, f"its glibc is {glibc}")
    return f"{machine}-manylinux_{fitting[-1]}"


async def fetch(requirements: list[str], *, platform: str, python: str, timeout_s: float = FETCH_TIMEOUT_S) -> Path:
    """Give an archive of installed packages, made now or kept from before.

    Args:
        requirements: With their dependencies.
        platform: As uv says it.
        python: The version they are for, such as ``3.12``.
        timeout_s: How long it may take, seconds.

    Raises:
        Failure: They can't be had.
    """
    name = hashlib.sha256("\n".join([*requirements, platform, python]).encode()).hexdigest()[:24]
    kept = cache_folder() / f"{name}.zip"
    if kept.exists():
        return kept
    kept.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=".new-", dir=kept.parent))
    try:
        await _install(folder, requirements, platform, python, timeout_s)
        await asyncio.to_thread(_pack, folder, folder.with_suffix(".zip"))
        folder.with_suffix(".zip").replace(kept)
    finally:
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
    return kept


async def _install(folder: Path, requirements: list[str], platform: str, python: str, timeout_s: float) -> None:
    import uv

    where = ["--target", str(folder), "--python-platform", platform, "--python-version", python]
    how = ["--quiet", "--no-progress", "--only-binary", ":all:", "--link-mode", "copy"]
    command = [uv.find_uv_bin(), "pip", "install", *how, *where, *requirements]
    code, output = await _run(command, dict(os.environ), timeout_s)
    if "invalid peer certificate" in output:  # behind a proxy that signs for all: its root is the system's
        code, output = await _run(command, {**os.environ, "UV_SYSTEM_CERTS": "1"}, timeout_s)
    if code:
        raise Failure(Kind.COMMAND, f"fetching hotloop's packages on this machine for {platform}", {"output": output})


async def _run(command: list[str], environ: dict[str, str], timeout_s: float) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        *command, env=environ,
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        async with asyncio.timeout(timeout_s):
            _, errors = await process.communicate()
    except TimeoutError:
        msg = f"fetching hotloop's packages on this machine took more than {timeout_s:.0f} s"
        raise Failure(Kind.TIME_OUT, msg) from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return await process.wait(), errors.decode(errors="replace").strip()


def _pack(folder: Path, target: Path) -> None:
    with zipfile.ZipFile(target, "w") as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                info = zipfile.ZipInfo(path.relative_to(folder).as_posix())
                info.external_attr = stat.S_IMODE(path.stat().st_mode) << 16
                archive.writestr(info, path.read_bytes(), zipfile.ZIP_DEFLATED, compresslevel=1)
