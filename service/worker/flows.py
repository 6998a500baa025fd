"""Effects on other executions, performed in the store: START_FLOW and STOP_FLOWS.

Each may be performed again under its key without doing it twice: what it starts has an id that
follows from the key, and what has ended is not stopped again. May import `flowkit`,
`service.store.base`, `service.entries` and `service.events`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from flowkit import engine
from flowkit.clock import Clock
from flowkit.engine import Limits, Performance
from flowkit.errors import Conflict, FlowkitError, Invalid, NotFound
from flowkit.execution import Execution
from flowkit.nodes.flows import NAMED, START, STOP
from flowkit.nodetype import Outcome
from flowkit.starting import FILTERED, started_by
from service.entries import create
from service.events import DECISIONS, live
from service.store.base import Store

log = logging.getLogger(__name__)

KINDS = frozenset({START, STOP})


class Flows:
    """Performs the effects of `KINDS`.

    Parameters
    ----------
    store, clock : Store, Clock
        Where executions are; what time it is.
    limits : Limits
        Bounds of executions, for the engine.
    ring : callable
        Wakes a worker.
    """

    def __init__(
        self, store: Store, clock: Clock, limits: Limits, ring: Callable[[], None]
    ) -> None:
        self._store = store
        self._clock = clock
        self._limits = limits
        self._ring = ring
        self._version = lru_cache(maxsize=64)(store.get_version)

    def perform(self, performance: Performance) -> Outcome:
        """Perform an effect; what the store cannot do now is tried again."""
        effect = performance.effect
        act = self._start if effect.kind == START else self._stop
        try:
            asking = self._store.get_execution(performance.key.partition("_")[0])
            return Outcome("completed", result=act(asking, performance.key, effect.request))
        except (Invalid, NotFound) as error:
            return _failed(error.code, str(error), transient=False)
        except FlowkitError as error:
            return _failed(error.code, str(error), transient=True)
        except Exception as error:
            log.exception("the store did not take the effect under %s", performance.key)
            said = f"the store did not take it ({type(error).__name__}); it is tried again"
            return _failed("store_unavailable", said, transient=True)

    def _start(self, asking: Execution, key: str, request: dict[str, Any]) -> dict[str, Any]:
        flow = self._store.get_flow(request["flowId"]).flow
        if not flow.is_active:
            raise NotFound(f"flow {flow.id} ({flow.name}) is not active")
        execution = started_by(
            asking, key, flow, request, now=self._clock.now(), limits=self._limits
        )
        if execution is None:
            return {"executionId": None, "reason": FILTERED}
        refused = create(self._store, self._version, [execution])
        if refused:
            return {"executionId": None, "reason": refused[execution.id].message}
        self._ring()
        return {"executionId": execution.id}

    def _stop(self, asking: Execution, key: str, request: dict[str, Any]) -> dict[str, Any]:
        flow_ids = request["flowIds"]
        stopped = [
            head.id
            for head in live(self._store, asking.contact_id or "")
            if head.id != asking.id
            and (flow_ids is None or head.flow_id in flow_ids)
            and self._cancel(head.id)
        ]
        return {"stopped": len(stopped), "executionIds": stopped[:NAMED]}

    def _cancel(self, execution_id: str) -> bool:
        now = self._clock.now()
        for _ in range(DECISIONS):
            try:
                patch = engine.cancel(self._store.get_execution(execution_id), now=now)
            except (Conflict, NotFound):
                return False  # it has ended meanwhile
            if self._store.commit([patch], now=now)[0].outcome == "ok":
                return True
        raise Conflict(f"execution {execution_id} keeps changing")


def _failed(code: str, message: str, *, transient: bool) -> Outcome:
    return Outcome("failed", error={"code": code, "message": message, "transient": transient})
