"""Several workers at one store: they race, one sleeps past its leases, and each message is sent
once all the same."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import time

import httpx
import pytest

from flowkit.execution import OUTCOME_UNKNOWN
from tests.crash.flows import payloads
from tests.crash.guarantees import check, ledger
from tests.processes import Installation, until

pytestmark = pytest.mark.timeout(300)


@pytest.mark.crash
def test_workers_that_race_for_every_branch(here: Installation) -> None:
    """Claims of one branch at a time, so that they meet at each."""
    for _ in range(3):
        here.start("worker", FLOWKIT_CLAIM_BATCH="1", FLOWKIT_LEASE_SECONDS="10")
    accepted = [i for kind in ("fail", "converge", "shared") for i in here.trigger(PEOPLE, kind)]
    here.wait_for(accepted, 180)
    found = check(here, accepted, crashes=0)
    assert {execution.status for execution in found} == {"completed"}


PEOPLE = payloads(15)


def stop_still(here: Installation, process: subprocess.Popen[str]) -> None:
    """Stop a process as it stands, but not while it keeps others out of SQLite's file."""
    lock = here.database.with_name(f"{here.database.name}.lock")
    while True:
        os.killpg(process.pid, signal.SIGSTOP)
        if not lock.exists():
            return
        with lock.open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                os.killpg(process.pid, signal.SIGCONT)
                time.sleep(0.01)


def test_a_worker_that_slept_past_its_lease_is_fenced(here: Installation) -> None:
    """SIGSTOP in the middle of effects; another worker takes over; the first one wakes."""
    # The answers come while it sleeps, in time for it to hear them when it wakes.
    lease = {"FLOWKIT_LEASE_SECONDS": "4"}
    slow = {"text": "one", "latencyMs": 1000}
    httpx.post(f"{here.simulator}/_simulator/rules", json=slow).raise_for_status()
    accepted = here.trigger(payloads(5), "fail")
    sleeper = here.start("worker", **lease)
    until(lambda: here.runs(accepted, "running"), seconds=60, what="the first one begins")
    stop_still(here, sleeper)
    here.start("worker", **lease)
    here.wait_for(accepted)  # the other one gives up what it cannot know of
    os.killpg(sleeper.pid, signal.SIGCONT)

    def unknown() -> bool:
        failed = here.runs(accepted, "failed")
        return any(run.error and run.error["code"] == OUTCOME_UNKNOWN for run in failed)

    # Each was sent, or was found to have lost its lease before: nothing stays unknown.
    until(lambda: not unknown(), what="what the sleeper learned is taken as evidence")
    check(here, accepted, crashes=0)
    # A retry goes on behind the messages that are known to be sent, and sends none again.
    httpx.delete(f"{here.simulator}/_simulator/rules").raise_for_status()
    for execution_id in accepted:
        answer = here.client.post(f"/api/executions/{execution_id}/retry", json={})
        assert answer.status_code == 200, answer.text
    here.wait_for(accepted)
    found = check(here, accepted, crashes=0)
    assert {execution.status for execution in found} == {"completed"}
    performed = ledger(here.simulator)
    assert len(performed) == 2 * len(accepted)
    assert set(performed.values()) == {1}
