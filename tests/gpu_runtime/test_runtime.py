"""A real runtime with real workers, driven over frames as the agent does."""

from __future__ import annotations

import os
import socket
import time
import venv
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from hotloop import events
from tests.gpu_runtime.driver import RuntimeDriver

APP = """
import hotloop
from words import GREETING, Greeter

app = hotloop.App("greet")


@app.model
def greeter():
    print("loading greeter")
    return Greeter(GREETING)


@app.endpoint
def greet(name: str, greeter) -> str:
    print("greeting", name)
    return greeter.greet(name)


@app.probe
def greets_ada(client):
    return client.greet(name="Ada")
"""
WORDS = """
GREETING = "Hello"


class Greeter:
    def __init__(self, greeting):
        self.greeting = greeting

    def greet(self, name):
        return f"{self.greeting}, {name}!"
"""
FILES = {"app.py": APP, "words.py": WORDS}


@pytest.fixture
def driver(tmp_path: Path):
    with RuntimeDriver(tmp_path, FILES) as driver:
        driver.wait_for(events.Ready)
        driver.wait_for(events.StandbyReady)
        yield driver


def models(ready: events.Ready) -> dict[str, tuple[str, str]]:
    return {model.name: (model.action, model.why) for model in ready.models}


def test_edit_of_a_method_is_live_and_the_model_is_kept(driver: RuntimeDriver):
    revision = driver.save({"words.py": WORDS.replace("{name}!", "{name}.")})
    ready = driver.wait_reload(revision)

    assert models(ready) == {"greeter": ("kept", "fingerprint equal")}
    assert driver.call("greet", name="Bob").json == "Hello, Bob."


@pytest.mark.parametrize("shown", [WORDS.replace("Hello", "Goodbye"), "def broken(:\n", "\0", "(" * 5000])
def test_what_is_shown_ahead_of_a_revision_counts_for_nothing(driver: RuntimeDriver, shown: str):
    driver.send({"kind": "incoming", "files": [{"path": "words.py", "size": len(shown)}]}, shown.encode())
    ready = driver.wait_reload(driver.save({"words.py": WORDS.replace("{name}!", "{name}.")}))

    assert (ready.start, models(ready)) == ("standby", {"greeter": ("kept", "fingerprint equal")})
    assert driver.call("greet", name="Bob").json == "Hello, Bob."


def test_what_was_shown_ahead_is_what_runs_once_it_is_applied(driver: RuntimeDriver):
    words = WORDS.replace("{name}!", "dear {name}.")
    driver.send({"kind": "incoming", "files": [{"path": "words.py", "size": len(words)}]}, words.encode())
    driver.wait_reload(driver.save({"words.py": words}))

    assert driver.call("greet", name="Bob").json == "Hello, dear Bob."


@pytest.mark.parametrize(
    ("variable", "value"), [("GOMP_SPINCOUNT", None), ("GOMP_SPINCOUNT", "7"), ("OMP_WAIT_POLICY", "active")]
)
def test_variables_that_the_zygote_sets_for_libraries_are_not_seen_by_the_app(
    tmp_path: Path, variable: str, value: str | None
):
    app = (
        "import os, hotloop\napp = hotloop.App('env')\nMARK = 1\n"
        "@app.endpoint\ndef seen() -> list[str | None]:\n"
        "    return [os.environ.get(name) for name in ('GOMP_SPINCOUNT', 'OMP_WAIT_POLICY')]\n"
    )
    environment = {**os.environ, **({variable: value} if value else {})}
    with RuntimeDriver(tmp_path, {"app.py": app}, environment=environment) as driver:
        driver.wait_for(events.StandbyReady)
        driver.wait_reload(driver.save({"app.py": app.replace("MARK = 1", "MARK = 2")}))

        assert driver.call("seen").json == [environment.get("GOMP_SPINCOUNT"), environment.get("OMP_WAIT_POLICY")]


SLOW_TO_IMPORT = """
import os, pathlib, time

seen = os.environ.get("CHOSEN")
time.sleep(0.6)
with pathlib.Path(os.environ["IMPORTS"]).open("a") as imports:
    print(seen, file=imports)
"""
USES_IT = """
import os, pathlib, time
os.environ["CHOSEN"] = "by the app"
import hotloop, slow_to_import

app = hotloop.App("slow")


@app.model
def model():
    while not pathlib.Path(os.environ["GO_ON"]).exists():
        time.sleep(0.01)
    return 1


@app.endpoint
def ask(model) -> int:
    return model
"""


