"""Executions share turns only where nodes and times cannot tell them apart."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any
from unittest.mock import patch

import pandas as pd
import pytest

import flowkit as fk
from flowkit import nodetype
from flowkit.errors import NodeFailed
from flowkit.fields import field
from flowkit.flow import Flow
from flowkit.nodes.messages import SendMessage
from flowkit.nodetype import Context, Effect, Handle, Next, NodeType, Wait
from flowkit.simulation import After, Behaviour, Population, Reaction, crowd, simulate
from flowkit.simulation import run as running
from flowkit.simulation.moments import Moment, Untracked, Watched
from flowkit.simulation.shared import Compared
from tests.engine.driver import flow_of
from tests.engine.nodes import ODD, TYPES

AT = datetime(2026, 12, 1, 9, tzinfo=UTC)
NOON = datetime(2026, 12, 2, 12, tzinfo=UTC)


def second_of(ctx: Context, *logics: Any) -> str:
    """Evaluate conditions until one holds; return which."""
    return next((str(i) for i, logic in enumerate(logics) if ctx.evaluate(logic)), "none")


PLAN = {"==": [{"var": "contact.plan"}, "pro"]}
COUNTRY = {"==": [{"var": "contact.country"}, "BR"]}

LOOKS: dict[str, Callable[[Context], Any]] = {
    "at nothing": lambda ctx: Next(),
    "at the time ahead": lambda ctx: Wait(until=ctx.now + timedelta(hours=1)),
    "at a part of the time": lambda ctx: Next(result={"minute": ctx.now.minute}),
    "at a moment for all": lambda ctx: Wait(until=NOON),
    "at the next full hour": lambda ctx: Wait(
        until=ctx.now.replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)
    ),
    "at whether it is late": lambda ctx: Next(result={"late": ctx.now > AT + timedelta(minutes=5)}),
    "at the text of the time": lambda ctx: Next(vars={"at": f"{ctx.now}"}),
    "at the key": lambda ctx: Next(result={"key": ctx.key}, vars={"key": ctx.key}),
    "at the contact": lambda ctx: Next(result={"plan": (ctx.contact or {}).get("plan")}),
    "at one or two values": lambda ctx: Next(result={"case": second_of(ctx, PLAN, COUNTRY)}),
    "at the results": lambda ctx: Next(
        result={"id": ctx.evaluate({"var": "nodes.hello.messageId"})}
    ),
    "at the variables": lambda ctx: Next(result={"said": ctx.render("{{ vars.key }}")}),
    "at the clock of texts": lambda ctx: Next(
        result={"said": ctx.render("{{ 'now' | date: '%M' }}")}
    ),
    "at the execution": lambda ctx: Next(result={"id": ctx.evaluate({"var": "execution.id"})}),
    "at everything": lambda ctx: Next(result={"n": ctx.evaluate({"var": "contact"})["id"]}),
    "at a number": lambda ctx: Next(result={"n": ctx.evaluate({"+": [{"var": "contact.n"}, 1]})}),
    "at a list": lambda ctx: Next(result={"n": ctx.evaluate({"in": ["b", {"var": "contact.t"}]})}),
    "through the scope": lambda ctx: Next(result={"n": str(ctx._scope()["now"])}),  # type: ignore[attr-defined]
}  # fmt: skip
_known = dict(nodetype._registry)


class Look(NodeType, type="TEST_LOOK", category="ACTION"):
    """Decide by what it looks at."""

    how: str = field(help="A key of LOOKS.")

    def run(self, ctx: Context) -> Any:
        """Decide."""
        return LOOKS[self.how](ctx)


class Ask(NodeType, type="TEST_ASK", category="ACTION"):
    """Ask somebody who is not always there."""

    handles = (Handle("done"),)

    def run(self, ctx: Context) -> Effect:
        """Ask."""
        return Effect(
            kind="test", request={"n": ctx.render("{{ contact.n }}")}, timeout=1, handle="done"
        )


class Picky(SendMessage, type="TEST_PICKY", category="ACTION"):
    """A message that hangs on more than its texts."""

    def run(self, ctx: Context) -> Effect:
        """Refuse whoever is on no plan."""
        if (ctx.contact or {})["plan"] == "free":
            raise NodeFailed("no_plan", "on no plan")
        return super().run(ctx)


OWN = {name: cls for name, cls in nodetype._registry.items() if name not in _known}
for _name in OWN:
    del nodetype._registry[_name]


@pytest.fixture(autouse=True)
def _own_types(monkeypatch: pytest.MonkeyPatch) -> None:
    nodetype.node_types()
    for name, cls in (OWN | TYPES).items():
        monkeypatch.setitem(nodetype._registry, name, cls)


BEHAVIOUR = Behaviour(reactions=[Reaction(failed=0.2, latency=After(200, 3))])
PEOPLE = [
    {"id": f"c{i}", "phone": f"+55119999900{i:02}", "plan": p, "country": c, "n": n, "t": t}
    for i, (p, c, n, t) in enumerate(
        (p, c, n, t)
        for p in ("pro", "free")
        for c in ("BR", "US")
        for n in (1, 1.0, True)
        for t in (["a"], ["b"])
    )
]
HELLO = ("SEND_MESSAGE", {"kind": "text", "text": "Hi"})


def alike(flow: Flow, people: Any = PEOPLE, **arguments: Any) -> Any:
    """Return the node runs of a flow, which are the same whether turns are shared or not."""
    arguments = {"at": AT, "over": timedelta(minutes=10), "behaviour": BEHAVIOUR} | arguments
    alone = simulate(flow, people, share=False, **arguments)
    # Crowds of any size, in several blocks; and as it is.
    for few, block in ((1, 7), (crowd.FEW, running.BLOCK)):
        with patch.object(crowd, "FEW", few), patch.object(running, "BLOCK", block):
            shared = simulate(flow, people, **arguments)
        pd.testing.assert_frame_equal(shared.executions, alone.executions)
        pd.testing.assert_frame_equal(shared.node_runs, alone.node_runs)
    return alone.node_runs


@pytest.mark.parametrize("how", LOOKS)
def test_whatever_a_node_looks_at(how: str) -> None:
    steps = {"hello": HELLO, "keep": ("TEST_LOOK", {"how": "at the key"})}
    looking = {"look": ("TEST_LOOK", {"how": how}), "again": ("TEST_LOOK", {"how": how})}
    alike(flow_of(steps | looking, "start > hello > keep > look > again > end"))


@pytest.mark.parametrize("how", sorted(ODD))
def test_whatever_a_node_does(how: str) -> None:
    odd = {"hello": HELLO, "odd": ("TEST_ODD", {"how": how})}
    runs = alike(flow_of(odd, "start > hello > odd > end"))
    assert "odd" in set(runs["node_id"])


def test_whatever_the_built_in_nodes_decide() -> None:
    """Choices, chance, calendars and variables, in zones of the contacts' own."""
    brazil, night = fk.contact.country == "BR", {"opens": "20:00", "closes": "06:00"}
    flow = (
        fk.Flow("All", trigger="x", settings={"timeZone": "Asia/Kolkata"})
        .send(text="Hi {{ contact.plan }}", id="hello")
        .switch(
            {"pro": fk.contact.plan == "pro", "br": brazil},
            on={"pro": lambda b: b.delay_days(1, at="09:30")},
            otherwise=lambda b: b.delay_weekday("monday", at="09:00"),
        )
        .split({"a": 1, "b": 1}, on={"a": lambda b: b.send(text="{{ vars.none }}A", id="arm")})
        .delay_until("2026-12-10T{{ contact.hour }}:00", id="date")
        .sending_window(**night)
        .set_variable({"number": fk.contact.n})
        .when(fk.variables.number > 1, then=lambda b: b.send(text="{{ vars.number }}"))
        .end()
    )
    zones = ("America/Sao_Paulo", "Europe/Berlin", None)
    people = [
        person | {"hour": f"{10 + i % 3}"} | ({"timezone": zones[i % 3]} if zones[i % 3] else {})
        for i, person in enumerate(PEOPLE)
    ]
    alike(flow, people=people)


