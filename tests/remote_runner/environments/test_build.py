"""Environments made by the real uv from a real index of tiny packages."""

import asyncio
import contextlib
import os
import subprocess

import pytest

from hotloop.remote_runner.environments.build import NotMadeError, make
from hotloop.remote_runner.environments.commands import Commands, find_uv, variables_for_uv
from hotloop.remote_runner.environments.request import read_request
from hotloop.remote_runner.environments.store import About, Store, too_much
from tests.remote_runner.environments.index import processes_naming
from tests.remote_runner.test_agent import until


class Builder:
    """Makes what an app's files ask for, in one state folder."""

    def __init__(self, state, **environ):
        self.store = Store(state)
        self.environ = {**os.environ, **environ}
        self.phases = []

    def request(self, packages=(), data_packages=(), **files):
        app = f'import hotloop\n\napp = hotloop.App("a", packages={list(packages)}, data_packages={list(data_packages)})\n'
        contents = {"app.py": app, **{name.replace("_", "."): text for name, text in files.items()}}
        return read_request(
            lambda path: contents[path].encode() if path in contents else None,
            "app.py",
            default_python="3.11",
            environ=variables_for_uv(self.environ),
        )

    async def start(self, *packages, **files):
        commands = Commands(variables_for_uv(self.environ))
        return await make(self.store, self.request(packages, **files), commands, self.phases.append)

    def make(self, *packages, **files):
        made = asyncio.run(asyncio.wait_for(self.start(*packages, **files), 60))
        made.hold.release()
        return made

    def fail(self, *packages, **files):
        with pytest.raises(NotMadeError) as caught:
            self.make(*packages, **files)
        return caught.value.problem


@pytest.fixture
def builder(uv_settings, tmp_path):
    return Builder(tmp_path / "state")


def output(*command):
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, check=True).stdout.strip()


def leftovers(store):
    return [
        path.name
        for path in (*store.folder.glob("*"), *store.folder.glob("locks/*.new"))
        if path.is_dir() and path.name != "locks"
    ]


def test_an_environment_has_what_was_asked_for_and_its_scripts_work(builder):
    made = builder.make("beta")

    assert made.about.packages == {"alpha": "1.0", "beta": "1.0"}
    assert not made.was_cached
    assert output(made.python, "-c", "import beta, alpha; print(alpha.__version__)") == "1.0"
    assert output(made.python.parent / "alpha") == "alpha 1.0"
    assert output(made.python, "-c", "import sys; print(sys.prefix)") == str(builder.store.path(made.digest))
    assert [phase.phase for phase in builder.phases][:2] == ["python", "resolve"]
    assert builder.phases[-1].phase == "install"
    assert made.about.size_bytes > 0


def test_the_same_request_is_the_same_environment_also_when_the_index_has_newer_ones(builder, index):
    index.wheel("moving", "1.0")
    first = builder.make("moving")
    index.wheel("moving", "2.0")
    again = builder.make("moving")
    other = builder.make("moving>1")

    assert (again.digest, again.was_cached, again.about.packages) == (first.digest, True, {"moving": "1.0"})
    assert other.about.packages == {"moving": "2.0"}


def test_two_apps_that_resolve_to_the_same_share_one_environment(builder):
    first = builder.make("alpha<2")
    second = builder.make("alpha==1.0")

    assert second.digest == first.digest
    assert second.was_cached
    assert leftovers(builder.store) == [first.digest]


def test_two_at_once_make_it_once(builder):
    async def both():
        return await asyncio.gather(builder.start("beta"), builder.start("beta"))

    first, second = asyncio.run(both())

    assert first.digest == second.digest
    assert sorted([first.was_cached, second.was_cached]) == [False, True]
    assert "wait" in [phase.phase for phase in builder.phases]


def test_data_packages_come_without_what_they_require(builder):
    made = builder.make("beta", data_packages=["weights"])

    assert made.about.packages == {"alpha": "1.0", "beta": "1.0", "weights": "1.0"}