def test_what_the_first_start_imports_is_imported_ahead_for_the_next_one_while_its_models_load(tmp_path: Path):
    venv.create(tmp_path / "env", symlinks=True)
    (packages,) = (tmp_path / "env" / "lib").glob("python*/site-packages")
    (packages / "slow_to_import.py").write_text(SLOW_TO_IMPORT)
    imports, go_on = tmp_path / "imports", tmp_path / "go_on"
    environment = {**os.environ, "IMPORTS": str(imports), "GO_ON": str(go_on)}
    python = str(tmp_path / "env" / "bin" / "python")

    with RuntimeDriver(tmp_path, {"app.py": USES_IT}, python, environment=environment) as driver:
        deadline_s = time.monotonic() + 60
        while not imports.exists() or len(imports.read_text().splitlines()) < 2:
            assert time.monotonic() < deadline_s, "the model's loader would wait for ever"
            time.sleep(0.01)
        go_on.touch()
        driver.wait_for(events.Ready)
        driver.wait_for(events.StandbyReady)
        ready = driver.wait_reload(driver.save({"app.py": USES_IT.replace("-> int:", "-> float:")}))

    assert ready.start == "standby"
    # Not how often: a busy machine takes another module for slow, and where that comes first a third interpreter starts.
    assert set(imports.read_text().splitlines()) == {"by the app"}


def test_edit_of_what_a_loader_reads_loads_the_model_and_says_why(driver: RuntimeDriver):
    ready = driver.wait_reload(driver.save({"words.py": WORDS.replace('"Hello"', '"Hi"')}))

    action, why = models(ready)["greeter"]
    assert action == "loaded"
    assert "GREETING" in why
    assert driver.call("greet", name="Bob").json == "Hi, Bob!"


BROKEN = {
    "a syntax error": ({"app.py": APP.replace("return greeter.greet(name)", "return greeter.greet(name")}, "SyntaxError", "app.py", 18),
    "an import error": ({"app.py": APP.replace("GREETING, Greeter", "GREETING, Greeter, Missing")}, "ImportError", "app.py", 3),
    "a raising loader": ({"words.py": WORDS.replace("self.greeting = greeting", "self.greeting = 1 / 0")}, "ZeroDivisionError", "words.py", 7),
    "a deleted module": ({"words.py": None}, "ModuleNotFoundError", "app.py", 3),
    "an app with a mistake": ({"app.py": APP.replace("greeter) -> str", "greetr) -> str").replace("def greeter()", "def greeter(nobody)")}, "AppError", "app.py", 9),
    "an exit on import": ({"words.py": WORDS + "\\nraise SystemExit(3)\\n"}, "SystemExit", "words.py", 12),
}  # fmt: skip


@pytest.mark.parametrize("what", BROKEN)
def test_broken_revision_leaves_the_old_generation_serving(driver: RuntimeDriver, what: str):
    changed, kind, file, line = BROKEN[what]
    changed = {path: text and text.replace("\\n", "\n") for path, text in changed.items()}

    failed = driver.wait_reload(driver.save(changed))

    assert isinstance(failed, events.ReloadFailed)
    assert (failed.problem.type, failed.serving) == (kind, 1)
    where = failed.problem.where
    assert where is not None
    assert where.file == file
    assert abs(where.line - line) <= 1
    assert where.source.strip()
    answer = driver.call("greet", name="Bob")
    assert (answer.json, answer.generation) == ("Hello, Bob!", 1)

    ready = driver.wait_reload(driver.save({**FILES, "words.py": WORDS.replace("{name}!", "{name}?")}))
    assert models(ready) == {"greeter": ("kept", "fingerprint equal")}
    assert driver.call("greet", name="Bob").json == "Hello, Bob?"


def test_broken_first_version_answers_503_with_the_problem_until_it_is_mended(tmp_path: Path):
    with RuntimeDriver(tmp_path, {**FILES, "words.py": "GREETING = \n"}) as driver:
        failed = driver.wait_reload(1)
        answer = driver.call("greet", name="Bob")

        assert isinstance(failed, events.ReloadFailed)
        assert failed.serving is None
        assert answer.status == 503
        assert "SyntaxError" in answer.body.decode()
        assert isinstance(driver.wait_reload(driver.save({"words.py": WORDS})), events.Ready)
        assert driver.call("greet", name="Bob").json == "Hello, Bob!"


