"""The state machine that holds stores to their contract really comes across what it is for."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from flowkit.engine import Turn
from flowkit.testing import MemoryStore, StoreMachine
from flowkit.walk import Walk

EVERYTHING = {
    *(f"execution {status}" for status in ("running", "delayed", "completed", "failed")),
    "execution cancelled",
    *(f"branch {status}" for status in ("ready", "running", "waiting", "forked", "merged")),
    *(f"branch {status}" for status in ("completed", "failed", "cancelled")),
    *(f"run {status}" for status in ("running", "waiting", "completed", "failed", "cancelled")),
    "run unknown",
    *(f"commit {answer}" for answer in ("ok", "lost", "fenced", "cancelled", "conflict")),
    *(f"commit again {answer}" for answer in ("ok", "lost", "fenced", "cancelled", "conflict")),
    *("renew done", "renew refused", "release done"),
    *("evidence completed", "evidence failed"),
    *("cancel", "retry", "retry one", "another attempt, failed, by hand"),
    *(f"another attempt, {status}, by policy" for status in ("failed", "unknown")),
}


class Kept(MemoryStore):
    """The model itself, as a store."""

    def close(self) -> None:
        """Do nothing."""


class Counting(StoreMachine):
    """Counts what it comes across."""

    make_store = staticmethod(Kept)
    seen: Counter[str]

    def saw(self, what: str) -> None:
        """Count it."""
        type(self).seen[what] += 1


def run(examples: int, *, same: bool = False) -> Counter[str]:
    """Run the machine, the `same` each time or by chance; return what it came across."""
    Counting.seen = Counter()
    run_state_machine_as_test(
        Counting,
        settings=settings(
            max_examples=examples,
            stateful_step_count=40,
            deadline=None,
            database=None,
            derandomize=same,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        ),
    )
    return Counting.seen


@pytest.mark.long
@pytest.mark.timeout(600)
def test_it_comes_across_everything() -> None:
    seen = run(200, same=True)
    for _ in range(10):
        if seen.keys() >= EVERYTHING:
            return
        seen += run(60)  # another version of Hypothesis draws otherwise
    raise AssertionError(sorted(EVERYTHING - seen.keys()))


def test_it_would_see_a_patch_that_is_taken_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if a branch that is let go kept its epoch."""
    result = Walk.result

    def lasting(walk: Walk) -> Turn:
        turn = result(walk)
        for move in turn.patch.move:
            move.branch.epoch = move.epoch
        return turn

    monkeypatch.setattr(Walk, "result", lasting)
    with pytest.raises(AssertionError, match="a patch is taken once"):
        run(100)


def test_it_would_see_an_effect_that_is_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if what is known of an effect did not stop the next owner."""

    def forgetful(walk: Walk, branch: object) -> None:
        walk.queue.append(branch)  # type: ignore[arg-type]

    monkeypatch.setattr(Walk, "resume", forgetful)
    with pytest.raises(AssertionError):
        run(1000)  # it stops at the first
