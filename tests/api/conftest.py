from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from flowkit.clock import ManualClock
from service.app import create_app
from service.settings import Settings
from service.store.sqlite import SqliteStore
from tests.api.harness import KEY, NOW, Service


@pytest.fixture
def open_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], Any]]:
    """Return a function that opens an empty store; MongoDB where FLOWKIT_TEST_STORE says so."""
    stores: list[Any] = []

    def opened() -> Any:
        if os.environ.get("FLOWKIT_TEST_STORE") != "mongodb":
            stores.append(SqliteStore(tmp_path / f"flows-{len(stores)}.db"))
        else:
            from service.store.mongo import MongoStore

            url = request.getfixturevalue("mongodb_url")
            stores.append(MongoStore(f"{url}-{len(stores)}", retention_days=None))
        return stores[-1]

    yield opened
    for store in stores:
        if not isinstance(store, SqliteStore):
            store._db.client.drop_database(store._db.database)
        store.close()


@pytest.fixture
def make_service(open_store: Callable[[], Any], tmp_path: Path) -> Callable[..., Service]:
    """Return a function that makes a service."""

    def make(now: datetime = NOW, **settings: Any) -> Service:
        store = open_store()
        clock = ManualClock(now)
        rings: list[None] = []
        app = create_app(
            Settings(data_dir=tmp_path, api_key=KEY, **settings),
            store,
            clock=clock,
            ring=lambda: rings.append(None),
        )
        return Service(app, store, clock, rings)

    return make


@pytest.fixture
def service(make_service: Callable[..., Service]) -> Service:
    return make_service()
