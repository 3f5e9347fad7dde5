"""Themes that can be read, keys that can be mapped, editors that open at the line."""

from __future__ import annotations

from pathlib import Path

import pytest

from hotloop.errors import UsageError
from hotloop.tui import actions, editor, looks, themes


@pytest.mark.parametrize("palette", [themes.NIGHT, themes.PAPER, themes.COLORBLIND], ids=lambda palette: palette.name)
def test_every_ink_is_readable_on_every_ground(palette: themes.Palette):
    low = {
        (ink, ground): round(contrast, 2)
        for ink in themes.INKS
        for ground in themes.GROUNDS
        if (contrast := themes.contrast(getattr(palette, ink), getattr(palette, ground))) < 4.5
    }

    assert low == {}


def test_contrast_is_that_of_wcag():
    assert themes.contrast("#000000", "#ffffff") == pytest.approx(21.0)
    assert themes.contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


def project_with(tmp_path: Path, text: str) -> Path:
    (tmp_path / "pyproject.toml").write_text(text)
    return tmp_path


@pytest.fixture(autouse=True)
def _own_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv("HOTLOOP_THEME", raising=False)


def test_the_environment_comes_before_the_project_and_that_before_the_user(tmp_path: Path):
    own = tmp_path / "config" / "hotloop"
    own.mkdir(parents=True)
    (own / "dashboard.toml").write_text('theme = "ansi"\nascii = true\n[keys]\nundo = "U"\nzoom = "x"\n')
    project = project_with(tmp_path, '[tool.hotloop]\ntheme = "paper"\n[tool.hotloop.keys]\nundo = "f8"\n')

    assert looks.read(project, {}) == looks.Looks("paper", is_ascii=True, keys={"undo": "f8", "zoom": "x"})
    assert looks.read(project, {"HOTLOOP_THEME": "colorblind"}).theme == "colorblind"


@pytest.mark.parametrize(
    ("environment", "is_ascii"),
    [
        ({}, False),
        ({"LANG": "C"}, True),
        ({"LANG": "C", "LC_CTYPE": "C.UTF-8"}, True),
        ({"LANG": "C.UTF-8"}, False),
        ({"LANG": "de_DE.UTF-8", "LC_ALL": "POSIX"}, True),
        ({"LANG": "de_DE", "LC_CTYPE": "en_US.utf8"}, False),
        ({"LANG": "de_DE@euro"}, True),
    ],
    ids=str,
)
def test_a_locale_without_utf_8_is_drawn_in_ascii(tmp_path: Path, environment: dict[str, str], is_ascii: bool):
    assert looks.read(project_with(tmp_path, ""), environment).is_ascii is is_ascii


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('theme = "dark"', "the theme is 'dark', one of night, paper, ansi, colorblind was expected"),
        ('keys = { jump = "x" }', "pyproject.toml: tool.hotloop.keys.jump is no action"),
        ("keys = { undo = 3 }", "pyproject.toml: tool.hotloop.keys.undo is 3, a string was expected"),
        ('keys = { undo = "the key" }', "pyproject.toml: tool.hotloop.keys.undo is 'the key', a key was expected"),
        ('keys = { undo = "r" }', "pyproject.toml: tool.hotloop.keys.undo is 'r', which reload has"),
        (
            'keys = { undo = "escape" }',
            "pyproject.toml: tool.hotloop.keys.undo is 'escape', and Esc moves in lists or closes what is open",
        ),
        ('ascii = "yes"', "pyproject.toml: tool.hotloop.ascii is 'yes', true or false was expected"),
    ],
)
def test_a_wrong_setting_is_named(tmp_path: Path, text: str, said: str):
    with pytest.raises(UsageError) as raised:
        looks.read(project_with(tmp_path, f"[tool.hotloop]\n{text}\n"), {})

    assert raised.value.message == said
    assert raised.value.hint


def test_keys_may_be_exchanged():
    actions.check({"reload": "R", "restart": "r"})


def test_every_action_has_help_and_a_key_of_its_own():
    actions.check({})

    assert all(action.about and action.keys for action in actions.ACTIONS)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("vim", ("vim", "+31", "/p/a.py")),
        ("/usr/bin/nano -w", ("/usr/bin/nano", "-w", "+31", "/p/a.py")),
        ("emacs -nw", ("emacs", "-nw", "+31", "/p/a.py")),
        ("code --wait", ("code", "--wait", "-g", "/p/a.py:31")),
        ("hx", ("hx", "/p/a.py:31")),
        ("pycharm", ("pycharm", "--line", "31", "/p/a.py")),
    ],
)
def test_an_editor_is_told_the_line_its_own_way(name: str, words: tuple[str, ...]):
    assert editor.command({"EDITOR": name}, Path("/p/a.py"), 31).words == words


def test_visual_comes_before_editor_and_windows_leave_the_terminal_alone():
    command = editor.command({"VISUAL": "code", "EDITOR": "vim"}, Path("/p/a.py"))

    assert command == editor.Command(("code", "/p/a.py"), has_window=True)


def test_help_is_not_cut_in_a_window_of_120_columns():
    assert [action.about for action in actions.ACTIONS if len(action.about) > 50] == []
