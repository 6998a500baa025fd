"""A whole service under a clock moved by hand: API, store, worker, channels."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from flowkit.flow import Flow
from service.worker.runner import Perform, Runner
from tests.api.harness import Service
from tests.whatsapp.conftest import Simulator
from tests.worker.stage import Pool

Event = tuple[float, str, Any]
"""Hours after the start at which it comes, its type and its payload."""


class Live:
    """The service, and a worker that does what is due when it is asked to."""

    def __init__(self, service: Service, simulator: Simulator, perform: Perform) -> None:
        self.service = service
        self.simulator = simulator
        self._pool = Pool()
        self._runner = Runner(
            service.store, perform, clock=service.clock, owner="a", lease_seconds=1e7,
            sweep_seconds=0.0, concurrency=1_000,
        )  # fmt: skip

    def add(self, flow: Flow) -> Flow:
        """Store a flow, active."""
        stored = self.service.add(flow.to_dict())
        stored.pop("problems")
        return Flow.from_dict(stored)

    def run(self, flow: Flow, payload: Any, events: Iterable[Event] = ()) -> dict[str, Any]:
        """Trigger a flow, let events come, and return the execution's document at its end."""
        begun = self.service.clock.now()
        (execution_id,) = self.service.start(flow.trigger_type, payload)
        coming = [(begun + timedelta(hours=hours), *event) for hours, *event in events]
        while self._work() or coming:
            now = self.service.clock.now()
            due = self.service.store.next_due(now=now)
            if coming and (due is None or coming[0][0] < due):
                at, type_, body = coming.pop(0)
                self.service.clock.advance(at - now)
                self.service.ok("POST", f"/api/flows/trigger/{type_}", body, status=202)
            elif due is None:
                raise AssertionError("nothing is due, and it has not ended")
            else:
                self.service.clock.advance(max(due - now, timedelta(0)))
        document: dict[str, Any] = self.service.ok("GET", f"/api/executions/{execution_id}")
        return document

    def _work(self) -> bool:
        """Do all that can be done now; return whether something is left for later."""
        while True:
            self._runner.wake()
            self._runner._collect(0.0)
            self._runner.step(self._pool)  # type: ignore[arg-type]
            if not self._pool.kept:
                return self.service.store.next_due(now=self.service.clock.now()) is not None
            for effect in self._pool.kept:
                effect()
            self._pool.kept.clear()
