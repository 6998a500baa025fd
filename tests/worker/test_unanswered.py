"""A store that did what it was asked for, and whose answer was lost: nothing is done twice."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import Any

import pytest

from flowkit.execution import OUTCOME_UNKNOWN, TERMINAL
from flowkit.flow import Flow
from flowkit.testing import check_invariants
from tests.processes import until
from tests.worker.stage import PATIENCE, Stage, Watched, fork, messages

FLOWS = {"in a row": messages("first", "second"), "stays": fork(3), "shared": fork(12)}


class NoAnswer(Exception):
    """The connection broke."""


def lose(store: Watched, verb: str, number: int) -> None:
    """Lose the answer to a call, the `number`-th of its kind."""

    def after(result: Any) -> None:
        if store.calls[verb] == number:
            raise NoAnswer

    store.after[verb] = after


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.worker.runner.PAUSE_AFTER_ERROR_SECONDS", 0.01)


@pytest.mark.parametrize(
    ("verb", "number"),
    [*(("commit", i) for i in range(1, 7)), ("claim", 1), ("claim", 2), ("release", 1)],
)
@pytest.mark.parametrize("flow", FLOWS.values(), ids=FLOWS)
def test_one_worker_alone_goes_on(stage: Stage, flow: Flow, verb: str, number: int) -> None:
    store = stage.watched()
    lose(store, verb, number)
    stage.start(flow)
    worker = stage.run(stage.runner(store=store, lease_seconds=1))

    def ended() -> bool:
        stage.clock.advance(timedelta(seconds=0.02))
        return stage.execution().status in TERMINAL

    until(ended, seconds=PATIENCE, what="it ends")
    check_invariants(stage.execution())
    for run in stage.execution().executed_nodes:
        assert run.error is None or run.error["code"] == OUTCOME_UNKNOWN, run
    if stage.execution().status == "failed":  # it cannot know that it did not begin
        stage.retry()
        worker.wake()
        stage.wait_for("completed")
    check_invariants(stage.execution())
    assert not stage.leases()
    assert set(Counter(stage.effects.performed).values()) == {1}
