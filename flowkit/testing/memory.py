"""`MemoryStore`: the reference that says in the fewest words what a store does with executions.

May import `flowkit.execution`, `flowkit.entry`, `flowkit.options`, `flowkit.joins`,
`flowkit.patched` and `flowkit.errors`.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from flowkit.entry import Entered, may_enter
from flowkit.errors import NotFound
from flowkit.execution import (
    Answer,
    Branch,
    BranchRef,
    Claim,
    Execution,
    NodeRun,
    Patch,
    branch_order,
    judge,
    run_order,
    status_of,
)
from flowkit.joins import met
from flowkit.options import Entry
from flowkit.patched import patched


class MemoryStore:
    """The executions part of the store contract, in memory, for one thread."""

    def __init__(self) -> None:
        self._executions: dict[str, Execution] = {}
        self._leases: dict[tuple[str, str], tuple[str, datetime]] = {}
        self._entries: dict[tuple[str, str], tuple[str, datetime]] = {}

    def create(
        self, executions: Sequence[Execution], *, entry: Mapping[str, Entry] = {}
    ) -> list[str]:
        """Add executions that may enter; return the ids of the others."""
        refused = []
        for execution in executions:
            policy = entry.get(execution.flow_id)
            if policy is not None and execution.contact_id is not None:
                who = (execution.flow_id, execution.contact_id)
                if not may_enter(policy, execution, self._last(*who)):
                    refused.append(execution.id)
                    continue
                self._entries[who] = (execution.id, execution.created_at)
            self._executions[execution.id] = copy.deepcopy(execution)
            for branch in execution.branches:
                self._leases[execution.id, branch.branch_id] = ("", execution.created_at)

        return refused

    def _last(self, flow_id: str, contact_id: str) -> Entered | None:
        entry = self._entries.get((flow_id, contact_id))
        if entry is None:
            return None
        execution = self._executions.get(entry[0])
        return Entered(*entry, live=execution is not None and execution.ended_at is None)

    def get_execution(self, execution_id: str) -> Execution:
        """Return an execution whole."""
        try:
            return copy.deepcopy(self._executions[execution_id])
        except KeyError:
            raise NotFound(f"there is no execution {execution_id}") from None

    def _claimable(
        self, execution: Execution, branch: Branch, owner: str, now: datetime, lease: timedelta
    ) -> datetime | None:
        """Return since when the branch can be claimed; None if it cannot."""
        holder, at = self._leases[execution.id, branch.branch_id]
        if branch.status == "ready":
            return at
        if branch.status == "waiting" and branch.resume_at is not None:
            return branch.resume_at if branch.resume_at <= now else None
        if branch.status == "running" and holder != owner and (at <= now or at > now + 2 * lease):
            return at
        return None

    def claim(
        self, owner: str, *, now: datetime, lease_ms: int, limit: int, expired: bool = True
    ) -> list[Claim]:
        """Take claimable branches."""
        lease = timedelta(milliseconds=lease_ms)
        found = []
        for execution in self._executions.values():
            for branch in execution.branches:
                since = self._claimable(execution, branch, owner, now, lease)
                if since is not None and (expired or branch.status != "running"):
                    found.append((since, execution.id, branch.branch_id))
        claims: dict[str, Claim] = {}
        for _, execution_id, branch_id in sorted(found)[:limit]:
            execution = self._executions[execution_id]
            branch = next(b for b in execution.branches if b.branch_id == branch_id)
            if branch.status == "waiting":
                execution.waiting -= 1
            branch.status, branch.epoch = "running", branch.epoch + 1
            self._leases[execution_id, branch_id] = (owner, now + lease)
            execution.status = status_of(execution.open, execution.waiting, execution.failed)
            execution.resume_at = self._earliest(execution)
            head = replace(execution, branches=[], executed_nodes=[])
            runs = {run.idempotency_key: run for run in execution.executed_nodes}
            claim = claims.setdefault(execution_id, Claim(head, {}, runs))
            claim.branches[branch_id] = branch
            claim.head = head
        return copy.deepcopy(list(claims.values()))

    @staticmethod
    def _earliest(execution: Execution) -> datetime | None:
        waiting = [b.resume_at for b in execution.branches if b.status == "waiting"]
        return min((at for at in waiting if at is not None), default=None)

    def _held(self, ref: BranchRef) -> Branch | None:
        for branch in self._executions[ref.execution_id].branches:
            if (branch.branch_id, branch.epoch, branch.status) == (*ref[1:], "running"):
                return branch
        return None

    def renew(self, refs: Sequence[BranchRef], *, now: datetime, lease_ms: int) -> list[BranchRef]:
        """Extend leases."""
        gone = []
        for ref in refs:
            if self._held(ref) is None:
                gone.append(ref)
            else:
                holder, _ = self._leases[ref[:2]]
                self._leases[ref[:2]] = (holder, now + timedelta(milliseconds=lease_ms))
        return gone

    def release(self, refs: Sequence[BranchRef], *, now: datetime) -> None:
        """Give up claims."""
        for ref in refs:
            branch = self._held(ref)
            if branch is not None:
                branch.status, branch.epoch = "ready", branch.epoch + 1
                self._leases[ref[:2]] = ("", now)

    def commit(self, patches: Sequence[Patch], *, now: datetime, lease_ms: int = 0) -> list[Answer]:
        """Apply patches."""
        return [self._apply(copy.deepcopy(patch), now, lease_ms) for patch in patches]

    def _apply(self, patch: Patch, now: datetime, lease_ms: int) -> Answer:
        execution = self._executions.get(patch.execution_id)
        if execution is None:
            return Answer("fenced", "cancelled", fenced=[m.branch.branch_id for m in patch.move])
        branches = {b.branch_id: b for b in execution.branches}
        runs = {run.idempotency_key: run for run in execution.executed_nodes}
        answer = judge(
            patch,
            status=execution.status,
            revision=execution.revision,
            epochs={k: b.epoch for k, b in branches.items()},
            runs=runs,
            inbox=len(execution.inbox),
        )
        if answer.outcome == "ok":
            if patch.meet:
                patch, answer.woken = met(patch, branches, runs)
            execution = self._change(execution, patch, branches, runs, now, lease_ms)
        answer.status, answer.open = execution.status, execution.open
        answer.waiting, answer.failed = execution.waiting, execution.failed
        return copy.deepcopy(answer)

    def _change(
        self,
        execution: Execution,
        patch: Patch,
        branches: dict[str, Branch],
        runs: dict[str, NodeRun],
        now: datetime,
        lease_ms: int,
    ) -> Execution:
        holder = ""
        for move in patch.move:
            key = (execution.id, move.branch.branch_id)
            holder = self._leases[key][0] or holder
            if move.branch.status == "ready":
                self._leases[key] = ("", now)
        for branch in patch.spawn:
            held = branch.status == "running"
            self._leases[execution.id, branch.branch_id] = (
                (holder, now + timedelta(milliseconds=lease_ms)) if held else ("", now)
            )
        after = patched(execution, patch, branches, runs, now)
        after.branches.sort(key=lambda b: branch_order(b.branch_id))
        after.executed_nodes.sort(key=run_order)
        after.resume_at = self._earliest(after)
        self._executions[execution.id] = after
        return after

    def next_due(self, *, now: datetime) -> datetime | None:
        """Return when the next branch becomes claimable."""
        due = []
        for execution in self._executions.values():
            for branch in execution.branches:
                at = self._leases[execution.id, branch.branch_id][1]
                if branch.status == "ready":
                    due.append(min(at, now))
                elif branch.status == "waiting" and branch.resume_at is not None:
                    due.append(branch.resume_at)
                elif branch.status == "running":
                    due.append(at)
        return min(due, default=None)
