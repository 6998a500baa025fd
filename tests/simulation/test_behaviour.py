"""How channel and contacts behave, and what is refused before anything runs."""

from __future__ import annotations

import statistics
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import pandas as pd
import pytest

import flowkit as fk
from flowkit.engine import Performance
from flowkit.nodetype import Outcome
from flowkit.simulation import After, Behaviour, Channel, Population, Prices, Reaction, simulate
from flowkit.simulation import run as running
from flowkit.simulation.behaviour import draws

AT = datetime(2026, 12, 1, 9, tzinfo=UTC)
HELLO = fk.Flow("Hello", trigger="x").send(text="Hello", id="hello").end()
TWO = (
    fk.Flow("Two", trigger="x")
    .send(text="One", id="one")
    .delay(days=1)
    .send(text="Two", id="two")
    .end()
)
CROWD = Population(size=2_000, fields={"country": {"BR": 1, "US": 1}})


def statuses(result: Any, node: str) -> dict[str, int]:
    runs = result.node_runs
    return dict(runs[runs["node_id"] == node]["status"].value_counts())


def test_probabilities_come_out_by_segment() -> None:
    behaviour = Behaviour(
        reactions=[Reaction(when=fk.contact.country == "BR", failed=0.2), Reaction(read=0.5)]
    )
    result = simulate(HELLO, CROWD, behaviour, at=AT)
    countries = {contact["id"]: contact["country"] for contact in CROWD}
    runs = result.node_runs[result.node_runs["node_id"] == "hello"]
    failed = runs[runs["status"] == "failed"]
    brazilians = sum(country == "BR" for country in countries.values())
    assert {countries[contact] for contact in failed["contact_id"]} == {"BR"}
    assert 0.16 < len(failed) / brazilians < 0.24
    assert set(failed["error_code"]) == {"whatsapp_131026"}
    messages = result.messages
    read = messages[messages["read_at"].notna()]
    assert {countries[contact] for contact in read["contact_id"]} == {"US"}
    assert 0.45 < len(read) / (2_000 - brazilians) < 0.55
    assert (read["read_at"] > read["delivered_at"]).all()


def test_times_spread_as_they_are_said_to() -> None:
    latency = After(2.0, 1.5)
    result = simulate(HELLO, CROWD, Behaviour(reactions=[Reaction(latency=latency)]), at=AT)
    seconds = result.node_runs.query("node_id == 'hello'")["duration"].dt.total_seconds()
    assert 1.9 < seconds.median() < 2.1
    within = ((seconds > 2 / 1.5) & (seconds < 2 * 1.5)).mean()
    assert 0.64 < within < 0.72
    assert After(3).ms(0.1) == After(3).ms(0.9) == 3_000


def test_whoever_asks_for_no_more_gets_no_more() -> None:
    behaviour = Behaviour(reactions=[Reaction(read=1, opted_out=1, read_after=After(5))])
    result = simulate(TWO, [{"id": "a", "phone": "+5511999990000"}], behaviour, at=AT)
    one, two = result.messages.to_dict("records")
    assert pd.notna(one["read_at"])
    assert pd.isna(two["delivered_at"])
    assert pd.notna(two["sent_at"]), "the channel takes it all the same"


def test_other_effects_end_as_the_behaviour_says() -> None:
    asked: list[Performance] = []

    def refuse(performance: Performance, contact: Any) -> Outcome:
        asked.append(performance)
        return Outcome("failed", error={"code": "no", "message": contact["id"], "transient": False})

    behaviour = Behaviour(answers={"whatsapp.message": refuse})
    result = simulate(HELLO, Population(size=3), behaviour, at=AT)
    assert sorted(result.node_runs["error_message"].dropna()) == ["c0", "c1", "c2"]
    assert {p.effect.request["to"] for p in asked} == {c["phone"] for c in Population(size=3)}


def test_draws_depend_on_nothing_but_their_names() -> None:
    assert draws(1, "c", "n", 0) == draws(1, "c", "n", 0)
    assert (
        len({draws(s, c, n, a)[0] for s in (1, 2) for c in "cd" for n in "no" for a in (0, 1)})
        == 16
    )
    many = [number for i in range(500) for number in draws(0, f"c{i}", "n", 0)]
    assert 0 < min(many) < max(many) < 1
    assert 0.48 < statistics.mean(many) < 0.52


def test_more_processes_make_the_same_to_the_byte() -> None:
    behaviour = Behaviour(reactions=[Reaction(failed=0.1, read=0.5, bought=0.5)])
    people = Population(size=50, fields={"country": {"BR": 1, "US": 1}})
    one, two = (
        simulate(TWO, people, behaviour, at=AT, over=timedelta(hours=1), processes=n)
        for n in (1, 2)
    )
    for name in ("executions", "node_runs", "messages"):
        pd.testing.assert_frame_equal(getattr(one, name), getattr(two, name))
    other = simulate(TWO, people, behaviour, at=AT, over=timedelta(hours=1), seed=1)
    assert not other.node_runs["end_time"].equals(one.node_runs["end_time"])


