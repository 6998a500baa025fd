"""JOINs: for which branches one waits, when it is complete, and who goes on.

Two halves. `fork_of` and `meetings` are the engine's: which JOINs the ends of branches have to do
with. `met` is for stores: inside the atomic step in which they commit a patch, it turns meetings
into plain moves and changes of runs, from all branches and runs as they are recorded then. So
whoever comes last completes the JOIN, wherever the branches are worked on, and nobody else.

While a JOIN waits, the branch that forked stands at it: still ``forked`` and nobody's, or
``waiting`` when the JOIN has a time-out, so that it is woken as any delayed branch is. It is
``ready`` once the JOIN is complete, its variables merged, and whoever claims it goes on behind.
May import `shape`, `size`, `execution`; of `flow` only the type.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from flowkit.execution import (
    GATHERING,
    OPEN,
    Branch,
    Meeting,
    Move,
    NodeRun,
    Patch,
    Settle,
    branch_order,
    idempotency_key,
    run_at,
)
from flowkit.shape import LATE, Shape
from flowkit.size import growth_of_branch, size_of_run
from flowkit.wire import later

if TYPE_CHECKING:
    from flowkit.flow import Flow

JOIN_FAILED = "join_failed"
"""Error code of a JOIN that waits for a branch that has failed."""


# -- the engine's half


def fork_of(
    shape: Shape[str], join: str, execution_id: str, branch: Branch, runs: Mapping[str, NodeRun]
) -> tuple[str, int] | None:
    """Return who forked for the JOIN to which a branch comes, and how long its path was then.

    None when the branch comes from no fork that the JOIN closes. Which branch forked where is
    seen from the runs along the branch's path: its own, before them those of the branches above.
    """
    forked: dict[str, tuple[int, str, str | None]] = {}
    way = branch.path[:-1]
    for length, (node, visit) in enumerate(zip(way, shape.visits(way), strict=True), start=1):
        run = runs.get(idempotency_key(execution_id, node, visit))
        if run is not None:
            forked[run.branch_id] = (length, node, run.source_handle)
    forks = shape.gates[join].forks
    for above in _above(branch.branch_id):
        length, node, handle = forked.get(above, (0, "", None))
        if (node, handle) in forks:
            return above, length
    return None


def _above(branch_id: str) -> Iterator[str]:
    """Yield the branches from which one comes, the root first."""
    parts = branch_id.split("_")
    for length in range(1, len(parts)):
        yield "_".join(parts[:length])


def meetings(
    flow: Flow,
    execution_id: str,
    branches: Iterable[Branch],
    was: Mapping[str, Branch],
    runs: Mapping[str, NodeRun],
    now: datetime,
    late: Iterable[Meeting] = (),
) -> list[Meeting]:
    """Return the JOINs that may end because of what became of branches in a turn.

    Parameters
    ----------
    branches : iterable of Branch
        All that the turn has touched or made, as they are now.
    was : mapping
        Those of them that were there before, as they were, by id.
    runs : mapping
        All that is known.
    late : iterable of Meeting
        Those whose time has run out, found in the same turn: to each JOIN there is one meeting.
    """
    shape = flow.shape
    found = {one.run.idempotency_key: one for one in late}
    for branch in branches:
        if branch.status == "forked":
            continue  # what became of it is what became of its children
        before = was.get(branch.branch_id)
        for join, gate in shape.gates.items():
            here = branch.current_node_id
            if before is not None and before.current_node_id not in gate.inside:
                continue
            if branch.status in OPEN and here in gate.inside:
                continue
            fork = fork_of(shape, join, execution_id, branch, runs)
            if fork is None:
                continue
            visit = shape.visit([*branch.path[: fork[1]], join])
            key = idempotency_key(execution_id, join, visit)
            known = runs.get(key)
            if known is not None and known.status not in GATHERING:
                continue
            if key not in found:
                found[key] = meeting(flow, join, key, visit, fork, now)
            if here == join and branch.status == "completed":
                found[key].arrived += (branch.branch_id,)
    return sorted(found.values(), key=lambda m: -len(m.run.branch_id.split("_")))


def meeting(
    flow: Flow, join: str, key: str, visit: int, fork: tuple[str, int], now: datetime
) -> Meeting:
    """Return the meeting at a JOIN, to which nobody has come so far."""
    config: Any = flow.behaviour(join)
    run = NodeRun(
        node_id=join,
        branch_id=fork[0],
        status="waiting",
        start_time=now,
        idempotency_key=key,
        visit=visit,
    )
    seconds = config.seconds
    due = None if seconds is None else later(now + timedelta(seconds=seconds))
    inside = flow.shape.gates[join].inside
    return Meeting(run, (), fork[1], inside, config.needed, due)


def closing(flow: Flow, branch: Branch, run: NodeRun, now: datetime) -> Meeting:
    """Return the meeting that ends a JOIN at which a branch has waited until its time ran out."""
    fork = (branch.branch_id, len(branch.path) - 1)
    made = meeting(flow, run.node_id, run.idempotency_key, run.visit, fork, now)
    made.late = True
    return made


# -- the stores' half


def met(
    patch: Patch, branches: Mapping[str, Branch], runs: Mapping[str, NodeRun]
) -> tuple[Patch, int]:
    """Return a patch whose meetings have become moves and changes of runs, and how many it woke.

    Nothing that was given is changed. To be called once the guards of the patch hold, in the
    atomic step that commits it.

    Parameters
    ----------
    patch : Patch
        With meetings.
    branches, runs : mapping
        All of the execution as recorded: branches by id, runs by idempotency key.
    """
    records = _Records(patch, branches, runs)
    for one in patch.meet:
        _meet(records, one)
    return records.patch(), records.woken


class _Records:
    """An execution's branches and runs as a patch leaves them, and the patch as it grows."""

    def __init__(
        self, patch: Patch, branches: Mapping[str, Branch], runs: Mapping[str, NodeRun]
    ) -> None:
        changed = [move.branch for move in patch.move] + patch.spawn
        settled = [settle.run for settle in patch.settle]
        self.branches = {**branches, **{branch.branch_id: branch for branch in changed}}
        self.runs = {**runs, **{run.idempotency_key: run for run in (*patch.append, *settled)}}
        self.woken = 0
        self._was = branches
        self._recorded = runs
        self._patch = replace(patch, meet=[])
        self._moved: dict[str, Branch] = {}
        self._written: dict[str, NodeRun] = {}

    def put(self, branch: Branch) -> None:
        """Change a branch."""
        was = self.branches[branch.branch_id]
        self._patch.bytes += growth_of_branch(branch, was)
        self._patch.count(branch.status, was.status)
        self.woken += branch.status == "ready" != was.status
        self.branches[branch.branch_id] = self._moved[branch.branch_id] = branch

    def write(self, run: NodeRun) -> None:
        """Record a run, or change it."""
        was = self.runs.get(run.idempotency_key)
        self._patch.bytes += size_of_run(run) - (size_of_run(was) if was is not None else 0)
        self.runs[run.idempotency_key] = self._written[run.idempotency_key] = run

    def patch(self) -> Patch:
        """Return the patch with all that was changed."""
        made, left = self._patch, dict(self._moved)
        made.move = [Move(left.pop(m.branch.branch_id, m.branch), m.epoch) for m in made.move]
        made.spawn = [left.pop(branch.branch_id, branch) for branch in made.spawn]
        for branch_id, branch in left.items():
            epoch = self._was[branch_id].epoch
            made.move.append(Move(replace(branch, epoch=epoch + 1), epoch))
        made.append, made.settle = list(made.append), list(made.settle)
        for key, run in self._written.items():
            recorded = self._recorded.get(key)
            if recorded is None:
                made.append.append(run)
            else:
                made.settle.append(
                    Settle(run, recorded.status, recorded.retry_count, recorded.error)
                )
        return made


