from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from flowkit.clock import ManualClock
from flowkit.engine import Limits
from flowkit.testing import EPOCH
from service.api.installation import Installation
from service.app import create_app
from service.settings import Settings
from service.store.sqlite import SqliteStore
from service.worker.process import channels, performing
from service.worker.runner import Perform
from tests.api.conftest import open_store as open_store
from tests.api.harness import KEY, Service
from tests.catalogue.live import Live
from tests.channels.server import System, system
from tests.whatsapp.conftest import TOKEN, Simulator, running

SETTINGS = Settings(data_dir=Path("unused"), api_key=KEY)


@pytest.fixture(scope="module")
def other_system() -> Iterator[System]:
    """Somebody's system, to which requests can be made."""
    with system() as made:
        yield made


@pytest.fixture(scope="module")
def whatsapp() -> Iterator[Simulator]:
    """The WhatsApp simulator, which remembers what any test has sent."""
    with running() as control:
        yield control


@pytest.fixture(scope="module")
def outside(whatsapp: Simulator) -> Iterator[Perform]:
    """Performs effects through real channels."""
    settings = replace(
        SETTINGS,
        http_allow_private=True,
        whatsapp_base_url=whatsapp.url,
        whatsapp_token=TOKEN,
        whatsapp_phone_number_id="106540352242922",
    )
    with channels(settings) as perform:
        yield perform


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flask]:
    """The API, made only once, for its own description takes time; each test gives it a store."""
    with closing(SqliteStore(tmp_path_factory.mktemp("unused") / "flows.db")) as store:
        yield create_app(SETTINGS, store)


@pytest.fixture
def live(app: Flask, open_store: Callable[[], Any], outside: Perform) -> Live:
    """API, store and worker, with the WhatsApp simulator on a port of this machine."""
    store, clock = open_store(), ManualClock(EPOCH)
    app.extensions["flowkit"] = Installation(SETTINGS, store, clock, _nobody, _nobody)
    perform = performing(store, clock, Limits(), _nobody, outside)
    return Live(Service(app, store, clock), perform)


def _nobody() -> None:
    """Ring no bell: the worker is asked to work."""
