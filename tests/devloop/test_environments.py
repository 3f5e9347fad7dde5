"""Who makes an app's environment."""

import pytest

from hotloop.devloop.environments import is_made_by_runner, is_version


@pytest.mark.parametrize(
    ("wanted", "python", "runner", "is_made"),
    [
        (None, None, "local", False),
        ("project", None, "local", False),
        ("managed", None, "local", True),
        ("managed", "3.12", "local", True),
        ("managed", ".venv/bin/python", "local", False),
        (None, "3.12", "local", False),
        (None, None, "gpu1", True),
        (None, "3.12", "gpu1", True),
        (None, "/opt/env/bin/python", "gpu1", False),
        ("project", None, "gpu1", False),
    ],
)
def test_a_runner_makes_the_environment_unless_it_is_this_machine_or_one_is_named(wanted, python, runner, is_made):
    assert is_made_by_runner(runner, wanted, python) is is_made


def test_a_version_is_no_path_and_no_command():
    assert [is_version(each) for each in ("3.12", "3.12.1", "3", "python3.12", ".venv")] == [
        True,
        True,
        False,
        False,
        False,
    ]
