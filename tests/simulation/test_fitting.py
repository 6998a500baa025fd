"""A behaviour that is fitted from what a known one made is that one, as far as chance allows."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

import flowkit as fk
from flowkit.simulation import After, Behaviour, Population, Reaction, simulate
from flowkit.simulation.fitting import STEPS

AT = datetime(2026, 12, 1, 9, tzinfo=UTC)
SIZE = 1_000
CROWD = Population(size=SIZE, fields={"country": {"BR": 1, "US": 1}})
TWO = (
    fk.Flow("Two", trigger="x")
    .send(text="One", id="one")
    .delay(days=1)
    .send(text="Two", id="two")
    .end()
)
BR = fk.contact.country == "BR"
SURE = 5.0
"""Standard deviations by which an estimate may be off: chance does that once in a million."""

shares = st.sampled_from([0.0, 0.1, 0.35, 0.6, 0.95])
times = st.builds(After, st.sampled_from([2.0, 90.0, 4_000.0]), st.sampled_from([1.0, 1.5, 4.0]))
known = st.builds(
    Reaction,
    failed=st.sampled_from([0.0, 0.05, 0.3]),
    unknown=st.sampled_from([0.0, 0.1]),
    latency=times,
    **dict.fromkeys(STEPS, shares),
    **{f"{step}_after": times for step in STEPS},
)


def check(found: Reaction, real: Reaction, number: float) -> None:
    """Hold the estimates against the truth, of about so many messages."""
    reached = {"sent": number * (1 - real.failed - real.unknown)}
    for name in ("failed", "unknown"):
        share(getattr(found, name), getattr(real, name), number)
    time(found.latency, real.latency, number)
    for step, before in STEPS.items():
        could = reached[before]
        probability = getattr(real, step)
        reached[step] = could * probability
        if could > 50:
            share(getattr(found, step), probability, could)
        if reached[step] > 50:
            time(getattr(found, f"{step}_after"), getattr(real, f"{step}_after"), reached[step])


def share(found: float, real: float, number: float) -> None:
    # Half of them may have been in another segment, by chance: hence the 0.8.
    assert abs(found - real) <= SURE * math.sqrt(real * (1 - real) / (0.8 * number)), (found, real)


def time(found: After, real: After, number: float) -> None:
    deviation = math.log(real.spread)
    off = abs(math.log(found.median / real.median))
    assert off <= SURE * 1.2533 * deviation / math.sqrt(0.8 * number) + 1e-3, (found, real)
    off = abs(math.log(found.spread) - deviation)
    assert off <= SURE * deviation / math.sqrt(1.6 * number) + 1e-2, (found, real)


@settings(max_examples=3, deadline=None, derandomize=True, phases=[Phase.generate])
@given(one=known, two=known)
def test_each_message_has_its_own(one: Reaction, two: Reaction) -> None:
    real = [fk.Reaction(**values(one, node="one")), fk.Reaction(**values(two, node="two"))]
    result = simulate(TWO, CROWD, Behaviour(reactions=real), at=AT)
    fitted = Behaviour.fit(result.node_runs, messages=result.messages)
    assert fitted.check(TWO) == []
    first, second, _ = fitted.reactions
    check(first, one, SIZE)
    check(second, two, SIZE * (1 - one.failed - one.unknown))


@settings(max_examples=3, deadline=None, derandomize=True, phases=[Phase.generate])
@given(inside=known, outside=known)
def test_each_segment_has_its_own(inside: Reaction, outside: Reaction) -> None:
    flow = fk.Flow("Hello", trigger="x").send(text="Hello", id="hello").end()
    real = [fk.Reaction(**values(inside, when=BR)), outside]
    result = simulate(flow, CROWD, Behaviour(reactions=real), at=AT)
    fitted = Behaviour.fit(
        result.node_runs, messages=result.messages, segments=[BR], triggers=result.triggers
    )
    whom = [(r.node, r.when) for r in fitted.reactions]
    assert whom == [("hello", BR.to_jsonlogic()), ("hello", None), (None, BR.to_jsonlogic()),
                    (None, None)]  # fmt: skip
    check(fitted.reactions[0], inside, SIZE / 2)
    check(fitted.reactions[1], outside, SIZE / 2)


def values(reaction: Reaction, **changes: Any) -> dict[str, Any]:
    names = ("failed", "unknown", "latency", *STEPS, *(f"{step}_after" for step in STEPS))
    return {name: getattr(reaction, name) for name in names} | changes


@pytest.mark.parametrize("attempts", [1, 4])
def test_attempts_are_counted_and_not_only_the_last(attempts: int) -> None:
    policy = fk.RetryPolicy(maximum_attempts=attempts, initial_interval=5)
    flow = fk.Flow("Again", trigger="x").send(text="Hi", id="hi", retry=policy).end()
    error = {"code": "whatsapp_130429", "message": "Slower", "transient": True}
    real = Behaviour(reactions=[Reaction(failed=0.4, error=error)])
    result = simulate(flow, CROWD, real, at=AT)
    (hi, _) = Behaviour.fit(result.node_runs).reactions
    assert abs(hi.failed - 0.4) < 0.05
    assert hi.error == {**error, "transient": attempts > 1}
    again = simulate(flow, CROWD, Behaviour(reactions=[hi]), at=AT)
    assert abs(failing(again) - failing(result)) < 0.03


def failing(result: Any) -> float:
    return float((result.executions["status"] == "failed").mean())


def test_a_message_that_never_goes_out_does_not_go_out() -> None:
    real = Behaviour(reactions=[Reaction(node="one"), Reaction(node="two", failed=1)])
    fitted = Behaviour.fit(simulate(TWO, Population(size=20), real, at=AT).node_runs)
    assert [r.failed for r in fitted.reactions] == [0, 1, 0.5]


def test_other_nodes_fare_like_all_together() -> None:
    real = Behaviour(reactions=[Reaction(failed=0.3, read=0.5)])
    result = simulate(TWO, CROWD, real, at=AT)
    fitted = Behaviour.fit(result.node_runs, messages=result.messages)
    other = fitted.reaction("three", {})
    assert abs(other.failed - 0.3) < 0.05
    assert abs(other.read - 0.5) < 0.05


def test_a_contact_in_no_segment_that_is_known_is_as_all_are() -> None:
    result = simulate(TWO, [{"id": "a", "country": "BR", "phone": "+5511999990000"}], at=AT)
    fitted = Behaviour.fit(result.node_runs, segments=[BR], triggers=result.triggers)
    assert fitted.reaction("one", {"country": "US"}).latency == fitted.reactions[0].latency


@pytest.mark.parametrize(
    ("arguments", "code", "path"),
    [
        ({"segments": [BR]}, "behaviour.history", "/triggers"),
        ({"segments": [{"nonsense": 1}]}, "config.expression", "/segments/0"),
        ({"messages": ["node_id", "sent_at"]}, "behaviour.history", "/delivered_at"),
        ({"segments": [BR], "triggers": ["execution_id"]}, "behaviour.history", "/contact"),
    ],
)
def test_what_is_missing_is_named(arguments: dict[str, Any], code: str, path: str) -> None:
    result = simulate(TWO, Population(size=3), at=AT)
    for name in ("messages", "triggers"):
        if name in arguments:
            arguments = arguments | {name: getattr(result, name)[arguments[name]]}
    with pytest.raises(fk.Invalid) as refusal:
        Behaviour.fit(result.node_runs, **arguments)
    assert (refusal.value.problems[0].code, refusal.value.problems[0].path) == (code, path)
