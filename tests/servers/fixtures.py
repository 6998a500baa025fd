"""The servers as fixtures, for every test: started once in each process that runs tests."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from tests.servers.mongo import MongoServer
from tests.servers.redis import RedisServer


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A Redis of this process's tests, which leave it running; it may hold another's rest."""
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    yield server
    server.kill()


@pytest.fixture(scope="session")
def mongodb_server_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The server named by ``FLOWKIT_TEST_MONGODB_URL``, else one of this process's own."""
    if url := os.environ.get("FLOWKIT_TEST_MONGODB_URL"):
        yield url
        return
    server = MongoServer(tmp_path_factory.mktemp("mongo"))
    yield server.url
    server.kill()


@pytest.fixture
def mongodb_url(mongodb_server_url: str) -> Iterator[str]:
    """The address of an empty database of the test's own."""
    yield from fresh_database(mongodb_server_url)


def fresh_database(server_url: str) -> Iterator[str]:
    """Yield the address of a new database on a server, and drop it in the end."""
    import pymongo
    from pymongo.errors import PyMongoError

    name = f"test_{secrets.token_hex(6)}"
    yield urlsplit(server_url)._replace(path=f"/{name}").geturl()
    with (
        pymongo.MongoClient(server_url, serverSelectionTimeoutMS=2000) as client,
        # The test may have ended the server, and the JVM's cannot drop an index made twice.
        contextlib.suppress(PyMongoError),
    ):
        client.drop_database(name)