def test_results_and_variables_are_each_executions_own() -> None:
    nodes = {
        "hello": HELLO,
        "keep": ("TEST_REMEMBER", {"name": "said", "value": "{{ nodes.hello.messageId }}"}),
        "tell": ("TEST_REMEMBER", {"name": "told", "value": "{{ vars.said }} {{ contact.n }}"}),
    }
    runs = alike(flow_of(nodes, "start > hello > keep > tell > end"))
    told = runs[runs["node_id"] == "tell"]
    for execution_id, result in zip(told["execution_id"], told["result"], strict=True):
        assert execution_id in result["said"]


def test_branches_that_meet_are_told_apart_by_time() -> None:
    nodes = dict.fromkeys("abm", HELLO) | {"pause": ("DELAY", {"amount": 3, "unit": "minutes"})}
    runs = alike(flow_of(nodes, "start > a > m > end", "start > b > pause > m"))
    assert set(runs[runs["node_id"] == "m"]["branch_id"]) == {"root_0", "root_1"}


def test_a_time_that_ran_out_for_nothing_is_not_taken_for_another() -> None:
    """A JOIN's time-out comes while its branch waits elsewhere: for some before that wait is over.

    Executions have been through the same; only how their times compare tells them apart.
    """
    nodes = {
        "slow": HELLO,
        "join": ("JOIN", {"timeout": {"amount": 240, "unit": "seconds"}}),
        "pause": ("DELAY", {"amount": 100, "unit": "seconds"}),
        "bye": HELLO,
    }
    flow = flow_of(
        nodes, "start > slow > join > pause > bye > end", "start > join", "join:timeout > end"
    )
    runs = alike(flow, over=timedelta(0))
    late = runs[runs["node_id"] == "pause"]
    assert set(late["status"]) == {"completed"}
    over = late["end_time"] > AT + timedelta(seconds=240)
    assert 0 < over.sum() < len(over), "for some the time-out came first, for others it did not"


