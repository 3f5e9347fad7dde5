"""Why an iteration cost what it cost, and that what is kept of it holds no value of the user's."""

from __future__ import annotations

import pytest
from tests.devloop.test_history import iteration

from hotloop import events
from hotloop.devloop import why


def model(reason, action="loaded", home="resident", name="encoder", took_s=0.1):
    return events.ModelOutcome(name, action, home, reason, took_s)


@pytest.mark.parametrize(
    ("said", "code", "kept"),
    [
        ("first load", "first", "first load"),
        ("asked for", "asked", "asked for"),
        ("mutable=True now", "option", "mutable=True now"),
        ("each worker has its own", "replica", "each worker has its own"),
        ("load.py:14 encoder() changed", "loader", "load.py:14 encoder() changed"),
        ("load.py:1 the module's own statements changed", "loader", "load.py:1 the module's own statements changed"),
        ("a/b.py: helper() is gone", "loader", "a/b.py: helper() is gone"),
        ("encoder() is another function now", "loader", "encoder() is another function now"),
        ("app.py: PROMPT changed ('secret' -> 'secret 2')", "value", "app.py: PROMPT changed"),
        ("app.py: class Net.Head changed", "class", "app.py: class Net.Head changed"),
        ("app.py: a statement that runs on import changed", "import", "app.py: a statement that runs on import changed"),
        ("conf.py: SEED changed, which a statement that runs on import leads to", "import",
         "conf.py: SEED changed, which a statement that runs on import leads to"),
        ("app.py changed, and the loader looks at source text", "source",
         "app.py changed, and the loader looks at source text"),
        ("nets.head changed, and the hosted model holds code of the project", "hosted_code",
         "nets.head changed, and the hosted model holds code of the project"),
        ("it is made from tokenizer, which was loaded again", "dependency",
         "it is made from tokenizer, which was loaded again"),
        ("environment variable TOKEN changed", "variable", "environment variable TOKEN changed"),
        ("data/weights.json changed", "file", "data/weights.json changed"),
        ("the files in data/ changed", "file", "the files in data/ changed"),
        ("torch 2.5.0+cu124 -> 2.6.0", "package", "torch 2.5.0+cu124 -> 2.6.0"),
        ("torch.default_dtype changed (secret -> other)", "setting", "torch.default_dtype changed"),
        ("first load; it can't stay resident: secret of the object", "first", "first load"),
        ("secret: whatever an exception says", "unknown", "for a reason that is not kept"),
    ],
)  # fmt: skip
def test_a_models_reason_has_a_code_and_no_value(said, code, kept):
    assert why.of_model(model(said)) == why.Reason(code, kept)


@pytest.mark.parametrize(
    ("changes", "code", "text"),
    [
        ({"models": (model("fingerprint equal", "kept"),)}, "code", "only code changed: every model was kept"),
        ({"models": ()}, "code", "only code changed"),
        ({"models": (), "start": "fork"}, "no_standby",
         "no standby was ready yet: the save came soon after a reload"),
        ({"models": (), "start": "zygote"}, "zygote", "the libraries had to be imported again"),
        ({"cause": "environment"}, "environment", "it waited for another environment"),
        ({"cause": "cold", "number": 0, "models": (model("first load"),)}, "cold",
         "a start from nothing: libraries were imported and every model was loaded"),
        ({"cause": "cold", "number": 0, "models": (model("in memory", "kept"),)}, "resumed",
         "the app was running, and every model was in memory"),
        ({"cause": "cold", "number": 0, "models": (), "start": ""}, "resumed", "the app was running"),
        ({"cause": "cold", "number": 0, "models": (), "start": "zygote"}, "cold",
         "a start from nothing: libraries were imported and every model was loaded"),
        ({"cause": "model", "models": (model("load.py:3 a() changed"), model("first load", name="b", took_s=1.0))}, "first",
         "b, and 1 more was loaded: first load"),
        ({"cause": "model", "models": (model("first load; it can't stay resident: secret", home="worker"),)}, "not_resident",
         "encoder can't stay in memory: loaded by each new worker"),
        ({"outcome": "superseded"}, "superseded", "a newer save came before its outcome"),
    ],
)  # fmt: skip
def test_an_iteration_has_a_sentence(changes, code, text):
    ok = {"outcome": "ok", "problem": None, **changes}

    assert why.of_iteration(iteration(**ok)) == why.Reason(code, text)


def test_a_failure_is_its_type_and_place_without_its_message():
    assert why.of_iteration(iteration()) == why.Reason("failed", "KeyError at app.py:7")
