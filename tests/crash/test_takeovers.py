"""Several workers at one store: they race, one sleeps past its leases, and each message is sent
once all the same."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import time

import pytest

from flowkit.execution import OUTCOME_UNKNOWN
from tests.crash.flows import payloads
from tests.crash.guarantees import check
from tests.processes import Installation, until

pytestmark = [pytest.mark.timeout(300), pytest.mark.crash]


def test_workers_that_race_for_every_branch(here: Installation) -> None:
    """Claims of one branch at a time, so that they meet at each."""
    for _ in range(3):
        here.start("worker", FLOWKIT_CLAIM_BATCH="1", FLOWKIT_LEASE_SECONDS="10")
    accepted = [i for kind in ("fail", "converge", "shared") for i in here.trigger(PEOPLE, kind)]
    here.wait_for(accepted, 180)
    found = check(here, accepted, crashes=0)
    assert {execution.status for execution in found} == {"completed"}


PEOPLE = payloads(15)


CELLS = [
    ("after_claim:1", "fail"),
    ("before_commit:1", "shared"),
    ("before_commit:2", "fail"),
    ("before_commit:2", "resend"),
    ("after_commit:1", "fail"),
    ("before_effect:2", "fail"),
    ("before_effect:2", "resend"),
    ("after_effect:2", "fail"),
    ("after_effect:2", "few"),
    ("before_commit:2", "delay"),
]


@pytest.mark.parametrize(("point", "kind"), CELLS)
def test_a_worker_that_slept_past_its_lease_is_fenced(
    here: Installation, point: str, kind: str
) -> None:
    """It stands still at a point; another one takes over all that it held; it wakes."""
    accepted = here.trigger(payloads(4), kind)
    sleeper = here.start("worker", FLOWKIT_FAIL_AT=f"{point}:SIGSTOP")
    until(lambda: stands_still(sleeper), seconds=90, what=f"{point} is reached")
    keep_out_of_the_file(here, sleeper)
    here.start("worker")
    here.wait_for(accepted)
    taken_over = here.executions(accepted)
    os.killpg(sleeper.pid, signal.SIGCONT)
    assert here.stop(sleeper) == 0, "it wakes, and ends in good order with what it learned"
    found = check(here, accepted, crashes=1)
    for before, after in zip(taken_over, found, strict=True):
        assert after.status == before.status
        assert after.branches == before.branches, "it changes nothing but what is known of a run"
        outcomes = {r.node_id: r.status for r in before.executed_nodes}
        assert outcomes.keys() == {r.node_id for r in after.executed_nodes}
    failed = [execution.id for execution in found if execution.status == "failed"]
    # A retry goes on behind the messages that are known to be sent; of the others only those
    # are sent a second time of which nobody knows, since a hand has asked for it.
    unknown = any(
        run.error and run.error["code"] == OUTCOME_UNKNOWN for run in here.runs(failed, "failed")
    )
    for execution_id in failed:
        answer = here.client.post(f"/api/executions/{execution_id}/retry", json={})
        assert answer.status_code == 200, answer.text
    here.wait_for(accepted)
    found = check(here, accepted, crashes=1, by_hand=unknown)
    assert {execution.status for execution in found} == {"completed"}


def keep_out_of_the_file(here: Installation, process: subprocess.Popen[str]) -> None:
    """Move a process that stands still on until it does not keep others out of SQLite's file."""
    lock = here.database.with_name(f"{here.database.name}.lock")
    while lock.exists():
        with lock.open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                os.killpg(process.pid, signal.SIGCONT)
                time.sleep(0.01)
                os.killpg(process.pid, signal.SIGSTOP)
                until(lambda: stands_still(process))


def stands_still(process: subprocess.Popen[str]) -> bool:
    options = os.WSTOPPED | os.WNOWAIT | os.WNOHANG
    return os.waitid(os.P_PID, process.pid, options) is not None