def test_probe_runs_after_each_reload_against_the_new_generation(driver: RuntimeDriver):
    driver.save({"words.py": WORDS.replace("{name}!", "{name}.")})
    probe = driver.wait_for(events.ProbeFinished, generation=2)

    assert (probe.name, probe.is_ok, probe.output) == ("greets_ada", True, '"Hello, Ada."')
    assert 0 < probe.compute_s < probe.took_s


def test_failing_probe_names_the_users_line(driver: RuntimeDriver):
    driver.save({"app.py": APP.replace('return client.greet(name="Ada")', 'assert client.greet(name="Ada") == "no"')})
    probe = driver.wait_for(events.ProbeFinished, generation=2)

    assert not probe.is_ok
    assert probe.problem is not None
    assert probe.problem.type == "AssertionError"
    assert probe.problem.where is not None
    assert "client.greet" in probe.problem.where.source


def test_pinned_request_is_sent_again_after_each_reload(driver: RuntimeDriver):
    driver.call("greet", name="Cy")
    driver.send({"kind": "pin", "last": True})
    pinned = driver.wait_for(events.Pinned)
    driver.save({"words.py": WORDS.replace("{name}!", "{name}.")})
    probe = driver.wait_for(events.ProbeFinished, source="request")

    assert (probe.name, probe.output, probe.generation) == (pinned.name, '"Hello, Cy."', 2)


def test_log_lines_carry_their_generation(driver: RuntimeDriver):
    driver.call("greet", name="Bob")
    driver.wait_for(events.Log, text="greeting Bob", generation=1)
    driver.save({"words.py": WORDS.replace("{name}!", "{name}.")})
    driver.wait_for(events.Ready)
    driver.call("greet", name="Cy")

    assert driver.wait_for(events.Log, text="greeting Cy").generation == 2


def test_save_during_a_slow_load_supersedes_it(driver: RuntimeDriver):
    slow = WORDS.replace("self.greeting = greeting", "import time; time.sleep(60)")
    first = driver.save({"words.py": slow})
    driver.wait_for(events.ModelLoading)
    second = driver.save({"words.py": WORDS.replace("{name}!", "{name};")})

    assert driver.wait_for(events.ReloadSuperseded).revision == first
    assert driver.wait_for(events.Ready).revision == second
    assert driver.call("greet", name="Bob").json == "Hello, Bob;"


def test_stop_leaves_no_process_and_no_port(tmp_path: Path):
    driver = RuntimeDriver(tmp_path, FILES)
    driver.start()
    driver.wait_for(events.StandbyReady)
    tree = driver.tree()
    port = int(driver.address.rpartition(":")[2])
    driver.stop()

    assert len(tree) >= 3
    assert eventually(lambda: not any(Path(f"/proc/{pid}/cmdline").exists() for pid in tree))
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", port))


NEVER_DONE = """
import pathlib
import time

import hotloop

app = hotloop.App("slow")


@app.endpoint
def slow(begun: str):
    pathlib.Path(begun).touch()
    time.sleep(600)
"""


def test_what_is_not_finished_in_time_fails_with_a_word_as_it_stops(tmp_path: Path):
    begun = tmp_path / "begun"
    config: dict[str, Any] = {"finishes_requests": True, "drain_timeout_s": 0.3}
    with RuntimeDriver(tmp_path, {"app.py": NEVER_DONE}, **config) as driver, ThreadPoolExecutor() as pool:
        driver.wait_for(events.Ready)
        asked = pool.submit(driver.call, "slow", begun=str(begun))
        assert eventually(begun.exists)
        driver.stop()
        answer = asked.result()

    assert answer.status == 502
    assert "hotloop was stopped" in answer.json["error"]["message"]


def test_lost_agent_ends_everything(tmp_path: Path):
    driver = RuntimeDriver(tmp_path, FILES)
    driver.start()
    driver.wait_for(events.StandbyReady)
    tree = driver.tree()
    driver._link._socket.shutdown(socket.SHUT_RDWR)

    assert eventually(lambda: driver._process.poll() is not None)
    assert eventually(lambda: not any(Path(f"/proc/{pid}/cmdline").exists() for pid in tree))


