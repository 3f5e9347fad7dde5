"""One index for all tests, and one cache of uv's, so that each wheel is unpacked once."""

import sys

import pytest

from tests.remote_runner.environments.index import Index, fill


@pytest.fixture(scope="session")
def index(tmp_path_factory):
    return fill(Index(tmp_path_factory.mktemp("index")))


@pytest.fixture(scope="session")
def uv_cache(tmp_path_factory):
    return tmp_path_factory.mktemp("uv-cache")


@pytest.fixture
def uv_settings(index, uv_cache, monkeypatch):
    """Have uv use the index alone, in this process and in agents that it starts."""
    settings = index.settings(uv_cache)
    monkeypatch.setenv(
        "PATH", f"{sys.base_prefix}/bin:/usr/bin:/bin"
    )  # asking each of pyenv's shims takes half a second
    for name, value in settings.items():
        if value:
            monkeypatch.setenv(name, value)
        else:
            monkeypatch.delenv(name, raising=False)
    return settings


@pytest.fixture
def gate(uv_settings, tmp_path, monkeypatch):
    """A file that the build of ``slow`` waits for, in a cache that has no such build yet."""
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("TEST_GATE", str(tmp_path / "gate"))
    return tmp_path / "gate"
