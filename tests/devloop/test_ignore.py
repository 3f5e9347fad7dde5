"""The rules are git's, plus our own; git itself is the oracle."""

import os
import random
import subprocess

import pytest

from hotloop.devloop import ignore as ignore_module
from hotloop.devloop.ignore import Ignore
from hotloop.devloop.index import Index


def git(root, *arguments):
    return subprocess.run(["git", "-C", root, *arguments], capture_output=True, check=True).stdout


def make(root, files):
    for path, content in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(content)


def test_files_that_hotloops_own_output_goes_to_are_left_out_also_if_they_were_synced_before(tmp_path):
    make(tmp_path, {"app.py": "", "logs/out [1].txt": "", "logs/out.txt": ""})
    before = Index(tmp_path, Ignore(tmp_path))
    before.refresh()
    before.save(tmp_path / "index.json")
    ignore = Ignore(tmp_path, frozenset({"logs/out [1].txt"}))
    index = Index(tmp_path, ignore)
    index.load(tmp_path / "index.json")
    snapshot = index.snapshot(["logs/out [1].txt"])

    assert {path for path, _ in ignore.walk()} == {"app.py", "index.json", "logs", "logs/out.txt"}
    assert snapshot.num_deleted == 1
    assert index.snapshot(["logs/out [1].txt", "logs"]) is None


def test_a_project_that_is_gone_has_no_paths(tmp_path):
    ignore = Ignore(tmp_path / "project")

    assert list(ignore.walk()) == []


def test_a_project_that_was_deleted_around_this_process_can_be_made_again(tmp_path, monkeypatch):
    project = tmp_path / "project"
    project.mkdir()
    monkeypatch.chdir(project)
    ignore = Ignore(project)
    project.rmdir()
    assert list(ignore.walk()) == []
    make(project, {"app.py": "", ".env": ""})

    assert [path for path, _ in ignore.walk()] == ["app.py"]


def kept_files(root):
    return {path for path, is_folder in Ignore(root).walk() if not is_folder}


NAMES = ["a", "b", "log", "build", "x.py", "y.log", "data", "ü"]
PATTERNS = [
    "*.log", "!y.log", "build", "build/", "/build", "a/b", "a/**", "**/data", "!a/", "!a/b/", "*", "!*.py", "b/*", "!b/x.py",
    "/a/*/", "?", "[ab]", "\\!x", "# no", "x.py ", "**/b/**/x.py", "!/data", "a/*/x.py", "!**/x.py", "data/**/", "[!a]*.log",
]  # fmt: skip


def grow(root, rng, names):
    """Make a random tree with rules in some of its folders; returns these."""
    for _ in range(25):
        parts = [rng.choice(names) for _ in range(rng.randint(1, 4))]
        path = root.joinpath(*parts)
        if not any(parent.is_file() for parent in path.parents) and not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("x")
    folders = [root, *sorted(p for p in root.rglob("*") if p.is_dir() and ".git" not in p.parts)]
    for folder in rng.sample(folders, min(len(folders), 3)):
        (folder / ".gitignore").write_text("\n".join(rng.sample(PATTERNS, rng.randint(1, 5))) + "\n")
    return folders


@pytest.mark.parametrize("seed", range(60))
def test_random_trees_are_cut_as_git_cuts_them(tmp_path, seed):
    rng = random.Random(seed)
    git(tmp_path, "init", "-q")
    folders = grow(tmp_path, rng, NAMES)
    if rng.random() < 0.3:
        (tmp_path / ".git/info/exclude").write_text(rng.choice(PATTERNS) + "\n")
    if rng.random() < 0.3:
        git(tmp_path, "add", "-f", *[str(p) for p in rng.sample([f for f in folders if f != tmp_path] or folders, 1)])
    expected = {
        name.decode() for name in git(tmp_path, "ls-files", "-co", "--exclude-standard", "-z").split(b"\0") if name
    }

    ignore = Ignore(tmp_path)
    files = {str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file() and ".git" not in p.parts}

    assert kept_files(tmp_path) == expected
    assert {path for path in files if not ignore.is_ignored(path)} == expected


@pytest.mark.parametrize("seed", range(30))
@pytest.mark.parametrize("is_in_git", [True, False])
def test_a_folder_has_the_paths_that_it_has_among_all(tmp_path, seed, is_in_git):
    if is_in_git:
        git(tmp_path, "init", "-q")
    names = [*NAMES, "a[1]", "{b}", "!c", "#d", "e f ", "*"]
    folders = [str(folder.relative_to(tmp_path)) for folder in grow(tmp_path, random.Random(seed), names)[1:]]
    (tmp_path / os.fsdecode(b"\xff")).mkdir()
    kept = list(Ignore(tmp_path).walk())

    for folder in folders:
        ignore = Ignore(tmp_path)
        below = [each for each in kept if each[0].startswith(folder + "/")]
        assert ignore.is_ignored(folder) == ((folder, True) not in kept)
        if not ignore.is_ignored(folder):
            assert sorted(ignore.walk(folder)) == sorted(below)
            assert not any(ignore.is_ignored(path) for path, _ in below)


