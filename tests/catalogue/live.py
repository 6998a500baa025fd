"""A whole service under a clock moved by hand: API, store, worker, channels."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from flowkit.flow import Flow
from service.worker.runner import Perform, Runner
from tests.api.harness import Service
from tests.worker.stage import Pool

Event = tuple[float, str, Any]
"""Hours after the start at which it comes, its type and its payload."""


def coming(start: datetime, events: Iterable[Event]) -> list[tuple[datetime, str, Any]]:
    """Return when which events come."""
    return [(start + timedelta(hours=hours), type_, body) for hours, type_, body in events]


class Live:
    """The service, and a worker that does what is due when it is asked to."""

    def __init__(self, service: Service, perform: Perform) -> None:
        self.service = service
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

    def run(self, flow: Flow, payload: Any, events: Sequence[Event] = ()) -> dict[str, Any]:
        """Trigger a flow, let events come, and return the execution's document at its end."""
        clock = self.service.clock
        to_come = coming(clock.now(), events)
        (execution_id,) = self.service.start(flow.trigger_type, payload)
        while (due := self._work()) or to_come:
            if to_come and (due is None or to_come[0][0] < due):
                at, type_, body = to_come.pop(0)
                clock.advance(at - clock.now())
                self.service("POST", f"/api/flows/trigger/{type_}", body)
            else:
                assert due is not None
                clock.advance(max(due - clock.now(), timedelta(0)))
        document: dict[str, Any] = self.service.ok("GET", f"/api/executions/{execution_id}")
        return document

    def _work(self) -> datetime | None:
        """Do all that can be done now; return when there is more to do."""
        while True:
            self._runner.wake()
            self._runner._collect(0.0)
            self._runner.step(self._pool)  # type: ignore[arg-type]
            if not self._pool.kept:
                due: datetime | None = self.service.store.next_due(now=self.service.clock.now())
                return due
            for effect in self._pool.kept:
                effect()
            self._pool.kept.clear()
