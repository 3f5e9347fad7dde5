"""What tests of runners share."""

import os
from pathlib import Path

import pytest

from tests.remote_runner.docker_engine import docker_engine  # noqa: F401 - a fixture


@pytest.fixture(scope="session")
def fetched(tmp_path_factory):
    """Where this side keeps what it fetches for runners: fetched once, and not in the developer's own cache."""
    with pytest.MonkeyPatch.context() as patch:
        home = os.environ.get("XDG_CACHE_HOME")
        patch.setenv(
            "UV_CACHE_DIR",
            os.environ.get("UV_CACHE_DIR") or str((Path(home) if home else Path.home() / ".cache") / "uv"),
        )
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("client-cache")))
        yield
