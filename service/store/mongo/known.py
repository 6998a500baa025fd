"""What a client of MongoDB remembers of an execution's document, and how to address its elements.

Arrays of an execution only grow, so an element keeps its index for ever: what is remembered may
be old, never wrong about places. Every write is guarded by what it rests on; when a guard fails,
the document is read anew. May import `flowkit`, `service.store.mongo.documents` and pymongo.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from flowkit.execution import (
    Branch,
    Execution,
    ExecutionStatus,
    NodeRun,
    Received,
    branch_order,
    run_order,
)
from service.store.mongo.documents import (
    ExecutionDocument,
    Mapper,
)

BRANCHES, RUNS, INBOX = "branches", "executedNodes", "inbox"
LIVE = {"$in": ["running", "delayed"]}
HEAD = ("status", "open", "waiting", "failed", "resumeAt")
"""What of an execution's head follows from its branches."""

_parts = ExecutionDocument._fields
branches = Mapper(Branch, _parts["branches"].field.document_type)
runs = Mapper(NodeRun, _parts["executed_nodes"].field.document_type)
events = Mapper(Received, _parts["inbox"].field.document_type)
executions = Mapper(
    Execution, ExecutionDocument, branches=branches, executed_nodes=runs, inbox=events
)


class BranchAt(NamedTuple):
    """A branch, where it is in the array, and who holds it."""

    place: int
    branch: Branch
    owner: str | None


class RunAt(NamedTuple):
    """A node run, and where it is in the array."""

    place: int
    run: NodeRun


@dataclass(frozen=True, slots=True)
class Known:
    """An execution as a client saw it last. Never changed: a newer one takes its place."""

    id: str
    status: ExecutionStatus
    open: int
    waiting: int
    failed: int
    resume_at: datetime | None
    revision: int
    branches: Mapping[str, BranchAt]
    runs: Mapping[str, RunAt]
    inbox: int

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Known:
        """Return what a document says; it has all its branches and runs."""
        found = [branches.read(item) for item in document[BRANCHES]]
        owners = [item.get("owner") for item in document[BRANCHES]]
        recorded = [runs.read(item) for item in document[RUNS]]
        return cls(
            id=document["_id"],
            status=document["status"],
            open=document["open"],
            waiting=document["waiting"],
            failed=document["failed"],
            resume_at=document.get("resumeAt"),
            revision=document["revision"],
            branches={
                branch.branch_id: BranchAt(i, branch, owner)
                for i, (branch, owner) in enumerate(zip(found, owners, strict=True))
            },
            runs={run.idempotency_key: RunAt(i, run) for i, run in enumerate(recorded)},
            inbox=len(document.get(INBOX, ())),
        )

    @property
    def head(self) -> dict[str, Any]:
        """The head, as `head_of` gives it."""
        values = (self.status, self.open, self.waiting, self.failed, self.resume_at)
        return dict(zip(HEAD, values, strict=True))

    def recorded(self) -> dict[str, NodeRun]:
        """Return the runs by idempotency key."""
        return {key: at.run for key, at in self.runs.items()}

    def waiting_without(self, branch_ids: Container[str]) -> list[tuple[int, int, datetime]]:
        """Return index, epoch and time of the branches that wait, without some."""
        return [
            (at.place, at.branch.epoch, at.branch.resume_at)
            for branch_id, at in self.branches.items()
            if at.branch.status == "waiting" and at.branch.resume_at and branch_id not in branch_ids
        ]


def read_execution(document: Mapping[str, Any]) -> Execution:
    """Return the execution of a document, its branches and runs in their order.

    Parts that were not read are empty.
    """
    execution: Execution = executions.read(document)
    execution.branches.sort(key=lambda branch: branch_order(branch.branch_id))
    execution.executed_nodes.sort(key=run_order)
    return execution


def head_of(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return the counts, the status and the next time of a document: as values, or as guard."""
    return {name: document.get(name) for name in HEAD}


def earliest(
    waiting: Iterable[tuple[int, int, datetime]],
) -> tuple[datetime | None, dict[str, Any]]:
    """Return the first of the times at which branches are due, and the guard it rests on.

    Parameters
    ----------
    waiting : iterable of (index, epoch, time)
        All branches that wait.
    """
    left = list(waiting)
    guard = {f"{BRANCHES}.{index}.epoch": epoch for index, epoch, _ in left}
    return min((at for _, _, at in left), default=None), guard


class Memory:
    """What a client knows of the executions that it dealt with last; for any number of threads."""

    SIZE = 20_000

    def __init__(self) -> None:
        self._known: OrderedDict[str, Known] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, execution_id: str) -> Known | None:
        """Return what is known, or None."""
        with self._lock:
            return self._known.get(execution_id)

    def put(self, known: Known) -> None:
        """Remember; what was dealt with longest ago is forgotten."""
        with self._lock:
            self._known[known.id] = known
            self._known.move_to_end(known.id)
            while len(self._known) > self.SIZE:
                self._known.popitem(last=False)

    def forget(self, execution_id: str) -> None:
        """Forget an execution."""
        with self._lock:
            self._known.pop(execution_id, None)
