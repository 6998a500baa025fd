"""The runner: claims branches, lets the engine advance them, performs effects, commits.

Owns the loop of a worker process and what it holds; decides nothing about flows (the engine
does) and nothing about storage (the store does). May import `flowkit`, `service.store.base`,
`service.faults`, `service.events`, `clock`, `evidence` and `kin`; never a concrete store, never
Flask.

One thread runs the loop; a pool of threads performs effects and hands outcomes back through
the inbox. Whatever has come in since the last commit is advanced and committed together, so a
busy worker commits in groups by itself. The loop is also the sweep: it never sleeps longer
than the sweep interval or until the store's next due time.
"""

from __future__ import annotations

import contextlib
import logging
import math
import queue
import threading
import time
from collections.abc import Callable, Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import lru_cache

from flowkit import engine
from flowkit.clock import Clock
from flowkit.engine import Ended, Event, Limits, Performance, Resume, Turn
from flowkit.execution import Answer, BranchRef, Claim, run_at
from flowkit.nodetype import Outcome
from service import faults
from service.events import finish
from service.store.base import Store
from service.worker.clock import ClockWatch
from service.worker.evidence import NOT_PERFORMED, PERFORMANCE_BROKE, Evidence, Late
from service.worker.kin import Kin, concerns_others

log = logging.getLogger(__name__)

Perform = Callable[[Performance], Outcome]
"""Performs an effect: sends, waits for the answer at most the effect's time-out, never raises."""

PAUSE_AFTER_ERROR_SECONDS = 1.0
STOP_SECONDS = 20.0
"""For how long a worker that stops tries to record what a failing store does not take."""
LEAST_SLEEP_SECONDS = 0.02
EFFECT_SHARE = 2 / 3
"""Part of a lease that an effect may take at most: as much as is left right before a renewal.

So an effect has ended before anyone else can take its branch for given up, also when no renewal
gets through any more.
"""


@dataclass(slots=True)
class Held:
    """What the runner holds of one execution, and the events that no commit has taken yet.

    After a failure of its own it rests until `rests_until`, in monotonic seconds. `doubtful` is
    what a commit that got no answer has made ours, if it was made.
    """

    claim: Claim
    events: list[Event] = field(default_factory=list)
    rests_until: float = 0.0
    doubtful: list[BranchRef] = field(default_factory=list)