def test_port_in_use_is_said_with_the_port(tmp_path: Path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        driver = RuntimeDriver(tmp_path, FILES, port=port, port_is_fixed=True)
        with pytest.raises(AssertionError, match="PortInUse"):
            driver.start()
        driver._process.wait(10)


def test_busy_port_gives_way_to_the_next_if_any_will_do(tmp_path: Path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with RuntimeDriver(tmp_path, FILES, port=port) as driver:
            assert port < int(driver.address.rpartition(":")[2]) <= port + 20


def test_variable_that_the_app_sets_before_a_library_reads_it_is_as_in_a_fresh_start(tmp_path: Path):
    library = tmp_path / "site" / "lib" / "python3.11" / "site-packages"
    library.mkdir(parents=True)
    (library / "settled.py").write_text("import os\nMODE = os.environ.get('SETTLED_MODE', 'none')\n")
    app = (
        "import os, sys, hotloop\nos.environ['SETTLED_MODE'] = 'one'\n"
        f"sys.path.append({str(library)!r})\nimport settled\napp = hotloop.App('env')\n\n\n"
        "@app.endpoint\ndef mode() -> str:\n    return settled.MODE + ' ' + os.environ['SETTLED_MODE']\n"
    )
    with RuntimeDriver(tmp_path, {"app.py": app}) as driver:
        driver.wait_reload(1)
        driver.wait_for(events.StandbyReady)
        seen = []
        for mode in ("one", "two", "two", "three"):
            driver.wait_reload(driver.save({"app.py": app.replace("'one'", repr(mode)) + f"# {len(seen)}\n"}))
            seen.append(driver.call("mode").json)

    assert seen == ["one one", "two two", "two two", "three three"]


HOSTED = """
import hotloop

app = hotloop.App("hosted")


class Session:
    def __init__(self):
        self.file = open("/dev/null")
        self.count = 0

    def add(self, n):
        self.count += n
        return self.count


@app.model
def session():
    print("loading session")
    return Session()


@app.endpoint
def add(n: int, session) -> int:
    return session.add(n) + OFFSET


OFFSET = 0
"""


def test_model_that_can_not_be_packed_is_hosted_and_says_why(tmp_path: Path):
    with RuntimeDriver(tmp_path, {"app.py": HOSTED}) as driver:
        ready = driver.wait_for(events.Ready)

        assert ready.models[0].home == "hosted"
        assert "file" in ready.models[0].why
        assert [driver.call("add", n=2).json, driver.call("add", n=3).json] == [2, 5]


def eventually(check, timeout_s: float = 20) -> bool:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if check():
            return True
        time.sleep(0.02)
    return False


def test_entry_that_becomes_part_of_a_package_is_imported_as_a_fresh_start_imports_it(tmp_path: Path):
    app = (
        "import sys, hotloop\napp = hotloop.App('named')\n"
        "@app.endpoint\ndef seen() -> list[str]:\n    return [__name__, sys.path[0]]\n"
    )
    with RuntimeDriver(tmp_path, {"shop/app.py": app}, entry="shop/app.py") as driver:
        driver.wait_for(events.StandbyReady)
        before = driver.call("seen").json
        driver.wait_reload(driver.save({"shop/__init__.py": ""}))
        root = str(driver.workspace)

        assert (before, driver.call("seen").json) == (["app", f"{root}/shop"], ["shop.app", root])


def test_what_one_loader_left_set_is_set_before_the_next_model_is_compared(tmp_path: Path):
    app = (
        "import os, hotloop\napp = hotloop.App('moved')\nMARK = 1\n"
        "@app.model\ndef first():\n    os.chdir('data')\n    return ['first']\n"
        "@app.model\ndef second(first):\n    return [*first, os.getcwd()]\n"
        "@app.endpoint\ndef seen(second) -> list[str]:\n    return second\n"
    )
    with RuntimeDriver(tmp_path, {"app.py": app, "data/x.txt": ""}) as driver:
        driver.wait_for(events.StandbyReady)
        ready = driver.wait_reload(driver.save({"app.py": app.replace("MARK = 1", "MARK = 2")}))

        assert {name: action for name, (action, _) in models(ready).items()} == {"first": "kept", "second": "kept"}


WAITS_FOR_FILE = (
    "import pathlib, time, hotloop\napp = hotloop.App('waits')\n"
    "@app.endpoint\ndef wait(path: str) -> str:\n"
    "    while not pathlib.Path(path).exists():\n        time.sleep(0.01)\n    return 'done'\n"
    "@app.endpoint\ndef slow() -> str:\n    time.sleep(0.5)\n    return 'done'\n"
)


def test_standby_is_made_when_the_first_request_was_answered(tmp_path: Path):
    with RuntimeDriver(tmp_path, {"app.py": WAITS_FOR_FILE}) as driver:
        assert driver.call("slow").json == "done"  # held until there is a generation
        driver.wait_for(events.StandbyReady)

        order = [type(event) for event in driver.events]
        assert order.index(events.RequestFinished) < order.index(events.StandbyReady)


def test_standby_does_not_wait_for_a_request_that_takes_long(tmp_path: Path):
    with RuntimeDriver(tmp_path, {"app.py": WAITS_FOR_FILE}) as driver, ThreadPoolExecutor() as threads:
        answer = threads.submit(driver.call, "wait", path=str(tmp_path / "later"))
        driver.wait_for(events.StandbyReady)
        is_open = not answer.done()
        (tmp_path / "later").touch()

        assert is_open
        assert answer.result().json == "done"


@pytest.mark.parametrize("has_probe", [False, True])
def test_what_becomes_of_a_generation_is_told_after_it_is_ready(tmp_path: Path, *, has_probe: bool):
    app = APP if has_probe else APP.partition("@app.probe")[0]
    with RuntimeDriver(tmp_path, {**FILES, "app.py": app}) as driver:
        driver.wait_for(events.StandbyReady)
        for number in range(3):
            driver.wait_reload(driver.save({"words.py": WORDS + f"# {number}\n"}))
            driver.wait_for(events.StandbyReady)

    kinds = (events.ProbeFinished, events.ProbesFinished)
    told = [e for e in driver.events if isinstance(e, (events.Ready, *kinds))]
    for generation in range(1, 5):
        mine = [type(e) for e in told if e.generation == generation]
        assert mine == [events.Ready, *([events.ProbeFinished] if has_probe else []), events.ProbesFinished]


def test_slow_import_of_a_save_is_told_by_name(driver: RuntimeDriver):
    slow = f"import time\ntime.sleep(0.02)\n{WORDS}"
    ready = driver.wait_reload(driver.save({"words.py": slow}))

    slowest = ready.imports[0]  # on a busy machine others are slow too
    assert (slowest.name, slowest.is_project, slowest.took_s >= 0.02) == ("words.py", True, True)
    assert len(slow) <= ready.import_bytes < 100_000


HUNGRY = """
import hotloop

app = hotloop.App("hungry")


@app.model
def table():
    return {"a": "b"}


@app.endpoint
def grow(count: int, table) -> int:
    return len(bytearray(count))


@app.probe
def grows(client):
    return client.grow(count=10**15)
"""


def test_who_runs_out_of_memory_in_an_endpoint_is_told_which_models_hold_it(tmp_path: Path):
    with RuntimeDriver(tmp_path, {"app.py": HUNGRY}) as driver:
        probed = driver.wait_for(events.ProbeFinished)

    assert probed.problem is not None
    assert probed.problem.type == "MemoryError"
    assert probed.problem.hint.startswith("largest in memory: model table ")


def test_what_python_warns_of_is_said_once_a_generation_and_only_of_what_it_imports(tmp_path: Path):
    odd = "ODD = 1 is 1\n"  # warned of when it is compiled, which a standby does ahead
    app = "import hotloop, used\napp = hotloop.App('odd')\n@app.endpoint\ndef odd() -> bool:\n    return used.ODD\n"
    with RuntimeDriver(tmp_path, {"app.py": app, "used.py": odd, "unused.py": odd}) as driver:
        driver.wait_for(events.StandbyReady)
        driver.wait_reload(driver.save({"app.py": app + "# edited\n"}))
        driver.wait_for(events.StandbyReady)

    logs = [each for each in driver.events if isinstance(each, events.Log) and "SyntaxWarning" in each.text]
    assert [(each.generation, each.text.split(":")[0]) for each in logs] == [
        (n, "/home/me/project/used.py") for n in (1, 2)
    ]


def test_a_standby_compiles_ahead_what_was_imported_last_and_nothing_else(tmp_path: Path):
    app = """
import gc
import hotloop
import used
from hotloop.gpu_runtime.user_env.source import Project
app = hotloop.App("ahead")
@app.endpoint
def ahead() -> list[str]:
    gc.unfreeze()
    projects = [each for each in gc.get_objects() if isinstance(each, Project)]
    return [project.relative(path) for project in projects for path in project._ahead]
"""
    with RuntimeDriver(tmp_path, {"app.py": app, "used.py": "", "unused.py": ""}) as driver:
        driver.wait_for(events.StandbyReady)
        driver.wait_reload(driver.save({"app.py": app.replace("import used\n", "")}))

        assert sorted(driver.call("ahead").json) == ["app.py", "used.py"]