TEXTS = ("+55 (11) 99999-0000", "+5511999990000", "12", "", "Ana", "a" * 5_000, "two\nlines")


@pytest.mark.parametrize(
    "config",
    [
        {"kind": "text", "text": "{{ contact.name }}"},
        {"kind": "text", "text": "{{ contact.n | plus: 1 }} {{ contact.name.first }}"},
        {"kind": "text", "text": "{% if contact.n %}{{ contact.name }}{% endif %}"},
        {"kind": "template", "template": "t", "language": "pt", "parameters": ["{{contact.name}}"]},
        {"kind": "image", "media": "https://example.com/{{ contact.name }}.png"},
    ],
)  # fmt: skip
def test_messages_that_not_everyone_can_get(config: dict[str, Any]) -> None:
    people = [
        {"id": f"c{i}", "n": i % 2, "phone": phone, "name": name}
        for i, (phone, name) in enumerate(product(TEXTS, TEXTS))
    ] + [{"id": "none"}]
    flow = flow_of({"m": ("SEND_MESSAGE", config)}, "start > m > end")
    runs = alike(flow, people)
    assert {"completed", "failed"} <= set(runs.loc[runs["node_id"] == "m", "status"])


def test_a_message_of_ones_own_that_looks_at_more() -> None:
    runs = alike(flow_of({"m": ("TEST_PICKY", HELLO[1])}, "start > m > end"))
    assert set(runs["error_code"].dropna()) >= {"no_plan"}


