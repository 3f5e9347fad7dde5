from __future__ import annotations

import pytest

from hotloop.gpu_runtime import learning
from hotloop.gpu_runtime.learner import Learner
from hotloop.gpu_runtime.learning import Learned
from hotloop.gpu_runtime.settings import RuntimeConfig


def test_modules_keep_the_order_in_which_they_were_imported():
    learned = Learned(("numpy",)).with_modules(["torch", "numpy", "torch.nn"])

    assert learned.modules == ("numpy", "torch", "torch.nn")


def test_module_that_is_left_out_is_not_learned_again():
    learned = Learned(("torch", "tqdm", "tqdm.monitor")).without("tqdm", "starts a thread")

    assert learned.modules == ("torch",)
    assert learned.with_modules(["tqdm", "tqdm.auto", "tqdmx"]).modules == ("torch", "tqdmx")


def test_nothing_conflicts_if_nothing_was_imported_ahead():
    assert Learned().conflicts({"HF_HOME": "/x"}) == {}


def test_variable_set_ahead_to_the_same_value_does_not_conflict():
    learned = Learned(("torch",), {"A": "1"})

    assert learned.conflicts({"A": "1"}) == {}


def test_variable_that_is_new_or_other_or_gone_conflicts():
    learned = Learned(("torch",), {"A": "1", "B": "2"})

    assert learned.conflicts({"A": "9", "C": "3"}) == {"A": "9", "B": None, "C": "3"}


def test_unstable_variable_neither_conflicts_nor_is_set_ahead():
    learned = Learned(("torch",), {"RUN": "1", "A": "1"}).with_unstable(["RUN"])

    assert learned.environment == {"A": "1"}
    assert learned.conflicts({"RUN": "2", "A": "1"}) == {}
    assert learned.with_environment({"RUN": "2", "A": "1", "B": None}).environment == {"A": "1"}


def test_what_was_learned_survives_a_restart(tmp_path):
    learned = Learned(("torch",), {"A": "1"}, {"tqdm": "starts a thread"}, ("RUN",))
    learning.save(tmp_path / "learned.json", learned)

    assert learning.load(tmp_path / "learned.json") == learned


def test_damaged_or_missing_file_is_nothing_learned(tmp_path):
    (tmp_path / "learned.json").write_text('{"modules": 3}')

    assert learning.load(tmp_path / "learned.json") == Learned()
    assert learning.load(tmp_path / "none.json") == Learned()


@pytest.mark.parametrize(
    ("entry", "own"),
    [
        ("app.py", {"app", "yaml", "shop"}),
        ("src/app.py", {"app", "tqdm"}),
        ("shop/app.py", {"app", "yaml", "shop"}),
        ("shop/parts/app.py", {"app", "yaml", "shop"}),
        ("plain/app.py", {"app"}),
    ],
)
def test_own_names_are_those_beside_the_outermost_package_of_the_entry(entry: str, own: set[str]):
    paths = {"app.py", "yaml.py", "shop/__init__.py", "shop/numpy.py", "shop/parts/__init__.py", "data/torch.py"}

    assert learning.own_names({*paths, "src/tqdm/__init__.py", "src/tqdm/auto.py", entry}, entry) == own


def test_nothing_is_learned_while_a_library_has_the_name_of_a_module_of_the_projects(tmp_path):
    learner = Learner(RuntimeConfig(root=str(tmp_path), entry="app.py", python="python", state=str(tmp_path)))
    learner.learned = had = Learned(("torch", "yaml"))
    brought = frozenset({"torch", "yaml", "statistics"})

    learner.own_names = frozenset({"app"})
    assert learner.shadowed(brought) == []
    assert learner.learned == had
    learner.own_names = frozenset({"app", "statistics"})
    assert learner.shadowed(brought) == ["statistics"]
    assert learner.learned == Learned()
    assert not learner.imported(Learned(), ["torch"])
    learner.own_names = frozenset({"app"})
    assert learner.imported(Learned(), ["torch"])
    assert learner.learned == Learned(("torch",))


def test_packages_changed_when_one_was_installed_or_replaced_and_not_when_one_was_imported(tmp_path):
    packages = tmp_path / "lib" / "python3.11" / "site-packages"
    (packages / "numpy-1.0.dist-info").mkdir(parents=True)
    python, state = str(tmp_path / "bin" / "python"), str(tmp_path)
    learner = Learner(RuntimeConfig(root=str(tmp_path), entry="app.py", python=python, state=state))

    assert not learner.packages_changed()
    (packages / "__pycache__").mkdir()  # as the first import of a module that lies there alone makes it
    assert not learner.packages_changed()
    (packages / "scipy-1.0.dist-info").mkdir()
    assert learner.packages_changed()
    assert not learner.packages_changed()
    (tmp_path / "again").mkdir()
    (packages / "numpy-1.0.dist-info").rmdir()
    (tmp_path / "again").rename(packages / "numpy-1.0.dist-info")
    assert learner.packages_changed()
