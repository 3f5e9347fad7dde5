"""What an app asks for, read from its files: which of them counts, what is in it, what its name is."""

import contextlib

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from hotloop.errors import UsageError
from hotloop.remote_runner.environments.request import RESOLVED_FROM, UnreadableError, read_request
from hotloop.remote_runner.environments.requirements import Requirement

APP = 'import hotloop\n\napp = hotloop.App("a", packages=["torch>=2", "numpy"])\n'
PYPROJECT = (
    '[project]\nname = "p"\nversion = "1"\nrequires-python = ">=3.12"\ndependencies = [\n  "torch",\n  "tqdm>=4",\n]\n'
)
UV_LOCK = "version = 1\n"


def read(environ=None, python="", **files):
    given = {"app.py": APP}
    given |= {name.replace("__", "/").replace("_", ".", 1): text for name, text in files.items()}
    contents = {path: text.encode() for path, text in given.items()}
    return read_request(contents.get, "app.py", python=python, default_python="3.11", environ=environ or {})


@pytest.mark.parametrize(
    ("files", "source", "kind"),
    [
        ({}, "packages=[...] of app.py", "resolved"),
        ({"pyproject_toml": PYPROJECT}, "pyproject.toml", "resolved"),
        ({"pyproject_toml": "[tool.hotloop]\n"}, "packages=[...] of app.py", "resolved"),
        ({"pyproject_toml": PYPROJECT, "requirements_txt": "torch\n"}, "requirements.txt", "resolved"),
        ({"requirements_txt": "torch==2.5 --hash=sha256:00\n"}, "requirements.txt", "hashed"),
        ({"requirements_txt": "torch\n", "requirements_lock": "torch==2.5\n"}, "requirements.lock", "resolved"),
        ({"requirements_txt": "torch\n", "pylock_toml": "packages = []\n"}, "pylock.toml", "pylock"),
        ({"pylock_toml": "", "uv_lock": UV_LOCK, "pyproject_toml": PYPROJECT}, "uv.lock", "uv.lock"),
    ],
)
def test_the_first_that_there_is_counts(files, source, kind):
    request = read(**files)

    assert (request.source, request.kind) == (source, kind)
    assert request.overruled == ("" if source.startswith("packages=") else "packages=[...] of app.py")


def test_what_is_asked_for_is_known_by_place():
    assert read().requirements == (Requirement("torch>=2", "app.py", 3), Requirement("numpy", "app.py", 3))
    assert read(pyproject_toml=PYPROJECT).requirements[1] == Requirement("tqdm>=4", "pyproject.toml", 7)
    found = read(
        requirements_txt="# first\ntorch  # why\nnumpy>=1,\\\n  <3 ; python_version > '3'\n\n--pre\n"
    ).requirements
    assert [(each.text.split(" ")[0], each.line) for each in found] == [("torch", 2), ("numpy>=1,", 3)]


def test_files_that_are_included_count():
    request = read(
        requirements_txt="-r more/base.txt\ntorch\n",
        more__base_txt="numpy\n-c limits.txt\n",
        more__limits_txt="numpy<3\n",
    )

    assert set(request.files) == {"requirements.txt", "more/base.txt", "more/limits.txt"}
    assert [each.text for each in request.requirements] == ["numpy", "numpy<3", "torch"]


def test_the_project_itself_stands_for_its_dependencies():
    request = read(requirements_txt="-e .[extra]\nnumpy\n", pyproject_toml=PYPROJECT)

    assert request.inputs == ("requirements.txt", "pyproject.toml")
    assert request.files["requirements.txt"] == b"# the project itself\nnumpy\n"
    assert [each.text for each in request.requirements] == ["numpy", "torch", "tqdm>=4"]


def test_the_same_asked_for_has_the_same_digest_wherever_it_is_written():
    reordered = APP.replace('"torch>=2", "numpy"', '"numpy", "torch>=2"').replace(
        "import hotloop\n", "import hotloop\n\n\n"
    )
    other = APP.replace("torch>=2", "torch>=2.1")

    assert read().digest == read(app_py=reordered).digest
    assert len({read().digest, read(app_py=other).digest, read(python="3.12").digest}) == 3
    assert read({"UV_EXCLUDE_NEWER": "2026-01-01"}).digest != read().digest
    assert read({"UV_CACHE_DIR": "/x"}).digest == read().digest
    assert read(pyproject_toml="[tool.uv]\nindex-url = 'https://x/simple'\n").digest != read().digest
    assert read(pyproject_toml="[tool.hotloop]\nport = 1\n").digest == read().digest


def test_a_lock_that_is_older_than_the_dependencies_is_found_out():
    lock = (
        '[[package]]\nname = "torch"\n\n[[package]]\nname = "p"\nsource = { virtual = "." }\n\n'
        '[package.metadata]\nrequires-dist = [{ name = "torch" }]\n'
    )

    assert read(uv_lock=lock, pyproject_toml=PYPROJECT).not_locked == ("tqdm>=4",)
    assert read(uv_lock=lock, pyproject_toml=PYPROJECT.replace('  "tqdm>=4",\n', "")).not_locked == ()
    assert read(uv_lock="version = 1\n", pyproject_toml=PYPROJECT).not_locked == ()


