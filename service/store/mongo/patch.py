"""A patch as the one guarded update that it becomes.

The guards are `flowkit.execution.judge`'s, made against what is known of the document, and said
again in the update's condition: it writes nothing unless they still hold. Elements are addressed
by their index and guarded by id and epoch; new ones go to the index behind the last, guarded by
nothing being there. Counts and status are guarded by their values, and only where they change, so
that branches of one execution rarely have to wait for each other. May import `flowkit` and
`service.store.mongo.known`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from flowkit.execution import (
    TERMINAL,
    Answer,
    Branch,
    ExecutionStatus,
    NodeRun,
    Patch,
    status_of,
)
from flowkit.joins import met
from flowkit.wire import canonical
from service.store.mongo.known import (
    BRANCHES,
    INBOX,
    RUNS,
    BranchAt,
    Known,
    RunAt,
    branches,
    earliest,
    events,
    runs,
)


@dataclass(slots=True)
class Change:
    """An update, its condition, and what is known once it is made.

    `proof` is the path at which the token of the call is found if it was made.
    """

    guard: dict[str, Any]
    proof: str
    known: Known
    put: dict[str, Any] = field(default_factory=dict)
    drop: dict[str, str] = field(default_factory=dict)
    add: dict[str, int] = field(default_factory=dict)
    woken: int = 0
    join: dict[str, Any] = field(default_factory=dict)

    @property
    def update(self) -> dict[str, Any]:
        """The update document."""
        parts = {"$set": self.put, "$unset": self.drop, "$inc": self.add, "$push": self.join}
        return {operator: part for operator, part in parts.items() if part}

    @property
    def answer(self) -> Answer:
        """The answer when it is made."""
        k = self.known
        return Answer(
            "ok", k.status, open=k.open, waiting=k.waiting, failed=k.failed, woken=self.woken
        )


def lease_fields(branch: Branch, owner: str | None, now: datetime, lease_ms: int) -> dict[str, Any]:
    """Return the store's own fields of a new branch."""
    if branch.status == "ready":
        return {"readyAt": now}
    if branch.status == "running":
        return {"owner": owner or "", "leaseAt": now + timedelta(milliseconds=lease_ms)}
    return {}


def change(known: Known, patch: Patch, *, now: datetime, lease_ms: int, token: str) -> Change:
    """Return what a patch whose guards hold against `known` changes."""
    made = Change({"_id": known.id}, "commit", known)
    if patch.meet:
        # What becomes of a JOIN rests on all that is known of the execution.
        made.guard["revision"] = known.revision
        states = {branch_id: at.branch for branch_id, at in known.branches.items()}
        patch, made.woken = met(patch, states, known.recorded())
    made.put["updatedAt"] = now
    made.add["revision"] = 1
    if patch.bytes:
        made.add["bytes"] = patch.bytes
    if patch.ended_by is not None:
        made.put["endedBy"] = canonical(patch.ended_by)
    if patch.owes is not None:
        made.put["owes"] = patch.owes
    if patch.flow_version is not None:
        made.put["flowVersion"] = patch.flow_version
    if patch.revision is not None:
        made.guard["revision"] = patch.revision
    changed = _move(made, known, patch, now)
    changed |= _spawn(made, known, patch, changed, now, lease_ms)
    recorded = _record(made, known, patch)
    if patch.inbox is not None or patch.receive:
        made.guard[f"{INBOX}.{known.inbox}"] = {"$exists": False}
    if patch.receive:
        made.join[INBOX] = {"$each": [events.write(event) for event in patch.receive]}
    status, counts, resume_at = _head(made, known, patch, now)
    made.put[made.proof] = token
    made.known = replace(
        known,
        status=status,
        open=counts[0],
        waiting=counts[1],
        failed=counts[2],
        resume_at=resume_at,
        revision=known.revision + 1,
        branches={**known.branches, **changed} if changed else known.branches,
        runs={**known.runs, **recorded} if recorded else known.runs,
        inbox=known.inbox + len(patch.receive),
    )
    return made


def _move(made: Change, known: Known, patch: Patch, now: datetime) -> dict[str, BranchAt]:
    changed: dict[str, BranchAt] = {}
    for move in patch.move:
        branch = move.branch
        at = known.branches[branch.branch_id]
        place = f"{BRANCHES}.{at.place}"
        made.guard[f"{place}.branchId"] = branch.branch_id
        made.guard[f"{place}.epoch"] = move.epoch
        if not changed:
            made.proof = f"{place}.commit"
        _rewrite(made, place, *branches.changes(at.branch, branch))
        held = branch.status == "running"
        if not held:
            made.drop |= {f"{place}.owner": "", f"{place}.leaseAt": ""}
        if branch.status == "ready":
            made.put[f"{place}.readyAt"] = now
        else:
            made.drop[f"{place}.readyAt"] = ""
        changed[branch.branch_id] = BranchAt(at.place, branch, at.owner if held else None)
    return changed


