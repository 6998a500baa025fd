"""Events for executions that are under way: who is concerned, and how they are told.

Owns the way of an event to executions; what it does there is the engine's. May import `flowkit`
and `service.store.base`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime

from flowkit import engine
from flowkit.engine import Limits, Received
from flowkit.errors import Conflict, FlowkitError, NotFound
from flowkit.execution import Execution, ExecutionFilter
from flowkit.flow import Flow
from flowkit.problems import Problem
from flowkit.size import size_of
from service.store.base import PageKey, Store

log = logging.getLogger(__name__)

PAGE = 100
DECISIONS = 100
"""How often the event of one execution is decided anew while workers change it."""


@dataclass(slots=True)
class Delivery:
    """What came of an event: who has received it, and why others have not."""

    execution_ids: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)


def deliver(
    store: Store,
    version: Callable[[str, int], Flow],
    contact_ids: Iterable[str],
    event: Received,
    *,
    now: datetime,
    limits: Limits,
    besides: Collection[str] = (),
) -> Delivery:
    """Give an event to every execution of these contacts that listens for it. Durable.

    Delivering it again, under the same id, changes nothing.

    Parameters
    ----------
    store : Store
        Where the executions are.
    version : callable
        Returns a flow's published version.
    contact_ids : iterable of str
        Whom the event is about; identities of one contact.
    event : Received
        What happened. A payload larger than a node's result may be is left out.
    now : datetime
        The time of what it changes.
    limits : Limits
        Bounds of executions and results.
    besides : collection of str, optional
        Executions that the same event has started.
    """
    delivery = Delivery()
    size = size_of(event.payload)
    for contact_id in contact_ids:
        for head in live(store, contact_id):
            if head.id in besides or event.type not in _listens(version, head):
                continue
            if size > limits.result_bytes:
                event = Received(id=event.id, type=event.type, at=event.at)
                message = (
                    f"The payload has {size} bytes; executions that wait for the event receive it "
                    f"without, since FLOWKIT_RESULT_LIMIT_BYTES allows {limits.result_bytes}."
                )
                delivery.problems.append(Problem("event.too_large", "", message, "warning"))
                size = 0
            try:
                if give(store, version, head.id, event, now=now, limits=limits):
                    delivery.execution_ids.append(head.id)
            except FlowkitError as error:
                problems = getattr(error, "problems", None)
                delivery.problems += problems or [Problem("event.refused", "", str(error))]
    return delivery


def live(store: Store, contact_id: str) -> Iterator[Execution]:
    """Yield the heads of a contact's executions that have not ended."""
    after = None
    while True:
        page = store.list_executions(
            ExecutionFilter(contact_id=contact_id, live=True), after=after, limit=PAGE
        )
        yield from page
        if len(page) < PAGE:
            return
        after = PageKey(page[-1].created_at, page[-1].id)


def _listens(version: Callable[[str, int], Flow], head: Execution) -> Collection[str]:
    try:
        return version(head.flow_id, head.flow_version).listens
    except FlowkitError as error:  # a version that only a newer program understands
        log.warning("what execution %s waits for is not known: %s", head.id, error)
        return ()


def give(
    store: Store,
    version: Callable[[str, int], Flow],
    execution_id: str,
    event: Received,
    *,
    now: datetime,
    limits: Limits,
) -> bool:
    """Let one execution receive an event; return whether it has."""
    for _ in range(DECISIONS):
        try:
            execution = store.get_execution(execution_id)
        except NotFound:
            return False  # ended and removed
        flow = version(execution.flow_id, execution.flow_version)
        patch = engine.receive(flow, execution, event, now=now, limits=limits)
        if patch is None:
            # Ended meanwhile, or delivered before: then it is told as the first time.
            return any(known.id == event.id for known in execution.inbox)
        (answer,) = store.commit([patch], now=now)
        if answer.outcome == "ok":
            return True
    raise Conflict(f"execution {execution_id} keeps changing; it has not received the event")


def cancel(store: Store, execution_id: str, *, now: datetime) -> bool:
    """Cancel an execution; return whether it was under way."""
    for _ in range(DECISIONS):
        try:
            patch = engine.cancel(store.get_execution(execution_id), now=now)
        except (Conflict, NotFound):
            return False  # it has ended
        if store.commit([patch], now=now)[0].outcome == "ok":
            return True
    raise Conflict(f"execution {execution_id} keeps changing")


def finish(store: Store, flow: Flow, execution_id: str, *, now: datetime) -> None:
    """End at once what an execution that is over has let go of: see `flowkit.ending`.

    A failure is logged and nothing more, since its branches end when they next move.
    """
    try:
        for _ in range(DECISIONS):
            patch = engine.finish(flow, store.get_execution(execution_id), now=now)
            if patch is None or store.commit([patch], now=now)[0].outcome == "ok":
                return
    except Exception as error:
        log.warning("execution %s does not end at once: %s", execution_id, error)
    else:
        log.warning("execution %s keeps changing: it does not end at once", execution_id)