def test_hotloop_is_never_installed(builder):
    assert builder.make("alpha<2", "hotloop>=9").about.packages == {"alpha": "1.0"}


def test_dependencies_of_the_project_are_resolved_with_its_settings(builder):
    pyproject = '[project]\nname = "p"\ndynamic = ["version"]\nrequires-python = ">=3.11"\ndependencies = ["alpha"]\n'
    settings = '[tool.uv]\nconstraint-dependencies = ["alpha<2"]\n[build-system]\nrequires = ["gone"]\n'

    assert builder.make("gamma", pyproject_toml=pyproject + settings).about.packages == {"alpha": "1.0"}


def test_a_source_of_its_own_is_kept_in_the_lock(builder, index):
    wheel = next(index.folder.glob("alpha/alpha-1.0-*.whl"))
    pyproject = '[project]\nname = "p"\nversion = "1"\ndependencies = ["alpha"]\n'
    sources = f'[tool.uv.sources]\nalpha = {{ path = "{wheel}" }}\n'

    assert builder.make(pyproject_toml=pyproject + sources).about.packages == {"alpha": "1.0"}


def test_an_index_that_a_requirements_file_names_is_used_to_install_as_well(index, uv_settings, tmp_path):
    builder = Builder(tmp_path / "state", UV_DEFAULT_INDEX=(tmp_path / "empty").as_uri())

    assert (
        builder.make(requirements_txt=f"--extra-index-url {index.folder.as_uri()}\nbeta\n").about.packages["beta"]
        == "1.0"
    )


def test_what_uv_has_in_its_cache_is_not_fetched_again(builder):
    builder.make("large")
    builder.phases.clear()
    builder.make("large", "alpha<2")

    assert not any(phase.doing for phase in builder.phases)


def test_requirements_with_constraints_are_resolved_once(builder):
    made = builder.make(requirements_txt="alpha\n-c limits.txt\n", limits_txt="alpha<2\n")

    assert made.about.packages == {"alpha": "1.0"}


def test_hashed_requirements_are_a_lock_and_are_checked(builder, index):
    digest = index.digest("alpha-1.0-py3-none-any.whl")
    made = builder.make(requirements_txt=f"alpha==1.0 \\\n    --hash=sha256:{digest}\n")
    problem = builder.fail(requirements_txt=f"\nalpha==1.0 --hash=sha256:{'0' * 64}\n")

    assert made.about.packages == {"alpha": "1.0"}
    assert problem.type == "HashMismatch"
    assert (problem.where.file, problem.where.line) == ("requirements.txt", 2)


def test_locks_of_uv_and_of_pep_751_are_installed_as_they_are(builder, tmp_path):
    pyproject = '[project]\nname = "p"\nversion = "1"\nrequires-python = ">=3.11"\ndependencies = ["alpha"]\n'
    (tmp_path / "pyproject.toml").write_text(pyproject.replace('"alpha"', '"beta"'))
    commands = Commands(variables_for_uv(builder.environ))
    uv = find_uv()
    asyncio.run(commands.run([uv, "lock"], tmp_path))
    asyncio.run(
        commands.run([uv, "export", "--no-emit-project", "--format", "pylock.toml", "-o", "pylock.toml"], tmp_path)
    )
    locked, pep_751 = (tmp_path / "uv.lock").read_text(), (tmp_path / "pylock.toml").read_text()
    by_uv = builder.make(uv_lock=locked, pyproject_toml=(tmp_path / "pyproject.toml").read_text())
    by_pylock = builder.make(pylock_toml=pep_751)

    assert by_uv.about.packages == by_pylock.about.packages == {"alpha": "1.0", "beta": "1.0"}


