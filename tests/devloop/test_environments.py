"""Who makes an app's environment."""

import pytest

from hotloop.devloop.environments import is_made_by_runner, is_version


@pytest.mark.parametrize(
    ("wanted", "python", "is_local", "is_made"),
    [
        (None, None, True, False),
        ("project", None, True, False),
        ("managed", None, True, True),
        ("managed", "3.12", True, True),
        ("managed", ".venv/bin/python", True, False),
        (None, "3.12", True, False),
        (None, None, False, True),
        (None, "3.12", False, True),
        (None, "/opt/env/bin/python", False, False),
    ],
)
def test_a_runner_makes_the_environment_unless_it_is_this_machine_or_one_is_named(wanted, python, is_local, is_made):
    assert is_made_by_runner(wanted, python, is_local=is_local) is is_made


def test_a_version_is_no_path_and_no_command():
    assert [is_version(each) for each in ("3.12", "3.12.1", "3", "python3.12", ".venv")] == [
        True,
        True,
        False,
        False,
        False,
    ]
