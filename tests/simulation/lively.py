"""Flows and behaviours for tests, in which contacts do things and executions share state."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

import flowkit as fk
from flowkit.flow import Flow
from flowkit.simulation import After, Behaviour, Occurrence, Reaction


# Steps of a flow, each a function of the builder. Those that wait go on within a day or so, no two
# for the same time: who is first of branches that are due in the same millisecond is nowhere said.
def apart(b: Any, seconds: float) -> float:
    """Return about so many seconds, and others for each node of a flow."""
    return round(seconds + 0.017 * len(b.nodes), 3)


STEPS: dict[str, Any] = {
    "send": lambda b: b.send(text="Hello {{ contact.n }}"),
    "buttons": lambda b: b.send(
        kind="buttons",
        text="?",
        buttons=[{"id": "yes", "title": "Yes"}, {"id": "no", "title": "No"}],
    ),
    "delay": lambda b: b.delay(seconds=apart(b, 5)),
    "day": lambda b: b.delay(seconds=apart(b, 86_400)),
    "count": lambda b: b.update_contact(increment={"n": 1}, add_tags=["seen"]),
    "bucket": lambda b: b.rate_limit(key="all", per_second=0.01),
    "cap": lambda b: b.frequency_cap(maximum=2, period="day"),
    "goal": lambda b: b.goal("reached", end_execution=True),
    "stop": lambda b: b.stop_flows(all=True),
    "start": lambda b: b.start_flow("lively"),
    "call": lambda b: b.subflow("part", 1, completed=STEPS["send"]),
    "call_briefly": lambda b: b.subflow(
        "part", 1, timeout={"amount": apart(b, 71.317), "unit": "seconds"}
    ),
}
ALONE = {"call", "call_briefly", "stop"}
"""What begins or ends other executions: in a millisecond in which nothing else does anything."""
PART = Flow.from_dict(
    fk.Flow("Part", trigger="never", settings={"onFailure": "end"})
    .send(text="Part of {{ contact.n }}")
    .wait_for("paid", minutes=3, received=lambda b: b.set_variable({"n": fk.contact.n}))
    .end()
    .to_dict()
    | {"id": "part", "version": 1, "isActive": True}
)
"""What lively flows run."""
WAITS: dict[str, dict[str, Any]] = {
    "reply": {"event": "whatsapp.message", "hours": 20},
    "yes": {
        "event": "whatsapp.message",
        "match": fk.event.interactive.button_reply.id == "yes",
        "hours": 20,
    },
    "paid": {"event": "paid", "match": fk.event.total > 50, "days": 2},
    "soon": {"event": "paid", "seconds": 5},
}
SETTINGS = st.fixed_dictionaries(
    {},
    optional={
        "goal": st.just(
            {"name": "paid", "event": "paid", "when": {">": [{"var": "event.total"}, 90]}}
        ),
        "exit": st.just([{"event": "opt_out"}, {"when": {">": [{"var": "contact.n"}, 2]}}]),
        "entry": st.sampled_from(
            [
                {"policy": "once"},
                {"policy": "once_active"},
                {"policy": "again_after", "after": {"amount": 1, "unit": "hours"}},
            ]
        ),
        "onFailure": st.just("end"),
    },
)


@st.composite
def lively_flows(draw: st.DrawFn) -> Flow:
    """Draw valid flows with messages, waits for events, goals, forks and internal effects."""
    trigger = draw(st.sampled_from(["test", "test", "whatsapp.message"]))
    settings = draw(SETTINGS)
    steps = set(STEPS) - {"start"}
    restarts = trigger == "test" and draw(st.booleans())

    def grow(b: Any, depth: int) -> Any:
        for _ in range(draw(st.integers(1, 3))):
            kind = draw(st.sampled_from(("step", "step", "step", "wait", "fork")))
            if kind == "fork" and depth:
                arms = draw(st.integers(2, 3))
                b = b.parallel(*[lambda b: grow(b, depth - 1) for _ in range(arms)])
            elif kind == "wait" and depth:
                config = dict(WAITS[draw(st.sampled_from(sorted(WAITS)))])
                if "seconds" in config:
                    config["seconds"] = apart(b, config["seconds"])
                b = b.wait_for(config.pop("event"), **config, received=lambda b: grow(b, depth - 1))
            else:
                step = draw(st.sampled_from(sorted(steps)))
                if step in ALONE:
                    b = b.delay(seconds=apart(b, 1.009))
                b = STEPS[step](b)
        return b

    begun = fk.Flow("Lively", trigger=trigger, settings=settings)
    if restarts:  # once: two would be a thousand
        begun = STEPS["start"](begun.delay(seconds=7.013)).delay(seconds=3.007)
    return lively(grow(begun, 2).end())


def lively(built: fk.Flow) -> Flow:
    """Return a flow as it is stored under the id that `STEPS` start."""
    return Flow.from_dict(built.to_dict() | {"id": "lively", "version": 1, "isActive": True})


# Times spread, so that hardly two things happen in the same millisecond, whose order nobody
# promises; what one event does to several executions does, for which see `production`.
@st.composite
def behaviours(draw: st.DrawFn) -> Behaviour:
    """Draw behaviours of contacts who reply, buy and ask for no more."""
    chance = st.sampled_from([0.0, 0.5, 1.0])
    reaction = Reaction(
        failed=draw(st.sampled_from([0.0, 0.3])),
        unknown=draw(st.sampled_from([0.0, 0.2])),
        error={"code": "whatsapp_2", "message": "later", "transient": draw(st.booleans())},
        latency=After(20, 3),
        read=1,
        delivered_after=After(1, 2),
        read_after=After(2, 2),
        replied=draw(chance),
        replied_after=After(draw(st.sampled_from([3, 90_000])), 1.5),
        opted_out=draw(st.sampled_from([0.0, 0.3])),
        bought=draw(chance),
        bought_after=After(4, 50),
        order={"total": draw(st.sampled_from([10, 60, 100]))},
    )
    happening = Occurrence(
        event="paid",
        when=fk.contact.coin == True,  # noqa: E712
        probability=draw(chance),
        after=After(3_600, 9),
        payload={"total": 60},
    )
    return Behaviour(
        reactions=[reaction],
        events=[happening],
        names={"bought": "paid"},
        window=draw(st.sampled_from([None, True])),
    )
