"""The service window: what is proved of it, by examples and held against the engine."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import flowkit as fk
from flowkit.flow import Flow
from flowkit.problems import errors
from flowkit.validate.window import CLOSING, DAY
from tests.engine.driver import PAYLOAD, World
from tests.examples import examples

HOUR = timedelta(hours=1)
REPLY = "whatsapp.message"


def start(trigger: str = REPLY) -> Flow:
    return Flow("Windows", trigger=trigger).replace(id="flow", version=1)


def at(flow: Flow, node: str = "hi") -> tuple[str, timedelta, timedelta | None]:
    ended = flow.end() if flow.open_ends else flow
    (row,) = [row for row in ended.window() if row.node_id == node]
    return row.verdict, row.youngest, row.oldest


def wait(flow: Any, hours: float, **on: Any) -> Any:
    return flow.wait_for(REPLY, hours=hours, on=on)


def test_who_has_not_written_may_not_be_written_to() -> None:
    flow = start("signed_up").send(template="hello", language="en_US").send(text="Hi", id="hi")
    assert at(flow) == ("may be closed", timedelta(), None)
    (problem,) = [p for p in flow.end().validate() if p.code == "window.may_be_closed"]
    assert "no message of the contact" in problem.message
    assert (problem.path, problem.severity) == ("/nodes/2", "warning")
    later = start("signed_up").delay(days=1).send(text="Hi", id="hi")
    assert at(later)[0] == "closed"


def test_who_has_answered_may() -> None:
    flow = start("signed_up").send(template="hello", language="en_US").wait_for(
        REPLY, hours=10,
        on={"received": lambda b: b.send(text="Hi", id="hi").end(), "timeout": lambda b: b.end()},
    )  # fmt: skip
    assert at(flow)[0] == "open"


def test_a_timeout_is_no_answer() -> None:
    flow = start("signed_up").wait_for(
        REPLY, hours=10,
        on={"timeout": lambda b: b.send(text="Hi", id="hi").end(), "received": lambda b: b.end()},
    )  # fmt: skip
    assert at(flow) == ("may be closed", 10 * HOUR, None)


@pytest.mark.parametrize(("rounds", "verdict"), [(3, "open"), (24, "closed")])
def test_rounds_add_up(rounds: int, verdict: str) -> None:
    flow = start().repeat(maximum=rounds, body=lambda b: b.delay(hours=1)).send(text="Hi", id="hi")
    assert at(flow) == (verdict, rounds * HOUR, rounds * HOUR)


def test_rounds_that_a_condition_ends_are_no_fewer_than_it_lets_be() -> None:
    def loop(**more: Any) -> tuple[str, timedelta, timedelta | None]:
        flow = start().repeat(maximum=5, body=lambda b: b.delay(hours=1), **more)
        return at(flow.send(text="Hi", id="hi"))

    assert loop(while_=fk.contact.vip == True)[1:] == (0 * HOUR, 5 * HOUR)  # noqa: E712
    assert loop(until=fk.contact.vip == True)[1:] == (1 * HOUR, 5 * HOUR)  # noqa: E712


def test_what_one_branch_has_heard_a_join_knows() -> None:
    flow = (
        start("signed_up")
        .parallel(lambda b: b.wait_for(REPLY, never=True, on={}), lambda b: b.delay(hours=2))
        .join()
        .send(text="Hi", id="hi")
    )
    verdict, youngest, _ = at(flow)
    assert (verdict, youngest) == ("may be closed", timedelta())  # the wait has no bound
    assert flow.end().window()[0].oldest is None


def test_a_join_counts_from_the_fork() -> None:
    flow = (
        start()
        .sending_window("09:00", "18:00")
        .parallel(lambda b: b.delay(hours=1), lambda b: b.delay(hours=3))
        .join()
        .send(text="Hi", id="hi")
    )
    assert at(flow)[1:] == (3 * HOUR, (24 + 2 + 3) * HOUR)


def test_what_runs_beside_a_wait_is_not_closed() -> None:
    flow = start("signed_up").parallel(
        lambda b: wait(b, 40).end(),
        lambda b: b.delay(hours=30).send(text="Hi", id="hi"),
    )
    assert at(flow)[:2] == ("may be closed", timedelta())


# --- against the engine -----------------------------------------------------------------------


@st.composite
def flows(draw: Callable[..., Any]) -> Flow:
    """Flows of delays, waits for an answer, free texts, conditions, forks with JOIN, and loops."""
    number = iter(range(10_000))
    hours = st.sampled_from([1, 8, 13, 25])

    def condition(name: str) -> Any:
        return {"var": f"trigger.{name}"}

    def grow(b: Any, depth: int) -> Any:
        for _ in range(draw(st.integers(0, 3 if depth else 5))):
            b = step(b, draw(st.sampled_from("ddwwmmmcffr" if depth < 2 else "dwm")), depth)
        return b

    def step(b: Any, shape: str, depth: int) -> Any:
        def inner(branch: Any) -> Any:
            return grow(branch, depth + 1)

        name = f"{shape}{next(number)}"
        if shape == "d":
            return b.delay(hours=draw(hours), id=name)
        if shape == "m":
            return b.send(text="Hi", id=name)
        if shape == "w":
            on = draw(st.sampled_from([{}, {"timeout": lambda late: late.end()}]))
            return b.wait_for(REPLY, hours=draw(st.sampled_from([2, 11, 23])), id=name, on=on)
        if shape == "c":
            return b.when(condition(name), then=inner, id=name)
        if shape == "r":
            ends = draw(st.sampled_from([{}, {"while_": 0}, {"until": 0}]))
            return b.repeat(
                maximum=draw(st.integers(1, 3)),
                body=lambda body: inner(body).delay(hours=1, id=f"e{name}"),
                id=name,
                **dict.fromkeys(ends, condition(name)),
            )
        join = draw(
            st.sampled_from([{}, {}, {"mode": "any"}, {"timeout": {"amount": 9, "unit": "hours"}}])
        )
        late = {"on_timeout": lambda late: late.end()} if "timeout" in join else {}
        ways = [
            lambda branch, way=way: inner(branch.delay(hours=draw(hours), id=f"b{way}{name}"))
            for way in range(draw(st.integers(2, 3)))
        ]
        return b.parallel(*ways).join(id=f"j{name}", **join, **late)

    return grow(start(draw(st.sampled_from([REPLY, "signed_up"]))), 0).end()


def run(flow: Flow, payload: dict[str, Any], replies: list[timedelta]) -> World:
    """Run a flow to its end; the contact writes at some times after the start."""
    world = World(flow, payload=PAYLOAD | payload)
    begun = world.now
    ahead = [begun + reply for reply in sorted(replies)]
    execution = world.run()
    while execution.resume_at is not None:
        if ahead and ahead[0] <= execution.resume_at:
            world.now = ahead.pop(0)
            world.receive(REPLY)
        else:
            world.now = execution.resume_at
        execution = world.run()
    return world


@settings(max_examples=examples(25, 200))
@given(
    flow=flows(),
    chosen=st.lists(st.booleans(), min_size=8, max_size=8),
    replies=st.lists(st.integers(1, 20 * 60), max_size=4, unique=True),
)
def test_the_engine_keeps_to_what_is_proved_of_the_window(
    flow: Flow, chosen: list[bool], replies: list[int]
) -> None:
    """It ends, runs each node in its time, and finds the window as it is said at each message."""
    assert not errors([p for p in flow.validate() if p.code != "pace.burst"])
    times = {t.node_id: t for t in flow.timing()}
    said = {row.node_id: row for row in flow.window()}
    asked = [node.id for node in flow.nodes if node.id[0] in "cr"]
    payload = {name: chosen[n % len(chosen)] for n, name in enumerate(asked)}
    world = run(flow, payload, [timedelta(minutes=7 * minute) for minute in replies])
    execution = world.execution
    assert execution.status == "completed"
    begun = execution.created_at
    inbound = flow.trigger_type == REPLY
    heard: list[tuple[datetime, datetime]] = [(begun, begun)] if inbound else []
    for node_run in execution.executed_nodes:
        if node_run.source_handle == "received" and node_run.result and node_run.end_time:
            written = datetime.fromisoformat(node_run.result["receivedAt"])
            heard.append((written, node_run.end_time))
    for node_run in execution.executed_nodes:
        moment, bounds = node_run.start_time, times[node_run.node_id]
        assert bounds.earliest <= moment - begun <= (bounds.latest or timedelta.max)
        row = said.get(node_run.node_id)
        if row is None:
            continue
        # What is heard in the very moment may have been so before the message, or after it.
        ages = [moment - written for written, known in heard if known <= moment]
        before = [moment - written for written, known in heard if known < moment]
        if row.verdict == "open":
            assert min(ages).total_seconds() < CLOSING
        elif row.verdict == "closed":
            assert all(age.total_seconds() >= DAY for age in before)
        if row.oldest is not None:
            assert min(ages) <= row.oldest
        assert all(row.youngest <= age for age in before)
