"""`dev serve` of a project whose environment hotloop makes, as a person has it: a terminal, saves, mistakes."""

import os
import subprocess
import sys

import pytest

from tests.cli.test_serve import COMMAND, Terminal

pytestmark = [pytest.mark.timeout(120), pytest.mark.usefixtures("uv_settings")]

APP = """
import alpha
import hotloop

app = hotloop.App("tiny", packages=["{package}"])


@app.endpoint
def version() -> str:
    return alpha.__version__


@app.probe
def shown(client):
    return client.version()
"""


@pytest.fixture
def project(tmp_path):
    (tmp_path / "pyproject.toml").write_text('[tool.hotloop]\nenvironment = "managed"\n')
    (tmp_path / "app.py").write_text(APP.format(package="nowhere"))
    return tmp_path


def save(project, package):
    (project / "app.py").write_text(APP.format(package=package))


def test_a_first_start_that_fails_goes_on_with_the_save_that_corrects_it_and_later_ones_change_it(project):
    terminal = Terminal(["serve", "--port", "0"], project)
    try:
        at = terminal.until("✗ NotResolvable: .*nowhere was not found")
        at = terminal.until("app.py:5 in packages", at)
        at = terminal.until("there is no environment yet; the next save tries again", at)
        save(project, "alpha<2")
        at = terminal.until(r"environment  Python 3\.\S+, 1 package from packages=\[...\] of app.py  made in", at)
        at = terminal.until(r"✓ #1 .* environment \S+ ·", at)
        save(project, "alpha>=2")
        at = terminal.until(r"alpha 1\.0 → 2\.0", at)
        at = terminal.until(r"probe    shown  changed", at)
        at = terminal.until(r"✓ #2 .* environment \S+ ·", at)
        save(project, "alpha>=3")
        at = terminal.until("✗ NotResolvable", at)
        at = terminal.until(r"still serving generation 2 with the environment of packages=", at)
        terminal.type("r\n")
        at = terminal.until("✗ NotResolvable", at)
        listed = environments("list")
        removed = environments("prune", "--days", "0")
        terminal.type("q\n")
        code = terminal.end()
    finally:
        terminal.close()

    assert code == 0
    assert listed.count("in use") == 2
    assert removed.startswith("0 environments removed")
    assert environments("prune", "--days", "0", "--locks").splitlines()[-1].startswith("2 environments removed")
    assert environments("list").startswith("no environments in ")


def test_once_ends_with_the_failure_of_a_first_environment(project):
    done = subprocess.run(
        [*COMMAND, "serve", "--once", "--port", "0"],
        cwd=project,
        check=False,
        capture_output=True,
        text=True,
        timeout=50,
    )

    assert done.returncode == 1
    assert "✗ NotResolvable" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


def test_ctrl_c_amid_a_first_build_ends_it(project, gate):
    save(project, "slow")
    terminal = Terminal(["serve", "--port", "0"], project)
    try:
        terminal.until("building: slow")
        terminal.type("\x03")
        code = terminal.end()
    finally:
        terminal.close()

    assert code == 130


def environments(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "hotloop.cli.main", "env", *arguments], capture_output=True, text=True, timeout=50, check=True,
        env=os.environ,
    ).stdout  # fmt: skip
