"""What a turn holds and changes: working copies, the runs that it records, and so the patch.

Owns the records of a turn; `walk` says how branches go. May import `turn`, `size`, `joins`, `flow`,
`scope`, `retry`, `execution`, `errors`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from flowkit.errors import NodeFailed
from flowkit.execution import (
    Arrival,
    Branch,
    Claim,
    Execution,
    Meeting,
    Move,
    NodeRun,
    Patch,
    RunStatus,
    Settle,
    idempotency_key,
)
from flowkit.flow import Flow
from flowkit.joins import meetings
from flowkit.retry import HAND, POLICY, again
from flowkit.scope import Scope
from flowkit.size import (
    EXECUTION_TOO_LARGE,
    RESERVED_BYTES,
    growth_of,
)
from flowkit.turn import Limits, Performance, Turn


@dataclass(slots=True)
class Working:
    """The working state of one `advance`: copies of what it touches, and the patch so far."""

    flow: Flow
    claim: Claim
    now: datetime
    limits: Limits
    head: Execution = field(init=False)
    runs: dict[str, NodeRun] = field(init=False)
    touched: dict[str, Branch] = field(default_factory=dict)
    spawned: dict[str, Branch] = field(default_factory=dict)
    new: dict[str, NodeRun] = field(default_factory=dict)
    settled: dict[str, Settle] = field(default_factory=dict)
    arrivals: dict[str, Arrival] = field(default_factory=dict)
    late: list[Meeting] = field(default_factory=list)
    effects: list[Performance] = field(default_factory=list)
    queue: list[Branch] = field(default_factory=list)
    durable: bool = False
    crowded: bool = False
    looked: bool = False
    """Whether something rests on what the inbox holds, or does not hold."""
    ended_by: dict[str, Any] | None = None
    owes: bool = False
    """Whether it began an effect that sets another execution in motion."""
    taken: int = 0
    """Bytes that this turn has taken so far, roughly; what the patch says is exact."""

    def __post_init__(self) -> None:
        self.head = self.claim.head
        self.runs = dict(self.claim.runs)

    def own(self, branch_id: str) -> Branch:
        """Return the working copy of a branch of the claim."""
        branch = self.touched.get(branch_id)
        if branch is None:
            known = self.claim.branches[branch_id]
            branch = replace(known, path=list(known.path), status="running")
            self.touched[branch_id] = branch
        return branch

    # -- what a branch sees and may take

    def key(self, branch: Branch) -> str:
        """Return the key under which a branch runs the node where it is."""
        visit = self.flow.shape.visit(branch.path)
        return idempotency_key(self.head.id, branch.current_node_id, visit)

    def scope(self, branch: Branch) -> Scope:
        """Return what the nodes see that the branch comes to."""
        return Scope(self.flow, self.head, branch, self.runs, self.now)

    def take(self, needed: int) -> None:
        """Take so many bytes of the execution's room; raise `NodeFailed` where there are fewer."""
        left = self.left()
        if needed > left:
            raise NodeFailed(
                EXECUTION_TOO_LARGE,
                f"this takes {needed} bytes and the execution has room for {max(left, 0)}: it may "
                f"have {self.limits.execution_bytes}, of which {RESERVED_BYTES} are kept free for "
                "each branch; give nodes smaller results and variables, or fork less",
            )
        self.taken += needed

    def left(self) -> int:
        """Return for how many bytes there is room, beside what is kept free for each branch."""
        reserved = RESERVED_BYTES * self.head.open
        return self.limits.execution_bytes - self.head.bytes - self.taken - reserved

    # -- runs

    def record(
        self,
        branch: Branch,
        key: str,
        known: NodeRun | None,
        status: RunStatus,
        *,
        ended: bool = False,
    ) -> NodeRun:
        """Record that the branch runs its node: a new run, or the next attempt of a failed one.

        One that has waited here before it could begin is the same attempt.
        """
        asked_by = HAND if branch.resume_at is None else POLICY
        branch.resume_at = branch.resume_data = None
        if known is None:
            run = self.build_run(branch, key, status, ended=ended)
            self.runs[key] = self.new[key] = run
            return run
        if known.status == "waiting":
            self.rewrite(known, status=status, end_time=self.now if ended else None)
            return self.runs[key]
        self.rewrite(
            known,
            **again(known, asked_by),
            status=status,
            start_time=self.now,
            end_time=self.now if ended else None,
        )
        return self.runs[key]

    def build_run(self, branch: Branch, key: str, status: RunStatus, *, ended: bool) -> NodeRun:
        """Return a new run of the branch at its node."""
        run = NodeRun(
            node_id=branch.current_node_id,
            branch_id=branch.branch_id,
            status=status,
            start_time=self.now,
            end_time=self.now if ended else None,
            idempotency_key=key,
            visit=self.flow.shape.visit(branch.path),
            sequence=branch.sequence,
        )
        branch.sequence += 1
        return run

    def rewrite(self, run: NodeRun, **changes: Any) -> None:
        """Change a run: in place of the new one, or as a guarded change of the recorded one."""
        key = run.idempotency_key
        changed = replace(run, **changes)
        self.runs[key] = changed
        if key in self.new:
            self.new[key] = changed
        else:
            recorded = self.claim.runs[key]
            self.settled[key] = Settle(
                changed, recorded.status, recorded.retry_count, recorded.error
            )

    # -- the patch

    def result(self) -> Turn:
        """Return all that happened, as one patch."""
        patch = Patch(
            self.head.id,
            append=list(self.new.values()),
            settle=list(self.settled.values()),
            move=[Move(b, self.claim.branches[k].epoch) for k, b in self.touched.items()],
            spawn=list(self.spawned.values()),
            arrive=list(self.arrivals.values()),
            inbox=len(self.head.inbox) if self.looked else None,
            ended_by=self.ended_by,
            owes=True if self.owes and not self.head.owes else None,
            durable=self.durable,
        )
        patch.bytes = growth_of(patch, self.claim)
        if self.flow.shape.gates:
            moved = (*self.touched.values(), *self.spawned.values())
            was = self.claim.branches
            patch.meet = meetings(
                self.flow, self.head.id, moved, was, self.runs, self.now, self.late
            )
        for branch in self.touched.values():
            patch.count(branch.status, "running")
            # What is let go is let go once: the same patch committed again is fenced.
            branch.epoch += branch.status != "running"
        for branch in self.spawned.values():
            patch.count(branch.status, None)
        held = {k: b for k, b in self.claim.branches.items() if k not in self.touched}
        shared = 0
        for branch in (*self.touched.values(), *self.spawned.values()):
            if branch.status == "running":
                held[branch.branch_id] = branch
            elif branch.status == "ready" and not self.limits.hold:
                shared += 1
        head = self.head
        if held:
            head = replace(
                head,
                open=head.open + patch.open,
                bytes=head.bytes + patch.bytes,
                owes=head.owes or self.owes,
            )
        return Turn(patch, self.effects, Claim(head, held, self.runs), shared, self.crowded)
