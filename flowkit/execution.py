"""The records of an execution, and the one form in which they change: the patch.

Owns `Execution`, `Branch` and `NodeRun`, their statuses, the rule that gives an execution its
status, and the guards of a patch (`judge`). Each record is declared here only: wire documents,
API schemas and store columns are derived from it or held against it by a test.
May import `wire`. Knows no flow, no clock and no store.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, Literal, NamedTuple

from flowkit.wire import INTERNAL, canonical

ExecutionStatus = Literal["running", "delayed", "completed", "failed", "cancelled"]
BranchStatus = Literal[
    "ready", "running", "waiting", "forked", "merged", "completed", "failed", "cancelled"
]
RunStatus = Literal[
    "running", "waiting", "completed", "failed", "suppressed", "unknown", "cancelled"
]

EXECUTION_STATUSES: tuple[ExecutionStatus, ...] = (
    "running",
    "delayed",
    "completed",
    "failed",
    "cancelled",
)
TERMINAL: frozenset[str] = frozenset({"completed", "failed", "cancelled"})
"""Execution statuses in which nothing more happens by itself."""
OPEN: frozenset[str] = frozenset({"ready", "running", "waiting"})
"""Branch statuses that keep an execution from ending."""
UNRESOLVED: frozenset[str] = frozenset({"running", "unknown"})
"""Run statuses of an effect whose outcome nobody has recorded."""
GATHERING: frozenset[str] = frozenset({"waiting", "failed"})
"""Run statuses of a JOIN to which branches can still come."""
OUTCOME_UNKNOWN = "outcome_unknown"
"""Error code of a run whose effect may or may not have happened."""


@dataclass(slots=True, kw_only=True)
class NodeRun:
    """One node's run in one execution: its arrival, outcome and attempts.

    ``start_time`` and ``end_time`` are those of the last attempt; at END and JOIN they are the
    first and the last arrival. A JOIN's run is that of the branch that forked. ``source_handle``
    is the handle by which the branch leaves. ``attempts`` are the last ten that were followed by
    another: ``{status, startTime, endTime, result, error, retriedBy}``, the last being ``hand``
    or ``policy``.
    """

    node_id: str
    branch_id: str
    status: RunStatus
    start_time: datetime
    end_time: datetime | None = None
    result: dict[str, Any] | None = None
    error: dict[str, Any] | None = None
    idempotency_key: str
    retry_count: int = 0
    arrival_count: int = 0
    visit: int = 1
    sequence: int = 0
    source_handle: str | None = None
    attempts: tuple[dict[str, Any], ...] = ()
    arrivals: tuple[str, ...] = field(default=(), metadata=INTERNAL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """An event that came for an execution's contact while the execution was under way.

    ``payload`` is what the sender sent; ``id`` tells the event from one that is delivered again.
    """

    id: str
    type: str
    payload: Any = None
    at: datetime


@dataclass(slots=True, kw_only=True)
class Branch:
    """One line of progress through the flow: the unit of ownership.

    ``epoch`` counts how often it changed hands (claimed, let go, taken away) and is the fencing
    token; ``sequence`` numbers the branch's runs and ``children`` its children, so that neither
    number is used twice. ``resume_data`` says where a waiting or retried branch goes on.
    """

    branch_id: str
    status: BranchStatus
    current_node_id: str
    path: list[str]
    resume_at: datetime | None = None
    resume_data: dict[str, Any] | None = None
    vars: dict[str, Any] = field(default_factory=dict, metadata=INTERNAL)
    epoch: int = field(default=0, metadata=INTERNAL)
    sequence: int = field(default=0, metadata=INTERNAL)
    children: int = field(default=0, metadata=INTERNAL)


@dataclass(slots=True, kw_only=True)
class Execution:
    """One contact's way through one version of a flow.

    ``context`` is ``{"trigger": payload, "contact": object or null}``, frozen at the start.
    ``open``, ``waiting`` and ``failed`` count branches; ``revision`` counts commits; ``bytes`` is
    its size by the estimate of `flowkit.size`. ``inbox`` holds the events that its flow listens
    for, in the order in which they came. ``owes`` is whether its end concerns other executions:
    one that waits for it, or those that it waits for.

    ``ended_by`` says what ended it before all its branches came to an END: ``{reason, ...}``, the
    reason being ``goal``, ``exit`` or ``failure``. Where it names a ``branchId``, that branch and
    its line go on.
    """

    id: str
    flow_id: str
    flow_version: int
    status: ExecutionStatus
    trigger_type: str
    contact_id: str | None = None
    context: dict[str, Any] = field(default_factory=dict)
    branches: list[Branch] = field(default_factory=list)
    executed_nodes: list[NodeRun] = field(default_factory=list)
    resume_at: datetime | None = None
    created_at: datetime
    updated_at: datetime
    ended_at: datetime | None = None
    ended_by: dict[str, Any] | None = None
    open: int = field(default=1, metadata=INTERNAL)
    waiting: int = field(default=0, metadata=INTERNAL)
    failed: int = field(default=0, metadata=INTERNAL)
    revision: int = field(default=0, metadata=INTERNAL)
    bytes: int = field(default=0, metadata=INTERNAL)
    inbox: list[Received] = field(default_factory=list, metadata=INTERNAL)
    owes: bool = field(default=False, metadata=INTERNAL)


@dataclass(frozen=True, slots=True, kw_only=True)
class DayCount:
    """How much ended on a day (UTC), of one version of a flow, in one status.

    Counts executions where ``node_id`` is None, else runs of that node in executions that ended.
    """

    day: date
    flow_id: str
    flow_version: int
    node_id: str | None = None
    status: str
    count: int


@dataclass(slots=True)
class Claim:
    """What a worker holds of one execution: its head, the branches it owns, the runs it knows.

    `head` has neither branches nor runs; `runs` is keyed by idempotency key and holds every run
    of the execution that was recorded when the branches were claimed.
    """

    head: Execution
    branches: dict[str, Branch]
    runs: dict[str, NodeRun] = field(default_factory=dict)


@dataclass(slots=True)
class Settle:
    """Change a recorded run, if it still is in that status and at that attempt.

    A failed one also only if it failed by that error: a known one may have taken the place of
    one that was not understood.
    """

    run: NodeRun
    was: RunStatus
    retry_count: int
    error: dict[str, Any] | None = None


@dataclass(slots=True)
class Move:
    """Put a branch where it is now, if its epoch is still `epoch`."""

    branch: Branch
    epoch: int


@dataclass(slots=True)
class Arrival:
    """Branches that reached an END: added to the run's set, each once."""

    run: NodeRun
    branch_ids: tuple[str, ...]


