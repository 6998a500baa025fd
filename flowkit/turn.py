"""One turn of the engine: branches walk through their flow until something stops them.

Owns the events a turn is made of, what a node sees while it runs, and the walk. `engine` is its
public face. May import `flow`, `nodetype`, `jsonlogic`, `template`, `execution`, `errors`, `wire`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from flowkit.errors import NodeFailed
from flowkit.execution import (
    OUTCOME_UNKNOWN,
    UNRESOLVED,
    Arrival,
    Branch,
    Claim,
    Execution,
    Move,
    NodeRun,
    Patch,
    RunStatus,
    Settle,
    idempotency_key,
)
from flowkit.flow import Flow
from flowkit.jsonlogic import evaluate
from flowkit.nodetype import Arrive, Effect, Next, Outcome, Wait
from flowkit.template import render
from flowkit.wire import canonical, iso

ATTEMPTS_KEPT = 10
RESENDS = 3
"""How often an effect under ``onUnknown: resend`` is performed anew without an answer."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds that the driver sets.

    Parameters
    ----------
    fork_queue : int
        A fork into at least this many branches is handed to whichever worker is free.
    result_bytes : int
        Largest result of a node, as UTF-8 JSON.
    effects : int, optional
        How many effects the driver can begin now. Branches that come to one beyond that stay
        ready in front of it, so that no effect is recorded as begun before someone can perform it.
    """

    fork_queue: int = 10
    result_bytes: int = 16_384
    effects: int | None = None


@dataclass(frozen=True, slots=True)
class Resume:
    """A claimed branch is to go on: it was ready, its time has come, or its worker died."""

    branch_id: str


@dataclass(frozen=True, slots=True)
class Ended:
    """An effect that this driver performed has ended."""

    branch_id: str
    outcome: Outcome
    at: datetime


Event = Resume | Ended


@dataclass(frozen=True, slots=True)
class Performance:
    """An effect to perform once the patch is committed, for a branch and under a key."""

    branch_id: str
    key: str
    attempt: int
    effect: Effect


@dataclass(slots=True)
class Turn:
    """What `advance` decided.

    Attributes
    ----------
    patch : Patch
        To be committed before anything else.
    effects : list of Performance
        To be performed after the patch is committed, each to be reported as `Ended`.
    claim : Claim
        What the driver holds once the patch is committed: the branches inside an effect.
    shared : int
        How many branches the patch leaves ready for whoever is free.
    crowded : bool
        Whether some of them are in front of an effect for which there was no room.
    """

    patch: Patch
    effects: list[Performance]
    claim: Claim
    shared: int = 0
    crowded: bool = False


class Scope:
    """What a node sees while it runs: the time, its contact, and the data of its branch."""

    __slots__ = ("_branch", "_data", "_flow", "_head", "_runs", "key", "now")

    def __init__(
        self,
        flow: Flow,
        head: Execution,
        branch: Branch,
        runs: Mapping[str, NodeRun],
        key: str,
        now: datetime,
    ) -> None:
        self._flow = flow
        self._head = head
        self._branch = branch
        self._runs = runs
        self._data: dict[str, Any] | None = None
        self.key = key
        self.now = now

    @property
    def contact(self) -> dict[str, Any] | None:
        """The contact as it was when the execution started."""
        return self._head.context.get("contact")

    def evaluate(self, logic: Any) -> Any:
        """Return the value of a JSONLogic expression over the scope."""
        return evaluate(logic, self._scope())

    def render(self, template: str) -> str:
        """Return the text of a Liquid template over the scope."""
        return render(template, self._scope())

    def _scope(self) -> dict[str, Any]:
        if self._data is None:
            head, runs = self._head, self._runs
            seen = (runs.get(idempotency_key(head.id, node)) for node in self._branch.path)
            self._data = {
                "contact": self.contact or {},
                "trigger": head.context.get("trigger"),
                "vars": self._branch.vars,
                "nodes": {run.node_id: run.result or {} for run in seen if run is not None},
                "flow": flow_facts(self._flow),
                "execution": {
                    "id": head.id,
                    "flowVersion": head.flow_version,
                    "createdAt": iso(head.created_at),
                },
                "now": iso(self.now),
            }
        return self._data


def flow_facts(flow: Flow) -> dict[str, Any]:
    """Return what expressions and templates see as ``flow``."""
    return {"id": flow.id, "name": flow.name, "triggerType": flow.trigger_type}


def error_of(failure: Exception) -> dict[str, Any]:
    """Return what a node run records of the exception that its node raised."""
    if isinstance(failure, NodeFailed):
        code, message = failure.code, failure.message
    else:
        code, message = "node_error", f"{type(failure).__name__}: {failure}"
    return {"code": code, "message": message, "transient": False}


@dataclass(slots=True)
class Walk:
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
    effects: list[Performance] = field(default_factory=list)
    queue: list[Branch] = field(default_factory=list)
    durable: bool = False
    crowded: bool = False

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

    def drain(self) -> None:
        """Walk every branch that can go on."""
        while self.queue:
            self.walk(self.queue.pop(0))

    # -- events

    def resume(self, branch: Branch) -> None:
        """Go on with a claimed branch from whatever is recorded of it."""
        run = self.runs.get(idempotency_key(self.head.id, branch.current_node_id))
        if run is None or run.branch_id != branch.branch_id or run.status == "failed":
            self.queue.append(branch)
        elif run.status == "waiting":
            if branch.resume_at is not None and branch.resume_at > self.now:
                branch.status = "waiting"
                return
            self.rewrite(run, status="completed", end_time=self.now)
            branch.resume_at = branch.resume_data = None
            self.follow(branch, run.source_handle)
        elif run.status in UNRESOLVED:
            self.unknown(branch, run, "the worker stopped before it recorded the outcome")
        else:
            # The outcome came to light after the branch had been given up: go on from it.
            self.follow(branch, run.source_handle)

    def ended(self, branch: Branch, event: Ended) -> None:
        """Record how an effect ended, and go on behind it."""
        run = self.runs[idempotency_key(self.head.id, branch.current_node_id)]
        outcome = self.bounded(event.outcome)
        self.durable = True
        if outcome.status == "completed":
            self.rewrite(run, status="completed", end_time=event.at, result=outcome.result)
            self.follow(branch, run.source_handle)
        elif outcome.status == "failed":
            self.fail(branch, run, outcome.error or {}, event.at)
        else:
            said = (outcome.error or {}).get("message", "no answer came")
            self.unknown(branch, run, str(said))

    def bounded(self, outcome: Outcome) -> Outcome:
        """Return the outcome with a result that can be kept: what happened is not undone by it."""
        try:
            self.check_result(outcome.result)
            self.check_result(outcome.error)
        except NodeFailed as failure:
            return replace(
                outcome,
                result={"omitted": failure.message},
                error=error_of(failure) if outcome.error else None,
            )
        return outcome

    def check_result(self, result: Any) -> None:
        """Raise `NodeFailed` unless `result` is JSON data of at most the size that is kept."""
        if not result:
            return
        try:
            size = len(canonical(result).encode())
        except (TypeError, ValueError, RecursionError) as error:
            message = f"the result is not JSON data: {error}"
            raise NodeFailed("result_invalid", message) from error
        if size > self.limits.result_bytes:
            message = f"the result has {size} bytes; at most {self.limits.result_bytes} are kept"
            raise NodeFailed("result_too_large", message)

    # -- walking

    def walk(self, branch: Branch) -> None:
        """Enter the branch's node and those after it until something stops it."""
        while branch.status == "running":
            node_id = branch.current_node_id
            key = idempotency_key(self.head.id, node_id)
            known = self.runs.get(key)
            if known is not None and known.branch_id != branch.branch_id and not known.arrivals:
                branch.status = "merged"
                return
            scope = Scope(self.flow, self.head, branch, self.runs, key, self.now)
            try:
                step = self.flow.behaviour(node_id).run(scope)
                if isinstance(step, (Next, Wait)):
                    self.check_result(step.result)
                if isinstance(step, Next):
                    self.check_result(step.vars)
            except Exception as failure:  # a node type's own mistake must not stop the driver
                run = self.record(branch, key, known, "failed", ended=True)
                self.rewrite(run, error=error_of(failure))
                branch.status = "failed"
                return
            if isinstance(step, Next):
                run = self.record(branch, key, known, "completed", ended=True)
                run.result, run.source_handle = step.result, step.handle
                if step.vars:
                    branch.vars = branch.vars | step.vars
                if not self.go(branch, step.handle):
                    return
            elif isinstance(step, Arrive):
                self.arrive(branch, key)
                return
            elif isinstance(step, Wait):
                run = self.record(branch, key, known, "waiting")
                run.result, run.source_handle = step.result, step.handle
                branch.status, branch.resume_at = "waiting", step.until
                branch.resume_data = {
                    "nextNodeIds": list(self.flow.targets(node_id, step.handle)),
                    "context": branch.vars,
                    "branchId": branch.branch_id,
                }
                return
            elif self.limits.effects is not None and len(self.effects) >= self.limits.effects:
                branch.status, self.crowded = "ready", True
                return
            else:
                run = self.record(branch, key, known, "running")
                run.source_handle = step.handle
                self.perform(branch, run, step)
                return

    def follow(self, branch: Branch, handle: str | None) -> None:
        """Leave the branch's node by `handle`, and put what goes on in the queue."""
        if self.go(branch, handle):
            self.queue.append(branch)

    def go(self, branch: Branch, handle: str | None) -> bool:
        """Move along the edges of `handle`; False when the branch itself goes no further."""
        targets = self.flow.targets(branch.current_node_id, handle)
        if len(targets) == 1:
            branch.current_node_id = targets[0]
            branch.path.append(targets[0])
            return True
        if not targets:
            branch.status = "failed"
            run = self.runs[idempotency_key(self.head.id, branch.current_node_id)]
            self.rewrite(
                run,
                status="failed",
                error={
                    "code": "handle_unconnected",
                    "message": f"no edge leaves handle {handle!r} of node {run.node_id}",
                    "transient": False,
                },
            )
            return False
        branch.status = "forked"
        stays = len(targets) < self.limits.fork_queue
        for target in targets:
            child = Branch(
                branch_id=f"{branch.branch_id}_{branch.children}",
                status="running" if stays else "ready",
                current_node_id=target,
                path=[*branch.path, target],
                vars=branch.vars,
            )
            branch.children += 1
            self.spawned[child.branch_id] = child
            if stays:
                self.queue.append(child)
        return False

    def arrive(self, branch: Branch, key: str) -> None:
        """End a branch at END; arrivals of one turn are one operation."""
        branch.status = "completed"
        arrival = self.arrivals.get(key)
        if arrival is None:
            run = self.build_run(branch, key, "completed", ended=True)
            self.arrivals[key] = Arrival(run, (branch.branch_id,))
        else:
            arrival.branch_ids += (branch.branch_id,)

    def perform(self, branch: Branch, run: NodeRun, effect: Effect) -> None:
        """Ask the driver to perform an effect."""
        self.durable = True
        self.effects.append(
            Performance(branch.branch_id, run.idempotency_key, run.retry_count, effect)
        )

    def unknown(self, branch: Branch, run: NodeRun, said: str) -> None:
        """An effect may or may not have happened: apply the node's policy."""
        self.durable = True
        try:
            step = self.flow.behaviour(branch.current_node_id).run(
                Scope(self.flow, self.head, branch, self.runs, run.idempotency_key, self.now)
            )
        except Exception:  # it ran once; now not even its policy can be asked for
            step = None
        unknowns = sum(a["status"] == "unknown" for a in run.attempts)
        if isinstance(step, Effect) and step.on_unknown == "resend" and unknowns < RESENDS:
            again = self.again(replace(run, status="unknown", end_time=self.now))
            self.rewrite(run, **again, status="running", start_time=self.now, end_time=None)
            self.perform(branch, self.runs[run.idempotency_key], step)
            return
        message = f"whether it happened is not known: {said}; retry it by hand if it did not"
        self.fail(
            branch,
            run,
            {"code": OUTCOME_UNKNOWN, "message": message, "transient": False},
            self.now,
        )

    def fail(self, branch: Branch, run: NodeRun, error: dict[str, Any], at: datetime) -> None:
        """End a branch at its node."""
        self.rewrite(run, status="failed", end_time=at, error=error)
        branch.status = "failed"

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
        """Record that the branch runs its node: a new run, or the next attempt of a failed one."""
        if known is None:
            run = self.build_run(branch, key, status, ended=ended)
            self.runs[key] = self.new[key] = run
            return run
        self.rewrite(
            known,
            **self.again(known),
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
            sequence=branch.sequence,
        )
        branch.sequence += 1
        return run

    @staticmethod
    def again(run: NodeRun) -> dict[str, Any]:
        """Return the fields of a run's next attempt: the one before goes among its attempts."""
        attempt = {
            "status": run.status,
            "startTime": iso(run.start_time),
            "endTime": iso(run.end_time) if run.end_time else None,
            "result": run.result,
            "error": run.error,
        }
        return {
            "attempts": (*run.attempts, attempt)[-ATTEMPTS_KEPT:],
            "retry_count": run.retry_count + 1,
            "result": None,
            "error": None,
        }

    def rewrite(self, run: NodeRun, **changes: Any) -> None:
        """Change a run: in place of the new one, or as a guarded change of the recorded one."""
        key = run.idempotency_key
        changed = replace(run, **changes)
        self.runs[key] = changed
        if key in self.new:
            self.new[key] = changed
        elif key in self.settled:
            self.settled[key].run = changed
        else:
            recorded = self.claim.runs[key]
            self.settled[key] = Settle(changed, recorded.status, recorded.retry_count)

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
            durable=self.durable,
        )
        for branch in self.touched.values():
            patch.count(branch.status, "running")
        for branch in self.spawned.values():
            patch.count(branch.status, None)
        held = {k: b for k, b in self.claim.branches.items() if k not in self.touched}
        shared = 0
        for branch in (*self.touched.values(), *self.spawned.values()):
            if branch.status == "running":
                held[branch.branch_id] = branch
            elif branch.status == "ready":
                shared += 1
        return Turn(patch, self.effects, Claim(self.head, held, self.runs), shared, self.crowded)
