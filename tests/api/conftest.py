from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from flowkit.clock import ManualClock
from service.app import create_app
from service.settings import Settings
from service.store.sqlite import SqliteStore
from tests.api.harness import KEY, NOW, Service


@pytest.fixture
def make_service(tmp_path: Path) -> Iterator[Callable[..., Service]]:
    stores: list[SqliteStore] = []

    def make(**settings: Any) -> Service:
        store = SqliteStore(tmp_path / f"flows-{len(stores)}.db")
        stores.append(store)
        clock = ManualClock(NOW)
        rings: list[None] = []
        app = create_app(
            Settings(data_dir=tmp_path, api_key=KEY, **settings),
            store,
            clock=clock,
            ring=lambda: rings.append(None),
        )
        return Service(app, store, clock, rings)

    yield make
    for store in stores:
        store.close()


@pytest.fixture
def service(make_service: Callable[..., Service]) -> Service:
    return make_service()
