"""Rules about JOINs and loops."""

from __future__ import annotations

import pytest

from flowkit.flow import Flow
from flowkit.problems import errors
from tests.engine.driver import COIN, SAY, flow_of

ALL = ("JOIN", {})
LOOP = ("REPEAT", {"maximum": 3})


def found(nodes: dict[str, object], *ways: str) -> list[tuple[str, str]]:
    """Return the codes of problems of the graph and the nodes that they are at."""
    flow = flow_of(nodes, *ways)
    return [
        (problem.code, flow.nodes[int(problem.path.split("/")[2])].id)
        for problem in flow.validate()
        if problem.code.startswith(("graph.", "join.", "repeat."))
    ]


FORK = ("start > a > join > end", "start > b > join")


@pytest.mark.parametrize(
    ("nodes", "ways", "problems"),
    [
        ({"a": SAY, "b": SAY, "join": ALL}, FORK, []),
        # behind a JOIN the branches are one: no warning where they meet others of the same
        (
            {"a": SAY, "b": SAY, "join": ALL, "turn": COIN, "c": SAY},
            (*FORK[1:], "start > a > join > turn:true > c > end", "turn:false > c"),
            [],
        ),
        ({"a": SAY, "join": ALL}, ("start > a > join > end",), [("join.no_fork", "join")]),
        # nested forks, each with a JOIN
        (
            {**dict.fromkeys("fabc", SAY), "j1": ALL, "j2": ALL},
            ("start > f", "f > a > j1 > j2 > end", "f > b > j1", "start > c > j2"),
            [],
        ),
        # two JOINs side by side, and one behind the other, that close the same fork
        (
            {**dict.fromkeys("abcd", SAY), "j1": ALL, "j2": ALL},
            ("start > a > j1 > end", "start > b > j1", "start > c > j2 > end", "start > d > j2"),
            [("join.shared_fork", "j2")],
        ),
        (
            {**dict.fromkeys("abc", SAY), "j1": ALL, "j2": ALL},
            ("start > a > j1 > j2 > end", "start > b > j1", "start > c > j2"),
            [("join.shared_fork", "j2")],
        ),
        # loops
        ({"loop": LOOP, "a": SAY}, ("start > loop:again > a > loop", "loop:done > end"), []),
        (
            {"loop": LOOP, "a": SAY},
            ("start > loop:again > a > end", "loop:done > end"),
            [("repeat.no_return", "loop")],
        ),
        (
            {"loop": LOOP, "a": SAY, "b": SAY},
            ("start > loop:again > a > end", "loop:done > b > loop"),
            [("graph.cycle", "loop"), ("repeat.no_return", "loop")],
        ),
        (
            {"loop": LOOP, "a": SAY, "b": SAY, "join": ALL},
            ("start > loop:again > a > join > loop", "loop:again > b > join", "loop:done > end"),
            [],
        ),
        (
            {"loop": LOOP, "a": SAY, "b": SAY},
            ("start > loop:again > a > loop", "loop:again > b > loop", "loop:done > end"),
            [("repeat.open_fork", "loop")],
        ),
        (
            {"loop": LOOP, "a": SAY, "turn": COIN, "b": SAY, "join": ALL},
            (
                *("start > loop:again > a", "a > turn:true > join > loop", "a > b > join"),
                *("turn:false > loop", "loop:done > end"),
            ),
            [("repeat.open_fork", "a")],
        ),
        (
            {"loop": LOOP, "turn": COIN, "a": SAY},
            ("start > turn:true > loop", "loop:again > a > loop", "turn:false > a",
             "loop:done > end"),
            [("repeat.entered", "a")],
        ),
        (
            {"outer": LOOP, "inner": LOOP, "a": SAY},
            ("start > outer:again > inner:again > a > inner", "inner:done > outer",
             "outer:done > end"),
            [],
        ),
    ],
)  # fmt: skip
def test_rules(
    nodes: dict[str, object], ways: tuple[str, ...], problems: list[tuple[str, str]]
) -> None:
    assert [p for p in found(nodes, *ways) if p[0] != "graph.convergence"] == problems


def test_a_join_brings_branches_together_without_a_warning() -> None:
    assert found({"a": SAY, "b": SAY, "join": ALL}, *FORK) == []
    met = found({"a": SAY, "b": SAY, "join": SAY}, *FORK)
    assert met == [("graph.convergence", "join")]


def test_loops_and_joins_are_built_fluently() -> None:
    flow = (
        Flow("Reminders", trigger="cart")
        .repeat(
            maximum=3,
            body=lambda b: (
                b.parallel(lambda one: one.send(text="Hello"), lambda other: other.delay(hours=1))
                .join(
                    timeout={"amount": 1, "unit": "days"},
                    on_timeout=lambda late: late.send(template="late", language="pt_BR"),
                )
                .delay(days=1)
            ),
        )
        .end()
    )
    assert errors(flow.validate()) == []
    assert Flow.from_json(flow.to_json()) == flow


def test_loops_that_overlap_are_refused() -> None:
    codes = found(
        {"one": LOOP, "two": LOOP},
        *("start > one:again > two:again > one", "two:done > end", "one:done > end"),
    )
    assert ("repeat.tangled", "two") in codes