@pytest.mark.parametrize("is_in_git", [True, False])
def test_a_new_folder_is_looked_into_without_going_through_the_others(tmp_path, monkeypatch, is_in_git):
    make(tmp_path, {f"pkg{number}/mod/{name}.py": "" for number in range(5) for name in "abcdefgh"})
    make(tmp_path, {f"pkg0/{number}/x.py": "" for number in range(5)})
    if is_in_git:
        git(tmp_path, "init", "-q")
    seen = []

    def entries(builder):
        for entry in walker(builder):
            seen.append(entry)
            yield entry

    walker = ignore_module._entries
    monkeypatch.setattr(ignore_module, "_entries", entries)
    ignore = Ignore(tmp_path)

    assert sorted(ignore.leaves("pkg0/mod")) == [f"pkg0/mod/{name}.py" for name in "abcdefgh"]
    assert not ignore.is_ignored("pkg1/mod/a.py")
    assert len(seen) < 40  # of 62


def test_what_lies_beside_a_tracked_file_in_an_ignored_folder_is_ignored(tmp_path):
    git(tmp_path, "init", "-q")
    make(tmp_path, {".gitignore": "data\n", "data/kept/a": "", "data/kept/b": "", "data/other/c": "", "data/d": ""})
    git(tmp_path, "add", "-f", "data/kept/a")
    ignore = Ignore(tmp_path)

    kept = [
        path
        for path in ("data", "data/kept", "data/kept/a", "data/kept/b", "data/other/c", "data/d")
        if not ignore.is_ignored(path)
    ]

    assert kept == ["data", "data/kept", "data/kept/a"]


def test_without_git_the_rules_hold_as_well_and_those_above_the_project_do_not(tmp_path):
    (tmp_path / ".gitignore").write_text("*\n")
    root = tmp_path / "project"
    make(root, {".gitignore": "*.log\n", "app.py": "", "a.log": "", "pkg/b.py": "", "pkg/c.log": ""})
    ignore = Ignore(root)

    assert kept_files(root) == {".gitignore", "app.py", "pkg/b.py"}
    assert [ignore.is_ignored(path) for path in ("pkg/b.py", "pkg/c.log", "a.log")] == [False, True, True]


def test_own_rules_come_before_gits(tmp_path):
    git(tmp_path, "init", "-q")
    make(tmp_path, {".gitignore": "*.bin\n", ".hotloopignore": "!model.bin\nnotes/\n", "model.bin": "", "x.bin": ""})
    make(tmp_path, {"notes/a.md": "", "app.py": ""})

    assert kept_files(tmp_path) == {".gitignore", ".hotloopignore", "model.bin", "app.py"}


def test_what_is_never_synced(tmp_path):
    make(tmp_path, {"app.py": "", ".hotloop/x": "", "p/__pycache__/x.pyc": "", "deep/my env/pyvenv.cfg": ""})
    make(tmp_path, {"deep/my env/lib/x.py": "", "deep/ok.py": "", "venv[1]/pyvenv.cfg": "", "venv[1]/y.py": ""})
    ignore = Ignore(tmp_path)

    assert kept_files(tmp_path) == {"app.py", "deep/ok.py"}
    assert ignore.is_ignored("deep/my env/lib/x.py")
    assert ignore.is_ignored(".git")


def test_secrets_are_left_out_with_a_notice_unless_own_rules_say_otherwise(tmp_path):
    make(tmp_path, {".env": "K=1", ".env.local": "", ".env.example": "", "app.py": ""})
    assert kept_files(tmp_path) == {".env.example", "app.py"}
    assert Ignore(tmp_path).withheld_secrets() == [".env", ".env.local"]

    make(tmp_path, {".hotloopignore": "!.env\n"})

    assert kept_files(tmp_path) == {".env", ".env.example", ".hotloopignore", "app.py"}


@pytest.mark.parametrize("name", ["app.py~", "4913", ".#app.py", "#app.py#", ".app.py.swp", "app.py___jb_tmp___"])
def test_what_editors_leave_for_a_moment_is_left_out(tmp_path, name):
    make(tmp_path, {"app.py": "", name: ""})

    assert kept_files(tmp_path) == {"app.py"}


def test_explain_names_the_rule(tmp_path):
    git(tmp_path, "init", "-q")
    make(
        tmp_path,
        {".gitignore": "\n*.log\n", ".hotloopignore": "data/\n", "a.log": "", "data/x": "", ".env": "", "app.py": ""},
    )
    make(tmp_path, {"v/pyvenv.cfg": "", "__pycache__/a": ""})
    ignore = Ignore(tmp_path)

    assert {path: ignore.explain(path) for path in ("app.py", "a.log", "data/x", ".env", "v/pyvenv.cfg", "__pycache__/a", "no")} == {
        "app.py": "kept",
        "a.log": 'ignored: by "*.log" in .gitignore line 2',
        "data/x": "ignored: by a line of .hotloopignore",
        ".env": 'ignored: left out unless .hotloopignore has a line "!.env"',
        "v/pyvenv.cfg": "ignored: v is a virtual environment",
        "__pycache__/a": "ignored: __pycache__ is never synced",
        "no": "not there",
    }  # fmt: skip


def test_a_changed_rule_counts_after_forget(tmp_path):
    make(tmp_path, {"a.txt": ""})
    ignore = Ignore(tmp_path)
    assert not ignore.is_ignored("a.txt")
    make(tmp_path, {".gitignore": "*.txt\n"})

    ignore.forget()

    assert ignore.is_ignored("a.txt")