def _meet(records: _Records, one: Meeting) -> None:
    """Enter what comes of a meeting."""
    key = one.run.idempotency_key
    known = records.runs.get(key)
    forked = records.branches[one.run.branch_id]
    behind = forked.path[one.fork :]
    if behind not in ([], [one.run.node_id]) or (known and known.status not in GATHERING):
        return  # it has gone on
    arrivals = tuple(dict.fromkeys((*(known.arrivals if known else ()), *one.arrived)))
    if not arrivals:
        return
    run = known or replace(one.run, sequence=forked.sequence)
    if not behind:
        forked = replace(
            forked,
            current_node_id=run.node_id,
            path=[*forked.path, run.node_id],
            sequence=forked.sequence + 1,
        )
        if one.due is not None:
            forked = replace(
                forked,
                status="waiting",
                resume_at=one.due,
                resume_data={
                    "nextNodeIds": [run.node_id],
                    "context": forked.vars,
                    "branchId": forked.branch_id,
                },
            )
    run = replace(run, arrivals=arrivals, arrival_count=len(arrivals), status="waiting", error=None)
    coming, failed = _missing(records, one)
    complete = len(arrivals) >= one.needed if one.needed is not None else not (coming or failed)
    complete = complete or not (coming or failed)
    if complete or one.late:
        # Who is at work on it has found that its time has run out, and comes with a patch of its
        # own: that one decides.
        if forked.status != "running":
            merged = _merged(forked, arrivals, records.branches)
            forked = replace(forked, status="ready", resume_at=None, resume_data=None, vars=merged)
            run = replace(
                run,
                status="completed",
                end_time=one.run.start_time,
                source_handle=None if complete else LATE,
                result={"arrived": len(arrivals), "missing": len(coming) + len(failed)},
            )
    elif not coming and forked.status == "forked":
        message = (
            f"{', '.join(failed)} failed on the way to it, and nobody else can come; it waits "
            "again once that is retried"
        )
        error = {"code": JOIN_FAILED, "message": message, "transient": False, "branchIds": failed}
        run = replace(run, status="failed", end_time=one.run.start_time, error=error)
    if forked is not records.branches[forked.branch_id]:
        records.put(forked)
    if run != known:
        records.write(run)


