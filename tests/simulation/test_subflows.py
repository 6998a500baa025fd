"""A flow that runs or starts another, in a trial and in a simulation."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd
import pytest

import flowkit as fk
from flowkit.errors import Invalid
from flowkit.kin import CALL
from flowkit.nodetype import Outcome
from flowkit.simulation import After, Behaviour, Prices, Reaction

PART = (
    fk.Flow("Part", trigger="called", id="part")
    .send(text="Which size?", id="ask")
    .wait_for("whatsapp.message", hours=4, id="reply")
    .set_variable({"size": "XL"})
    .end()
)
FLOW = (
    fk.Flow("Whole", trigger="t", settings={"exit": [{"event": "opt_out"}]})
    .subflow(
        "part",
        1,
        timeout={"amount": 3, "unit": "hours"},
        completed=lambda b: b.send(text="{{ nodes.sub.vars.size }}", id="yes"),
        failed=lambda b: b.send(text="No.", id="no"),
        id="sub",
    )
    .end()
)
ANA = {"id": "c1", "phone": "+5511999990000"}
XL = Outcome("completed", handle="completed", result={"vars": {"size": "XL"}})
REFUSED = Outcome("failed", error={"code": "refused", "message": "no", "transient": False})
NOW = datetime(2026, 1, 6, tzinfo=UTC)
HOUR = timedelta(hours=1)


def trial() -> Any:
    return fk.test(FLOW).with_contact(ANA).at(NOW)


def codes(refusal: pytest.ExceptionInfo[Invalid]) -> list[tuple[str, str]]:
    return [(problem.code, problem.path) for problem in refusal.value.problems]


def test_without_the_flow_or_its_end_nothing_runs() -> None:
    for run in (
        lambda: trial().run(),
        lambda: fk.simulate(FLOW, [ANA], at=NOW),
        lambda: FLOW.explain(ANA),
    ):
        with pytest.raises(Invalid) as refusal:
            run()
        (problem,) = refusal.value.problems
        assert problem.code == "simulate.subflow"
        assert "sub runs flow part, version 1" in problem.message


def test_the_answer_leads_on() -> None:
    (sent,) = trial().ending("sub", XL).run().messages
    assert (sent.node_id, sent.text) == ("yes", "XL")
    failed = Outcome("completed", handle="failed")
    assert [s.node_id for s in trial().ending("sub", failed).run().messages] == ["no"]
    behaviour = Behaviour(answers={CALL: lambda performance, contact: XL})
    for share in (True, False):
        found = fk.simulate(FLOW, [ANA], behaviour, at=NOW, share=share)
        assert "yes" in set(found.node_runs["node_id"])
        assert found.others == {}


def test_a_trial_goes_through_the_other_flow_and_back() -> None:
    journey = trial().with_flows(PART).event("whatsapp.message", after=2 * HOUR).run()
    assert journey.sent == [
        ("part/ask", "2026-01-06T00:00:00.000Z"),
        ("yes", "2026-01-06T02:00:00.000Z"),
    ]
    assert journey.messages[1].text == "XL"
    assert journey.path == ["trigger_1", "sub", "yes", "end_1"]
    told = str(journey)
    assert "part/reply (WAIT_FOR_EVENT): waits for whatsapp.message" in told
    assert "is what part/reply waited for" in told
    assert "event flow:ended: is what sub waited for" in told
    assert str(FLOW.explain(ANA, at=NOW, flows=[PART])).count("part/ask (SEND_MESSAGE)") == 1


def test_what_nobody_waits_for_any_more_is_cancelled() -> None:
    late = trial().with_flows(PART).event("whatsapp.message", after=3.5 * HOUR).run()
    assert late.sent == [("part/ask", "2026-01-06T00:00:00.000Z")]
    assert late.run_of("sub").source_handle == "timeout"
    assert "part/set_variable_1" not in str(late)
    left = trial().with_flows(PART).event("opt_out", after=HOUR)
    left = left.event("whatsapp.message", after=2 * HOUR).run()
    assert left.status == "completed"
    assert "part/set_variable_1" not in str(left)


def test_nodes_of_the_other_flow_fail_as_a_trial_says() -> None:
    journey = trial().with_flows(PART).ending("part/ask", REFUSED).run()
    assert [node for node, _ in journey.sent] == ["part/ask", "no"]
    with pytest.raises(Invalid, match=r"no node 'part/nowhere'"):
        trial().with_flows(PART).ending("part/nowhere", REFUSED)


REPLIES = Behaviour(
    reactions=[Reaction(node="part/ask", read=1, replied=0.5, replied_after=After(60)), Reaction()]
)


def test_a_simulation_has_the_other_flow_beside_it() -> None:
    people = [{"id": f"c{i}", "phone": "+5511999990000", "n": i} for i in range(200)]
    prices = Prices(
        as_of=NOW.date(),
        currency="USD",
        rates={("", "MARKETING"): 1.0, ("", "UTILITY"): 10.0},
        categories={"part/ask": "UTILITY"},
    )
    one, two = (
        fk.simulate(FLOW, people, REPLIES, at=NOW, flows=[PART], processes=processes, prices=prices)
        for processes in (1, 2)
    )
    (other,) = one.others.values()
    assert list(one.others) == ["part"]
    assert len(other.executions) == 200
    assert set(other.executions["flow_id"]) == {"part"}
    done = int((one.node_runs["node_id"] == "yes").sum())
    assert 60 < done < 140
    by_status = dict(other.executions["status"].value_counts())
    assert by_status == {"completed": done, "cancelled": 200 - done}
    assert other.messages["replied_at"].notna().sum() >= done  # some only when it was too late
    assert one.cost() == 200 * 10 + done * 1
    assert "200 of part (see .others)" in repr(one)
    assert len(other.triggers) == 200
    for left, right in ((one, two), (other, two.others["part"])):
        pd.testing.assert_frame_equal(left.executions, right.executions)
        pd.testing.assert_frame_equal(left.node_runs, right.node_runs)


def test_the_pinned_version_runs_and_the_newest_is_started() -> None:
    two = fk.Flow("Part", trigger="called", id="part").send(text="Two", id="two").end()
    both = [PART.replace(version=1), two.replace(version=2)]
    assert [n for n, _ in trial().with_flows(*both).run().sent] == ["part/ask"]
    starts = fk.Flow("Starts", trigger="t").start_flow("part").end()
    started = fk.test(starts).with_contact(ANA)
    assert [n for n, _ in started.with_flows(*both).run().sent] == ["part/two"]
    assert started.run().sent == []
    assert list(fk.simulate(starts, [ANA], at=NOW, flows=both).others) == ["part"]


def test_a_flow_that_cannot_take_part_is_refused() -> None:
    endless = fk.Flow("Part", trigger="called", id="part").send(text="No end", id="ask")
    behaviour = Behaviour(reactions=[Reaction(node="part/nowhere")])
    with pytest.raises(Invalid) as refusal:
        fk.simulate(FLOW, [ANA], behaviour, at=NOW, flows=[PART.replace(id=None), endless])
    (first, *wrong, last) = codes(refusal)
    assert first == ("simulate.flows", "/flows/0")
    assert {path for _, path in wrong} == {"/flows/1/nodes", "/flows/1/nodes/1"}
    assert last == ("behaviour.node", "/reactions/0/node")
    own = Behaviour(reactions=[Reaction(node="whole/yes")])  # a flow's own nodes have no prefix
    again = fk.Flow("Again", trigger="t", id="whole").send(text="Hi", id="yes").start_flow("whole")
    whole = again.end()
    with pytest.raises(Invalid, match=r"no node 'whole/yes'"):
        fk.simulate(whole, [ANA], own, at=NOW)


def test_a_backtest_runs_them_too() -> None:
    people = [{"id": f"c{i}", "phone": "+5511999990000"} for i in range(20)]
    old = FLOW.replace(id="whole", version=1)
    recorded = fk.simulate(old, people, at=NOW, flows=[PART])
    new = fk.Flow("Whole", trigger="t").send(text="Hi", id="no").end()
    found = fk.backtest(old, new, recorded, behaviour=REPLIES, flows=[PART])
    assert list(found.old.others) == ["part"]
    assert found.new.others == {}
    with pytest.raises(Invalid, match="sub runs flow part"):
        fk.backtest(old, new, recorded)


def test_a_plan_without_a_service_says_what_it_cannot_simulate() -> None:
    plan = fk.plan(None, FLOW.replace(name="New"), deployed=FLOW)
    assert plan.outcomes is None
    assert "sub runs flow part, version 1" in str(plan)
    endless = fk.Flow("Part", trigger="called", id="part").send(text="No end", id="ask")
    plan = fk.plan(None, FLOW.replace(name="New"), deployed=FLOW, contacts=5, flows=[endless])
    assert "/flows/0/nodes" in plan.not_simulated
    plan = fk.plan(None, FLOW.replace(name="New"), deployed=FLOW, contacts=5, flows=[PART])
    assert plan.outcomes is not None
