"""Effects on other executions, performed in the store: START_FLOW, SUBFLOW and STOP_FLOWS.

Each may be performed again under its key without doing it twice: what it starts has an id that
follows from the key, and what has ended is not stopped again. May import `flowkit`,
`service.store.base`, `service.entries` and `service.events`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import lru_cache

from flowkit.clock import Clock
from flowkit.engine import Limits, Performance
from flowkit.errors import FlowkitError, Invalid, NotFound
from flowkit.execution import Execution
from flowkit.flow import Flow
from flowkit.kin import CALL, taken, told
from flowkit.nodes.flows import NAMED, START, STOP
from flowkit.nodetype import Outcome
from flowkit.starting import FILTERED, answer_of, started_by
from service.entries import create
from service.events import cancel, live
from service.store.base import Store

log = logging.getLogger(__name__)

KINDS = frozenset({START, CALL, STOP})


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
        act = {START: self._start, CALL: self._call, STOP: self._stop}[effect.kind]
        try:
            asking = self._store.get_execution(performance.key.partition("_")[0])
            return act(asking, performance)
        except (Invalid, NotFound) as error:
            return _failed(error.code, str(error), transient=False)
        except FlowkitError as error:
            return _failed(error.code, str(error), transient=True)
        except Exception as error:
            log.exception("the store did not take the effect under %s", performance.key)
            said = f"the store did not take it ({type(error).__name__}); it is tried again"
            return _failed("store_unavailable", said, transient=True)

    def _start(self, asking: Execution, performance: Performance) -> Outcome:
        flow = self._store.get_flow(performance.effect.request["flowId"]).flow
        if not flow.is_active:
            raise NotFound(f"flow {flow.id} ({flow.name}) is not active")
        started, refused = self._create(asking, performance, flow, waits=False)
        return answer_of(started, refused, waits=False)

    def _call(self, asking: Execution, performance: Performance) -> Outcome:
        request = performance.effect.request
        flow = self._version(request["flowId"], request["version"])
        started, refused = self._create(asking, performance, flow, waits=True)
        if started is None:
            return answer_of(None, refused, waits=True)
        if performance.attempt:  # it may have been started, and have ended, long ago
            child = self._store.get_execution(started)
            if child.ended_at is not None:
                said = taken(told(flow, child, self._limits.result_bytes).payload)
                return Outcome("completed", result=said.result, handle=said.handle)
        if self._store.get_execution(asking.id).ended_at is not None:  # nobody waits for it now
            cancel(self._store, started, now=self._clock.now())
        return answer_of(started, "", waits=True)

    def _create(
        self, asking: Execution, performance: Performance, flow: Flow, *, waits: bool
    ) -> tuple[str | None, str]:
        """Create the execution of a node's key; return its id, or None and why it may not be."""
        execution = started_by(
            *(asking, performance.key, flow, performance.effect.request),
            now=self._clock.now(),
            limits=self._limits,
            waits=waits,
        )
        if execution is None:
            return None, FILTERED
        refused = create(self._store, self._version, [execution])
        if refused:
            return None, refused[execution.id].message
        self._ring()
        return execution.id, ""

    def _stop(self, asking: Execution, performance: Performance) -> Outcome:
        flow_ids = performance.effect.request["flowIds"]
        stopped = [
            head.id
            for head in live(self._store, asking.contact_id or "")
            if head.id != asking.id
            and (flow_ids is None or head.flow_id in flow_ids)
            and cancel(self._store, head.id, now=self._clock.now())
        ]
        result = {"stopped": len(stopped), "executionIds": stopped[:NAMED]}
        return Outcome("completed", result=result)


def _failed(code: str, message: str, *, transient: bool) -> Outcome:
    return Outcome("failed", error={"code": code, "message": message, "transient": transient})