def _spawn(
    made: Change,
    known: Known,
    patch: Patch,
    changed: dict[str, BranchAt],
    now: datetime,
    lease_ms: int,
) -> dict[str, BranchAt]:
    if not patch.spawn:
        return {}
    owners = [known.branches[branch_id].owner for branch_id in changed]
    owner = next((owner for owner in owners if owner), None)
    first = len(known.branches)
    made.guard[f"{BRANCHES}.{first}"] = {"$exists": False}
    spawned = {}
    for index, branch in enumerate(patch.spawn, start=first):
        own = lease_fields(branch, owner, now, lease_ms)
        made.put[f"{BRANCHES}.{index}"] = branches.write(branch) | own
        spawned[branch.branch_id] = BranchAt(index, branch, own.get("owner"))
    return spawned


def _record(made: Change, known: Known, patch: Patch) -> dict[str, RunAt]:
    changed: dict[str, RunAt] = {}
    new = list(patch.append)
    for settle in patch.settle:
        at = known.runs[settle.run.idempotency_key]
        place = f"{RUNS}.{at.place}"
        made.guard |= {f"{place}.status": settle.was, f"{place}.retryCount": settle.retry_count}
        if settle.was == "failed":
            error = settle.error
            made.guard[f"{place}.error"] = None if error is None else canonical(error)
        if made.proof == "commit":
            made.proof = f"{place}.commit"
        _rewrite(made, place, *runs.changes(at.run, settle.run))
        changed[settle.run.idempotency_key] = RunAt(at.place, settle.run)
    for arrival in patch.arrive:
        key, ids = arrival.run.idempotency_key, arrival.branch_ids
        found = known.runs.get(key)
        if found is None:
            new.append(_arrived(arrival.run, ids))
            continue
        place = f"{RUNS}.{found.place}"
        made.guard[f"{place}.arrivals"] = {"$nin": list(ids)}
        made.join[f"{place}.arrivals"] = {"$each": list(ids)}
        made.add[f"{place}.arrivalCount"] = len(ids)
        made.put[f"{place}.endTime"] = arrival.run.end_time
        ended = replace(found.run, end_time=arrival.run.end_time)
        changed[key] = RunAt(found.place, _arrived(ended, ids))
    first = len(known.runs)
    if new:
        made.guard[f"{RUNS}.{first}"] = {"$exists": False}
    for index, run in enumerate(new, start=first):
        made.put[f"{RUNS}.{index}"] = runs.write(run)
        changed[run.idempotency_key] = RunAt(index, run)
    return changed


def _arrived(run: NodeRun, branch_ids: Iterable[str]) -> NodeRun:
    arrivals = (*run.arrivals, *branch_ids)
    return replace(run, arrivals=arrivals, arrival_count=len(arrivals))


def _rewrite(made: Change, place: str, new: dict[str, Any], gone: list[str]) -> None:
    made.put |= {f"{place}.{name}": value for name, value in new.items()}
    made.drop |= {f"{place}.{name}": "" for name in gone}


def _head(
    made: Change, known: Known, patch: Patch, now: datetime
) -> tuple[ExecutionStatus, tuple[int, int, int], datetime | None]:
    """Enter what changes of counts, status and times; return what they are then."""
    counts = (
        known.open + patch.open,
        known.waiting + patch.waiting,
        known.failed + patch.failed,
    )
    branches_now = [*(move.branch for move in patch.move), *patch.spawn]
    waits = [b.resume_at for b in branches_now if b.status == "waiting" and b.resume_at]
    woken = any(
        known.branches[move.branch.branch_id].branch.status == "waiting" for move in patch.move
    )
    if not (patch.open or patch.waiting or patch.failed or patch.cancel or waits or woken):
        if patch.move or patch.append:
            made.guard["status"] = {"$ne": "cancelled"}
        return known.status, counts, known.resume_at
    made.guard |= known.head
    if patch.cancel or known.status == "cancelled":
        status: ExecutionStatus = "cancelled"
    else:
        status = status_of(*counts)
    resume_at = known.resume_at
    if woken:
        moved = {move.branch.branch_id for move in patch.move}
        resume_at, guard = earliest(known.waiting_without(moved))
        made.guard |= guard
    resume_at = min([*waits, *([resume_at] if resume_at else [])], default=None)
    made.put |= {
        "status": status,
        "open": counts[0],
        "waiting": counts[1],
        "failed": counts[2],
    }
    _put_or_drop(made, "resumeAt", resume_at)
    if status not in TERMINAL:
        made.drop["endedAt"] = ""
    elif known.status not in TERMINAL:
        made.put["endedAt"] = now
    return status, counts, resume_at


def _put_or_drop(made: Change, name: str, value: Any) -> None:
    if value is None:
        made.drop[name] = ""
    else:
        made.put[name] = value
