from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from flowkit.engine import Limits
from flowkit.testing import EPOCH
from service.settings import Settings
from service.worker.process import channels, performing
from service.worker.runner import Perform
from tests.api.conftest import make_service as make_service
from tests.api.harness import Service
from tests.catalogue.live import Live
from tests.channels.server import System, system
from tests.whatsapp.conftest import TOKEN, Simulator, running


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
    settings = Settings(
        data_dir=Path("unused"),
        http_allow_private=True,
        whatsapp_base_url=whatsapp.url,
        whatsapp_token=TOKEN,
        whatsapp_phone_number_id="106540352242922",
    )
    with channels(settings) as perform:
        yield perform


@pytest.fixture
def live(make_service: Callable[..., Service], outside: Perform) -> Live:
    """API, store and worker, with the WhatsApp simulator on a port of this machine."""
    service = make_service(EPOCH)
    perform = performing(service.store, service.clock, Limits(), lambda: None, outside)
    return Live(service, perform)