@pytest.mark.parametrize(
    ("packages", "kind", "says", "lines"),
    [
        (["gamma", "beta"], "NotResolvable", "gamma depend on alpha>=2", [3, 3]),
        (["nowhere>=3"], "NotResolvable", "nowhere was not found", [3]),
        (["broken"], "BuildFailed", "nvcc: command not found", [3]),
        (["windows"], "NoWheels", "no wheels with a matching", [3]),
        (["alpha=>1"], "BadRequirement", "no such comparison operator", [3]),
    ],
)
def test_what_can_not_be_had_says_why_and_where_and_leaves_nothing(builder, packages, kind, says, lines):
    problem = builder.fail(*packages)

    assert problem.type == kind
    assert says in problem.message
    assert [(frame.file, frame.line) for frame in problem.frames] == [("app.py", line) for line in lines]
    assert leftovers(builder.store) == []


def test_a_python_that_is_not_there_is_named(builder):
    problem = builder.fail("alpha", pyproject_toml="[project]\nname = 'p'\nrequires-python = '>=3.99'\n")

    assert problem.type == "NoSuchPython"
    assert ">=3.99" in problem.hint


def test_an_index_that_can_not_be_reached_is_no_fault_of_the_requirements(uv_settings, tmp_path):
    builder = Builder(tmp_path, UV_DEFAULT_INDEX="http://127.0.0.1:9/simple", UV_CACHE_DIR=str(tmp_path / "cache"))
    problem = builder.fail("alpha")

    assert (problem.type, problem.frames) == ("NoRegistry", ())
    assert "UV_DEFAULT_INDEX" in problem.hint


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small file system")
def test_a_full_disk_is_said_and_leaves_nothing(uv_settings, tmp_path):
    small = tmp_path / "small"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", small], check=False).returncode:
        pytest.skip("no file system can be mounted here: run as root with CAP_SYS_ADMIN")
    try:
        builder = Builder(small)
        problem = builder.fail("large")
        remaining = leftovers(builder.store)
    finally:
        subprocess.run(["umount", small], check=True)

    assert problem.type == "NoSpace"
    assert remaining == []


def test_a_build_that_is_cancelled_ends_all_its_processes(gate, builder):
    async def main():
        task = asyncio.create_task(builder.start("slow"))
        await until(gate.with_name("gate.reached").exists, "the build")
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    asyncio.run(main())

    assert processes_naming(builder.store.folder) == []
    assert leftovers(builder.store) == []


def test_one_whose_base_interpreter_is_gone_is_made_again(builder):
    made = builder.make("alpha<2")
    made.python.unlink()
    again = builder.make("alpha<2")

    assert (again.digest, again.was_cached) == (made.digest, False)
    assert output(again.python, "-c", "import alpha") == ""


def test_pruning_leaves_what_is_in_use_and_takes_what_a_killed_build_left(builder):
    async def main():
        used = await builder.start("alpha<2")
        unused = await builder.start("alpha>=2")
        unused.hold.release()
        torn = builder.store.path("0" * 64)
        torn.mkdir()
        removed = builder.store.prune(max_unused_s=-1)
        in_use = builder.store.is_in_use(used.digest)
        used.hold.release()
        return used, unused, removed, in_use

    used, unused, removed, in_use = asyncio.run(main())

    assert [about.digest for about in removed] == [unused.digest]
    assert in_use
    assert leftovers(builder.store) == [used.digest]
    assert builder.make("alpha>=2").digest == unused.digest


def test_the_longest_unused_go_first_until_the_rest_fits():
    kept = [About(str(n), "", "3.11", size_bytes=10, used_at_s=float(n)) for n in range(1, 6)]

    assert [each.digest for each in too_much(kept, 100.0, max_unused_s=97.5, max_bytes=20)] == ["1", "2", "3"]
    assert [each.digest for each in too_much(kept, 100.0, max_unused_s=97.5, max_bytes=30)] == ["1", "2"]
    assert too_much(kept, 100.0, max_unused_s=1000.0, max_bytes=50) == []
