"""uv's lines as progress, and its errors as problems: recorded from uv 0.13.9."""

import functools

import pytest

from hotloop.remote_runner.environments.changes import changes_between
from hotloop.remote_runner.environments.failures import problem_of
from hotloop.remote_runner.environments.output import Progress, heard
from hotloop.remote_runner.environments.request import Request
from hotloop.remote_runner.environments.requirements import Requirement

BUILD = """\
warning: Failed to inspect Python interpreter from search path at `/root/.pyenv/shims/python3.10`
  cause: Querying Python at `/root/.pyenv/shims/python3.10` failed with exit status exit status: 127

         [stderr]
         pyenv: python3.10: command not found
   Building bad==1.0
error: Failed to build `bad==1.0`
  cause: The build backend returned an error
  cause: Call to `backend.build_wheel` failed (exit status: 3)

         [stdout]
         compiling kernel.cu

         [stderr]
         nvcc: not found

hint: Build failures usually indicate a problem with the package or the build environment"""
CONFLICT = """\
error: No solution found when resolving dependencies
  cause: Because all versions of gamma depend on alpha>=2 and all versions of beta depend on alpha<2, we can conclude that all \
versions of beta and all versions of gamma are incompatible.
         And because you require beta and gamma, we can conclude that your requirements are unsatisfiable."""
OLD_CONFLICT = """\
  \u00d7 No solution found when resolving dependencies:
  ╰─▶ Because beta was not found in the package registry and you require beta,
      we can conclude that your requirements are unsatisfiable."""
HASH = """\
error: Failed to download `alpha==1.0`
  cause: Hash mismatch for `alpha==1.0`

         Expected:
           sha256:0000

         Computed:
           sha256:be77"""
NETWORK = """\
error: Request failed after 3 retries in 9.3s
  cause: Failed to fetch: https://pypi.org/simple/beta/
  cause: error sending request for url (https://pypi.org/simple/beta/)
  cause: client error (Connect)
  cause: dns error"""
SPACE = """\
error: Failed to download `beta==1.0`
  cause: I/O operation failed during extraction
  cause: failed to write to file `/c/.tmp/beta/__init__.py`: No space left on device (os error 28)"""
PLATFORM = """\
error: No solution found when resolving dependencies
  cause: Because gamma==1.0 has no wheels with a matching platform tag (e.g., `manylinux_2_36_x86_64`) and you require gamma, we \
can conclude that your requirements are unsatisfiable.

hint: Wheels are available for `gamma` (v1.0) on the following platform: `win_amd64`"""
PARSE = """\
error: Couldn't parse requirement in `requirements.txt` at position 0
  cause: no such comparison operator "=>", must be one of ~= == != <= >= < > ===
         beta=>3
             ^^^"""
PYTHON = "error: No interpreter found for Python 3.99 in virtual environments, managed installations, or search path"

REQUEST = Request(
    "requirements.txt", "resolved", "3.99", {}, ("requirements.txt",),
    (Requirement("beta", "requirements.txt", 2), Requirement("gamma>=1", "requirements.txt", 3), Requirement("bad", "app.py", 4)),
)  # fmt: skip


def test_progress_follows_the_lines():
    lines = [
        "Using Python 3.11.7 environment at: v", "Resolved 12 packages in 102ms", "Downloading torch (846.0MiB)",
        "Downloading numpy (15.5MiB)", " Downloaded numpy", "   Building bad==1.0", "      Built bad==1.0", " Downloaded torch",
        "Prepared 12 packages in 397ms", "warning: something new", "Installed 12 packages in 35ms", " + numpy==2.1.3",
    ]  # fmt: skip
    seen = [functools.reduce(heard, lines[:count], Progress("download")) for count in range(len(lines) + 1)]

    assert seen[4] == Progress("download", 0, 2, int(861.5 * 2**20), ("torch", "numpy"))
    assert seen[5].done == 1
    assert seen[6].phase == "build"
    assert seen[6].doing == ("torch", "bad==1.0")
    assert seen[8].doing == ()
    assert seen[-1] == Progress("install", 12, 12, int(861.5 * 2**20))


@pytest.mark.parametrize(
    ("printed", "kind", "message", "places"),
    [
        (BUILD, "BuildFailed", "failed to build `bad==1.0`\ncompiling kernel.cu\nnvcc: not found", ["app.py:4"]),
        (
            CONFLICT,
            "NotResolvable",
            "And because you require beta and gamma",
            ["requirements.txt:2", "requirements.txt:3"],
        ),
        (OLD_CONFLICT, "NotResolvable", "Because beta was not found in the package registry", ["requirements.txt:2"]),
        (HASH, "HashMismatch", "Expected:\nsha256:0000", []),
        (NETWORK, "NoRegistry", "dns error", []),
        (SPACE, "NoSpace", "No space left on device", []),
        (PLATFORM, "NoWheels", "has no wheels with a matching platform tag", ["requirements.txt:3"]),
        (PARSE, "BadRequirement", "no such comparison operator", ["requirements.txt:2"]),
        (PYTHON, "NoSuchPython", "No interpreter found for Python 3.99", []),
        ("something else", "EnvironmentFailed", "something else", []),
        ("", "EnvironmentFailed", "uv ended with exit code 2", []),
    ],
)
def test_what_uv_says_becomes_a_problem_with_a_place(printed, kind, message, places):
    problem = problem_of(printed.splitlines(), REQUEST, 2)

    assert problem.type == kind
    assert message in problem.message
    assert "pyenv" not in problem.message
    assert [f"{frame.file}:{frame.line}" for frame in problem.frames] == places
    assert problem.hint or kind in {"NotResolvable", "BadRequirement", "EnvironmentFailed"}


def test_a_build_that_was_killed_says_so():
    assert problem_of([], REQUEST, -9).type == "Killed"


def test_differences_name_what_came_went_and_changed():
    before, after = {"alpha": "1.0", "beta": "1.0", "same": "1"}, {"alpha": "2.0", "gamma": "1.0", "same": "1"}

    assert changes_between(before, after) == ("alpha 1.0 → 2.0", "- beta 1.0", "+ gamma 1.0")
