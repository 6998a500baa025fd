"""SET_VARIABLE, PYTHON and NOTE."""

from __future__ import annotations

from typing import Any

import pytest

import flowkit as fk
from flowkit import functions
from flowkit.errors import Invalid
from flowkit.nodes.code import SetVariable
from tests.engine.driver import PAYLOAD, SAY, World, flow_of


@pytest.fixture(autouse=True)
def _own_functions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(functions, "_registry", {})


def test_variables_are_computed_and_seen_by_what_follows() -> None:
    flow = flow_of(
        {
            "set": (
                "SET_VARIABLE",
                {"values": {"tier": "gold", "double": {"*": [{"var": "trigger.n"}, 2]}}},
            ),
            "say": ("SEND_MESSAGE", {"kind": "text", "text": "{{ vars.tier }} {{ vars.double }}"}),
        },
        "start > set > say > end",
    )
    world = World(flow, PAYLOAD | {"n": 4})
    assert world.run().status == "completed"
    assert world.performed[0].effect.request["text"]["body"] == "gold 8"


def test_values_are_conditions_in_python_too() -> None:
    made = SetVariable.from_call({"total": fk.trigger.total, "tier": "gold"})
    assert made.values == {"total": {"var": "trigger.total"}, "tier": "gold"}
    with pytest.raises(Invalid, match="Name a variable"):
        SetVariable(values={})
    with pytest.raises(Invalid, match="cannot be read") as refused:
        SetVariable(values={"a.b": 1})
    assert refused.value.problems[0].path == "/values/a.b"


def calling(config: dict[str, Any]) -> World:
    return World(flow_of({"score": ("PYTHON", config), "say": SAY}, "start > score > say > end"),
                 PAYLOAD | {"total": 95.0})  # fmt: skip


SCORE = {"function": "score", "arguments": {"total": {"var": "trigger.total"}, "step": 10}}


def test_a_function_is_called_by_name_with_what_its_arguments_say() -> None:
    @fk.function("score")
    def score(total: float, step: int) -> int:
        return int(total // step)

    world = calling(SCORE)
    assert world.run().status == "completed"
    assert world.run_of("score").result == {"value": 9}


def test_an_error_in_it_fails_the_node_and_can_be_retried() -> None:
    broken = [True]

    @fk.function("score")
    def score(total: float, step: int) -> int:
        if broken:
            raise ZeroDivisionError("no step")
        return 1

    world = calling(SCORE)
    assert world.run().status == "failed"
    assert world.error("score") == "function_failed"
    assert "ZeroDivisionError: no step" in world.run_of("score").error["message"]  # type: ignore[index]
    broken.clear()
    assert world.retry() == "ok"
    assert world.run().status == "completed"


def test_one_that_is_not_registered_is_remarked_and_fails_where_it_runs() -> None:
    world = calling(SCORE)
    document = world.flow.to_dict()
    found = fk.validate(document)[0]
    assert (found.code, found.severity) == ("python.unknown_function", "warning")
    assert found.path == "/nodes/1/config/function"
    world.run()
    assert world.error("score") == "function_unknown"


def test_what_is_no_json_is_refused() -> None:
    fk.function("score")(lambda total, step: {1, 2})
    world = calling(SCORE)
    assert world.run().status == "failed"
    assert world.nodes["score"] == "failed"


def test_names_are_given_once() -> None:
    def one() -> None: ...
    def two() -> None: ...

    fk.function("f")(one)
    fk.function("f")(one)
    with pytest.raises(TypeError, match="'f' is"):
        fk.function("f")(two)
    with pytest.raises(TypeError, match="no name of a function"):
        fk.function("a b")


def test_a_note_is_beside_the_flow() -> None:
    flow = fk.Flow("Noted", trigger="t").note("Ask Ana before changing this.").delay(days=1).end()
    assert fk.validate(flow.to_dict()) == []
    assert [node.type for node in flow.nodes] == ["TRIGGER", "NOTE", "DELAY", "END"]
    assert {(e.source, e.target) for e in flow.edges} == {
        ("trigger_1", "delay_1"),
        ("delay_1", "end_1"),
    }


def test_nothing_leads_to_or_from_a_note() -> None:
    world = flow_of({"note": ("NOTE", {"text": "Hm"})}, "start > note > end", "start > end")
    assert [p.code for p in fk.validate(world.to_dict())] == [
        "edge.into_note",
        "edge.unknown_handle",
    ]