def _missing(records: _Records, one: Meeting) -> tuple[list[str], list[str]]:
    """Return the branches that can still come to a JOIN, and those that have failed before it."""
    coming: list[str] = []
    failed: list[str] = []
    above = one.run.branch_id
    path = records.branches[above].path[: one.fork]
    for branch_id, branch in records.branches.items():
        status = branch.status
        if (
            (status in OPEN or status == "failed")
            and branch.current_node_id in one.inside
            and branch_id.startswith(f"{above}_")
            and len(branch.path) > one.fork
            and branch.path[: one.fork] == path
            and not _left_behind(records, branch, above)
        ):
            (failed if status == "failed" else coming).append(branch_id)
    return coming, sorted(failed, key=branch_order)


def _left_behind(records: _Records, branch: Branch, above: str) -> bool:
    """Return whether a JOIN between a branch and one above it has gone on without the branch."""
    between = branch.branch_id.rpartition("_")[0]
    while between != above:
        forked = records.branches[between]
        length = len(forked.path)
        if branch.path[:length] != forked.path:
            run = run_at(forked, records.runs.values())
            waits = run is not None and run.status in GATHERING
            if not (waits and branch.path[: length - 1] == forked.path[:-1]):
                return True
        between = between.rpartition("_")[0]
    return False


def _merged(
    forked: Branch, arrivals: Iterable[str], branches: Mapping[str, Branch]
) -> dict[str, Any]:
    """Return the variables behind a JOIN: of what branches have set, the last branch's wins.

    What a branch only carries along from before the fork is not set by it.
    """
    merged = dict(forked.vars)
    for branch_id in sorted(arrivals, key=branch_order):
        for name, value in branches[branch_id].vars.items():
            before = forked.vars.get(name, forked)
            if value != before or type(value) is not type(before):
                merged[name] = value
    return merged
