"""A simulation is what production would have made of the same, row for row."""

from __future__ import annotations

import tempfile
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pandas as pd
from hypothesis import event, given, settings
from hypothesis import strategies as st

from flowkit import history
from flowkit.flow import Flow
from flowkit.simulation import After, Behaviour, Reaction, crowd, simulate
from flowkit.testing import EPOCH, flows
from tests.simulation.lively import behaviours, lively_flows
from tests.simulation.production import SEED, production

COINS = [True, False]
BEHAVIOURS = st.builds(
    lambda failed, unknown, transient, spread: Behaviour(
        reactions=[
            Reaction(
                failed=failed,
                unknown=unknown,
                error={"code": "whatsapp_2", "message": "later", "transient": transient},
                latency=After(20, spread),
            )
        ]
    ),
    st.sampled_from([0.0, 0.4]),
    st.sampled_from([0.0, 0.3]),
    st.booleans(),
    st.sampled_from([1.0, 3.0]),
)


def contacts(number: int) -> list[dict[str, Any]]:
    return [
        {"id": f"c{i}", "phone": f"+551199999000{i}", "coin": COINS[i % 2]} for i in range(number)
    ]


def payload(contact: dict[str, Any]) -> dict[str, Any]:
    return {"contact": contact, "coin": contact["coin"]}


def same(simulated: Any, documents: list[Any]) -> None:
    """Hold the frames of a simulation against those of production's documents."""
    executions, node_runs = history.executions(documents), history.node_runs(documents)
    pd.testing.assert_frame_equal(simulated.executions, executions)
    pd.testing.assert_frame_equal(simulated.node_runs, node_runs)


@settings(max_examples=15, deadline=None)
@given(flow=flows(), behaviour=BEHAVIOURS, number=st.integers(1, 3))
def test_production_makes_the_same_rows(flow: Flow, behaviour: Behaviour, number: int) -> None:
    people = contacts(number)
    simulated = simulate(flow, people, behaviour, at=EPOCH, seed=SEED, payload=payload)
    with tempfile.TemporaryDirectory() as directory:
        documents = production(Path(directory), flow, people, behaviour, payload)
    for status in simulated.executions["status"]:
        event(status)
    same(simulated, documents)


@settings(max_examples=40, deadline=None)
@given(flow=flows(), behaviour=BEHAVIOURS, number=st.integers(2, 12), days=st.none() | st.just(0.6))
def test_shared_turns_make_the_same_rows(
    flow: Flow, behaviour: Behaviour, number: int, days: float | None
) -> None:
    with patch.object(crowd, "FEW", 1):
        results = [
            simulate(
                flow, contacts(number), behaviour, at=EPOCH, seed=SEED, payload=payload,
                share=share, until=None if days is None else EPOCH + timedelta(days=days),
            )
            for share in (True, False)
        ]  # fmt: skip
    for name in ("executions", "node_runs"):
        left, right = (getattr(result, name) for result in results)
        pd.testing.assert_frame_equal(left, right)


@settings(max_examples=25, deadline=None)
@given(
    flow=lively_flows(),
    behaviour=behaviours(),
    whom=st.lists(st.integers(0, 2), min_size=1, max_size=4),
)
def test_production_makes_the_same_of_contacts_who_do_things(
    flow: Flow, behaviour: Behaviour, whom: list[int]
) -> None:
    people = [contacts(3)[number] for number in whom]
    over = timedelta(seconds=9_973)
    simulated = simulate(
        flow, people, behaviour, at=EPOCH, over=over, seed=SEED, payload=payload, repeats=True
    )
    with tempfile.TemporaryDirectory() as directory:
        documents = production(Path(directory), flow, people, behaviour, payload, over)
    for status in simulated.executions["status"]:
        event(status)
    for status in set(simulated.node_runs["status"]):
        event(f"run {status}")
    same(simulated, documents)
