"""Effects on what executions share, performed in the store.

May import `flowkit` and `service.store.base`.
"""

from __future__ import annotations

import logging

from flowkit.clock import Clock
from flowkit.engine import Performance
from flowkit.errors import NodeFailed
from flowkit.nodetype import Outcome
from flowkit.sharing import outcome_of, sharing
from service.store.base import Store

log = logging.getLogger(__name__)


class Internal:
    """Performs the effects of `flowkit.sharing.KINDS`."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    def perform(self, performance: Performance) -> Outcome:
        """Change the cell that the effect names, once under its key.

        What the store cannot do now is tried again: whether it was done does not matter, since
        the same key gets the same answer.
        """
        effect, key, now = performance.effect, performance.key, self._clock.now()
        try:
            asked = sharing(effect, now, self._store.get_contact)
            answer = self._store.change_cell(
                asked.cell_id, key, asked.change, now=now, expires_at=asked.expires_at
            )
        except NodeFailed as failure:
            error = {"code": failure.code, "message": failure.message, "transient": False}
            return Outcome("failed", error=error)
        except Exception as error:
            log.exception("the store did not take the effect under %s", key)
            message = f"the store did not take it ({type(error).__name__}); it is tried again"
            unavailable = {"code": "store_unavailable", "message": message, "transient": True}
            return Outcome("failed", error=unavailable)
        return outcome_of(effect, answer)
