"""The walk: branches go through their flow until something stops them.

Owns what becomes of a branch in a turn. `engine` is its public face.
May import `working`, `turn`, `size`, `byhand`, `joins`, `flow`, `nodetype`, `inbox`, `ending`,
`outcome`, `retry`, `scope`, `execution`, `errors`, `wire`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from flowkit.byhand import stopped
from flowkit.ending import by_failure, by_goal, let_go
from flowkit.errors import NodeFailed
from flowkit.execution import (
    GATHERING,
    OUTCOME_UNKNOWN,
    UNRESOLVED,
    Arrival,
    Branch,
    NodeRun,
    RunStatus,
    idempotency_key,
)
from flowkit.inbox import awaiting, first_fit, went_on_with
from flowkit.joins import closing, fork_of
from flowkit.nodetype import Arrive, Await, Effect, Gather, Next, NodeType, Outcome, Wait
from flowkit.outcome import error_of, kept, kept_of
from flowkit.retry import POLICY, again, in_series
from flowkit.scope import Scope
from flowkit.size import (
    BRANCH_BYTES,
    OUTCOME_BYTES,
    RESERVED_BYTES,
    RUN_BYTES,
    size_of,
    size_of_names,
)
from flowkit.turn import Ended, Performance, asks_again, resume_data
from flowkit.wire import later
from flowkit.working import Working

RESENDS = 3
"""How often an effect under ``onUnknown: resend`` is performed anew without an answer."""


class Walk(Working):
    """One `advance`."""

    def drain(self) -> None:
        """Walk every branch that can go on."""
        while self.queue:
            branch = self.queue.pop(0)
            if not self.over(branch):
                self.walk(branch)

    # -- events

    def resume(self, branch: Branch) -> None:
        """Go on with a claimed branch from whatever is recorded of it."""
        if self.over(branch):
            return
        run = self.runs.get(self.key(branch))
        if run is None or run.branch_id != branch.branch_id:
            self.queue.append(branch)
        elif run.status == "failed":
            if branch.resume_data is None:
                # Nobody asked for a retry: the failure came to light as evidence.
                self.failed(branch, run)
            elif self.due(branch):
                self.queue.append(branch)
        elif run.status == "waiting" and not run.arrivals and asks_again(branch):
            # It was held in front of its node; at a JOIN that gathers, arrivals tell otherwise.
            if self.due(branch):
                self.queue.append(branch)
        elif run.status == "waiting":
            step = awaiting(self.flow, branch, run, self.scope(branch))
            if step is None or not self.received(branch, run, step):
                if not self.due(branch, ever=step is None or step.until is not None):
                    return
                if run.arrivals:
                    self.close(branch, run)
                    return
                self.rewrite(run, status="completed", end_time=self.now)
            branch.resume_at = branch.resume_data = None
            self.follow(branch, self.runs[run.idempotency_key])
        elif run.status in UNRESOLVED:
            self.unknown(branch, run, "the worker stopped before it recorded the outcome")
        else:
            # The outcome came to light after the branch had been given up: go on from it.
            branch.resume_at = branch.resume_data = None
            self.follow(branch, run)

    def listen(
        self, branch: Branch, run: NodeRun, step: Await | None, ahead: Iterable[str]
    ) -> None:
        """Wait for an event, or go on with it where it has come already."""
        if step is not None and self.received(branch, run, step):
            branch.resume_at = None
            self.follow(branch, self.runs[run.idempotency_key])
        else:
            branch.status, branch.resume_data = "waiting", resume_data(branch, ahead)

    def received(self, branch: Branch, run: NodeRun, step: Await) -> bool:
        """Complete the run of a branch that waits for an event, if one has come for it."""
        self.looked = True
        event = first_fit(step, branch, self.scope(branch), self.head.inbox, self.runs)
        if event is None:
            return False
        most = min(self.limits.result_bytes, max(self.left(), OUTCOME_BYTES))
        self.rewrite(run, **went_on_with(event, step, most), end_time=self.now)
        return True

    def over(self, branch: Branch) -> bool:
        """End a branch whose execution is over, if it is; return whether."""
        if not let_go(self.ended_by or self.head.ended_by, branch, self.runs):
            return False
        branch.status, branch.resume_at, branch.resume_data = "cancelled", None, None
        run = self.runs.get(self.key(branch))
        if run is not None and run.branch_id == branch.branch_id:
            self.rewrite(run, **stopped(run, self.now))  # as it is, where it has ended
        return True

    def due(self, branch: Branch, *, ever: bool = True) -> bool:
        """Return whether a branch need not wait; if it must, it goes on waiting."""
        if ever and (branch.resume_at is None or branch.resume_at <= self.now):
            return True
        branch.status = "waiting"
        return False

    def ended(self, branch: Branch, event: Ended) -> None:
        """Record how an effect ended, and go on behind it."""
        run = self.runs[self.key(branch)]
        most = min(self.limits.result_bytes, max(self.left(), OUTCOME_BYTES))
        outcome = kept_of(event.outcome, most)
        self.durable = True
        if outcome.status in ("completed", "suppressed"):
            self.happened(branch, run, outcome, event.at)
        elif outcome.status == "failed":
            self.fail(branch, run, outcome.error or {}, event.at)
        else:
            said = (outcome.error or {}).get("message", "no answer came")
            self.unknown(branch, run, str(said))

    def happened(self, branch: Branch, run: NodeRun, outcome: Outcome, at: datetime) -> None:
        """Record that an effect has happened, and go on as it says, or wait until it says."""
        handle = outcome.handle or run.source_handle
        targets = self.flow.targets(branch.current_node_id, handle)
        if not targets:
            message = f"no edge leaves handle {handle!r} of node {branch.current_node_id}"
            error = {"code": "handle_unconnected", "message": message, "transient": False}
            self.fail(branch, run, error, at)
            return
        result = told_since(run, outcome.result)
        told: dict[str, Any] = {"result": result, "source_handle": handle}
        if outcome.awaits:
            self.rewrite(run, status="waiting", **told)
            run = self.runs[run.idempotency_key]
            step = awaiting(self.flow, branch, run, self.scope(branch))
            branch.resume_at = later(step.until) if step and step.until else None
            self.listen(branch, run, step, targets)
            return
        if outcome.until is not None and outcome.until > self.now:
            self.rewrite(run, status="waiting", **told)
            branch.status, branch.resume_at = "waiting", later(outcome.until)
            branch.resume_data = resume_data(branch, targets)
            return
        self.rewrite(run, status=outcome.status, end_time=at, **told)
        self.follow(branch, self.runs[run.idempotency_key])

    # -- walking

    def walk(self, branch: Branch) -> None:
        """Enter the branch's node and those after it until something stops it."""
        if self.limits.hold:
            branch.status = "ready"
            return
        scope = self.scope(branch)
        around = self.flow.shape.around
        while branch.status == "running":
            node_id = branch.current_node_id
            if node_id in around:
                key = scope.key = self.key(branch)
            else:
                key = scope.key = idempotency_key(self.head.id, node_id)
            known = self.runs.get(key)
            if known is not None and known.branch_id != branch.branch_id and not known.arrivals:
                branch.status = "merged"
                return
            try:
                if (reason := self.flow.options.exit_of(scope)) is not None:
                    self.ended_by, branch.status = reason, "cancelled"
                    return
                step = self.checked(branch, self.asked(node_id, scope))
            except Exception as failure:  # a node type's own mistake must not stop the driver
                run = self.record(branch, key, known, "failed", ended=True)
                self.rewrite(run, error=error_of(failure))
                self.failed(branch, self.runs[key])
                return
            if isinstance(step, Next):
                status: RunStatus = "suppressed" if step.suppressed else "completed"
                run = self.record(branch, key, known, status, ended=True)
                run.result, run.source_handle = told_since(run, step.result), step.handle
                if step.ends:
                    self.ended_by = by_goal(branch, run)
                if step.vars:
                    branch.vars = branch.vars | step.vars
                scope.passed(run)
                if not self.go(branch, step.handle):
                    return
            elif isinstance(step, Arrive):
                self.arrive(branch, key)
                return
            elif isinstance(step, Gather):
                # To be counted there with the patch, or too late.
                open_ = known is None or known.status in GATHERING
                branch.status = "completed" if open_ else "merged"
                return
            elif isinstance(step, Wait):
                run = self.record(branch, key, known, "waiting")
                run.result, run.source_handle = told_since(run, step.result), step.handle
                self.hold(branch, step)
                if not step.again:
                    ahead = self.flow.targets(node_id, step.handle)
                    branch.resume_data = resume_data(branch, ahead)
                return
            elif isinstance(step, Await):
                run = self.record(branch, key, known, "waiting")
                run.source_handle, branch.resume_at = step.handle, step.until
                self.listen(branch, run, step, self.flow.targets(node_id, step.handle))
                return
            elif self.room(branch):
                run = self.record(branch, key, known, "running")
                run.source_handle = step.handle
                self.perform(branch, run, step)
                return

    def asked(self, node_id: str, scope: Scope) -> Any:
        """Return what a node decides, or that it may not do its work now."""
        node = self.flow.behaviour(node_id)
        return self.held(node, scope) or node.run(scope)

    def held(self, node: NodeType, scope: Scope) -> Wait | Next | None:
        """Return what becomes of a message in quiet hours; None of all else."""
        quiet = self.flow.options.quiet_hours
        return None if quiet is None or node.sends() is None else quiet.holds(scope)

    def hold(self, branch: Branch, step: Wait) -> None:
        """Let a branch wait in front of its node, which is asked anew then."""
        branch.status, branch.resume_at = "waiting", step.until
        branch.resume_data = resume_data(branch, [branch.current_node_id])

    def checked(self, branch: Branch, said: Any) -> Next | Wait | Await | Effect | Arrive | Gather:
        """Return what a node decided, in a form that can be kept; raise unless it can be done.

        Also that the way out leads somewhere: after an effect it would be too late to find out.
        """
        node_id = branch.current_node_id
        if isinstance(said, Arrive):
            return said
        if isinstance(said, Gather):
            shape = self.flow.shape
            if node_id in shape.gates and fork_of(shape, node_id, self.head.id, branch, self.runs):
                return said
            said = Next()  # there is nobody to wait for
        if not isinstance(said, (Next, Wait, Await, Effect)):
            message = f"the node returned {said!r:.100}, not Next, Wait, Await, Effect or Arrive"
            raise NodeFailed("node_error", message)
        step: Next | Wait | Await | Effect = said
        targets = self.flow.targets(node_id, step.handle)
        ways = {step.handle}
        if isinstance(step, Await):
            ways.add(step.received)
        elif isinstance(step, Effect) and step.then is not None:
            ways.update(way.id for way in self.flow.behaviour(node_id).outputs())
        for handle in ways:
            if not self.flow.targets(node_id, handle):
                message = f"no edge leaves handle {handle!r} of node {node_id}"
                raise NodeFailed("handle_unconnected", message)
        most = self.limits.result_bytes
        needed = RUN_BYTES
        if isinstance(step, Wait):
            step = replace(step, until=later(step.until), result=kept(step.result, most))
            needed += size_of(step.result) + size_of(branch.vars)
        elif isinstance(step, Await):
            step = replace(step, until=step.until and later(step.until))
            needed += size_of(branch.vars)
        elif isinstance(step, Next):
            vars = branch.vars
            if step.result is not None or step.vars is not None:
                step = replace(step, result=kept(step.result, most), vars=kept(step.vars, most))
                vars = vars | (step.vars or {})
                needed += size_of(step.result) + size_of(vars) - size_of(branch.vars)
            if len(targets) > 1:
                needed += self.size_of_fork(branch, vars, targets)
        self.take(needed)
        return step

    def size_of_fork(self, branch: Branch, vars: dict[str, Any], targets: tuple[str, ...]) -> int:
        """Return what the children of a fork take, with what is kept free for each."""
        child = BRANCH_BYTES + size_of_names(branch.path) + size_of(vars) + RESERVED_BYTES
        return child * len(targets) + size_of_names(targets)

    def room(self, branch: Branch) -> bool:
        """Return whether the driver can begin one more effect; if not, the branch stays ready."""
        if self.limits.hold:
            branch.status = "ready"
            return False
        if self.limits.effects is None or len(self.effects) < self.limits.effects:
            return True
        branch.status, self.crowded = "ready", True
        return False

    def follow(self, branch: Branch, run: NodeRun) -> None:
        """Leave a node whose run is over, and put what goes on in the queue.

        What has happened is not undone where there is no room to go on: its run keeps its status
        and gets the error, and a retry goes on from it.
        """
        targets = self.flow.targets(branch.current_node_id, run.source_handle)
        if len(targets) > 1:
            try:
                self.take(self.size_of_fork(branch, branch.vars, targets))
            except NodeFailed as failure:
                self.rewrite(run, error=error_of(failure))
                branch.status = "failed"
                return
        if run.error is not None:
            self.rewrite(run, error=None)
        if self.go(branch, run.source_handle):
            self.queue.append(branch)

    def go(self, branch: Branch, handle: str | None) -> bool:
        """Move along the edges of `handle`; False when the branch itself goes no further."""
        targets = self.flow.targets(branch.current_node_id, handle)
        if len(targets) == 1:
            branch.current_node_id = targets[0]
            branch.path.append(targets[0])
            return True
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

    def close(self, branch: Branch, run: NodeRun) -> None:
        """Let a JOIN go on whose time has run out; by which way, the commit decides."""
        branch.status, branch.resume_at, branch.resume_data = "ready", None, None
        self.late.append(closing(self.flow, branch, run, self.now))

    def perform(self, branch: Branch, run: NodeRun, effect: Effect) -> None:
        """Ask the driver to perform an effect."""
        self.durable = True
        self.owes = self.owes or effect.then is not None
        self.effects.append(
            Performance(branch.branch_id, run.idempotency_key, run.retry_count, effect)
        )

    def unknown(self, branch: Branch, run: NodeRun, said: str) -> None:
        """An effect may or may not have happened: apply the node's policy."""
        self.durable = True
        effect = self.effect(branch, run)
        unknowns = sum(a["status"] == "unknown" for a in run.attempts)
        if effect is not None and effect.on_unknown == "resend" and unknowns < RESENDS:
            held = self.held(self.flow.behaviour(branch.current_node_id), self.scope(branch))
            if held is None and not self.room(branch):
                return
            if not isinstance(held, Next):
                anew = again(replace(run, status="unknown", end_time=self.now), POLICY)
                anew |= {"start_time": self.now, "end_time": None}
                if held is not None:
                    self.rewrite(run, **anew, status="waiting")
                    self.hold(branch, held)
                    return
                self.rewrite(run, **anew, status="running")
                self.perform(branch, self.runs[run.idempotency_key], effect)
                return
        message = f"whether it happened is not known: {said}; retry it by hand if it did not"
        self.fail(
            branch,
            run,
            {"code": OUTCOME_UNKNOWN, "message": message, "transient": False},
            self.now,
        )

    def fail(self, branch: Branch, run: NodeRun, error: dict[str, Any], at: datetime) -> None:
        """Record that an effect failed."""
        self.rewrite(run, status="failed", end_time=at, error=error)
        self.failed(branch, self.runs[run.idempotency_key])

    def failed(self, branch: Branch, run: NodeRun) -> None:
        """End a branch at its failed node, or let it wait there for the next attempt."""
        branch.status = "failed"
        error = run.error or {}
        effect = self.effect(branch, run) if error.get("transient") is True else None
        wait = None if effect is None else effect.retry.after(error, in_series(run))
        if wait is not None:
            end = run.end_time or self.now
            branch.status, branch.resume_at = "waiting", later(end + timedelta(seconds=wait))
            branch.resume_data = resume_data(branch, [branch.current_node_id])
        elif self.flow.options.on_failure == "end":
            self.ended_by = by_failure(branch)

    def effect(self, branch: Branch, run: NodeRun) -> Effect | None:
        """Return the effect of a run again, for its policies; None if it can no longer be had."""
        scope = self.scope(branch)
        scope.key = run.idempotency_key
        try:
            step = self.flow.behaviour(branch.current_node_id).run(scope)
        except Exception:  # it ran once; now not even its policies can be asked for
            return None
        return step if isinstance(step, Effect) else None


def told_since(run: NodeRun, result: dict[str, Any] | None) -> dict[str, Any] | None:
    """Return a run's result with what it already told while it waited."""
    return result if run.result is None else {**(result or {}), **run.result}