def refs_of(claim: Claim) -> list[BranchRef]:
    """Return the proof of what is held."""
    return [
        BranchRef(claim.head.id, branch.branch_id, branch.epoch)
        for branch in claim.branches.values()
    ]


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
    beat : callable
        Called at every pass of the loop, at least every `sweep_seconds` unless it is stuck.
    clock_off : callable, optional
        Returns by how many seconds this machine's wall clock differs from `clock`, where that is
        another machine's. Beyond 5 s nothing more is claimed: what the machine says of times to
        others (logs, receivers) could not be trusted.
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
        beat: Callable[[], None] = lambda: None,
        clock_off: Callable[[], float] | None = None,
    ) -> None:
        self._store = store
        self._perform = perform
        self._clock = clock
        self._owner = owner
        self._name = 1
        self._lease = lease_seconds
        self._sweep = sweep_seconds
        self._limits = limits
        self._batch = batch
        self._concurrency = concurrency
        self._ring = ring
        self._beat = beat
        self._watch = ClockWatch(clock, clock_off)
        self._inbox: queue.SimpleQueue[tuple[BranchRef, Ended] | None] = queue.SimpleQueue()
        self._held: dict[str, Held] = {}
        self._late = Evidence(store, clock, limits)
        self._kin = Kin(store, ring, limits)
        self._returned: dict[BranchRef, bool] = {}
        self._paused: frozenset[str] = frozenset()
        self._paused_read = -math.inf
        self._in_flight: dict[BranchRef, Performance] = {}
        self._flow = lru_cache(maxsize=256)(store.get_version)
        self._stopping = threading.Event()
        self._stop_by = 0.0
        self._crowded = False
        self._more = True
        self._renewed = time.monotonic()
        self._expired_from = 0.0

    # ------------------------------------------------------------- from any thread

    def wake(self) -> None:
        """Look for work now."""
        self._inbox.put(None)

    def stop(self) -> None:
        """Claim nothing more; `run` returns once the effects under way are recorded."""
        self._stop_by = time.monotonic() + STOP_SECONDS
        self._stopping.set()
        self.wake()

    # ------------------------------------------------------------------ the loop

    def run(self) -> None:
        """Work until stopped. Errors of the store are logged and outlived."""
        with ThreadPoolExecutor(self._concurrency, thread_name_prefix="effect") as pool:
            while not self._done():
                self._beat()
                try:
                    self._collect(self._patience())
                    self.step(pool)
                except Exception:
                    log.exception("the worker could not go on; trying again")
                    time.sleep(PAUSE_AFTER_ERROR_SECONDS)
        if self._held or self._late:
            log.error("stopped with work that the store did not take; its leases run out")

    def _done(self) -> bool:
        if not self._stopping.is_set():
            return False
        if not self._held and not self._late and not self._returned:
            return True
        return not self._in_flight and time.monotonic() > self._stop_by

    def step(self, pool: ThreadPoolExecutor) -> None:
        """Do once what is to be done: renew, claim, advance and commit."""
        self._read_paused()
        self._watch_clock()  # as late as can be: a jump behind its back takes others' leases
        if time.monotonic() - self._renewed >= self._lease / 3:
            self._renew()
        self._claim()
        self._late.offer()  # before a branch goes on that it may be about
        while news := self._news():
            self._advance(news, pool)
        self._late.offer()
        self._release()

    def _advance(self, news: list[Held], pool: ThreadPoolExecutor) -> None:
        """Advance and commit; let no execution hold up the others by what is wrong with it."""
        try:
            self._turn(news, pool)
        except Exception as error:
            if len(news) > 1:
                log.warning("%d executions not together, but one by one: %r", len(news), error)
                for held in news:
                    self._advance([held], pool)
                return
            (held,) = news
            log.exception("execution %s could not go on; trying again", held.claim.head.id)
            held.rests_until = time.monotonic() + PAUSE_AFTER_ERROR_SECONDS
            if self._stopping.is_set():
                self._return(held)

    def _news(self) -> list[Held]:
        now = math.inf if self._stopping.is_set() else time.monotonic()
        return [held for held in self._held.values() if held.events and held.rests_until <= now]

    def _patience(self) -> float:
        """Return for how long there is nothing to do unless someone wakes us."""
        if self._news() or (self._more and self._room()):
            return 0.0
        until_renewal = self._renewed + self._lease / 3 - time.monotonic()
        sleep = min(self._sweep, until_renewal)
        if self._room():
            now = self._clock.now()
            due = self._store.next_due(now=now)
            if due is not None:
                until_due = (due - now).total_seconds()
                self._more = until_due <= sleep
                sleep = min(sleep, until_due)
        return max(sleep, LEAST_SLEEP_SECONDS)

    def _collect(self, timeout: float) -> None:
        """Take in everything that waits in the inbox; wait for the first at most `timeout`."""
        try:
            item = self._inbox.get(timeout=timeout) if timeout > 0 else self._inbox.get_nowait()
        except queue.Empty:
            self._more = self._more or timeout > 0  # the sweep: look for work unasked
            return
        with contextlib.suppress(queue.Empty):
            while True:
                if item is None:
                    self._more = True
                else:
                    self._receive(*item)
                item = self._inbox.get_nowait()

    def _receive(self, ref: BranchRef, event: Ended) -> None:
        """Take in the outcome of an effect: as news if the branch is still ours."""
        performance = self._in_flight.pop(ref)
        if self._holds(ref):
            self._held[ref.execution_id].events.append(event)
        else:
            self._late.add(Late(ref.execution_id, performance.key, performance.attempt, event))

    def _holds(self, ref: BranchRef) -> bool:
        """Whether the branch is ours for all that we know; from any thread."""
        held = self._held.get(ref.execution_id)
        branch = held.claim.branches.get(ref.branch_id) if held else None
        return branch is not None and branch.epoch == ref.epoch

    # ----------------------------------------------------------------- leases

    def _renew(self) -> None:
        refs = [ref for held in self._held.values() for ref in refs_of(held.claim)]
        started = time.monotonic()
        if refs:
            gone = self._store.renew(refs, now=self._clock.now(), lease_ms=self._lease_ms)
            for ref in gone:
                self._give_up(self._held[ref.execution_id], {ref.branch_id})
        self._renewed = started

    @property
    def _lease_ms(self) -> int:
        return int(self._lease * 1000)

    def _watch_clock(self) -> None:
        """After a jump of the clock renew; other leases stay until their owners had a chance."""
        if self._watch.jumped():
            self._renewed = -math.inf
            self._expired_from = time.monotonic() + self._lease

    # ------------------------------------------------------------------ claiming

    def _read_paused(self) -> None:
        """Look which flows are paused, once per sweep interval: see `service.worker.holding`."""
        if time.monotonic() - self._paused_read >= self._sweep:
            self._paused = self._store.paused_flows()
            self._paused_read = time.monotonic()

    def _free(self) -> int:
        return max(0, self._concurrency - len(self._in_flight))

    def _room(self) -> int:
        """Return how many branches may be claimed now."""
        if self._stopping.is_set() or self._watch.off:
            return 0
        return self._free() if self._crowded or self._in_flight else self._batch

    def _claim(self) -> None:
        """Claim what there is, as much as there is room for."""
        room = self._room()
        if not self._more or not room:
            return
        try:
            claims = self._store.claim(
                f"{self._owner}/{self._name}",
                now=self._clock.now(),
                lease_ms=self._lease_ms,
                limit=room,
                expired=time.monotonic() >= self._expired_from,
            )
        except Exception:
            # It may have been given what it was not told of, and nobody takes over from itself:
            # under another name it does, once those leases have run out.
            self._name += 1
            raise
        faults.hit("after_claim")
        taken = 0
        for claim in claims:
            taken += len(claim.branches)
            resumed: list[Event] = [Resume(branch_id) for branch_id in claim.branches]
            held = self._held.get(claim.head.id)
            if held is not None:
                # What we thought ours and claim anew had been another's in between.
                self._give_up(held, claim.branches.keys())
            if claim.head.flow_id in self._paused:
                self._returned |= dict.fromkeys(refs_of(claim), True)
            elif held is None:
                self._held[claim.head.id] = Held(claim, resumed)
            else:
                self._held[claim.head.id] = held
                branches = held.claim.branches | claim.branches
                held.claim = Claim(claim.head, branches, claim.runs)
                held.events += resumed
        self._more = taken == room
        if self._more:
            self._ring()

    # ----------------------------------------------------------------- advancing

    def _turn(self, news: list[Held], pool: ThreadPoolExecutor) -> None:
        """Advance what has news, and commit it in one go."""
        now = self._clock.now()
        room = 0 if self._stopping.is_set() else self._free()
        limits = replace(self._limits, effects=room)
        turns: list[tuple[Held, Turn]] = []
        for held in news:
            flow = self._flow(held.claim.head.flow_id, held.claim.head.flow_version)
            hold = held.claim.head.flow_id in self._paused
            if (limits.effects, limits.hold) != (room, hold):
                limits = replace(limits, effects=room, hold=hold)
            turn = engine.advance(flow, held.claim, held.events, now=now, limits=limits)
            room = max(0, room - len(turn.effects))
            turns.append((held, turn))
        faults.hit("before_commit")
        try:
            answers = self._store.commit(
                [turn.patch for _, turn in turns], now=now, lease_ms=self._lease_ms
            )
        except Exception:
            for held, turn in turns:
                held.doubtful = refs_of(turn.claim)
            raise
        faults.hit("after_commit")
        self._crowded = any(turn.crowded for _, turn in turns)
        for (held, turn), answer in zip(turns, answers, strict=True):
            self._settle(held, turn, answer, pool)
        self._more = self._more or any(answer.woken for answer in answers)
        for (held, turn), answer in zip(turns, answers, strict=True):
            if turn.patch.ended_by is not None and answer.outcome == "ok" and answer.open:
                flow = self._flow(held.claim.head.flow_id, held.claim.head.flow_version)
                finish(self._store, flow, held.claim.head.id, now=now)
                self._more = True
            if answer.outcome == "ok" and concerns_others(turn, answer):
                self._kin.settle(turn.patch.execution_id, now)
                self._more = True
        if any(turn.shared for _, turn in turns):
            self._more = True
            self._ring()

    def _settle(self, held: Held, turn: Turn, answer: Answer, pool: ThreadPoolExecutor) -> None:
        """Act on the store's answer to a turn."""
        execution_id = held.claim.head.id
        if answer.outcome == "ok":
            held.claim, held.events, held.doubtful = turn.claim, [], []
            for performance in turn.effects:
                branch = turn.claim.branches[performance.branch_id]
                ref = BranchRef(execution_id, branch.branch_id, branch.epoch)
                self._in_flight[ref] = performance
                pool.submit(self._effect, ref, performance)
        elif answer.outcome == "lost" and not any(
            run.branch_id in held.claim.branches for run in answer.runs
        ):
            held.claim = engine.with_runs(held.claim, answer.runs)
        elif answer.outcome == "fenced" and not held.doubtful:
            self._give_up(held, set(answer.fenced))
        elif answer.outcome == "cancelled":
            self._give_up(held, set(held.claim.branches))
        elif answer.outcome != "conflict" or held.doubtful or not self._hear(held):
            # It is no event that came in between, with which it would be decided anew. Someone
            # settled a run by evidence, or a commit of ours was made and its answer lost: whoever
            # claims the branches next reads it anew.
            self._return(held)
        if not held.claim.branches:
            self._held.pop(execution_id, None)

    def _hear(self, held: Held) -> bool:
        """Take in the events that came since the claim; return whether there are any."""
        claim = held.claim
        try:
            execution = self._store.get_execution(claim.head.id)
        except Exception as error:
            log.warning("what came for execution %s is not known: %s", claim.head.id, error)
            return False
        if len(execution.inbox) == len(claim.head.inbox):
            return False
        held.claim = replace(claim, head=replace(execution, branches=[], executed_nodes=[]))
        return True

    def _give_up(self, held: Held, branch_ids: Set[str]) -> None:
        """Let go of branches that are not ours; what their effects came to is still evidence."""
        for event in held.events:
            if isinstance(event, Ended) and event.branch_id in branch_ids:
                branch = held.claim.branches[event.branch_id]
                run = run_at(branch, held.claim.runs.values())
                if run is None:
                    continue
                self._late.add(
                    Late(held.claim.head.id, run.idempotency_key, run.retry_count, event)
                )
        held.claim = engine.without(held.claim, branch_ids)
        held.events = [event for event in held.events if event.branch_id not in branch_ids]
        if not held.claim.branches:
            self._held.pop(held.claim.head.id, None)

    def _return(self, held: Held) -> None:
        """Leave the branches that have news to whoever claims them next."""
        branch_ids = {event.branch_id for event in held.events}
        for ref in refs_of(held.claim):
            if ref.branch_id in branch_ids:
                self._returned[ref] = False
        self._returned |= dict.fromkeys(held.doubtful, False)
        held.doubtful = []
        self._give_up(held, branch_ids)

    def _release(self) -> None:
        """Release what was returned, once what is known of it is recorded."""
        unrecorded = self._late.executions()
        for hold in (False, True):
            refs = [
                ref
                for ref, parked in self._returned.items()
                if parked is hold and ref.execution_id not in unrecorded
            ]
            if refs:
                self._store.release(refs, now=self._clock.now(), hold=hold)
                for ref in refs:
                    del self._returned[ref]
                self._more = self._more or not hold

    # ------------------------------------------------------------------- effects

    def _effect(self, ref: BranchRef, performance: Performance) -> None:
        """Perform one effect; runs on a thread of the pool, and always reports."""
        outcome = NOT_PERFORMED
        try:
            effect = performance.effect
            timeout = min(effect.timeout, self._lease * EFFECT_SHARE)
            if self._still_held(ref, timeout):
                faults.hit("before_effect")
                outcome = PERFORMANCE_BROKE
                bounded = replace(performance, effect=replace(effect, timeout=timeout))
                outcome = self._perform(bounded)
                faults.hit("after_effect")
        except BaseException:  # also one that means to end this thread
            log.exception("the effect under %s broke off", performance.key)
        self._inbox.put((ref, Ended(ref.branch_id, outcome, self._clock.now())))

    def _still_held(self, ref: BranchRef, seconds: float) -> bool:
        """Look whether the lease holds so long; in the store, if it must be renewed for that."""
        if not self._holds(ref):
            return False
        if time.monotonic() - self._renewed + seconds <= self._lease:
            return True
        return not self._store.renew([ref], now=self._clock.now(), lease_ms=self._lease_ms)
