"""``flow.to_python()``: running the source gives the same flow, and it reads like a flow."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import flowkit as fk
from flowkit.errors import Invalid
from flowkit.flow import Flow
from flowkit.nodes.control import Repeat
from flowkit.source.conditions import condition
from flowkit.testing import flows as drawn_flows
from flowkit.wire import canonical
from service.demo.flow import abandoned_cart
from tests.examples import examples
from tests.sdk.strategies import flows, logic, mangled
from tests.sdk.test_flow_json import loadable


def rebuilt(flow: Flow) -> Flow:
    """Return the flow that the source makes."""
    names: dict[str, Any] = {}
    exec(compile(flow.to_python(), "flow.py", "exec", dont_inherit=True), names)
    made = names["flow"]
    assert isinstance(made, Flow)
    return made


start = Flow("Loop", trigger="x")


def same(one: Flow, other: Flow) -> bool:
    # As JSON, in which 2 and 2.0 differ, and the keys of objects have no order.
    return canonical(one.to_dict()) == canonical(other.to_dict())


@settings(max_examples=examples(12, 60))
@given(flow=flows())
def test_a_built_flow_is_built_again(flow: Flow) -> None:
    assert same(rebuilt(flow), flow)
    # Of a fork that leads to END at once it is not always found in which branch that was.
    ends = {node.id for node in flow.nodes if node.type == "END"}
    forks = (flow.targets(edge.source, edge.source_handle) for edge in flow.edges)
    if not any(len(targets) > 1 and ends & set(targets) for targets in forks):
        assert_built(flow)


def assert_built(flow: Flow) -> None:
    """Nothing of it is written as JSON, or added to what the builder has made."""
    source = flow.to_python()
    assert "from_dict" not in source
    assert "flow.replace" not in source


def day(b: Flow) -> Flow:
    return b.delay(days=1)


def on(b: Flow) -> Flow:
    return b


@pytest.mark.parametrize(
    "flow",
    [
        day(start.parallel(lambda b: day(b.parallel(day, on)), on)),
        day(start.parallel(on, lambda b: day(b.parallel(on, lambda b: day(day(b)))))),
        day(start.parallel(lambda b: day(b.parallel(lambda b: day(b.parallel(day, on)), on)), on)),
        day(start.parallel(lambda b: day(b.parallel(day, day)), on, on)),
        start.parallel(
            lambda b: day(b.parallel(day, on)),
            lambda b: day(b.parallel(day, lambda b: day(day(b)))),
        ),
        day(start.parallel(Flow.end, lambda b: day(b.parallel(day, on)), on)),
    ],
)
def test_branches_that_fork_again_at_once_and_meet_before_the_others(flow: Flow) -> None:
    assert same(rebuilt(flow.end()), flow.end())
    assert_built(flow.end())


@pytest.mark.parametrize(
    "flow",
    [
        start.parallel(lambda b: b, lambda b: b.then(Repeat(maximum=1))).end(),
        start.parallel(lambda b: b, lambda b: b.repeat(maximum=1, body=lambda b: b.end())).end(),
        start.then(Repeat(maximum=1)).delay(days=1).end(),
    ],
)
def test_a_loop_whose_body_does_not_lead_back(flow: Flow) -> None:
    assert same(rebuilt(flow), flow)
    assert "from_dict" not in flow.to_python()


@settings(max_examples=examples(12, 60))
@given(flow=drawn_flows())
def test_a_drawn_flow_is_the_same(flow: Flow) -> None:
    assert same(rebuilt(flow), flow)


@settings(max_examples=examples(20, 100))
@given(data=loadable | mangled())
def test_any_flow_is_the_same(data: Any) -> None:
    try:
        flow = Flow.from_dict(data)
    except Invalid:
        return
    assert same(rebuilt(flow), flow)


VIEW = st.fixed_dictionaries(
    {"position": st.fixed_dictionaries({"x": st.integers(-999, 999), "y": st.floats(-9, 9)})},
    optional={"data": st.none() | st.just({}), "measured": st.just({"width": 180})},
)


@settings(max_examples=examples(12, 60))
@given(data=st.data(), flow=flows())
def test_what_a_canvas_adds_is_kept(data: st.DataObject, flow: Flow) -> None:
    document = flow.to_dict() | {"isActive": True, "version": 3, "viewport": {"zoom": 1.5}}
    for number, node in enumerate(document["nodes"]):
        node |= data.draw(VIEW)
        if node["type"] == "DELAY":
            node["config"]["amount"] = float(node["config"]["amount"])
        if node["type"] == "SEND_MESSAGE":
            node["config"].setdefault("timeoutSeconds", 10)
        node["id"] = f"n{number}"
    for number, edge in enumerate(document["edges"]):
        for way in ("source", "target"):
            position = [n.id for n in flow.nodes].index(edge[way])
            edge[way] = f"n{position}"
        edge |= {"id": f"e{number}", "sourceHandle": edge.get("sourceHandle"), "animated": True}
    document["nodes"] = data.draw(st.permutations(document["nodes"]))
    document["edges"] = data.draw(st.permutations(document["edges"]))
    drawn = Flow.from_dict(document)
    assert same(rebuilt(drawn), drawn)


@given(document=logic)
def test_a_condition_is_the_same(document: Any) -> None:
    made = eval(condition(document).flat, {"fk": fk})
    made = made if not hasattr(made, "to_jsonlogic") else made.to_jsonlogic()
    assert json.dumps(made) == json.dumps(document)


@pytest.mark.parametrize(
    ("made", "source"),
    [
        (fk.contact.country == "BR", 'fk.contact.country == "BR"'),
        (fk.variables["a b"][0]["0x"] != 1.5, 'fk.variables["a b"][0]["0x"] != 1.5'),
        (fk.results.http.status.exists(), "fk.results.http.status.exists()"),
        (fk.var("flow.name").is_in(["a", 'b"']), 'fk.var("flow.name").is_in(["a", \'b"\'])'),
        (
            (fk.contact.vip == True) & ~fk.contact.tags.contains("x") & (fk.trigger.n > 1),  # noqa: E712
            '(fk.contact.vip == True) & ~fk.contact.tags.contains("x") & (fk.trigger.n > 1)',
        ),
        (
            ~((fk.contact.a == 1) | (fk.contact.b == fk.contact.c)),
            "~((fk.contact.a == 1) | (fk.contact.b == fk.contact.c))",
        ),
        ((fk.contact.a == 1) >= fk.contact.b, "(fk.contact.a == 1) >= fk.contact.b"),
        (fk.contact["exists"] == fk.contact["_id"], 'fk.contact["exists"] == fk.contact["_id"]'),
    ],
)
def test_conditions_are_written_as_people_write_them(made: Any, source: str) -> None:
    assert condition(made.to_jsonlogic()).flat == source
    assert eval(source, {"fk": fk}).to_jsonlogic() == made.to_jsonlogic()


def test_what_the_operators_cannot_make_stays_json() -> None:
    assert condition({"+": [1, {"var": "contact.n"}]}).flat == '{"+": [1, {"var": "contact.n"}]}'


def test_the_demonstration_reads_as_it_was_written() -> None:
    assert abandoned_cart.to_python() == (
        "import flowkit as fk\n"
        "\n"
        "flow = (\n"
        "    fk.Flow(\n"
        '        "Abandoned cart",\n'
        '        trigger="cart_abandoned",\n'
        '        contact="""{\n'
        "    id: to_string(customer.id),\n"
        "    phone: customer.phone || shipping_address.phone || phone,\n"
        "    first_name: customer.first_name,\n"
        "    country: shipping_address.country_code\n"
        '}""",\n'
        "    )\n"
        "    .delay(seconds=2)\n"
        "    .when(\n"
        '        fk.contact.country == "BR",\n'
        "        then=lambda b: b.send(\n"
        '            template="cart_reminder",\n'
        '            language="pt_BR",\n'
        '            parameters=["{{ contact.first_name }}"],\n'
        '            id="reminder_pt",\n'
        "        ),\n"
        "        otherwise=lambda b: b.send(\n"
        '            template="cart_reminder",\n'
        '            language="en_US",\n'
        '            parameters=["{{ contact.first_name }}"],\n'
        '            id="reminder_en",\n'
        "        ),\n"
        "    )\n"
        "    .parallel(\n"
        "        lambda b: b.send(\n"
        '            text="{{ contact.first_name }}, your cart waits here: '
        '{{ trigger.abandoned_checkout_url }}",\n'
        '            id="link",\n'
        "        ),\n"
        "        lambda b: b.send(\n"
        '            text="Your voucher CART10 takes 10 % off '
        '{{ trigger.line_items[0].title }}.",\n'
        '            id="voucher",\n'
        "        ),\n"
        '        lambda b: b.send(text="Questions? Just answer this message.", id="help"),\n'
        "    )\n"
        "    .end()\n"
        ")\n"
    )