def test_segments_retries_and_an_end_before_the_end() -> None:
    """Parallel branches; some messages are tried again, of some nobody knows."""
    later = {"code": "whatsapp_2", "message": "later", "transient": True}
    behaviour = Behaviour(
        reactions=[
            Reaction(when=fk.contact.plan == "pro", failed=0.5, unknown=0.2, error=later),
            Reaction(node="b", failed=0.3, latency=After(5, 1)),
        ]
    )
    nodes = dict.fromkeys("abc", HELLO) | {"wait": ("DELAY", {"amount": 1, "unit": "hours"})}
    flow = flow_of(nodes, "start > a > wait > b > end", "start > c > end")
    for until in (None, AT + timedelta(minutes=4), AT + timedelta(minutes=64)):
        statuses = set(alike(flow, behaviour=behaviour, until=until)["status"])
        assert (
            {"completed", "waiting"} <= statuses if until else {"completed", "failed"} <= statuses
        )


def test_an_end_when_some_have_gone_on() -> None:
    flow = fk.Flow("Wait", trigger="x").delay(hours=1).end()
    runs = alike(flow, Population(size=200), until=AT + timedelta(minutes=64))
    assert len(runs[runs["node_id"] == "end_1"]) == 81  # who started in the first four minutes


def test_what_all_would_answer_alike_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    send = SendMessage.run
    monkeypatch.setattr(
        SendMessage, "run", lambda self, ctx: asked.append(ctx.key) or send(self, ctx)
    )
    flow = flow_of({"a": HELLO, "b": HELLO}, "start > a > b > end")
    simulate(flow, Population(size=1_000), BEHAVIOUR, at=AT)
    assert 0 < len(asked) < 50


def test_effects_of_other_kinds_see_their_own_request() -> None:
    behaviour = Behaviour(
        answers={
            "test": lambda performance, contact: nodetype.Outcome(
                "completed", result={"asked": performance.effect.request["n"], "by": contact["id"]}
            )
        }
    )
    flow = flow_of({"ask": ("TEST_ASK", {})}, "start > ask", "ask:done > end")
    one, two = (simulate(flow, PEOPLE, behaviour, at=AT, share=share) for share in (True, False))
    pd.testing.assert_frame_equal(one.node_runs, two.node_runs)


def test_most_turns_are_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine is asked a number of times that does not grow with the population."""
    flow = (
        fk.Flow("Welcome", trigger="x")
        .send(text="Hi {{ contact.first_name }}", id="hi")
        .delay(days=1)
        .when(fk.contact.plan == "pro", then=lambda b: b.send(text="Pro"))
        .end()
    )
    made: list[Any] = []

    class Counted(running.Shared):
        def __init__(self, *given: Any) -> None:
            super().__init__(*given)
            made.append(self)

    monkeypatch.setattr(running, "Shared", Counted)
    for size in (200, 1_000):
        people = Population(
            size=size, fields={"plan": {"pro": 1, "free": 1}, "first_name": {"A": 1}}
        )
        simulate(flow, people, at=AT)
    few, many = (shared.states for shared in made)
    assert few == many < 20


def test_a_moment_lets_itself_be_moved_and_compared_but_not_seen() -> None:
    told: list[Any] = []
    moment = Moment.at(AT, 3, 0, lambda *seen: told.append(seen))
    later = moment + timedelta(seconds=2)
    assert isinstance(later, Moment)
    assert (later.place, later.offset) == (3, 2_000_000)
    assert (moment - timedelta(seconds=2)).offset == -2_000_000
    assert moment < later
    assert moment != later
    assert [name for name, *_ in told] == ["lt", "eq"]
    compared = Compared("le", (0, 1_000), (1, 0))
    assert [compared.of([5, 6]), compared.of([6, 6])] == [True, False]
    watched = Watched.at(AT, 0, 0, lambda *seen: None)
    for look in (
        lambda: watched.hour,
        lambda: watched.date(),
        lambda: watched.timestamp(),
        lambda: str(watched),
        lambda: watched.isoformat(),
        lambda: watched - AT,
        lambda: AT - watched,
        lambda: hash(watched),
        lambda: watched.replace(hour=3),
        lambda: watched.astimezone(),
        lambda: moment.timestamp(),
        lambda: moment.hour,
    ):
        with pytest.raises(Untracked):
            look()
