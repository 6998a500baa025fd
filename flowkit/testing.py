"""What tests of flowkit and of its extensions build on: a store in memory, and the contract.

Owns `MemoryStore`, the reference that says in the fewest words what a store does with
executions, and `StoreContract`, the suite that every store must pass. May import the core of
`flowkit`, pytest and Hypothesis; nothing of a service.

A new store is held to the contract by a test class of a few lines::

    class TestMyStore(StoreContract):
        @pytest.fixture
        def make_store(self, tmp_path):
            return lambda: MyStore(tmp_path)
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from flowkit import engine
from flowkit.engine import Ended, Limits, Resume
from flowkit.errors import Conflict, Invalid, NotFound
from flowkit.execution import (
    TERMINAL,
    Answer,
    Branch,
    BranchRef,
    Claim,
    Execution,
    ExecutionFilter,
    PageKey,
    Patch,
    branch_order,
    idempotency_key,
    judge,
    run_order,
    status_of,
)
from flowkit.flow import Flow
from flowkit.nodetype import Outcome

EPOCH = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)
"""The moment at which tests begin."""


class MemoryStore:
    """The executions part of the store contract, in memory, for one thread."""

    def __init__(self) -> None:
        self._executions: dict[str, Execution] = {}
        self._leases: dict[tuple[str, str], tuple[str, datetime]] = {}

    def create(self, executions: Sequence[Execution]) -> None:
        """Add executions."""
        for execution in executions:
            self._executions[execution.id] = copy.deepcopy(execution)
            for branch in execution.branches:
                self._leases[execution.id, branch.branch_id] = ("", execution.created_at)

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
        if branch.status == "running" and holder != owner and (at <= now or at > now + lease):
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

    def renew(
        self, refs: Sequence[BranchRef], *, now: datetime, lease_ms: int
    ) -> list[BranchRef]:
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
                branch.status = "ready"
                self._leases[ref[:2]] = ("", now)

    def commit(
        self, patches: Sequence[Patch], *, now: datetime, lease_ms: int = 0
    ) -> list[Answer]:
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
        )
        if answer.outcome == "ok":
            self._change(execution, patch, branches, runs, now, lease_ms)
        answer.status, answer.open = execution.status, execution.open
        answer.waiting, answer.failed = execution.waiting, execution.failed
        return copy.deepcopy(answer)

    def _change(
        self,
        execution: Execution,
        patch: Patch,
        branches: dict[str, Branch],
        runs: dict[str, Any],
        now: datetime,
        lease_ms: int,
    ) -> None:
        holder = ""
        for move in patch.move:
            key = (execution.id, move.branch.branch_id)
            holder = self._leases[key][0] or holder
            branches[move.branch.branch_id] = move.branch
            if move.branch.status == "ready":
                self._leases[key] = ("", now)
        for branch in patch.spawn:
            branches[branch.branch_id] = branch
            held = branch.status == "running"
            self._leases[execution.id, branch.branch_id] = (
                (holder, now + timedelta(milliseconds=lease_ms)) if held else ("", now)
            )
        for run in (*patch.append, *(settle.run for settle in patch.settle)):
            runs[run.idempotency_key] = run
        for arrival in patch.arrive:
            key_of_run = arrival.run.idempotency_key
            run = runs.get(key_of_run, arrival.run)
            arrived = tuple(dict.fromkeys((*run.arrivals, *arrival.branch_ids)))
            runs[key_of_run] = replace(
                run, arrivals=arrived, arrival_count=len(arrived), end_time=arrival.run.end_time
            )
        execution.branches = sorted(branches.values(), key=lambda b: branch_order(b.branch_id))
        execution.executed_nodes = sorted(runs.values(), key=run_order)
        execution.open += patch.open
        execution.waiting += patch.waiting
        execution.failed += patch.failed
        if patch.cancel:
            execution.status = "cancelled"
        elif execution.status != "cancelled":
            execution.status = status_of(execution.open, execution.waiting, execution.failed)
        execution.resume_at = self._earliest(execution)
        execution.revision += 1
        execution.updated_at = now
        if execution.status not in TERMINAL:
            execution.ended_at = None
        else:
            execution.ended_at = execution.ended_at or now

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


# ----------------------------------------------------------------------------- strategies


@st.composite
def flows(draw: st.DrawFn) -> Flow:
    """Draw small valid flows: messages, delays, conditions, forks and convergence, all to END."""
    nodes: list[dict[str, Any]] = [{"id": "start", "type": "TRIGGER", "config": {}}]
    edges: list[dict[str, Any]] = []
    shared = draw(st.booleans())

    def node(type_: str, config: dict[str, Any]) -> str:
        nodes.append({"id": f"n{len(nodes)}", "type": type_, "config": config})
        return str(nodes[-1]["id"])

    def edge(source: str, handle: str | None, target: str) -> None:
        edges.append(
            {"id": f"e{len(edges)}", "source": source, "target": target, "sourceHandle": handle}
        )

    def grow(source: str, handle: str | None, depth: int) -> None:
        kind = draw(st.sampled_from(STEPS if depth else ("END",)))
        if kind == "END":
            edge(source, handle, "meet" if shared and source != "start" else "end")
        elif kind == "FORK":
            for _ in range(draw(st.integers(2, 3))):
                grow(source, handle, depth - 1)
        elif kind == "CONDITION":
            test = {"==": [{"var": "trigger.coin"}, draw(st.booleans())]}
            here = node("CONDITION", {"expression": test})
            edge(source, handle, here)
            grow(here, "true", depth - 1)
            grow(here, "false", depth - 1)
        else:
            here = node(kind, dict(draw(st.sampled_from(CONFIGS[kind]))))
            edge(source, handle, here)
            grow(here, None, depth - 1)

    grow("start", None, 3)
    if any(e["target"] == "meet" for e in edges):
        nodes.append({"id": "meet", "type": "SEND_MESSAGE", "config": CONFIGS["SEND_MESSAGE"][0]})
        edge("meet", None, "end")
    nodes.append({"id": "end", "type": "END", "config": {}})
    # Two edges of one handle into one node say nothing that one does not.
    distinct = {(e["source"], e["sourceHandle"], e["target"]): e for e in edges}
    return Flow.from_dict(
        {
            "id": "flow",
            "name": "drawn",
            "triggerType": "test",
            "isActive": True,
            "version": 1,
            "nodes": nodes,
            "edges": list(distinct.values()),
        }
    )


STEPS = ("END", "FORK", "CONDITION", "SEND_MESSAGE", "SEND_MESSAGE", "DELAY")
CONFIGS: dict[str, list[dict[str, Any]]] = {
    "SEND_MESSAGE": [
        {"kind": "text", "text": "Hello"},
        {"kind": "text", "text": "Hello", "onUnknown": "resend"},
        {"kind": "text", "text": "{{ vars.nothing }}"},
    ],
    "DELAY": [{"amount": 5, "unit": "seconds"}, {"amount": 1, "unit": "days"}],
}

PAYLOADS = st.fixed_dictionaries(
    {"contact": st.just({"id": "c1", "phone": "+5511999990000"}), "coin": st.booleans()},
    optional={
        "free": st.dictionaries(
            st.text(st.characters(exclude_categories=("Cs",)), max_size=8),
            st.one_of(st.none(), st.integers(), st.text(max_size=8), st.just({}), st.just([])),
            max_size=3,
        )
    },
)
OUTCOMES = st.sampled_from(
    [
        Outcome("completed", result={"messageId": "wamid.1"}),
        Outcome("failed", error={"code": "whatsapp_131026", "message": "no", "transient": False}),
        Outcome("unknown", error={"code": "outcome_unknown", "message": "?", "transient": False}),
    ]
)


# --------------------------------------------------------------------------- the contract


class StoreMachine(RuleBasedStateMachine):
    """Drives a store and `MemoryStore` alike and compares every answer and every record."""

    make_store: Callable[[], Any]
    LEASE_MS = 30_000

    def __init__(self) -> None:
        super().__init__()
        self.store = type(self).make_store()
        self.model = MemoryStore()
        self.now = EPOCH
        self.flows: dict[str, Flow] = {}
        self.claims: list[Claim] = []
        self.stale: list[Patch] = []

    def teardown(self) -> None:
        """Close the store."""
        self.store.close()

    def both(self, verb: str, *args: Any, **kwargs: Any) -> Any:
        """Call a verb of the store and of the model; they must answer alike."""
        ours = getattr(self.store, verb)(*args, **kwargs)
        model = getattr(self.model, verb)(*args, **kwargs)
        if verb == "claim":
            ours.sort(key=lambda claim: claim.head.id)
            model.sort(key=lambda claim: claim.head.id)
        assert ours == model
        return ours

    @precondition(lambda self: len(self.flows) < 5)
    @rule(flow=flows(), payloads=st.lists(PAYLOADS, min_size=1, max_size=3))
    def trigger(self, flow: Flow, payloads: list[Any]) -> None:
        """Start executions of a flow."""
        started = []
        for payload in payloads:
            execution_id = f"x{len(self.flows)}"
            self.flows[execution_id] = flow
            started.append(engine.start(flow, payload, execution_id=execution_id, now=self.now))
        self.both("create", started)

    @rule(seconds=st.sampled_from([0, 1, 5, 29, 31, 86_400, -3_600]))
    def pass_time(self, seconds: int) -> None:
        """Let time pass, or the clock go back."""
        self.now += timedelta(seconds=seconds)

    @rule(owner=st.sampled_from(["a", "b"]), limit=st.integers(1, 5), expired=st.booleans())
    def claim(self, owner: str, limit: int, expired: bool) -> None:
        """Claim for one of two workers."""
        self.claims += self.both(
            "claim", owner, now=self.now, lease_ms=self.LEASE_MS, limit=limit, expired=expired
        )

    @precondition(lambda self: self.claims)
    @rule(data=st.data(), fork_queue=st.sampled_from([2, 10]))
    def advance(self, data: st.DataObject, fork_queue: int) -> None:
        """Let the holder of a claim, which may have lost it, take a turn and commit."""
        claim = self.claims.pop(data.draw(st.integers(0, len(self.claims) - 1)))
        events: list[Any] = []
        for branch in claim.branches.values():
            run = claim.runs.get(idempotency_key(claim.head.id, branch.current_node_id))
            mine = run is not None and run.branch_id == branch.branch_id
            if mine and run.status == "running" and data.draw(st.booleans()):
                events.append(Ended(branch.branch_id, data.draw(OUTCOMES), self.now))
            else:
                events.append(Resume(branch.branch_id))
        flow = self.flows[claim.head.id]
        before = copy.deepcopy(claim)
        turn = engine.advance(
            flow, claim, events, now=self.now, limits=Limits(fork_queue=fork_queue)
        )
        assert claim == before, "the engine changed what it was given"
        (answer,) = self.both("commit", [turn.patch], now=self.now, lease_ms=self.LEASE_MS)
        self.stale.append(turn.patch)
        if answer.outcome == "ok" and turn.claim.branches:
            self.claims.append(turn.claim)
        elif answer.outcome == "lost":
            self.claims.append(engine.with_runs(claim, answer.runs))
        elif answer.outcome == "fenced":
            rest = engine.without(claim, answer.fenced)
            if rest.branches:
                self.claims.append(rest)

    @precondition(lambda self: self.stale)
    @rule(data=st.data())
    def commit_again(self, data: st.DataObject) -> None:
        """Commit a patch that was committed before: replay must change nothing twice."""
        patch = data.draw(st.sampled_from(self.stale))
        self.both("commit", [patch], now=self.now, lease_ms=self.LEASE_MS)

    @precondition(lambda self: self.claims)
    @rule(data=st.data(), verb=st.sampled_from(["renew", "release"]))
    def keep_or_give_up(self, data: st.DataObject, verb: str) -> None:
        """Renew or release a claim, which may be lost by now."""
        claim = data.draw(st.sampled_from(self.claims))
        refs = [BranchRef(claim.head.id, b.branch_id, b.epoch) for b in claim.branches.values()]
        more = {"lease_ms": self.LEASE_MS} if verb == "renew" else {}
        self.both(verb, refs, now=self.now, **more)

    @precondition(lambda self: self.flows)
    @rule(data=st.data(), action=st.sampled_from([engine.cancel, engine.retry]))
    def by_hand(self, data: st.DataObject, action: Any) -> None:
        """Cancel or retry an execution."""
        execution = self.store.get_execution(data.draw(st.sampled_from(sorted(self.flows))))
        more = {} if action is engine.cancel else {"node_ids": None}
        try:
            patch = action(execution, **more, now=self.now)
        except Conflict:
            return
        (answer,) = self.both("commit", [patch], now=self.now)
        assert answer.outcome == "ok"
        self.stale.append(patch)

    @invariant()
    def same_records(self) -> None:
        """Whole records are equal, and add up."""
        assert self.store.next_due(now=self.now) == self.model.next_due(now=self.now)
        for execution_id in self.flows:
            ours = self.store.get_execution(execution_id)
            assert ours == self.model.get_execution(execution_id)
            check_invariants(ours)


def check_invariants(execution: Execution) -> None:
    """Assert what holds of every execution at every moment.

    Counts agree with the branches, the status with the counts, ``resume_at`` with the waiting
    branches, each END arrival with a completed branch, and each open branch is alone at its node.
    """
    leaves = [b for b in execution.branches if b.status != "forked"]
    opened = [b for b in leaves if b.status in ("ready", "running", "waiting")]
    waiting = [b for b in leaves if b.status == "waiting"]
    failed = [b for b in leaves if b.status == "failed"]
    assert (execution.open, execution.waiting, execution.failed) == (
        len(opened),
        len(waiting),
        len(failed),
    )
    if execution.status == "cancelled":
        assert not opened
    else:
        assert execution.status == status_of(len(opened), len(waiting), len(failed))
    assert (execution.ended_at is not None) == (execution.status in TERMINAL)
    assert execution.resume_at == min(
        (b.resume_at for b in waiting if b.resume_at is not None), default=None
    )
    completed = {b.branch_id for b in leaves if b.status == "completed"}
    arrived = [arrival for run in execution.executed_nodes for arrival in run.arrivals]
    assert sorted(arrived) == sorted(completed), "each branch arrives once"
    keys = [run.idempotency_key for run in execution.executed_nodes]
    assert len(keys) == len(set(keys)), "a node runs once"
    assert len({b.branch_id for b in execution.branches}) == len(execution.branches)


SIMPLE = Flow.from_dict(
    {
        "id": "flow",
        "name": "Simple",
        "triggerType": "test",
        "isActive": True,
        "version": 1,
        "nodes": [
            {"id": "start", "type": "TRIGGER", "config": {}},
            {"id": "hello", "type": "SEND_MESSAGE", "config": {"kind": "text", "text": "Hello"}},
            {"id": "end", "type": "END", "config": {}},
        ],
        "edges": [
            {"id": "e0", "source": "start", "target": "hello"},
            {"id": "e1", "source": "hello", "target": "end"},
        ],
        "createdAt": "2026-01-05T09:00:00.000Z",
        "updatedAt": "2026-01-05T09:00:00.000Z",
    }
)


def started(number: int, *, flow: Flow = SIMPLE, now: datetime = EPOCH) -> list[Execution]:
    """Return `number` fresh executions of a flow, a millisecond apart."""
    payload = {"contact": {"id": "c1", "phone": "+5511999990000"}, "coin": True}
    executions = [
        engine.start(
            flow, payload, execution_id=f"x{i:06}", now=now + timedelta(milliseconds=i)
        )
        for i in range(number)
    ]
    return [execution for execution in executions if execution is not None]


def at_once(number: int, work: Callable[[int], Any]) -> list[Any]:
    """Run `work(i)` on `number` threads that start together; return results or exceptions."""
    barrier = threading.Barrier(number)
    results: list[Any] = [None] * number

    def run(i: int) -> None:
        barrier.wait()
        try:
            results[i] = work(i)
        except Exception as error:
            results[i] = error

    threads = [threading.Thread(target=run, args=(i,)) for i in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


class StoreContract:
    """What every store must do. Subclass it with a fixture `make_store`.

    `make_store` is a function that opens the same store anew each time it is called within a
    test (two calls are two clients of one store), so that what is kept can be told from what is
    only remembered.
    """

    LEASE_MS = 30_000

    @pytest.fixture
    def store(self, make_store: Callable[[], Any]) -> Iterable[Any]:
        """Yield one client of the store."""
        store = make_store()
        yield store
        store.close()

    def take(self, store: Any, owner: str = "a", *, now: datetime = EPOCH, **more: Any) -> Any:
        """Claim, with defaults."""
        asked = {"lease_ms": self.LEASE_MS, "limit": 100} | more
        return store.claim(owner, now=now, **asked)

    def advanced(self, claim: Claim, *, now: datetime = EPOCH, flow: Flow = SIMPLE) -> Any:
        """Return the turn that resumes every branch of a claim."""
        return engine.advance(flow, claim, [Resume(b) for b in claim.branches], now=now)

    # -- flows

    def test_a_flow_is_kept_whole(self, store: Any, make_store: Callable[[], Any]) -> None:
        odd = SIMPLE.to_dict() | {"viewport": {"x": 1.5, "$odd.key": None}, "settings": {}}
        flow = Flow.from_dict(odd)
        store.insert_flow(flow, publish=True)
        other = make_store()
        assert other.get_flow("flow").flow.to_dict() == flow.to_dict()
        assert other.get_version("flow", 1).to_dict() == flow.to_dict()
        assert other.active_versions("test") == [("flow", 1)]
        assert other.active_versions("other") == []
        other.close()

    def test_a_flow_is_inserted_once(self, store: Any) -> None:
        store.insert_flow(SIMPLE, publish=True)
        with pytest.raises(Conflict):
            store.insert_flow(SIMPLE, publish=False)

    def test_of_two_changes_of_one_revision_one_wins(
        self, store: Any, make_store: Callable[[], Any]
    ) -> None:
        store.insert_flow(SIMPLE, publish=True)
        _, revision = store.get_flow("flow")
        names = [f"change {i}" for i in range(4)]

        def change(i: int) -> str:
            client = make_store()
            try:
                changed = Flow.from_dict(SIMPLE.to_dict() | {"name": names[i], "version": 2})
                client.replace_flow(changed, revision=revision, publish=True)
            finally:
                client.close()
            return names[i]

        results = at_once(4, change)
        (winner,) = [r for r in results if isinstance(r, str)]
        assert sum(isinstance(r, Conflict) for r in results) == 3
        assert store.get_flow("flow").flow.name == winner
        assert store.get_version("flow", 2).name == winner
        assert store.get_version("flow", 1).name == "Simple"

    def test_a_published_version_never_changes(self, store: Any) -> None:
        store.insert_flow(SIMPLE, publish=True)
        _, revision = store.get_flow("flow")
        with pytest.raises(Conflict):
            store.replace_flow(
                Flow.from_dict(SIMPLE.to_dict() | {"name": "other"}),
                revision=revision,
                publish=True,
            )
        assert store.get_flow("flow") == (SIMPLE, revision), "all or nothing"

    def test_a_flow_goes_when_nothing_of_it_is_under_way(self, store: Any) -> None:
        store.insert_flow(SIMPLE, publish=True)
        store.create(started(1))
        with pytest.raises(Conflict):
            store.delete_flow("flow")
        execution = store.get_execution("x000000")
        store.commit([engine.cancel(execution, now=EPOCH)], now=EPOCH)
        store.delete_flow("flow")
        with pytest.raises(NotFound):
            store.get_flow("flow")
        assert store.get_version("flow", 1) == SIMPLE, "an execution refers to it"
        with pytest.raises(NotFound):
            store.delete_flow("flow")

    def test_flows_are_listed_newest_first_and_paged(self, store: Any) -> None:
        for i in range(5):
            store.insert_flow(
                Flow.from_dict(
                    SIMPLE.to_dict()
                    | {
                        "id": f"f{i}",
                        "isActive": i % 2 == 0,
                        "createdAt": f"2026-01-05T09:00:0{i // 2}.000Z",
                    }
                ),
                publish=False,
            )
        assert [f.id for f in store.list_flows(limit=9)] == ["f4", "f3", "f2", "f1", "f0"]
        assert [f.id for f in store.list_flows(is_active=False, limit=9)] == ["f3", "f1"]
        first = store.list_flows(limit=2)
        rest = store.list_flows(
            limit=9, after=PageKey(first[-1].created_at, str(first[-1].id))
        )
        assert [f.id for f in rest] == ["f2", "f1", "f0"]

    # -- executions

    @pytest.mark.parametrize(
        "payload",
        [
            {"$set": {"a.b": 1}, "_cls": "X", "": {}, "list": [[], {}, None]},
            {"big": 2**80, "small": -(2**63) - 1, "float": 1e300, "text": "a\u0000é😀\u2028"},
            [],
            "text",
            None,
        ],
    )
    def test_user_data_comes_back_exactly(self, store: Any, payload: Any) -> None:
        (execution,) = started(1)
        execution.context = {"trigger": payload, "contact": {"_id": "$x", "a.b": {}}}
        store.create([execution])
        assert store.get_execution("x000000") == execution
        (claim,) = self.take(store)
        assert claim.head.context == execution.context

    def test_an_unknown_execution_is_not_found(self, store: Any) -> None:
        with pytest.raises(NotFound):
            store.get_execution("nothing")
        patch = Patch("nothing")
        assert store.commit([patch], now=EPOCH)[0].outcome == "fenced"

    def test_executions_are_created_all_or_none(self, store: Any) -> None:
        store.create(started(1))
        with pytest.raises(Conflict):
            store.create(started(3)[::-1])
        assert [e.id for e in store.list_executions(ExecutionFilter(), limit=9)] == ["x000000"]

    def test_lists_filter_and_page(self, store: Any) -> None:
        executions = started(7)
        for i, execution in enumerate(executions):
            execution.flow_id = "even" if i % 2 == 0 else "odd"
            execution.contact_id = f"c{i % 3}"
        store.create(executions)
        store.commit(
            [engine.cancel(store.get_execution("x000003"), now=EPOCH)], now=EPOCH
        )

        def ids(**where: Any) -> list[int]:
            found = store.list_executions(ExecutionFilter(**where), limit=99)
            return [int(e.id[1:]) for e in found]

        assert ids() == [6, 5, 4, 3, 2, 1, 0]
        assert ids(flow_id="odd") == [5, 3, 1]
        assert ids(status="cancelled") == [3]
        assert ids(status="running", flow_id="odd") == [5, 1]
        assert ids(status="nonsense") == []
        assert ids(contact_id="c0") == [6, 3, 0]
        ms = timedelta(milliseconds=1)
        assert ids(since=EPOCH + 2 * ms, until=EPOCH + 5 * ms) == [4, 3, 2]
        paged, after = [], None
        while page := store.list_executions(ExecutionFilter(), after=after, limit=2):
            paged += [int(e.id[1:]) for e in page]
            after = PageKey(page[-1].created_at, page[-1].id)
        assert paged == [6, 5, 4, 3, 2, 1, 0]

    def test_a_list_holds_what_was_asked_for(self, store: Any) -> None:
        store.create(started(2))
        parts = ("context", "branches", "executed_nodes")
        heads = store.list_executions(ExecutionFilter(), limit=9)
        assert all(not e.context and not e.branches for e in heads)
        whole = store.list_executions(ExecutionFilter(), limit=9, include=parts)
        assert whole == [store.get_execution(e.id) for e in heads]

    # -- claims

    def test_a_branch_is_claimed_by_one(self, store: Any, make_store: Callable[[], Any]) -> None:
        store.create(started(40))

        def claim_all(i: int) -> list[str]:
            client, mine = make_store(), []
            try:
                while claims := self.take(
                    client, f"w{i}", now=EPOCH + timedelta(seconds=1), limit=3
                ):
                    mine += [claim.head.id for claim in claims]
            finally:
                client.close()
            return mine

        taken = [execution_id for mine in at_once(4, claim_all) for execution_id in mine]
        assert sorted(taken) == sorted(e.id for e in started(40))

    def test_the_longest_claimable_come_first(self, store: Any) -> None:
        store.create(started(5))
        claims = self.take(store, now=EPOCH + timedelta(seconds=1), limit=2)
        assert sorted(claim.head.id for claim in claims) == ["x000000", "x000001"]

    def test_a_claim_needs_a_lease(self, store: Any) -> None:
        with pytest.raises(ValueError, match="lease"):
            self.take(store, lease_ms=0)

    def test_of_two_owners_of_one_epoch_one_commits(
        self, store: Any, make_store: Callable[[], Any]
    ) -> None:
        store.create(started(1))
        (claim,) = self.take(store)
        turns = [self.advanced(claim) for _ in range(4)]

        def commit(i: int) -> str:
            client = make_store()
            try:
                (answer,) = client.commit([turns[i].patch], now=EPOCH, lease_ms=self.LEASE_MS)
            finally:
                client.close()
            return str(answer.outcome)

        assert sorted(at_once(4, commit)) == ["lost", "lost", "lost", "ok"]

    def test_a_fenced_worker_changes_nothing(self, store: Any) -> None:
        store.create(started(1))
        (slow,) = self.take(store, "slow")
        late = EPOCH + timedelta(milliseconds=self.LEASE_MS)
        (quick,) = self.take(store, "quick", now=late)
        before = store.get_execution("x000000")
        (answer,) = store.commit([self.advanced(slow).patch], now=late)
        assert (answer.outcome, answer.fenced) == ("fenced", ["root"])
        assert store.get_execution("x000000") == before
        (answer,) = store.commit([self.advanced(quick, now=late).patch], now=late)
        assert answer.outcome == "ok"

    def test_patches_of_a_batch_stand_alone(self, store: Any) -> None:
        store.create(started(3))
        claims = sorted(
            self.take(store, now=EPOCH + timedelta(seconds=1)), key=lambda c: c.head.id
        )
        turns = [self.advanced(claim) for claim in claims]
        turns[1].patch.move[0].epoch = 99
        answers = store.commit([t.patch for t in turns], now=EPOCH, lease_ms=self.LEASE_MS)
        assert [a.outcome for a in answers] == ["ok", "fenced", "ok"]
        assert store.get_execution("x000001").executed_nodes == []

    def test_what_is_committed_is_seen_by_others(
        self, store: Any, make_store: Callable[[], Any]
    ) -> None:
        store.create(started(1))
        (claim,) = self.take(store)
        store.commit([self.advanced(claim).patch], now=EPOCH, lease_ms=self.LEASE_MS)
        whole = store.get_execution("x000000")
        other = make_store()
        assert other.get_execution("x000000") == whole
        assert [run.status for run in whole.executed_nodes] == ["completed", "running"]
        other.close()

    def test_it_agrees_with_the_model(self, make_store: Callable[[], Any]) -> None:
        from hypothesis import HealthCheck, settings
        from hypothesis.stateful import run_state_machine_as_test

        machine = type("Machine", (StoreMachine,), {"make_store": staticmethod(self.fresh)})
        run_state_machine_as_test(
            machine,
            settings=settings(
                max_examples=60,
                stateful_step_count=40,
                deadline=None,
                suppress_health_check=list(HealthCheck),
            ),
        )

    def fresh(self) -> Any:
        """Return an empty store; override where `make_store` opens the same one again."""
        raise NotImplementedError


def refused(call: Callable[[], Any]) -> list[str]:
    """Return the codes of the problems for which `call` is refused."""
    try:
        call()
    except Invalid as invalid:
        return [problem.code for problem in invalid.problems]
    raise AssertionError("it was not refused")