def test_data_packages_come_in_addition_to_a_lock():
    app = APP.replace('"numpy"]', '"numpy"], data_packages=["weights==1"]')
    request = read(app_py=app, requirements_txt="torch\n")

    assert [each.text for each in request.data_packages] == ["weights==1"]
    assert request.digest != read(requirements_txt="torch\n").digest


@pytest.mark.parametrize(
    ("files", "python"),
    [
        ({}, "3.11"),
        ({"pyproject_toml": PYPROJECT}, ">=3.12"),
        ({"pyproject_toml": PYPROJECT, ".python-version": "3.13\n"}, "3.13"),
    ],
)
def test_python_is_the_pinned_one_else_the_required_one(files, python):
    contents = {"app.py": APP, **{name.replace("_", "."): text for name, text in files.items()}}
    request = read_request(
        lambda path: contents[path].encode() if path in contents else None, "app.py", default_python="3.11", environ={}
    )

    assert request.python == python


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"requirements_txt": "torch\n-r ../other.txt\n"}, "requirements.txt:2 reads ../other.txt, which is outside"),
        ({"requirements_txt": "-r gone.txt\n"}, "requirements.txt:1 reads gone.txt, which is not among"),
        ({"requirements_txt": "./wheels/a-1-py3-none-any.whl\n"}, "requirements.txt:1 names ./wheels/a-1"),
        ({"requirements_txt": "--find-links ./wheels\n"}, "requirements.txt:1 names ./wheels"),
        ({"uv_lock": UV_LOCK}, "uv.lock is there without the pyproject.toml"),
        ({"pyproject_toml": "[project\n"}, "pyproject.toml can't be read"),
        ({"app_py": APP.replace('["torch>=2", "numpy"]', "NAMES")}, "app.py:3 computes a list of packages"),
    ],
)
def test_what_can_not_be_read_is_refused_with_its_place(files, message):
    with pytest.raises(UsageError, match="^" + message.replace(".", r"\.")) as caught:
        read(**files)

    assert caught.value.hint


def test_an_app_that_can_not_be_parsed_asks_for_nothing_new():
    with pytest.raises(UnreadableError, match=r"app\.py:2 can't be parsed"):
        read(app_py="import hotloop\napp = hotloop.App(\n")


def test_an_app_without_packages_asks_for_an_empty_environment():
    request = read(app_py='import hotloop\napp = hotloop.App("a")\n')

    assert request.files == {RESOLVED_FROM: b""}


BUSY = (
    'import hotloop\n\nNAME = "a"\nif True:\n    app = hotloop.App(\n        NAME,\n        packages=["torch"],\n    )  # so\n'
    'PROMPT = "hello"\n\n\n@app.endpoint\ndef chat(text: str) -> str:\n    return PROMPT + text\n'
)


@pytest.mark.parametrize(
    ("old", "new", "is_seen_at_once"),
    [
        ("hello", "hello, what are you?", True),
        ("    return PROMPT", "    '''say'''\n    return PROMPT", True),
        ("    return PROMPT", "    return (PROMPT", True),  # it can't be parsed, and asks for nothing new
        ('NAME = "a"', 'NAME = "b"', False),
        ('["torch"]', '["torch", "numpy"]', False),
        ("hello", "packages", False),
        ("PROMPT =", 'app = hotloop.App("b", packages=["numpy"])\nPROMPT =', False),
        ("import hotloop", "", False),
    ],
)
def test_most_edits_of_an_app_are_seen_at_once_to_ask_for_the_same(old, new, is_seen_at_once):
    assert read(app_py=BUSY).is_still_asked(BUSY.replace(old, new).encode()) == is_seen_at_once


_PIECES = [
    "\n",
    '"""',
    "'",
    "#",
    "(",
    ")",
    "\\\n",
    "    ",
    "app",
    "=",
    'App("b", packages=["numpy"])',
    "packages",
    ";",
    "else:",
]


@given(
    st.lists(
        st.tuples(st.integers(0, len(BUSY)), st.integers(0, 12), st.lists(st.sampled_from(_PIECES), max_size=4)),
        min_size=1,
        max_size=3,
    )
)
def test_what_is_seen_at_once_to_ask_for_the_same_does(edits):
    text = BUSY
    for at, num_removed, pieces in edits:
        text = text[:at] + "".join(pieces) + text[at + num_removed :]
    before = read(app_py=BUSY)
    assume(before.is_still_asked(text.encode()))
    with contextlib.suppress(UnreadableError):
        assert read(app_py=text).digest == before.digest


def test_an_app_that_declares_nothing_is_still_the_same_without_packages():
    before = read(app_py="import hotloop\n", requirements_txt="torch\n")

    assert before.is_still_asked(b"import hotloop\nx = 1\n")
    assert not before.is_still_asked(b'import hotloop\napp = hotloop.App("a", data_packages=["x"])\n')
