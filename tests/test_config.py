"""Settings of a project, and where its app is found without running it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hotloop import config
from hotloop.config import AppLocation, Settings
from hotloop.errors import UsageError

APP = "import hotloop\n\napp = hotloop.App('x')\n"


def make(project, **files):
    for name, text in files.items():
        path = project / name.replace("__", "/").replace("_py", ".py").replace("_toml", ".toml")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return project


def test_a_project_without_settings_has_none(tmp_path):
    assert config.load(tmp_path) == Settings()


def test_settings_are_read(tmp_path):
    make(tmp_path, pyproject_toml="[tool.hotloop]\napp = 'a.py:x'\nport = 9000\ngrpc_port = 0\nrunner = 'local'\n")

    assert config.load(tmp_path) == Settings(app="a.py:x", port=9000, grpc_port=0, runner="local")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[tool.hotloop]\nprot = 1\n", "tool.hotloop.prot is not a setting"),
        ("[tool.hotloop]\nport = '1'\n", "tool.hotloop.port is '1', a whole number was expected"),
        ("[tool.hotloop]\nport = true\n", "tool.hotloop.port is True, a whole number"),
        ("[tool.hotloop]\nport = 65536\n", "tool.hotloop.port is 65536, a port from 0"),
        ("[tool.hotloop]\nport = -1\n", "tool.hotloop.port is -1, a port from 0"),
        ("[tool.hotloop]\ngrpc_port = '1'\n", "tool.hotloop.grpc_port is '1', a whole number was expected"),
        ("[tool.hotloop]\ngrpc_port = 65536\n", "tool.hotloop.grpc_port is 65536, a port from 0"),
        (
            "[tool.hotloop]\nenvironment = 'x'\n",
            "tool.hotloop.environment is 'x', one of project, managed was expected",
        ),
        ("[tool.hotloop]\nreplicas = '2'\n", "tool.hotloop.replicas is '2', a whole number was expected"),
        ("[tool.hotloop]\napp = 1\n", "tool.hotloop.app is 1, a string was expected"),
        ("[tool.hotloop]\nrunners = 'gpu1'\n", "tool.hotloop.runners is 'gpu1', a table was expected"),
        ("[tool.hotloop]\nbudget = 0\n", "tool.hotloop.budget is 0, US dollars were expected"),
        ("[tool.hotloop]\nbudget = inf\n", "tool.hotloop.budget is inf, US dollars were expected"),
        ("[tool.hotloop]\nbudget = '5'\n", "tool.hotloop.budget is '5', a number was expected"),
        ("[tool.hotloop]\nprice_per_hour = -0.1\n", "tool.hotloop.price_per_hour is -0.1, US dollars were expected"),
        ("[tool.hotloop]\nbudget_stops = 1\n", "tool.hotloop.budget_stops is 1, true or false was expected"),
        (
            "[tool.hotloop]\ncors_origins = ['*', 'localhost:3000']\n",
            "item 2 of tool.hotloop.cors_origins is 'localhost:3000', a page's scheme, host and port were expected",
        ),
        ("[tool.hotloop]\ncors_origins = ['http://a/']\n", "item 1 of tool.hotloop.cors_origins is 'http://a/'"),
        ("[tool.hotloop]\npass_env = 'A'\n", "tool.hotloop.pass_env is 'A', a list was expected"),
        ("[tool.hotloop]\npass_env = ['A', 'B=1']\n", "item 2 of tool.hotloop.pass_env is no variable's name"),
        ("[tool.hotloop]\npass_env = [1]\n", "item 1 of tool.hotloop.pass_env is no variable's name"),
        (
            "[tool.hotloop]\npass_env = ['PATH']\n",
            "tool.hotloop.pass_env names PATH, which is about this machine alone",
        ),
        ("[tool]\nhotloop = 3\n", "tool.hotloop is 3, a table was expected"),
        ("[tool.hotloop\n", "pyproject.toml can't be read"),
    ],
)
def test_wrong_settings_name_file_and_key(tmp_path, text, message):
    make(tmp_path, pyproject_toml=text)

    with pytest.raises(UsageError) as caught:
        config.load(tmp_path)

    assert caught.value.message.startswith("pyproject.toml")
    assert message in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize("port", [0, 1, 65534, 65535])
def test_ports_at_the_limits_are_taken(port):
    config.check_port(port, "--port", "write it as --port 8000")


@pytest.mark.parametrize(
    "text",
    [
        APP,
        "from hotloop import App\napp = App('x')\n",
        "from hotloop import App as A\napp: A = A('x')\n",
        "import hotloop as h\napp = h.App('x')\n",
    ],
)
def test_the_only_app_is_found(tmp_path, text):
    make(tmp_path, main_py=text, other_py="import hotloop\n")

    found = config.locate_app(tmp_path, None)

    assert (found.file, found.name) == ("main.py", "app")


def test_an_app_below_src_is_found(tmp_path):
    make(tmp_path, src__pkg__app_py=APP)

    assert config.locate_app(tmp_path, None) == AppLocation("src/pkg/app.py", "app", 3)


def test_an_app_with_a_syntax_error_is_still_the_app(tmp_path):
    make(tmp_path, app_py=APP + "def broken(:\n")

    assert config.locate_app(tmp_path, None) == AppLocation("app.py", "app", 3)


def test_no_app_is_told_with_an_example(tmp_path):
    make(tmp_path, app_py="class App: ...\napp = App()\n")

    with pytest.raises(UsageError, match="no app in") as caught:
        config.locate_app(tmp_path, None)

    assert "hotloop.App(" in caught.value.hint


def test_an_app_in_a_folder_that_is_not_searched_is_named(tmp_path):
    make(tmp_path, pkg__app_py=APP, dot__app_py=APP, env__lib__app_py=APP)
    (tmp_path / "dot").rename(tmp_path / ".dot")
    (tmp_path / "env/pyvenv.cfg").touch()

    for wanted in (None, "pkg.app:app"):  # as uvicorn has it
        with pytest.raises(UsageError) as caught:
            config.locate_app(tmp_path, wanted)
        assert caught.value.hint == "there is --app pkg/app.py:app"


def test_a_pipe_called_like_a_module_is_not_waited_for(tmp_path):
    make(tmp_path, app_py=APP)
    os.mkfifo(tmp_path / "pipe.py")

    assert config.locate_app(tmp_path, None).file == "app.py"


@pytest.mark.parametrize("path", ["~nobody-is-called-so/x", "loop", "loop/x"])
def test_a_path_that_leads_nowhere_is_told(tmp_path, monkeypatch, path):
    (tmp_path / "loop").symlink_to("loop")
    monkeypatch.chdir(tmp_path)

    with pytest.raises(UsageError, match=f"{path} (can't be found|is not there)"):
        config.find_project(Path(path))


def test_two_apps_are_told_with_their_lines_and_what_to_type(tmp_path):
    make(tmp_path, a_py=APP, b_py="\n" + APP)

    with pytest.raises(UsageError) as caught:
        config.locate_app(tmp_path, None)

    assert "a.py:3 (app), b.py:4 (app)" in caught.value.message
    assert "--app a.py:app" in caught.value.hint


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ("nope.py", "there is no file nope.py"),
        ("book.ipynb", "book.ipynb is no Python file"),
        ("../outside.py", "is outside of the project"),
        ("app.py:not-a-name", "can't be a variable's name"),
    ],
)
def test_a_wrong_app_option_is_told(tmp_path, wanted, message):
    (tmp_path / "outside.py").write_text(APP)
    project = make(tmp_path / "p", app_py=APP)
    (project / "book.ipynb").write_text("{}")

    with pytest.raises(UsageError, match=message):
        config.locate_app(project, wanted)


def test_a_file_given_as_the_project_is_told_what_to_type(tmp_path):
    make(tmp_path, app_py=APP)

    with pytest.raises(UsageError) as caught:
        config.find_project(tmp_path / "app.py")

    assert "--app app.py" in caught.value.hint


def test_key_weights_are_read_from_a_file_of_their_own(tmp_path):
    (tmp_path / "keys.toml").write_text('"secret-1" = 4\nsecret-2 = 0.5\n')

    assert config.read_key_weights(tmp_path, "keys.toml") == {"secret-1": 4.0, "secret-2": 0.5}
    assert config.read_key_weights(tmp_path, None) == {}


@pytest.mark.parametrize("weight", ["0", "-1", "inf", "nan", "true", '"4"', "[4]"])
def test_a_weight_that_is_none_is_named_by_its_place_and_no_key_is_told(tmp_path, weight):
    (tmp_path / "keys.toml").write_text(f"secret-1 = 1\nsecret-2 = {weight}\n")

    with pytest.raises(UsageError, match="key 2 is") as error:
        config.read_key_weights(tmp_path, "keys.toml")

    assert "secret" not in error.value.message


@pytest.mark.parametrize("content", [None, b"secret-1 =", b"\xff"])
def test_a_file_of_key_weights_that_can_not_be_read_says_which_setting_names_it(tmp_path, content):
    if content is not None:
        (tmp_path / "keys.toml").write_bytes(content)

    with pytest.raises(UsageError, match=r"keys\.toml can't be read: .*tool\.hotloop\.key_weights"):
        config.read_key_weights(tmp_path, "keys.toml")
