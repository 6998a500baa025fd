"""Recorded triggers in another version: who fares otherwise, and where the ways part."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import flowkit as fk
from flowkit.flow import Flow
from flowkit.history import TRIGGERS, triggers
from flowkit.simulation import After, Behaviour, Population, Prices, Reaction, simulate
from flowkit.testing import flows
from tests.examples import examples

AT = datetime(2026, 12, 1, 9, tzinfo=UTC)
PEOPLE = Population(size=60, fields={"country": {"BR": 1, "US": 1, "MX": 1}})
BEHAVIOUR = Behaviour(reactions=[Reaction(failed=0.2, read=0.5, latency=After(20, 3))])
HOUR = pd.Timedelta(hours=1)


def cart(hours: float = 1, country: str = "BR", text: str = "Olá", **options: Any) -> Flow:
    return (
        Flow("Cart", trigger="cart", **options)
        .delay(hours=hours, id="wait")
        .when(
            fk.contact.country == country,
            then=lambda b: b.send(text=text, id="one"),
            otherwise=lambda b: b.send(text="Hello", id="two"),
            id="choice",
        )
        .end()
    )


def ran(flow: Flow, behaviour: Behaviour = BEHAVIOUR, **options: Any) -> Any:
    return simulate(flow, PEOPLE, behaviour, at=AT, over=timedelta(hours=5), **options)


def country_of(found: fk.Comparison) -> pd.Series[Any]:
    """The country of each contact, by its row in `contacts`."""
    countries = {contact["id"]: contact["country"] for contact in PEOPLE}
    return found.contacts["contact_id"].map(countries)


@settings(max_examples=examples(5, 30), deadline=None)
@given(flow=flows(), seed=st.integers(0, 3))
def test_what_is_recorded_is_made_again(flow: Flow, seed: int) -> None:
    """The same flow, behaviour and seed: row for row what the history has."""

    def payload(contact: dict[str, Any]) -> dict[str, Any]:
        return {"contact": contact, "coin": contact["country"] == "BR"}

    sim = simulate(
        flow,
        list(PEOPLE)[:6],
        BEHAVIOUR,
        at=AT,
        over=timedelta(hours=5),
        seed=seed,
        payload=payload,
    )
    found = fk.backtest(flow, flow, sim, BEHAVIOUR, seed=seed)
    pd.testing.assert_frame_equal(found.old.node_runs, sim.node_runs)
    pd.testing.assert_frame_equal(found.old.executions, sim.executions)
    pd.testing.assert_frame_equal(found.old.triggers, sim.triggers)
    assert not found
    assert set(found.contacts["differs"]) == {"same"}
    assert (found.messages["shift"] == pd.Timedelta(0)).all()


def test_another_condition_moves_those_whom_it_is_about() -> None:
    found = fk.backtest(cart(), cart(country="US"), ran(cart()), BEHAVIOUR)
    contacts, countries = found.contacts, country_of(found)
    assert found
    assert (contacts["differs"] == "way").tolist() == countries.isin(["BR", "US"]).tolist()
    moved = contacts[contacts["differs"] == "way"]
    assert set(moved["parted_at"]) == {"choice"}
    ways = moved.groupby(countries)[["old_next", "new_next"]].agg(lambda ids: set(ids.dropna()))
    assert ways.to_dict("index") == {
        "BR": {"old_next": {"one"}, "new_next": {"two"}},
        "US": {"old_next": {"two"}, "new_next": {"one"}},
    }
    ones = contacts[countries == "BR"]
    assert {tuple(nodes) for nodes in ones["only_old"]} == {("one",), ()}  # some had failed
    stayed = contacts[countries == "MX"]
    assert stayed["parted_at"].isna().all()
    assert (stayed["shift"].dropna() == pd.Timedelta(0)).all()
    row = found.summary().set_index("node_id").loc["choice"]
    assert row["parted"] == len(moved)
    assert row[["reached_old", "reached_new"]].tolist() == [1, 1]


def test_a_longer_delay_moves_all_and_no_chances() -> None:
    found = fk.backtest(cart(1), cart(3), ran(cart(1)), BEHAVIOUR)
    assert set(found.contacts["differs"]) == {"time"}
    assert set(found.contacts["parted_at"]) == {"wait"}
    assert set(found.messages["shift"]) == {2 * HOUR}
    assert set(found.contacts["shift"]) == {2 * HOUR}
    assert set(found.contacts["only_old"].map(len)) == {0}


def test_of_several_differences_the_last_counts() -> None:
    found = fk.backtest(cart(1), cart(3, "US"), ran(cart(1)), BEHAVIOUR)
    assert found.contacts["differs"].value_counts().index.tolist() == ["way", "time"]
    assert set(found.contacts.query("differs == 'way'")["parted_at"]) == {"choice"}


def test_another_text_is_for_those_who_get_it() -> None:
    found = fk.backtest(cart(), cart(text="Oi"), ran(cart()), BEHAVIOUR)
    other = found.contacts[found.contacts["differs"] == "message"]
    got = found.messages.query("node_id == 'one'")["execution_id"]
    assert set(other["execution_id"]) == set(got)
    assert set(other["parted_at"]) == {"one"}
    assert "text" not in set(found.contacts["differs"])


def test_an_outcome_and_what_follows_it() -> None:
    def short(retried: bool) -> Flow:
        policy = fk.RetryPolicy(maximum_attempts=5 if retried else 1)
        return Flow("Short", trigger="cart").send(text="Hi", id="one", retry=policy).end()

    later = {"code": "whatsapp_2", "message": "later", "transient": True}
    behaviour = Behaviour(reactions=[Reaction(failed=0.5, error=later)])
    found = fk.backtest(short(False), short(True), ran(short(False), behaviour), behaviour)
    ways = found.contacts[found.contacts["differs"] == "way"]
    assert len(ways) > 10
    assert set(ways["parted_at"]) == {"one"}
    assert ways["old_next"].isna().all()
    assert set(ways["new_next"]) == {"end_1"}
    assert set(ways["only_new"].map(tuple)) == {("one",)}
    assert set(ways["old_status"] + ways["new_status"]) == {"failedcompleted"}


def test_a_branch_more_parts_where_it_forks() -> None:
    plain = Flow("F", trigger="cart").delay(hours=1, id="wait").send(text="a", id="a").end()
    both = (
        Flow("F", trigger="cart")
        .delay(hours=1, id="wait")
        .parallel(lambda b: b.send(text="a", id="a"), lambda b: b.send(text="b", id="b"))
        .end()
    )
    found = fk.backtest(plain, both, ran(plain, Behaviour()), Behaviour())
    assert set(found.contacts["parted_at"]) == {"wait"}
    assert set(found.contacts["new_next"]) == {"b"}
    assert set(found.contacts["only_new"].map(tuple)) == {("b",)}


def test_a_split_sends_each_the_same_way_in_both() -> None:
    def split(weight: float, hours: float) -> Flow:
        return (
            Flow("S", trigger="cart")
            .split({"a": weight, "b": 1}, on={"a": lambda b: b.send(text="a", id="a")}, id="split")
            .delay(hours=hours)
            .end()
        )

    sim = ran(split(1, 1), Behaviour())
    assert set(fk.backtest(split(1, 1), split(1, 2), sim).contacts["differs"]) == {"time"}
    found = fk.backtest(split(1, 1), split(3, 1), sim).contacts
    moved = found[found["differs"] == "way"]
    assert 5 < len(moved) < 30
    assert set(moved["new_next"]) == {"a"}, "a larger share takes nobody out of the arm"


def test_who_is_not_started() -> None:
    strict = cart(filter=fk.trigger.contact.country == "BR")
    found = fk.backtest(cart(), strict, ran(cart()), BEHAVIOUR)
    differs = found.contacts["differs"]
    assert (differs == "start").tolist() == (country_of(found) != "BR").tolist()
    out = found.contacts[found.contacts["differs"] == "start"]
    assert out["new_status"].isna().all()
    assert out["old_status"].notna().all()
    assert set(out["parted_at"]) == {cart().start}


def recorded(*starts: tuple[str, float, Any], flow: str = "f", version: int = 1) -> pd.DataFrame:
    """Triggers by contact, hour and payload."""
    return triggers(
        {
            "id": f"{number:032x}",
            "flowId": flow,
            "flowVersion": version,
            "triggerType": "cart",
            "contactId": contact,
            "createdAt": (AT + timedelta(hours=hour)).isoformat(),
            "context": {"trigger": payload, "contact": {"id": contact, "phone": "+5511999990000"}},
        }
        for number, (contact, hour, payload) in enumerate(starts)
    )


def test_a_contact_may_come_again_and_the_entry_policy_decides() -> None:
    history = recorded(("a", 0, None), ("a", 1, None), ("a", 5, None), ("b", 6, None))
    for entry, started in [
        ({"policy": "once"}, [True, False, False, True]),
        ({"policy": "once_active"}, [True, False, True, True]),
        ({"policy": "again_after", "after": {"amount": 4, "unit": "hours"}},
         [True, False, True, True]),
    ]:  # fmt: skip
        found = fk.backtest(cart(2), cart(2).replace(settings={"entry": entry}), history)
        assert found.contacts["new_status"].notna().tolist() == started
        assert found.contacts["old_status"].notna().all()


def test_another_mapping_finds_its_own_contact() -> None:
    payload = {"buyer": {"id": "z", "phone": "+5511999990000", "country": "BR"}}
    history = recorded(("a", 0, payload), ("b", 1, {}))
    found = fk.backtest(cart(), cart(contact="buyer"), history)
    assert found.contacts["new_status"].isna().tolist() == [False, True]
    assert found.new.executions["contact_id"].tolist() == ["z"]
    assert found.old.executions["contact_id"].tolist() == ["a", "b"]


@pytest.mark.parametrize("processes", [1, pytest.param(2, marks=pytest.mark.long)])
def test_the_same_comes_out_to_the_byte(processes: int) -> None:
    history = ran(cart())
    one, two = (
        fk.backtest(cart(), cart(2, "US"), history.triggers, BEHAVIOUR, processes=number)
        for number in (1, processes)
    )
    for name in ("contacts", "messages"):
        pd.testing.assert_frame_equal(getattr(one, name), getattr(two, name))
    assert str(one) == str(two)
    assert one._repr_html_() == two._repr_html_()
    other = fk.backtest(cart(), cart(2, "US"), history.triggers, BEHAVIOUR, seed=1)
    assert not other.messages.equals(one.messages)


def test_the_order_of_the_rows_does_not_matter() -> None:
    rows = ran(cart()).triggers
    one, two = (
        fk.backtest(cart(), cart(2), frame, BEHAVIOUR) for frame in (rows, rows.sample(frac=1))
    )
    pd.testing.assert_frame_equal(one.contacts, two.contacts)


def test_it_is_told_in_words_and_as_a_page() -> None:
    prices = Prices(as_of=date(2026, 10, 1), currency="USD", rates={("55", "MARKETING"): 0.5})
    new = cart(country="ZZ").replace(name="<b>")
    found = fk.backtest(cart(), new, ran(cart(), Behaviour()), Behaviour(), prices=prices)
    text = str(found)
    assert text.splitlines()[:4] == [
        "60 recorded triggers, seed 0; behaviour as given",
        "60 executions of 60 triggers: 44 the same, 16 by another way",
        "messages 60",
        "cost 30.0",
    ]
    assert "one     26.7 % -> 0.0 %    16 -> 0" in text
    assert repr(found) == text
    page = found._repr_html_()
    assert "<svg" in page
    assert "<table" in page
    assert "<b>" not in page
    assert found.summary()["cost_new"].sum() == 30


def test_what_a_history_shows_of_the_behaviour_is_taken() -> None:
    history = ran(cart(), Behaviour(reactions=[Reaction(failed=0.5, latency=After(40))]))
    found = fk.backtest(cart(), cart(), history)
    assert "behaviour fitted from" in found.about
    failed = (found.old.executions["status"] == "failed").sum()
    assert 15 < failed < 45
    nothing = fk.backtest(cart(), cart(), history.triggers)
    assert "no message is recorded" in nothing.about
    assert set(nothing.old.executions["status"]) == {"completed"}


def test_a_reaction_may_be_for_a_node_of_either() -> None:
    new = Flow("Cart", trigger="cart").send(text="x", id="three").end()
    behaviour = Behaviour(
        reactions=[Reaction(node="three", failed=1), Reaction(node="two", failed=1), Reaction()]
    )
    found = fk.backtest(cart(), new, ran(cart()), behaviour)
    assert set(found.new.executions["status"]) == {"failed"}
    with pytest.raises(fk.Invalid, match=r"behaviour\.node"):
        fk.backtest(cart(), new, ran(cart()), Behaviour(reactions=[Reaction(node="four")]))


def changed(**columns: Any) -> Callable[[], pd.DataFrame]:
    return lambda: recorded(("a", 0, None), ("b", 1, None)).assign(**columns)


@pytest.mark.parametrize(
    ("history", "code", "said"),
    [
        (lambda: None, "backtest.history", "not from NoneType"),
        (lambda: ran(cart()).node_runs, "backtest.history", "no columns created_at, payload"),
        (lambda: recorded(), "backtest.empty", "no trigger"),
        (lambda: recorded(("a", 0, {}), flow="g"), "backtest.flow", "is of g, and `old` is flow f"),
        (lambda: recorded(("a", 0, {}), version=3), "backtest.flow", "versions 3 of flow f"),
        (changed(execution_id="x"), "backtest.history", "x is there twice"),
        (
            changed(created_at="yesterday"),
            "backtest.history",
            "Row 0 has no aware moment: 'yesterday'",
        ),
        (changed(created_at=pd.NaT), "backtest.history", "Row 0"),
        (changed(created_at=[AT, "later"]), "backtest.history", "Row 1 has no aware moment"),
        (changed(execution_id=["a", None]), "backtest.history", "Row 1 has no id"),
    ],
)
def test_refuses_a_history_that_cannot_be_run(history: Any, code: str, said: str) -> None:
    stored = cart().replace(id="f", version=1)
    with pytest.raises(fk.Invalid) as refusal:
        fk.backtest(stored, cart(2), history())
    (problem,) = refusal.value.problems
    assert problem.code == code
    assert said in problem.message


def test_only_the_triggers_of_the_version_are_taken() -> None:
    history = pd.concat([
        recorded(("a", 0, {}), version=1),
        recorded(("b", 1, {}), ("c", 1, {}), version=2).iloc[1:],
        recorded(("d", 0, {}), flow="g"),
    ])  # fmt: skip
    for version, wanted in [(1, ["a"]), (2, ["c"]), (0, ["a", "c"])]:
        found = fk.backtest(cart().replace(id="f", version=version), cart(), history)
        assert found.contacts["contact_id"].tolist() == wanted


def test_flows_with_errors_are_refused() -> None:
    with pytest.raises(fk.Invalid):
        fk.backtest(cart(), Flow("Half", trigger="cart"), ran(cart()))


def test_triggers_of_a_simulation_have_the_form_of_the_history() -> None:
    frame = ran(cart()).triggers
    assert frame.dtypes.to_dict() == {column.name: column.dtype for column in TRIGGERS}
    assert frame["payload"].tolist() == [{"contact": contact} for contact in PEOPLE]