def winding() -> Flow:
    """A flow with long branches, branches in branches, several ENDs and a retry policy."""

    def brazil(b: Flow) -> Flow:
        return (
            b.send(text="Olá", retry=fk.RetryPolicy(maximum_attempts=4))
            .delay(days=1)
            .when(fk.trigger.total > 100, then=lambda c: c.send(text="x").end(id="bought"))
            .parallel(lambda c: c.send(text="one"), lambda c: c)
            .send(text="both", id="both")
        )

    return (
        Flow("Winding", trigger="t", filter=fk.trigger.total.exists(), settings={"a": [1, None]})
        .when(
            (fk.contact.country == "BR") & (fk.contact.language == "Portuguese")
            | fk.contact.tags.contains("speaks Portuguese at home"),
            then=brazil,
            otherwise=lambda b: b.delay(hours=1, id="pause").end(id="paused"),
            id="is-brazil",
        )
        .end()
    )


def test_long_branches_are_functions_with_names() -> None:
    source = winding().to_python()
    assert same(rebuilt(winding()), winding())
    assert "def is_brazil_then(b: fk.Flow) -> fk.Flow:\n    return (\n        b.send(" in source
    assert "then=is_brazil_then," in source
    assert 'otherwise=lambda b: b.delay(hours=1, id="pause").end(id="paused"),' in source
    assert "retry=fk.RetryPolicy(maximum_attempts=4)" in source


