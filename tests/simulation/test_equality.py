"""A simulation is what production would have made of the same, row for row."""

from __future__ import annotations

import tempfile
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pandas as pd
import pytest
from hypothesis import Phase, event, given, note, settings
from hypothesis import strategies as st

import flowkit as fk
from flowkit import history
from flowkit.flow import Flow
from flowkit.simulation import After, Behaviour, Occurrence, Reaction, crowd, simulate
from flowkit.testing import EPOCH, flows
from tests.examples import examples
from tests.simulation.lively import PART, STEPS, behaviours, lively, lively_flows
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
    for other_id, other in getattr(simulated, "others", {}).items():
        same(other, [document for document in documents if document["flowId"] == other_id])
    documents = [d for d in documents if d["flowId"] == simulated.flow.id]
    executions, node_runs = history.executions(documents), history.node_runs(documents)
    pd.testing.assert_frame_equal(simulated.executions, executions)
    pd.testing.assert_frame_equal(simulated.node_runs, node_runs)


def untied(flow: Flow) -> Flow:
    """Let no JOIN's time be up in the very millisecond in which a branch arrives.

    Which of the two comes first is nowhere said: of two workers either may be the faster.
    """
    document = flow.to_dict()
    for node in document["nodes"]:
        if node["type"] == "JOIN" and "timeout" in node["config"]:
            seconds = {"seconds": 1, "days": 86_400}[node["config"]["timeout"]["unit"]]
            amount = seconds * node["config"]["timeout"]["amount"] + 7.111
            node["config"]["timeout"] = {"amount": amount, "unit": "seconds"}
    return Flow.from_dict(document)


@settings(max_examples=examples(8, 40), deadline=None)
@given(flow=flows().map(untied), behaviour=BEHAVIOURS, number=st.integers(1, 3))
def test_production_makes_the_same_rows(flow: Flow, behaviour: Behaviour, number: int) -> None:
    people = contacts(number)
    simulated = simulate(flow, people, behaviour, at=EPOCH, seed=SEED, payload=payload)
    with tempfile.TemporaryDirectory() as directory:
        documents = production(Path(directory), flow, people, behaviour, payload)
    for status in simulated.executions["status"]:
        event(status)
    same(simulated, documents)


@settings(max_examples=examples(20, 100), deadline=None)
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


def production_is_the_same(flow: Flow, behaviour: Behaviour, people: list[dict[str, Any]]) -> Any:
    """Hold a simulation of contacts who do things against production; return it."""
    over = timedelta(seconds=9_973)
    simulated = simulate(
        flow, people, behaviour, at=EPOCH, over=over, seed=SEED, payload=payload, repeats=True,
        flows=[PART],
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as directory:
        documents = production(Path(directory), flow, people, behaviour, payload, over, [PART])
    same(simulated, documents)
    assert {document["flowId"] for document in documents} <= {flow.id, *simulated.others}
    return simulated


# To shrink an example takes minutes: it is told as it was drawn, in a form to call the above with.
@settings(max_examples=examples(12, 60), phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(
    flow=lively_flows(),
    behaviour=behaviours(),
    whom=st.lists(st.integers(0, 2), min_size=1, max_size=4),
)
def test_production_makes_the_same_of_contacts_who_do_things(
    flow: Flow, behaviour: Behaviour, whom: list[int]
) -> None:
    note(f"flow = Flow.from_dict({flow.to_dict()!r})\nbehaviour = {behaviour!r}\nwhom = {whom}")
    simulated = production_is_the_same(flow, behaviour, [contacts(3)[number] for number in whom])
    for status in simulated.executions["status"]:
        event(status)
    for status in set(simulated.node_runs["status"]):
        event(f"run {status}")


@pytest.mark.parametrize(
    ("steps", "through"),
    [
        (["stop"], [3]),
        (["cap", "stop"], [3]),
        (["bucket"], [3, 2, 1, 0]),
        (["delay", "bucket"], [3, 2, 1, 0]),
    ],
)
def test_of_executions_that_one_event_lets_go_on_the_latest_is_first(
    steps: list[str], through: list[int]
) -> None:
    def goes_on(b: Any) -> Any:
        for step in steps:
            b = STEPS[step](b)
        return b

    built = fk.Flow("Lively", trigger="test").wait_for("paid", days=1, received=goes_on).end()
    paid = Occurrence(event="paid", after=After(10_000))
    simulated = production_is_the_same(lively(built), Behaviour(events=[paid]), contacts(1) * 4)
    completed = simulated.executions.query("status == 'completed'")
    assert list(completed.sort_values("updated_at").index) == through


def test_an_event_that_came_before_a_token_makes_no_second_attempt() -> None:
    sent = fk.Flow("Lively", trigger="test").send(text="Hello")
    flow = lively(sent.rate_limit(key="all", per_second=1).wait_for("paid", days=1).end())
    behaviour = Behaviour(
        reactions=[Reaction(latency=After(20))], events=[Occurrence(event="paid", after=After(5))]
    )
    simulated = production_is_the_same(flow, behaviour, contacts(1))
    assert list(simulated.node_runs["retry_count"]) == [0] * 5


def test_a_time_that_is_up_for_a_wait_that_is_over_changes_nothing() -> None:
    """The JOIN has gone on before its time was up; whoever went on waits for something else."""
    built = fk.Flow("Lively", trigger="test").parallel(
        lambda b: b.send(text="Hello"), lambda b: b.delay(seconds=1.009)
    )
    joined = built.join(timeout={"amount": 90.017, "unit": "seconds"})
    for waiting in (joined.wait_for("paid", never=True), joined.delay(days=2)):
        behaviour = Behaviour(reactions=[Reaction(latency=After(20))])
        simulated = production_is_the_same(lively(waiting.end()), behaviour, contacts(1))
        (seconds,) = simulated.executions["updated_at"] - pd.Timestamp(EPOCH)
        assert seconds != timedelta(seconds=90.017)
