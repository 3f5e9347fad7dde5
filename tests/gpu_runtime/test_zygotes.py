"""What a runtime's zygotes import, and how one takes another's place."""

from __future__ import annotations

import os
import signal
import time
import venv
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from hotloop import events
from tests.gpu_runtime.driver import RuntimeDriver, kill

LIBRARY = """
import os, pathlib, time

imports = pathlib.Path(os.environ["IMPORTS"], __name__)
with imports.open("a") as file:
    print(os.getpid(), os.getppid(), file=file)
while len(imports.read_text().splitlines()) > 1 and pathlib.Path(os.environ["IMPORTS"], "hold " + __name__).exists():
    time.sleep(0.01)
"""
APP = """
import hotloop, first

app = hotloop.App("libraries")


@app.endpoint
def ask() -> int:
    return 1
"""
WITH_SECOND = APP.replace("import hotloop, first", "import hotloop, first, second")


@dataclass
class Importing:
    """A runtime whose libraries take note of who imports them; its app was started, and what it imports was learned."""

    driver: RuntimeDriver
    folder: Path

    def of(self, library: str) -> list[tuple[int, int]]:
        """Who imported a library: processes and their parents."""
        path = self.folder / library
        lines = path.read_text().splitlines() if path.exists() else []
        return [(int(pid), int(parent)) for pid, parent in map(str.split, lines)]

    def wait_for(self, library: str, times: int) -> list[tuple[int, int]]:
        """Wait until a library was imported so often."""
        wait_until(lambda: len(self.of(library)) >= times)
        return self.of(library)

    def hold(self, library: str) -> Path:
        """Have all but the first process that imports it wait until the file is gone that is returned."""
        held = self.folder / f"hold {library}"
        held.touch()
        return held

    def edit(self, text: str) -> events.Ready:
        """Save, and wait until that serves."""
        ready = self.driver.wait_reload(self.driver.save({"app.py": text}))
        assert isinstance(ready, events.Ready)
        assert self.driver.call("ask").json == 1
        return ready


