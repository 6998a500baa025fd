"""Processes that race for one store: each branch has one owner, each arrival counts once."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import flowkit as fk
from flowkit import engine
from flowkit.engine import Ended, Limits, Resume
from flowkit.execution import Execution
from flowkit.flow import Flow
from flowkit.nodetype import Outcome
from flowkit.testing import EPOCH, check_invariants, started
from service.store.sqlite import SqliteStore

LEASE_MS = 30_000
RACERS = 4
BRANCHES = 12
SENT = Outcome("completed", result={"messageId": "wamid.1"})


def fork() -> Flow:
    """Return a flow of as many parallel messages as branches are raced for."""
    arms = [lambda b, i=i: b.send(text=f"m{i}") for i in range(BRANCHES)]
    flow = fk.Flow("Fork", trigger="test").parallel(*arms).end()
    return Flow.from_dict(
        flow.to_dict()
        | {"id": "fork", "version": 1, "isActive": True}
        | {"createdAt": "2026-01-05T09:00:00Z", "updatedAt": "2026-01-05T09:00:00Z"}
    )


def forked() -> Execution:
    payload = {"contact": {"id": "c1", "phone": "+5511999990000"}}
    execution = engine.start(fork(), payload, execution_id="x", now=EPOCH)
    assert execution is not None
    return execution


def opened(place: str) -> Any:
    """Return a client of the store at a path or an address."""
    if not place.startswith("mongodb://"):
        return SqliteStore(Path(place))
    from service.store.mongo import MongoStore

    return MongoStore(place, retention_days=None)


@pytest.fixture(params=["sqlite", "mongodb"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return str(tmp_path / "flowkit.db")
    return str(request.getfixturevalue("mongodb_url"))


def raced(work: Callable[..., None], place: str) -> list[Any]:
    """Run `work` in several processes that begin together; return what each put out."""
    context = multiprocessing.get_context("forkserver")  # it imports once, not once in each
    context.set_forkserver_preload([__name__])
    barrier, results = context.Barrier(RACERS), context.Queue()
    processes = [
        context.Process(target=work, args=(i, place, barrier, results)) for i in range(RACERS)
    ]
    for process in processes:
        process.start()
    found = [results.get(timeout=60) for _ in processes]
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0] * RACERS
    return found


def claim_all(i: int, place: str, barrier: Any, results: Any) -> None:
    store, mine = opened(place), []
    barrier.wait()
    now = EPOCH + timedelta(seconds=1)
    while claims := store.claim(f"w{i}", now=now, lease_ms=LEASE_MS, limit=3):
        mine += [(claim.head.id, branch) for claim in claims for branch in claim.branches]
    results.put(mine)
    store.close()


def test_each_branch_is_claimed_by_one_process(place: str) -> None:
    store = opened(place)
    store.create(started(60))
    taken = [ref for mine in raced(claim_all, place) for ref in mine]
    assert sorted(taken) == [(f"x{i:06}", "root") for i in range(60)]
    store.close()


def test_each_lease_that_ran_out_is_taken_by_one_process(place: str) -> None:
    store = opened(place)
    store.create(started(60))
    long_ago = EPOCH - timedelta(milliseconds=LEASE_MS)
    assert len(store.claim("gone", now=long_ago, lease_ms=LEASE_MS, limit=60)) == 60
    taken = [ref for mine in raced(claim_all, place) for ref in mine]
    assert sorted(taken) == [(f"x{i:06}", "root") for i in range(60)]
    assert {store.get_execution(id_).branches[0].epoch for id_, _ in taken} == {2}
    store.close()


def walk(i: int, place: str, barrier: Any, results: Any) -> None:
    """Claim branches of the one execution, begin their messages, and end them together."""
    store, flow = opened(place), fork()
    limit = BRANCHES // RACERS
    barrier.wait()
    claims: list[Any] = []
    while not claims:  # another one may have been quicker; there is a share for each
        claims = store.claim(f"w{i}", now=EPOCH, lease_ms=LEASE_MS, limit=limit)
    (claim,) = claims
    refused = 0
    for ended in (False, True):
        events: list[Any] = [
            Ended(b, SENT, EPOCH) if ended else Resume(b) for b in sorted(claim.branches)
        ]
        if ended:
            barrier.wait()
        for event in events:  # one by one, so that they meet
            while True:
                turn = engine.advance(flow, claim, [event], now=EPOCH)
                (answer,) = store.commit([turn.patch], now=EPOCH, lease_ms=LEASE_MS)
                if answer.outcome == "ok":
                    claim = turn.claim
                    break
                assert answer.outcome == "lost", answer
                refused += 1
                claim = engine.with_runs(claim, answer.runs)
    results.put(refused)
    store.close()


def test_branches_of_one_execution_arrive_at_once_and_count_once(place: str) -> None:
    store = opened(place)
    store.create([forked()])
    (claim,) = store.claim("first", now=EPOCH, lease_ms=LEASE_MS, limit=1)
    turn = engine.advance(
        fork(), claim, [Resume("root")], now=EPOCH, limits=Limits(fork_queue=BRANCHES)
    )
    (answer,) = store.commit([turn.patch], now=EPOCH, lease_ms=LEASE_MS)
    assert (answer.outcome, turn.shared) == ("ok", BRANCHES)
    raced(walk, place)
    execution = store.get_execution("x")
    check_invariants(execution)
    assert execution.status == "completed"
    (end,) = [run for run in execution.executed_nodes if run.node_id.startswith("end")]
    assert end.arrival_count == BRANCHES
    assert sorted(end.arrivals) == sorted(f"root_{i}" for i in range(BRANCHES))
    assert len(execution.executed_nodes) == 2 + BRANCHES
    store.close()
