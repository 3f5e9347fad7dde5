"""A project's files as a commit has them: real git, nothing left in the repository."""

from __future__ import annotations

import os
import subprocess

import pytest

from hotloop.devloop import checkout
from hotloop.errors import HotloopError, UsageError

IDENTITY = {f"GIT_{who}_{what}": "a@b" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}


def git(folder, *arguments):
    environment = {**os.environ, **IDENTITY, "GIT_CONFIG_GLOBAL": "/dev/null"}
    done = subprocess.run(
        ["git", "-C", folder, *arguments], check=True, capture_output=True, text=True, env=environment
    )
    return done.stdout.strip()


def commit(folder, files):
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "x")


def everything(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def repository(tmp_path):
    folder = tmp_path / "repository"
    folder.mkdir()
    git(folder, "init", "-q", "-b", "main")
    commit(
        folder,
        {"app.py": "one", "part/app.py": "part one", "part/deep/x.py": "x", ".gitattributes": "app.py export-ignore"},
    )
    commit(folder, {"app.py": "two", "part/app.py": "part two", "later/app.py": "later"})
    return folder


def test_the_files_of_a_commit_are_written_and_taken_away_again(repository):
    (repository / "app.py").write_text("not committed")
    before = everything(repository)

    with checkout.checked_out(repository, checkout.resolve(repository, "HEAD~1")) as folder:
        found = everything(folder)

    assert found == {
        "app.py": b"one", "part/app.py": b"part one", "part/deep/x.py": b"x", ".gitattributes": b"app.py export-ignore",
    }  # fmt: skip
    assert not folder.parent.exists()
    assert everything(repository) == before


def test_a_project_in_a_folder_of_its_repository_is_that_folder(repository):
    with checkout.checked_out(repository / "part", checkout.resolve(repository / "part", "main~1")) as folder:
        assert everything(folder) == {"app.py": b"part one", "deep/x.py": b"x"}


def test_no_hook_runs(repository, tmp_path):
    hook = repository / ".git" / "hooks" / "post-checkout"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    hook.chmod(0o755)

    with checkout.checked_out(repository, checkout.resolve(repository, "HEAD")):
        pass

    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("revision", ["HEAD", "main", "HEAD~1", "HEAD^"])
def test_a_revision_is_whatever_git_takes_for_one(repository, revision):
    assert checkout.resolve(repository, revision) == git(repository, "rev-parse", revision)


@pytest.mark.parametrize("revision", ["nowhere", "HEAD~9", "--all", "HEAD:app.py", ""])
def test_what_is_no_revision_is_told(repository, revision):
    with pytest.raises(UsageError) as caught:
        checkout.resolve(repository, revision)

    assert f"{revision!r} is no revision" in caught.value.message
    assert "--compare" in caught.value.hint


def test_a_project_outside_of_any_repository_is_told(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))

    with pytest.raises(UsageError, match="is in no git repository"):
        checkout.resolve(tmp_path, "HEAD")


def test_a_folder_that_came_later_is_told(repository):
    first = checkout.resolve(repository, "HEAD~1")

    with pytest.raises(UsageError, match="does not have later"), checkout.checked_out(repository / "later", first):
        pass


def test_a_commit_that_is_not_there_is_told(repository):
    failure = pytest.raises(HotloopError, match="git can't write the files of 0000000000")
    with failure, checkout.checked_out(repository, "0" * 40):
        pass


def test_without_git_an_address_is_asked_for(repository, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")

    with pytest.raises(UsageError, match="there is no git"):
        checkout.resolve(repository, "HEAD")
