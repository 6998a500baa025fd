"""A store's server that does not answer is waited for, visibly, and not for ever."""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any

import pytest

from flowkit.errors import SettingsError, StoreUnavailable
from service.cli import main
from service.server import free_port
from service.settings import Settings
from service.store import open as opening
from service.store.open import open_store

URL = "mongodb://user:password@db.example:27017/flowkit"


class Server:
    """Stands for the store of a server that answers after a number of tries."""

    def __init__(self, refusals: int) -> None:
        self.refusals = refusals
        self.tries: list[str] = []

    def __call__(self, url: str, **options: Any) -> Any:
        self.tries.append(url)
        if len(self.tries) <= self.refusals:
            raise StoreUnavailable("no server answers at db.example:27017")
        return self


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    monkeypatch.setattr(opening, "RETRY_SECONDS", 0.01)
    server = Server(3)
    module = types.ModuleType("service.store.mongo.store")
    module.MongoStore = server  # type: ignore[attr-defined]
    package = types.ModuleType("service.store.mongo")
    package.store = module  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "service.store.mongo", package)
    monkeypatch.setitem(sys.modules, "service.store.mongo.store", module)
    return server


def test_a_server_that_is_late_is_waited_for(
    server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert open_store(Settings(data_dir=tmp_path, mongodb_url=URL)) is server  # type: ignore[comparison-overlap]
    assert server.tries == [URL] * 4
    lines = [record.getMessage() for record in caplog.records]
    assert lines == ["no server answers at db.example:27017; trying again for 60 s"] * 3


def test_a_server_that_does_not_come_is_not_waited_for_for_ever(
    server: Server, tmp_path: Path
) -> None:
    server.refusals = sys.maxsize
    settings = Settings(data_dir=tmp_path, mongodb_url=URL, store_wait_seconds=0.1)
    with pytest.raises(StoreUnavailable):
        open_store(settings)
    assert len(server.tries) > 1


@pytest.mark.parametrize("command", ["up", "api", "worker"])
def test_the_program_then_ends_with_status_3(
    server: Server,
    command: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    server.refusals = sys.maxsize
    monkeypatch.setenv("FLOWKIT_MONGODB_URL", URL)
    monkeypatch.setenv("FLOWKIT_STORE_WAIT_SECONDS", "0")
    monkeypatch.setattr("sys.argv", ["flowkit", command, "--data", str(tmp_path)])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 3
    said = capsys.readouterr().err
    assert said.splitlines() == ["flowkit: no server answers at db.example:27017"]


def test_the_real_store_tells_its_silence_by_the_same_error(tmp_path: Path) -> None:
    url = f"mongodb://user:password@127.0.0.1:{free_port()}/x?serverSelectionTimeoutMS=100"
    settings = Settings(data_dir=tmp_path, mongodb_url=url, store_wait_seconds=0)
    with pytest.raises(StoreUnavailable, match="FLOWKIT_MONGODB_URL") as caught:
        open_store(settings)
    assert "password" not in str(caught.value)


@pytest.mark.parametrize("name", ["bson", "mongoengine", "pymongo"])
def test_a_package_that_is_missing_is_named_with_what_brings_it(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Missing:
        def find_spec(self, fullname: str, *rest: Any) -> None:
            if fullname == "service.store.mongo.store":
                raise ModuleNotFoundError(name=name)

    monkeypatch.setitem(sys.modules, "service.store.mongo", types.ModuleType("mongo"))
    sys.modules["service.store.mongo"].__path__ = []
    monkeypatch.delitem(sys.modules, "service.store.mongo.store", raising=False)
    monkeypatch.setattr("sys.meta_path", [Missing(), *sys.meta_path])
    with pytest.raises(SettingsError, match=rf"{name} is missing: .*flowkit\[mongodb\]"):
        open_store(Settings(data_dir=tmp_path, mongodb_url=URL))
