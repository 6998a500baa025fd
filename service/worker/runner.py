"""The runner: claims branches, lets the engine advance them, performs effects, commits.

Owns the loop of a worker process and what it holds; decides nothing about flows (the engine
does) and nothing about storage (the store does). May import `flowkit`, `service.store.base`
and `service.faults`; never a concrete store, never Flask.

One thread runs the loop; a pool of threads performs effects and hands outcomes back through
the inbox. Whatever has come in since the last commit is advanced and committed together, so a
busy worker commits in groups by itself. The loop is also the sweep: it never sleeps longer
than the sweep interval or until the store's next due time.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import lru_cache

from flowkit import engine
from flowkit.clock import Clock
from flowkit.engine import Ended, Event, Limits, Performance, Resume, Turn
from flowkit.execution import Answer, BranchRef, Claim
from flowkit.nodetype import Outcome
from service import faults
from service.store.base import Store

log = logging.getLogger(__name__)

Perform = Callable[[Performance], Outcome]
"""Performs an effect: sends, waits for the answer at most the effect's time-out, never raises."""

CLOCK_STEP_SECONDS = 5.0
"""From here on a change of wall clock against monotonic clock counts as a jump."""
PAUSE_AFTER_ERROR_SECONDS = 1.0
LEAST_SLEEP_SECONDS = 0.02


@dataclass(slots=True)
class Held:
    """What the runner holds of one execution, and the events that no commit has taken yet."""

    claim: Claim
    events: list[Event] = field(default_factory=list)