@dataclass(slots=True)
class Meeting:
    """A JOIN that a patch may bring to its end; what comes of it is decided by `flowkit.joins.met`.

    Parameters
    ----------
    run : NodeRun
        The JOIN's run as the first arrival records it, in the name of the branch that forked.
    arrived : tuple of str
        The branches of the patch that have come to it. May be empty: that a branch ended
        elsewhere may be what the others have waited for.
    fork : int
        How long the path of the branch that forked was when it did. By this its children are
        told from those of its other forks.
    inside : frozenset of str
        The nodes from which a branch can still come.
    needed : int, optional
        How many must come; None means all that can.
    due : datetime, optional
        When its time runs out if the first arrival is now.
    late : bool
        Whether its time has run out.
    """

    run: NodeRun
    arrived: tuple[str, ...]
    fork: int
    inside: frozenset[str]
    needed: int | None = None
    due: datetime | None = None
    late: bool = False


@dataclass(slots=True)
class Patch:
    """A closed list of guarded operations on one execution, applied all or not at all.

    Parameters
    ----------
    append : list of NodeRun
        New runs. Guard: no run has that key (else ``lost``).
    settle : list of Settle
        Changes of recorded runs. Guard: status and attempt (else ``conflict``).
    move : list of Move
        New states of known branches. Guard: the epoch (else ``fenced``).
    spawn : list of Branch
        New branches; guarded by the move of the branch that forked.
    arrive : list of Arrival
        Arrivals at END, counted once per branch; guarded by the move of each branch.
    receive : list of Received
        Events that are added to the inbox.
    inbox : int, optional
        Guard: the inbox holds so many events (else ``conflict``). Whoever has looked into it
        and lets a branch wait has thus missed none.
    meet : list of Meeting
        JOINs that the ends of the patch's branches may complete, those of inner forks first.
        Guard: one at which a branch arrives has not gone on (else ``lost``). The store turns
        them into operations of the other kinds by `flowkit.joins.met`, from what is recorded
        in the same atomic step.
    open, waiting, failed : int
        By how much the branch counts of the execution change.
    bytes : int
        By how much the execution grows.
    revision : int, optional
        Guard: the execution has not changed since (else ``conflict``). A patch with it may
        also reopen an ended execution.
    ended_by : dict, optional
        What ends the execution, for its record; the branches are moved besides.
    owes : bool, optional
        Whether the end of the execution concerns others, from now on.
    flow_version : int, optional
        The version to which the execution is pinned from now on.
    cancel : bool
        The execution's status becomes ``cancelled``.
    durable : bool
        Whether it must survive a power loss once it is committed.
    """

    execution_id: str
    append: list[NodeRun] = field(default_factory=list)
    settle: list[Settle] = field(default_factory=list)
    move: list[Move] = field(default_factory=list)
    spawn: list[Branch] = field(default_factory=list)
    arrive: list[Arrival] = field(default_factory=list)
    receive: list[Received] = field(default_factory=list)
    inbox: int | None = None
    meet: list[Meeting] = field(default_factory=list)
    open: int = 0
    waiting: int = 0
    failed: int = 0
    bytes: int = 0
    revision: int | None = None
    ended_by: dict[str, Any] | None = None
    owes: bool | None = None
    flow_version: int | None = None
    cancel: bool = False
    durable: bool = False

    def count(self, status: BranchStatus, was: BranchStatus | None) -> None:
        """Enter that a branch went from `was` (None: it is new) to `status`."""
        self.open += (status in OPEN) - (was in OPEN)
        self.waiting += (status == "waiting") - (was == "waiting")
        self.failed += (status == "failed") - (was == "failed")


