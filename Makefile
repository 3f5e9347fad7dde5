# make demo    sets everything up, makes ./demo from the chat template, serves it
# make test    everything the tests need, then the tests
# make screens  rewrites what the tests expect of whole screens, and the documentation's pictures of them
# make soak    those of them that find more the longer they run, for some minutes
# make newer   those of what depends on the interpreter, with the newest Python here
# make check   lint, format, types, who may import whom
.DEFAULT_GOAL := help
.PHONY: help setup demo test soak newer check format docs screens proto wheel wheel-test clean

PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
HOTLOOP_USER_PYTHON ?= $(CURDIR)/.venvs/user/bin/python
PYTEST_ARGS ?=
TEST_PROCESSES ?= 3

# The versions that the tests run with. They hold for hotloop's environment, the tests' user environment and the demo's.
export PIP_CONSTRAINT := $(CURDIR)/tests/constraints.txt
export PIP_DISABLE_PIP_VERSION_CHECK := 1

help:
	@sed -n 's/^# make/  make/p' Makefile

setup: .venv/.ready

.venv/.ready: pyproject.toml tests/constraints.txt
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit(f"hotloop needs Python 3.11 or newer, {sys.executable} is {sys.version.split()[0]}: make PYTHON=python3.11")'
	@echo "making .venv: hotloop and the tools that check it"
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -qq 'pip>=25.1'
	$(BIN)/python -m pip install -qq -e . --group dev
	@touch $@

.venvs/user/.ready: tests/user-requirements.txt tests/user-data-requirements.txt tests/constraints.txt
	@echo "making .venvs/user: the environment of the tests' user, with torch (a minute or two)"
	test -x .venvs/user/bin/python || $(PYTHON) -m venv .venvs/user
	@# Not compiled: that takes as long as all else, and a tenth of it is ever imported.
	.venvs/user/bin/python -m pip install -qq --no-compile -r tests/user-requirements.txt
	.venvs/user/bin/python -m pip install -qq --no-compile --no-deps -r tests/user-data-requirements.txt
	@touch $@

# Requests, valid and not, that gunicorn tests its parser with: only its source distribution has them.
.venvs/http-corpus/.ready: tests/constraints.txt | .venv/.ready
	@echo "fetching gunicorn's test requests"
	rm -rf .venvs/http-corpus
	$(BIN)/python -m pip download -qq --no-deps --no-binary gunicorn -d .venvs/http-corpus gunicorn
	@touch $@

# Another interpreter given: nothing to make.
ifeq ($(HOTLOOP_USER_PYTHON),$(CURDIR)/.venvs/user/bin/python)
USER_ENVIRONMENT := .venvs/user/.ready
endif

demo/app.py: | .venv/.ready
	@test ! -e demo || { echo "./demo is there, but it has no app.py: remove it, then make demo" >&2; exit 1; }
	@$(BIN)/dev new demo -t chat --python $(PYTHON) --yes || { rm -rf demo; exit 1; }

demo: .venv/.ready demo/app.py
	@cd demo && exec ../$(BIN)/dev serve

test: .venv/.ready .venvs/http-corpus/.ready $(USER_ENVIRONMENT)
	$(BIN)/python -m compileall -q src  # once here, and not in each process of the tests'
	HOTLOOP_USER_PYTHON=$(HOTLOOP_USER_PYTHON) $(BIN)/python -m pytest -q -n $(TEST_PROCESSES) --dist loadgroup $(PYTEST_ARGS)

# The heads of slow clients have 15 s, so their time-outs are among it.
soak: export HOTLOOP_DIFFERENTIAL_SEQUENCES := 60
soak: export HOTLOOP_SLOW_CLIENTS_S := 40
soak: export HOTLOOP_DESCRIBED_EXAMPLES := 100
soak: export HOTLOOP_ITERATIONS := 200
soak: export HOTLOOP_STORMS := 40
soak: export PYTEST_ARGS += $(addprefix tests/gpu_runtime/,test_differential.py test_slow_clients.py test_described.py)
soak: export PYTEST_ARGS += tests/cli/test_iterations.py tests/cli/test_save_storms.py
soak: test

newer: .venv/.ready $(USER_ENVIRONMENT)
	HOTLOOP_USER_PYTHON=$(HOTLOOP_USER_PYTHON) bash tests/newer_python.sh

check: .venv/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports

format: .venv/.ready
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: .venv/.ready
	$(BIN)/python docs/make_events.py
	$(BIN)/python docs/make_commands.py

# Look at the differences before they are committed.
screens: .venv/.ready
	$(BIN)/python -m tests.tui.screens
	$(BIN)/python -m tests.tui.pictures --kept

PROTOS := src/hotloop/remote_runner/protocol/agent.proto src/hotloop/gpu_runtime/grpc_front/serving.proto
# What a newer protoc writes asks for a protobuf as new: this is the one of the oldest that pyproject.toml allows.
proto:
	test -x .venvs/proto/bin/python || $(PYTHON) -m venv .venvs/proto
	env -u PIP_CONSTRAINT .venvs/proto/bin/python -m pip install -qq grpcio-tools==1.73.1
	.venvs/proto/bin/python -m grpc_tools.protoc -I src --python_out=src --pyi_out=src $(PROTOS)

wheel: .venv/.ready
	rm -rf dist
	$(BIN)/python -m build -q --outdir dist

wheel-test: wheel
	bash tests/wheel_smoke.sh dist/*.whl

clean:
	rm -rf .venv .venvs dist demo .pytest_cache .ruff_cache .import_linter_cache .hypothesis
