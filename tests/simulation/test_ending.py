"""Executions that end before all their branches do end so in a simulation too."""

from __future__ import annotations

import pytest

import flowkit as fk
from flowkit.testing import EPOCH

CONTACTS = [{"id": f"c{i}", "phone": f"+551199999000{i}"} for i in range(5)]


@pytest.mark.parametrize("share", [True, False])
def test_a_goal_that_ends_the_execution_ends_what_waits_beside_it(share: bool) -> None:
    flow = (
        fk.Flow("Goal", trigger="t")
        .parallel(
            lambda b: b.delay(hours=1).goal("bought", end_execution=True),
            lambda b: b.delay(days=1).send(text="Still there?", id="late"),
        )
        .end()
    )
    found = fk.simulate(flow, CONTACTS, at=EPOCH, share=share)
    assert list(found.executions["status"]) == ["completed"] * 5
    assert "late" not in set(found.node_runs["node_id"])
    hour = found.executions["ended_at"] - found.executions["created_at"]
    assert (hour.dt.total_seconds() == 3600).all()