@dataclass(slots=True)
class Answer:
    """What became of a patch.

    ``ok``: all of it is committed. ``lost``: another branch owns the runs in `runs`.
    ``fenced``: the leases of the branches in `fenced` are gone. ``cancelled``: the execution
    is. ``conflict``: the execution, its inbox or a run changed meanwhile. Unless ``ok``, nothing
    of it is. `status`, `open`, `waiting` and `failed` are the execution's after the patch;
    `woken` is how many branches JOINs have made ready in it.
    """

    outcome: Literal["ok", "lost", "fenced", "cancelled", "conflict"]
    status: ExecutionStatus
    open: int = 0
    waiting: int = 0
    failed: int = 0
    runs: list[NodeRun] = field(default_factory=list)
    fenced: list[str] = field(default_factory=list)
    woken: int = 0


class BranchRef(NamedTuple):
    """A branch under a claim: where it is, and the epoch that proves the claim."""

    execution_id: str
    branch_id: str
    epoch: int


class PageKey(NamedTuple):
    """Where a page of a list begins: after the record with this time of creation and id."""

    created_at: datetime
    id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionFilter:
    """Which executions a list holds; None means any.

    ``since`` is inclusive and ``until`` exclusive; both are about ``created_at``. With ``live``
    only those that have not ended.
    """

    flow_id: str | None = None
    status: str | None = None
    contact_id: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    live: bool = False


def status_of(open: int, waiting: int, failed: int) -> ExecutionStatus:
    """Return an execution's status from the counts of its leaf branches.

    ``completed``: all ended, none failed. ``failed``: all ended, at least one failed.
    ``delayed``: all that are open wait. ``running`` otherwise.
    """
    if open == 0:
        return "failed" if failed else "completed"
    return "delayed" if waiting == open else "running"