def catalogue() -> Flow:
    """A flow of many node types, written as their methods are meant to be called."""
    return (
        Flow("Catalogue", trigger="t")
        .note("Look here.")
        .switch(
            {"vip": fk.contact.tags.contains("vip"), "big": fk.trigger.total > 5},
            otherwise=lambda b: b.delay_weekday("monday", at="09:00"),
            on={"vip": lambda b: b.set_variable({"x": fk.contact.n}), "big": lambda b: b.end()},
        )
        .split(
            {"a": 45, "b": 45, "none": 10},
            holdout="none",
            on={"a": lambda b: b.send(text="A"), "none": lambda b: b.end()},
        )
        .delay_date("{{ contact.birthday }}", past="continue")
        .sending_window("09:00", "21:00")
        .parallel(lambda b: b.delay(days=1), lambda b: b.delay(days=2))
        .join(timeout={"amount": 1, "unit": "days"}, on_timeout=lambda b: b.end())
        .repeat(maximum=3, body=lambda b: b.send(text="again").delay(days=1))
        .end()
    )


def test_node_types_are_called_as_they_are_meant_to_be() -> None:
    source = catalogue().to_python()
    assert same(rebuilt(catalogue()), catalogue())
    for call in (
        '.note("Look here.")',
        '{"vip": fk.contact.tags.contains("vip"), "big": fk.trigger.total > 5},',
        '{"a": 45, "b": 45, "none": 10},\n        holdout="none",',
        '.repeat(maximum=3, body=lambda b: b.send(text="again").delay(days=1))\n    .end()',
    ):
        assert call in source
    assert "with_view" not in source


def test_what_the_builder_cannot_make_follows_as_nodes_and_edges() -> None:
    document = Flow("F", trigger="t").delay(days=1).send(text="Hi").end().to_dict()
    document["nodes"].append({"id": "note", "type": "STRANGE", "config": {"text": "look"}})
    document["edges"].append({"id": "back", "source": "send_message_1", "target": "delay_1"})
    flow = Flow.from_dict(document)
    source = flow.to_python()
    assert same(rebuilt(flow), flow)
    assert ".delay(days=1)" in source
    assert 'fk.Node("note", "STRANGE", config={"text": "look"})' in source


def test_a_graph_that_is_none_is_its_document() -> None:
    document = Flow("F", trigger="t").end().to_dict()
    document["nodes"][0]["type"] = "END"
    flow = Flow.from_dict(document)
    assert "flow = fk.Flow.from_dict(" in flow.to_python()
    assert same(rebuilt(flow), flow)


@pytest.mark.parametrize("make", [lambda: abandoned_cart, winding, catalogue])
def test_ruff_has_nothing_to_change(make: Any) -> None:
    drawn = make().to_dict()
    drawn["edges"] = [edge | {"id": f"e{i}"} for i, edge in enumerate(drawn["edges"])]
    for flow in (make(), Flow.from_dict(drawn)):
        run = subprocess.run(
            [sys.executable, "-m", "ruff", "format", "--isolated", "--line-length=100", "-"],
            input=flow.to_python(),
            capture_output=True,
            text=True,
            check=True,
        )
        assert run.stdout == flow.to_python()


def test_a_large_flow() -> None:
    flow = Flow("Large", trigger="t")
    for number in range(40):
        flow = flow.when(
            fk.contact.n == number, then=lambda b: b.send(text="Hi"), otherwise=lambda b: b
        ).delay(days=1)
    flow = flow.end()
    assert same(rebuilt(flow), flow)


def test_many_levels_of_branches() -> None:
    def deeper(b: Flow, levels: int) -> Flow:
        b = b.delay(days=1)
        return b.when(True, then=lambda c: deeper(c, levels - 1)) if levels else b

    for levels in (3, 40):
        flow = deeper(Flow("Deep", trigger="t"), levels).end()
        assert same(rebuilt(flow), flow)
