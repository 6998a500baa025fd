from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from flowkit.clock import ManualClock
from service.api.installation import Installation
from service.app import create_app
from service.settings import Settings
from service.store.sqlite import SqliteStore
from tests.api import harness
from tests.api.harness import KEY, NOW, Service


@pytest.fixture
def make_service(
    request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[Callable[..., Service]]:
    """Return a function that makes a service; on MongoDB where FLOWKIT_TEST_STORE says so.

    An application without settings of its own may have served another test before; all that it
    works with is new.
    """
    stores: list[Any] = []
    apps: list[Flask] = []

    def opened() -> Any:
        if os.environ.get("FLOWKIT_TEST_STORE") != "mongodb":
            return SqliteStore(tmp_path / f"flows-{len(stores)}.db")
        from service.store.mongo import MongoStore

        url = request.getfixturevalue("mongodb_url")
        return MongoStore(f"{url}-{len(stores)}", retention_days=None)

    def make(now: datetime = NOW, **settings: Any) -> Service:
        store = opened()
        stores.append(store)
        clock = ManualClock(now)
        rings: list[None] = []
        made = Settings(data_dir=tmp_path, api_key=KEY, **settings)

        def ring() -> None:
            rings.append(None)

        if settings or not harness.idle:
            app = create_app(made, store, clock=clock, ring=ring)
        else:
            app = harness.idle.pop()
            app.extensions["flowkit"] = Installation(made, store, clock, ring, lambda: None)
        if not settings:
            apps.append(app)
        return Service(app, store, clock, rings)

    yield make
    harness.idle.extend(apps)
    for store in stores:
        if not isinstance(store, SqliteStore):
            store._db.client.drop_database(store._db.database)
        store.close()


@pytest.fixture
def service(make_service: Callable[..., Service]) -> Service:
    return make_service()
