"""One index for all tests, and one cache of uv's, so that each wheel is unpacked once."""

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
    for name, value in settings.items():
        if value:
            monkeypatch.setenv(name, value)
        else:
            monkeypatch.delenv(name, raising=False)
    return settings
