"""The servers of the tests do what the tests rely on."""

from __future__ import annotations

from pathlib import Path

import pymongo
import pytest

from tests.servers.mongo import MongoServer
from tests.servers.redis import RedisServer
from tests.servers.runtime import need


def test_a_mongodb_server_that_is_killed_keeps_what_it_acknowledged(tmp_path: Path) -> None:
    server = MongoServer(tmp_path, keeps=True)
    try:
        with pymongo.MongoClient(server.url) as client:
            for number in range(3):
                client.flowkit.numbers.insert_one({"_id": number})
            client.flowkit.numbers.update_one({"_id": 0}, {"$set": {"seen": True}})
            server.restart()
            assert client.flowkit.numbers.count_documents({}) == 3
            assert client.flowkit.numbers.find_one({"seen": True}) == {"_id": 0, "seen": True}
    finally:
        server.kill()


def test_each_test_has_a_database_of_its_own(mongodb_url: str) -> None:
    with pymongo.MongoClient(mongodb_url) as client:
        database = client.get_default_database()
        assert database.list_collection_names() == []
        assert database.name.startswith("test_")
        assert "localTime" in client.admin.command("hello")


def test_a_redis_that_is_killed_keeps_what_it_should(tmp_path: Path) -> None:
    for keeps in (False, True):
        directory = tmp_path / str(keeps)
        directory.mkdir()
        server = RedisServer(directory, keeps=keeps)
        try:
            server.client.set("a", 1)
            server.restart()
            assert (server.client.get("a") is not None) == keeps
        finally:
            server.kill()


def test_what_is_missing_is_skipped_here_and_fails_in_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    need(programs=("sh",), packages=("flowkit",))
    for ci, outcome in (("", pytest.skip.Exception), ("true", pytest.fail.Exception)):
        monkeypatch.setenv("CI", ci)
        with pytest.raises(outcome, match="missing: the program no-such, the Python package none_"):
            need(programs=("sh", "no-such"), packages=("none_",))
