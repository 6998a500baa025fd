"""What the views work with: the store, the clock, the bell and the settings of this process.

May import `flowkit`, `service.settings`, `service.store.base` and Flask; never a concrete store.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache

from flask import current_app

from flowkit.clock import Clock
from flowkit.engine import Limits
from flowkit.errors import NotFound
from flowkit.flow import Flow
from service.settings import Settings
from service.store.base import Store

log = logging.getLogger(__name__)

FLOWS_CACHED = 256


@dataclass(frozen=True)
class Installation:
    """The parts that a process was given, and the published flows that it has parsed."""

    settings: Settings
    store: Store
    clock: Clock
    bell: Callable[[], None]
    queue: Callable[[], None]
    """Raises when the queue does not answer."""
    version: Callable[[str, int], Flow] = field(init=False)
    """Returns a published version; cached, since a version never changes."""

    def __post_init__(self) -> None:
        cached = lru_cache(maxsize=FLOWS_CACHED)(self.store.get_version)
        object.__setattr__(self, "version", cached)

    @property
    def limits(self) -> Limits:
        """The bounds of what is started."""
        return Limits(
            result_bytes=self.settings.result_limit_bytes,
            execution_bytes=self.settings.execution_limit_bytes,
        )

    def has_version(self, flow_id: str, version: int) -> bool:
        """Return whether a flow has a published version of that number."""
        try:
            self.version(flow_id, version)
        except NotFound:
            return False
        return True

    def ring(self) -> None:
        """Wake a worker. The work is stored, so a bell that fails costs time and nothing else."""
        try:
            self.bell()
        except Exception as error:
            log.warning("no bell was rung (%s); workers will find the work by their sweep", error)


def installation() -> Installation:
    """Return that of the application which serves this request."""
    found: Installation = current_app.extensions["flowkit"]
    return found