def judge(
    patch: Patch,
    *,
    status: ExecutionStatus,
    revision: int,
    epochs: dict[str, int],
    runs: dict[str, NodeRun],
    inbox: int = 0,
) -> Answer:
    """Check a patch's guards against what is recorded.

    Parameters
    ----------
    patch : Patch
        What is to be committed.
    status, revision
        Of the execution, as recorded.
    epochs : dict
        Epoch by id, of the branches that the patch moves.
    runs : dict
        Recorded runs by idempotency key, of the keys that the patch appends, settles or meets.
    inbox : int, optional
        How many events the execution has received; asked for only when the patch has the guard.

    Returns
    -------
    Answer
        ``ok`` when every guard holds (the counts are the store's to fill in), else the refusal.
    """
    if patch.revision is not None and patch.revision != revision:
        return Answer("conflict", status)
    if status == "cancelled" and (patch.move or patch.append):
        return Answer("cancelled", status)
    fenced = [m.branch.branch_id for m in patch.move if epochs.get(m.branch.branch_id) != m.epoch]
    if fenced:
        return Answer("fenced", status, fenced=fenced)
    lost = [runs[run.idempotency_key] for run in patch.append if run.idempotency_key in runs]
    for meeting in patch.meet:
        recorded = runs.get(meeting.run.idempotency_key)
        if meeting.arrived and recorded is not None and recorded.status not in GATHERING:
            lost.append(recorded)
    if lost:
        return Answer("lost", status, runs=lost)
    for settle in patch.settle:
        recorded = runs.get(settle.run.idempotency_key)
        if (
            recorded is None
            or (recorded.status, recorded.retry_count)
            != (
                settle.was,
                settle.retry_count,
            )
            or (settle.was == "failed" and recorded.error != settle.error)
        ):
            return Answer("conflict", status)
    if patch.inbox is not None and patch.inbox != inbox:
        return Answer("conflict", status)
    return Answer("ok", status)


def idempotency_key(execution_id: str, node_id: str, visit: int = 1) -> str:
    """Return the key under which a visit to a node runs at most once."""
    key = f"{execution_id}_{node_id}"
    return key if visit == 1 else f"{key}_v{visit}"


def run_at(branch: Branch, runs: Iterable[NodeRun]) -> NodeRun | None:
    """Return the branch's own run of the node where it is: that of the latest visit."""
    found = None
    for run in runs:
        if (run.node_id, run.branch_id) == (branch.current_node_id, branch.branch_id):
            found = run if found is None or run.visit > found.visit else found
    return found


def new_id(now: datetime) -> str:
    """Return a fresh id of 32 hexadecimal digits that sorts by `now` (as UUID version 7 does)."""
    return f"{int(now.timestamp() * 1000):012x}{os.urandom(10).hex()}"


def derived_id(seed: str, *parts: str | int) -> str:
    """Return the id that belongs to `parts` under `seed`, an id of `new_id`: always the same one.

    Whoever does a piece of work again arrives at the id of the execution that it made before. It
    sorts by the time of `seed`.
    """
    text = canonical([seed, *parts])
    return seed[:12] + hashlib.sha256(text.encode()).hexdigest()[:20]


def of_one_line(one: str, other: str) -> bool:
    """Return whether of two branches one is the other, or has come of it."""
    return f"{one}_".startswith(f"{other}_") or f"{other}_".startswith(f"{one}_")


def branch_order(branch_id: str) -> tuple[int, ...]:
    """Return the sort key of a branch id: ``root_10`` comes after ``root_2``."""
    return tuple(int(part) for part in branch_id.split("_")[1:])


def run_order(run: NodeRun) -> tuple[datetime, tuple[int, ...], int]:
    """Return the sort key of a node run within its execution."""
    return (run.start_time, branch_order(run.branch_id), run.sequence)