class Runner:
    """Runs branches until it is told to stop.

    Parameters
    ----------
    store : Store
        Where executions are.
    perform : callable
        Performs an effect, on a thread of the pool.
    clock : Clock
        The time that is recorded and judged by.
    owner : str
        Unique name of this worker.
    lease_seconds, sweep_seconds : float
        Length of a claim; longest sleep.
    limits : Limits
        Of forks and results, for the engine.
    batch, concurrency : int
        Branches claimed at once; effects performed at once.
    ring : callable
        Wakes another worker.
    """

    def __init__(
        self,
        store: Store,
        perform: Perform,
        *,
        clock: Clock,
        owner: str,
        lease_seconds: float = 30.0,
        sweep_seconds: float = 1.0,
        limits: Limits = Limits(),  # noqa: B008 - frozen
        batch: int = 100,
        concurrency: int = 16,
        ring: Callable[[], None] = lambda: None,
    ) -> None:
        self._store = store
        self._perform = perform
        self._clock = clock
        self._owner = owner
        self._lease = lease_seconds
        self._sweep = sweep_seconds
        self._limits = limits
        self._batch = batch
        self._concurrency = concurrency
        self._ring = ring
        self._inbox: queue.SimpleQueue[tuple[BranchRef, Event] | None] = queue.SimpleQueue()
        self._held: dict[str, Held] = {}
        self._in_flight: dict[BranchRef, Performance] = {}
        self._flow = lru_cache(maxsize=256)(store.get_version)
        self._stopping = threading.Event()
        self._crowded = False
        self._more = True
        self._renewed = time.monotonic()
        self._offset = self._wall_offset()
        self._expired_from = 0.0

    # ------------------------------------------------------------- from any thread

    def wake(self) -> None:
        """Look for work now."""
        self._inbox.put(None)

    def stop(self) -> None:
        """Claim nothing more; `run` returns once the effects under way are recorded."""
        self._stopping.set()
        self.wake()

    # ------------------------------------------------------------------ the loop

    def run(self) -> None:
        """Work until stopped. Errors of the store are logged and outlived."""
        pool = ThreadPoolExecutor(self._concurrency, thread_name_prefix="effect")
        try:
            while not (self._stopping.is_set() and not self._held):
                try:
                    self._collect(self._patience())
                    self.step(pool)
                except Exception:
                    log.exception("the worker could not go on; trying again")
                    time.sleep(PAUSE_AFTER_ERROR_SECONDS)
        finally:
            pool.shutdown(wait=True)

    def step(self, pool: ThreadPoolExecutor) -> None:
        """Do once what is to be done: renew, claim, advance and commit."""
        self._watch_clock()
        if time.monotonic() - self._renewed >= self._lease / 3:
            self._renew()
        self._claim()
        while any(held.events for held in self._held.values()):
            self._turn(pool)

    def _patience(self) -> float:
        """Return for how long there is nothing to do unless someone wakes us."""
        if self._more or any(held.events for held in self._held.values()):
            return 0.0
        until_renewal = self._renewed + self._lease / 3 - time.monotonic()
        sleep = min(self._sweep, until_renewal)
        if self._free() and not self._stopping.is_set():
            now = self._clock.now()
            due = self._store.next_due(now=now)
            if due is not None:
                self._more = due <= now
                sleep = min(sleep, (due - now).total_seconds())
        return max(sleep, LEAST_SLEEP_SECONDS)

    def _collect(self, timeout: float) -> None:
        """Take in everything that waits in the inbox; wait for the first at most `timeout`."""
        try:
            item = self._inbox.get(timeout=timeout) if timeout > 0 else self._inbox.get_nowait()
            while True:
                if item is None:
                    self._more = True
                else:
                    ref, event = item
                    self._in_flight.pop(ref, None)
                    held = self._held.get(ref.execution_id)
                    known = held and held.claim.branches.get(ref.branch_id)
                    if held is not None and known and known.epoch == ref.epoch:
                        held.events.append(event)
                item = self._inbox.get_nowait()
        except queue.Empty:
            pass

    # ----------------------------------------------------------------- leases

    def _refs(self) -> list[BranchRef]:
        return [
            BranchRef(execution_id, branch.branch_id, branch.epoch)
            for execution_id, held in self._held.items()
            for branch in held.claim.branches.values()
        ]

    def _renew(self) -> None:
        refs = self._refs()
        started = time.monotonic()
        if refs:
            self._store.renew(refs, now=self._clock.now(), lease_ms=self._lease_ms)
        self._renewed = started

    @property
    def _lease_ms(self) -> int:
        return int(self._lease * 1000)

    def _wall_offset(self) -> float:
        return self._clock.now().timestamp() - time.monotonic()

    def _watch_clock(self) -> None:
        """After a jump of the wall clock, leave leases alone until their owners had a chance."""
        offset = self._wall_offset()
        if abs(offset - self._offset) > CLOCK_STEP_SECONDS:
            log.warning("the clock jumped by %.1f s; renewing leases", offset - self._offset)
            self._renew()
            self._expired_from = time.monotonic() + self._lease
        self._offset = offset

    # ------------------------------------------------------------------ claiming

    def _free(self) -> int:
        return max(0, self._concurrency - len(self._in_flight))

    def _claim(self) -> None:
        """Claim what there is, as much as there is room for."""
        room = self._free() if self._crowded or self._in_flight else self._batch
        if self._stopping.is_set() or not self._more or not room:
            return
        claims = self._store.claim(
            self._owner,
            now=self._clock.now(),
            lease_ms=self._lease_ms,
            limit=room,
            expired=time.monotonic() >= self._expired_from,
        )
        faults.hit("after_claim")
        taken = 0
        for claim in claims:
            taken += len(claim.branches)
            resumed: list[Event] = [Resume(branch_id) for branch_id in claim.branches]
            held = self._held.get(claim.head.id)
            if held is None:
                self._held[claim.head.id] = Held(claim, resumed)
            else:
                held.claim = Claim(
                    claim.head,
                    held.claim.branches | claim.branches,
                    held.claim.runs | claim.runs,
                )
                held.events += resumed
        self._more = taken == room
        if self._more:
            self._ring()

    # ----------------------------------------------------------------- advancing

    def _turn(self, pool: ThreadPoolExecutor) -> None:
        """Advance all that has news, and commit it in one go."""
        now = self._clock.now()
        room = self._free()
        turns: list[tuple[Held, Turn]] = []
        for held in [held for held in self._held.values() if held.events]:
            flow = self._flow(held.claim.head.flow_id, held.claim.head.flow_version)
            turn = engine.advance(
                flow, held.claim, held.events, now=now, limits=replace(self._limits, effects=room)
            )
            room = max(0, room - len(turn.effects))
            turns.append((held, turn))
        faults.hit("before_commit")
        answers = self._store.commit(
            [turn.patch for _, turn in turns], now=now, lease_ms=self._lease_ms
        )
        faults.hit("after_commit")
        self._crowded = any(turn.crowded for _, turn in turns)
        for (held, turn), answer in zip(turns, answers, strict=True):
            self._settle(held, turn, answer, pool)
        if any(turn.shared for _, turn in turns):
            self._more = True
            self._ring()

    def _settle(self, held: Held, turn: Turn, answer: Answer, pool: ThreadPoolExecutor) -> None:
        """Act on the store's answer to a turn."""
        execution_id = held.claim.head.id
        if answer.outcome == "ok":
            held.claim, held.events = turn.claim, []
            for performance in turn.effects:
                branch = turn.claim.branches[performance.branch_id]
                ref = BranchRef(execution_id, branch.branch_id, branch.epoch)
                self._in_flight[ref] = performance
                pool.submit(self._effect, ref, performance)
        elif answer.outcome == "lost":
            held.claim = engine.with_runs(held.claim, answer.runs)
        elif answer.outcome == "fenced":
            self._offer(held, answer.fenced)
            held.claim = engine.without(held.claim, answer.fenced)
            held.events = [e for e in held.events if e.branch_id not in answer.fenced]
        else:
            # Cancelled, or changed by someone else: what we learned is offered, the rest is read
            # anew by whoever claims it next.
            self._offer(held, [event.branch_id for event in held.events])
            if answer.outcome == "conflict":
                self._store.release(list(self._refs_of(held)), now=self._clock.now())
            held.claim, held.events = engine.without(held.claim, list(held.claim.branches)), []
        if not held.claim.branches:
            self._held.pop(execution_id, None)

    @staticmethod
    def _refs_of(held: Held) -> Iterator[BranchRef]:
        for branch in held.claim.branches.values():
            yield BranchRef(held.claim.head.id, branch.branch_id, branch.epoch)

    def _offer(self, held: Held, branch_ids: list[str]) -> None:
        """Offer outcomes that may no longer lead on as evidence of what happened."""
        head = held.claim.head
        for event in held.events:
            if not isinstance(event, Ended) or event.branch_id not in branch_ids:
                continue
            node_id = held.claim.branches[event.branch_id].current_node_id
            recorded = {
                run.node_id: run for run in self._store.get_execution(head.id).executed_nodes
            }
            mine = next(r for r in held.claim.runs.values() if r.node_id == node_id)
            patch = engine.evidence(
                head.id, recorded[node_id], mine.retry_count, event.outcome, event.at
            )
            if patch is not None:
                self._store.commit([patch], now=self._clock.now())

    # ------------------------------------------------------------------- effects

    def _effect(self, ref: BranchRef, performance: Performance) -> None:
        """Perform one effect; runs on a thread of the pool."""
        faults.hit("before_effect")
        if time.monotonic() - self._renewed < self._lease or self._still_held(ref):
            outcome = self._perform(performance)
        else:
            outcome = NOT_PERFORMED
        faults.hit("after_effect")
        self._inbox.put((ref, Ended(ref.branch_id, outcome, self._clock.now())))

    def _still_held(self, ref: BranchRef) -> bool:
        """Ask the store, since this process may have slept past its lease."""
        return not self._store.renew([ref], now=self._clock.now(), lease_ms=self._lease_ms)


NOT_PERFORMED = Outcome(
    status="failed",
    error={
        "code": "lease_lost",
        "message": "the worker slept past its lease and left the effect to the next owner",
        "transient": True,
    },
)
