from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from flowkit.engine import Limits
from flowkit.testing import EPOCH
from service.settings import Settings
from service.worker.process import channels, performing
from tests.api.conftest import make_service as make_service
from tests.api.harness import Service
from tests.catalogue.live import Live
from tests.channels.server import System, system
from tests.whatsapp.conftest import TOKEN, Simulator
from tests.whatsapp.conftest import simulator as simulator


@pytest.fixture
def other_system() -> Iterator[System]:
    """Somebody's system, to which requests can be made."""
    with system() as made:
        yield made


@pytest.fixture
def live(
    make_service: Callable[..., Service], simulator: Simulator, tmp_path: Path
) -> Iterator[Live]:
    """API, store and worker, with the WhatsApp simulator on a port of this machine."""
    service = make_service(EPOCH)
    settings = Settings(
        data_dir=tmp_path,
        http_allow_private=True,
        whatsapp_base_url=simulator.url,
        whatsapp_token=TOKEN,
        whatsapp_phone_number_id="106540352242922",
    )
    with channels(settings) as outside:
        perform = performing(service.store, service.clock, Limits(), lambda: None, outside)
        yield Live(service, simulator, perform)
