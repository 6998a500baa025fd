"""A flow that runs another, in a trial and in a simulation: its end is said, or it is refused."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

import flowkit as fk
from flowkit.errors import Invalid
from flowkit.kin import CALL
from flowkit.nodetype import Outcome
from flowkit.simulation import Behaviour

FLOW = (
    fk.Flow("Whole", trigger="t")
    .subflow(
        "part",
        1,
        completed=lambda b: b.send(text="{{ nodes.sub.vars.size }}", id="yes"),
        failed=lambda b: b.send(text="No.", id="no"),
        id="sub",
    )
    .end()
)
ANA = {"id": "c1", "phone": "+5511999990000"}
XL = Outcome("completed", handle="completed", result={"vars": {"size": "XL"}})
NOW = datetime(2026, 1, 6, tzinfo=UTC)


def test_without_an_answer_nothing_runs() -> None:
    for run in (
        lambda: fk.test(FLOW).with_contact(ANA).run(),
        lambda: fk.simulate(FLOW, [ANA], at=NOW),
        lambda: FLOW.explain(ANA),
    ):
        with pytest.raises(Invalid) as refusal:
            run()
        (problem,) = refusal.value.problems
        assert problem.code == "simulate.subflow"
        assert "sub" in problem.message


def test_the_answer_leads_on() -> None:
    trial = fk.test(FLOW).with_contact(ANA).at(NOW)
    (sent,) = trial.ending("sub", XL).run().messages
    assert (sent.node_id, sent.text) == ("yes", "XL")
    failed = Outcome("completed", handle="failed")
    assert [s.node_id for s in trial.ending("sub", failed).run().messages] == ["no"]
    behaviour = Behaviour(answers={CALL: lambda performance, contact: XL})
    for share in (True, False):
        found = fk.simulate(FLOW, [ANA], behaviour, at=NOW, share=share)
        assert "yes" in set(found.node_runs["node_id"])