def test_whom_the_filter_turns_away_is_counted() -> None:
    flow = fk.Flow("F", trigger="x", filter=fk.trigger.contact.country == "BR").delay(days=1).end()
    people = [{"id": "a", "country": "BR"}, {"id": "b", "country": "US"}]
    result = simulate(flow, people, at=AT)
    assert (len(result.executions), result.turned_away) == (1, 1)
    assert "1 turned away" in repr(result)
    nobody = simulate(flow, people[1:], at=AT)
    assert list(nobody.node_runs.dtypes) == list(result.node_runs.dtypes)
    assert len(nobody.summary()) == 0


def test_progress_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "BLOCK", 1_000)
    told: list[tuple[int, int]] = []
    simulate(HELLO, Population(size=2_500), at=AT, progress=lambda *now: told.append(now))
    assert told == [(1_000, 2_500), (2_000, 2_500), (2_500, 2_500)]


@pytest.mark.parametrize(
    ("reaction", "code", "path"),
    [
        ({"read": 1.2}, "behaviour.probability", "/reactions/0/read"),
        ({"failed": -0.1}, "behaviour.probability", "/reactions/0/failed"),
        ({"failed": "often"}, "behaviour.probability", "/reactions/0/failed"),
        ({"failed": 0.6, "unknown": 0.6}, "behaviour.probability", "/reactions/0/failed"),
        ({"node": "nobody"}, "behaviour.node", "/reactions/0/node"),
        ({"latency": After(-1)}, "behaviour.time", "/reactions/0/latency"),
        ({"latency": 3}, "behaviour.time", "/reactions/0/latency"),
        ({"read_after": After(1, 0.5)}, "behaviour.time", "/reactions/0/read_after"),
        ({"when": {"nonsense": 1}}, "config.expression", "/reactions/0/when"),
    ],
)
def test_refuses_a_behaviour_that_cannot_be(reaction: dict[str, Any], code: str, path: str) -> None:
    behaviour = Behaviour(reactions=[Reaction(**reaction)])
    with pytest.raises(fk.Invalid) as refusal:
        simulate(HELLO, Population(size=1), behaviour, at=AT)
    assert [(p.code, p.path) for p in refusal.value.problems] == [(code, path)]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ({"processes": 0}, "simulate.processes"),
        ({"processes": 2, "channel": Channel()}, "simulate.processes"),
        ({"at": datetime(2026, 1, 1)}, "simulate.time"),
        ({"until": datetime(2026, 1, 1)}, "simulate.time"),
        ({"channel": Channel(per_second=0)}, "channel.limit"),
        ({"channel": Channel(per_day=0)}, "channel.limit"),
        ({"channel": Channel(zone="Mars")}, "channel.zone"),
        ({"channel": Channel(quiet=(time(8), time(8)))}, "channel.quiet"),
    ],
)
def test_refuses_what_cannot_be_simulated(arguments: dict[str, Any], code: str) -> None:
    with pytest.raises(fk.Invalid) as refusal:
        simulate(HELLO, Population(size=1), **{"at": AT} | arguments)
    assert refusal.value.problems[0].code == code


def test_a_flow_with_errors_is_not_simulated() -> None:
    with pytest.raises(fk.Invalid):
        simulate(fk.Flow("Half", trigger="x").delay(days=1), Population(size=1), at=AT)


def test_a_behaviour_is_fitted_from_a_history() -> None:
    real = Behaviour(
        reactions=[
            Reaction(node="one", failed=0.3, latency=After(4, 2)),
            Reaction(node="two", unknown=0.2, latency=After(1)),
        ]
    )
    history = simulate(TWO, CROWD, real, at=AT).node_runs
    one, two, others = Behaviour.fit(history).reactions
    assert (one.node, two.node, others.node) == ("one", "two", None)
    assert abs(one.failed - 0.3) < 0.03
    assert one.error["code"] == "whatsapp_131026"
    assert abs(one.latency.median - 4) < 0.3
    assert abs(one.latency.spread - 2) < 0.15
    assert (two.failed, two.latency.median) == (0, 1)
    assert abs(two.unknown - 0.2) < 0.03
    again = simulate(TWO, CROWD, Behaviour.fit(history), at=AT)
    assert abs(statuses(again, "one")["failed"] - 600) < 60


@pytest.mark.parametrize("columns", [["node_id"], None])
def test_a_history_without_effects_teaches_nothing(columns: list[str] | None) -> None:
    flow = fk.Flow("Wait", trigger="x").delay(days=1).end()
    history = simulate(flow, Population(size=1), at=AT).node_runs
    with pytest.raises(fk.Invalid, match=r"behaviour\.history"):
        Behaviour.fit(history if columns is None else history[columns])


PRICES = Prices(
    as_of=date(2026, 10, 1),
    currency="USD",
    rates={("55", "MARKETING"): 0.06, ("55", "UTILITY"): 0.01, ("1", "MARKETING"): 0.03},
    categories={"two": "UTILITY"},
)


def test_says_what_it_costs() -> None:
    people = [{"id": "a", "phone": "+5511999990000"}, {"id": "b", "phone": "+12025550100"}]
    result = simulate(TWO, people, at=AT, prices=PRICES)
    assert result.cost() == pytest.approx(0.06 + 0.01 + 0.03)
    cost = result.summary().set_index("node_id")["cost"]
    assert cost["one"] == pytest.approx(0.09)
    with pytest.raises(ValueError, match="prices"):
        simulate(TWO, people, at=AT).cost()
    with pytest.raises(fk.Invalid):
        Prices(as_of=date(2026, 1, 1), currency="USD", rates={("1", "MARKETING"): -1})