def wait_until(holds: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline_s
        time.sleep(0.01)


@pytest.fixture
def importing(tmp_path: Path) -> Iterator[Importing]:
    venv.create(tmp_path / "env", symlinks=True)
    (packages,) = (tmp_path / "env" / "lib").glob("python*/site-packages")
    for library in ("first", "second"):
        (packages / f"{library}.py").write_text(LIBRARY)
    folder = tmp_path / "imports"
    folder.mkdir()
    environment = {**os.environ, "IMPORTS": str(folder)}
    python = str(tmp_path / "env" / "bin" / "python")
    with RuntimeDriver(tmp_path, {"app.py": APP}, python, environment=environment) as driver:
        driver.wait_for(events.Ready)
        importing = Importing(driver, folder)
        (_, empty), *_ = importing.wait_for(
            "first", 2
        )  # by the app, and by the zygote that is to take the empty one's place
        wait_until(lambda: empty not in driver.tree())
        importing.edit(APP + "# what is served is forked from that\n")
        yield importing


def test_what_a_zygote_has_is_not_imported_again_by_the_next_one(importing: Importing):
    imported = importing.of("first")
    importing.edit(WITH_SECOND)
    (_, (successor, zygote)) = importing.wait_for("second", 2)
    wait_until(lambda: zygote not in importing.driver.tree())
    importing.edit(WITH_SECOND + "# a standby may have been there that was forked from the one before\n")
    imported_second = importing.of("second")
    for n in range(3):
        importing.edit(WITH_SECOND + f"# {n}\n")

    assert importing.of("first") == imported
    assert importing.of("second") == imported_second
    assert zygote in {pid for pid, _ in imported}
    assert successor in importing.driver.tree()


def test_successor_that_dies_while_it_imports_is_not_missed(importing: Importing):
    imported = importing.of("first")
    importing.hold("second")
    importing.edit(WITH_SECOND)
    (_, (successor, zygote)) = importing.wait_for("second", 2)
    kill(successor)
    wait_until(lambda: successor not in importing.driver.tree())
    importing.edit(APP)

    assert zygote in importing.driver.tree()
    assert importing.of("first") == imported


def test_successor_whose_zygote_dies_while_it_imports_takes_its_place(importing: Importing):
    imported = importing.of("first")
    held = importing.hold("second")
    importing.edit(WITH_SECOND)
    (_, (successor, zygote)) = importing.wait_for("second", 2)
    kill(zygote)
    died = importing.driver.wait_for(events.ProcessDied, role="zygote")
    held.unlink()
    importing.edit(WITH_SECOND + "# again\n")
    imported_second = importing.of("second")
    importing.edit(WITH_SECOND + "# and again\n")

    assert died.cause == "the zygote ended (SIGKILL)"
    assert importing.of("first") == imported
    assert importing.of("second") == imported_second
    kill(successor)
    assert importing.driver.wait_for(events.ProcessDied, role="zygote").cause == "the zygote ended (SIGKILL)"
    importing.wait_for("first", len(imported) + 1)
    assert importing.edit(WITH_SECOND + "# and once more\n")


def test_a_save_whose_worker_the_zygote_did_not_get_to_fork_is_served_by_another(importing: Importing):
    (_, (zygote, _), *_) = importing.of("first")
    os.kill(zygote, signal.SIGSTOP)
    for who in ("the standby that is there, if it is", "one that is asked for"):
        revision = importing.driver.save({"app.py": APP + f"# by {who}\n"})
        importing.driver.wait_for(events.ReloadStarted, revision=revision)
    kill(zygote)

    assert isinstance(importing.driver.wait_reload(revision), events.Ready)
    assert importing.driver.call("ask").json == 1


def test_variable_that_was_not_set_before_needs_a_new_interpreter(importing: Importing):
    imported = importing.of("first")
    importing.edit("import os\nos.environ['CHOSEN'] = 'later'\n" + WITH_SECOND)
    importing.wait_for("first", len(imported) + 1)
    importing.edit(WITH_SECOND)


def test_what_was_installed_anew_is_imported_by_a_new_interpreter(importing: Importing, tmp_path: Path):
    (packages,) = (tmp_path / "env" / "lib").glob("python*/site-packages")
    fresh = packages / ".first.py"
    fresh.write_text(LIBRARY + "# newer\n")
    imported = importing.of("first")
    fresh.replace(packages / "first.py")
    importing.edit(WITH_SECOND)

    importing.wait_for("first", len(imported) + 1)


def test_a_library_is_the_projects_own_while_there_is_one_for_other_libraries_too(importing: Importing, tmp_path: Path):
    (packages,) = (tmp_path / "env" / "lib").glob("python*/site-packages")
    (packages / "second.py").write_text(LIBRARY + "import first\n")
    app = WITH_SECOND.replace("-> int", "-> list[str]").replace(
        "return 1", "return [first.__file__, second.first.__file__]"
    )
    driver = importing.driver

    def answer(files: dict[str, str | None]) -> list[str]:
        assert isinstance(driver.wait_reload(driver.save(files)), events.Ready)
        return driver.call("ask").json

    library, own = str(packages / "first.py"), str(driver.workspace / "first.py")
    assert answer({"app.py": app}) == [library, library]
    importing.wait_for("second", 2)
    assert answer({"first.py": "", "pages/second.py": ""}) == [own, own]
    assert [event.hint for event in driver.events if isinstance(event, events.Notice)] == [
        "rename first, and reloads stay fast"
    ]
    alone = len(importing.of("second"))
    for n in range(3):
        assert answer({"app.py": f"{app}# {n}\n"}) == [own, own]
    assert len(importing.of("second")) == alone + 3
    assert answer({"first.py": None}) == [library, library]
    _, empty = importing.of("second")[-1]
    wait_until(lambda: empty not in driver.tree())
    answer({"app.py": app + "# a standby may have been there that has none of them\n"})
    imported = importing.of("second")
    assert answer({"app.py": app + "# again\n"}) == [library, library]
    assert importing.of("second") == imported


def test_a_library_that_the_project_has_its_own_of_by_the_time_it_is_imported_ahead_is_not_served(importing: Importing):
    app = WITH_SECOND.replace("-> int", "-> str").replace("return 1", "return second.__file__")
    driver = importing.driver
    held = importing.hold("second")
    driver.wait_reload(driver.save({"app.py": app}))
    importing.wait_for("second", 2)
    assert isinstance(driver.wait_reload(driver.save({"second.py": ""})), events.Ready)
    held.unlink()
    driver.wait_for(events.Notice, key="shadowed second")
    for n in range(2):  # a standby may have been there
        assert isinstance(driver.wait_reload(driver.save({"app.py": f"{app}# {n}\n"})), events.Ready)
        assert driver.call("ask").json == str(driver.workspace / "second.py")


def test_stop_while_a_successor_imports_leaves_no_process(importing: Importing):
    importing.hold("second")
    importing.edit(WITH_SECOND)
    importing.wait_for("second", 2)
    tree = importing.driver.tree()
    importing.driver.stop()

    wait_until(lambda: not any(Path("/proc", str(pid)).exists() for pid in tree))
