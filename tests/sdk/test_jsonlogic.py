"""JSONLogic: what each operator means, and that no document or data escapes control."""

from __future__ import annotations

import operator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowkit.errors import NodeFailed
from flowkit.jsonlogic import MAX_DEPTH, check_logic, evaluate, truthy
from flowkit.operators import OPERATORS
from tests.sdk.strategies import failure_of, json_values, logic, scopes

DATA = {
    "contact": {"name": "Ana", "age": 30, "tags": ["vip", "new"], "zero": 0, "empty": ""},
    "trigger": {"items": [{"price": 5}, {"price": 7.5}], "total": "12.5"},
}


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        # plain values stand for themselves
        (True, True),
        (None, None),
        ("text", "text"),
        (10**50, 10**50),
        ([1, {"var": "contact.age"}], [1, 30]),
        # var
        ({"var": "contact.name"}, "Ana"),
        ({"var": ["contact.name"]}, "Ana"),
        ({"var": "contact.nothing"}, None),
        ({"var": "contact.name.first"}, None),
        ({"var": ["contact.nothing", "x"]}, "x"),
        ({"var": ["contact.zero", "x"]}, 0),
        ({"var": "trigger.items.1.price"}, 7.5),
        ({"var": "trigger.items.9.price"}, None),
        ({"var": "trigger.items.²"}, None),
        ({"var": "trigger.items.-1"}, None),
        ({"var": {"cat": ["contact.", "name"]}}, "Ana"),
        ({"var": ["contact.no", {"var": "contact.age"}]}, 30),
        ({"var": ""}, DATA),
        ({"var": []}, DATA),
        # missing
        ({"missing": ["contact.name", "contact.nothing"]}, ["contact.nothing"]),
        ({"missing": "contact.empty"}, ["contact.empty"]),
        ({"missing": []}, []),
        ({"missing": [["contact.name", "contact.x"]]}, ["contact.x"]),
        # equality, loose and strict
        ({"==": [1, 1.0]}, True),
        ({"==": [1, "1"]}, True),
        ({"==": [1, " 1.0 "]}, True),
        ({"==": [0, False]}, True),
        ({"==": [0, ""]}, True),
        ({"==": [1, "one"]}, False),
        ({"==": [None, None]}, True),
        ({"==": [None, 0]}, False),
        ({"==": [None, False]}, False),
        ({"==": [["vip"], "vip"]}, True),
        ({"==": [[], ""]}, True),
        ({"==": [[1, 2], [1, 2]]}, True),
        ({"==": ["1", "1.0"]}, False),
        ({"==": ["1_000", 1000]}, False),
        ({"==": ["٣", 3]}, False),
        ({"!=": [1, "1"]}, False),
        ({"===": [1, "1"]}, False),
        ({"===": [1, True]}, False),
        ({"===": [1, 1.0]}, True),
        ({"===": ["a", "a"]}, True),
        ({"!==": [1, True]}, True),
        # order
        ({"<": [1, 2]}, True),
        ({"<": [2, 2]}, False),
        ({"<=": [2, 2]}, True),
        ({">": [2, 1]}, True),
        ({">=": [1, 2]}, False),
        ({"<": ["a", "b"]}, True),
        ({"<": ["10", "9"]}, True),
        ({"<": ["9", 10]}, True),
        ({">": [{"var": "trigger.total"}, 12]}, True),
        ({"<": [1, 2, 3]}, True),
        ({"<": [1, 3, 2]}, False),
        ({"<=": [1, 1, 1]}, True),
        ({">": [3, 2, 1]}, True),
        ({"<": [{"var": "contact.nothing"}, 5]}, False),
        ({">=": [{"var": "contact.nothing"}, 0]}, False),
        # logic
        ({"!": [[]]}, True),
        ({"!": True}, False),
        ({"!": ["0"]}, False),
        ({"!!": ["0"]}, True),
        ({"!!": [[]]}, False),
        ({"!!": [[0]]}, True),
        ({"and": [1, 2, 3]}, 3),
        ({"and": [1, "", 3]}, ""),
        ({"or": [0, "", 3]}, 3),
        ({"or": [0, []]}, []),
        ({"or": [True, {"<": [[], 1]}]}, True),
        ({"and": [False, {"<": [[], 1]}]}, False),
        ({"if": [True, "yes", "no"]}, "yes"),
        ({"if": [False, "a", True, "b", "c"]}, "b"),
        ({"if": [False, "a", False, "b", "c"]}, "c"),
        ({"if": [False, "a"]}, None),
        ({"if": ["x"]}, "x"),
        # in, cat
        ({"in": ["vip", {"var": "contact.tags"}]}, True),
        ({"in": [True, [1, 2]]}, False),
        ({"in": ["na", {"var": "contact.name"}]}, True),
        ({"in": [1, "a1"]}, True),
        ({"in": [None, "null"]}, False),
        ({"in": ["a", None]}, False),
        ({"cat": ["a", 1, 1.0, 2.5, None, True, [1, 2]]}, "a112.5true1,2"),
        # arithmetic
        ({"+": [1, 2, 3]}, 6),
        ({"+": "3.5"}, 3.5),
        ({"-": [5, 3]}, 2),
        ({"-": [5]}, -5),
        ({"*": [2, "3"]}, 6),
        ({"/": [6, 3]}, 2),
        ({"/": [1, 4]}, 0.25),
        ({"%": [7, 3]}, 1),
        ({"%": [-7, 3]}, -1),
        ({"%": [5.5, 2]}, 1.5),
        ({"min": [3, 1, "2"]}, 1),
        ({"max": [3, 1, 2]}, 3),
    ],
    ids=str,
)
def test_meaning(expression: Any, value: Any) -> None:
    assert check_logic(expression) == []
    result = evaluate(expression, DATA)
    assert result == value
    assert type(result) is type(value)


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ({"<": [{"var": "contact.tags"}, 1]}, '"<" cannot compare an array with 1.'),
        ({">": [{"var": "contact"}, 1]}, '">" cannot compare an object with 1.'),
        ({"<=": ["abc", 1]}, "\"<=\" cannot compare 'abc' with 1."),
        ({">=": [True, 1]}, '">=" cannot compare true with 1.'),
        ({"<": [1, 2, []]}, '"<" cannot compare 2 with an array.'),
        ({"+": [1, None]}, '"+" needs numbers, not null.'),
        ({"+": ["a"]}, "\"+\" needs numbers, not 'a'."),
        ({"max": [[], 1]}, '"max" needs numbers, not an array.'),
        ({"/": [1, 0]}, '"/" cannot divide by zero.'),
        ({"%": [1, 0.0]}, '"%" cannot divide by zero.'),
        ({"*": [10**300, 10**300]}, 'The result of "*" is too large.'),
        ({"*": [1e300, 1e300]}, 'The result of "*" is not a number.'),
        ({"cat": [{"var": "contact"}]}, "An object cannot be written as text."),
        ({"var": {"+": [0.5]}}, '"var" needs a path, not 0.5.'),
    ],
    ids=str,
)
def test_operands_that_do_not_fit_fail_and_name_the_operator(expression: Any, message: str) -> None:
    assert check_logic(expression) == []
    with pytest.raises(NodeFailed) as caught:
        evaluate(expression, DATA)
    assert (caught.value.code, caught.value.message) == ("expression_failed", message)


@pytest.mark.parametrize(
    ("expression", "path", "words"),
    [
        ({"=": [1, 1]}, "/x", "There is no operator '='"),
        ({"and": [True, {"nope": 1}]}, "/x/and/1", "There is no operator 'nope'"),
        ({"!": {"nope": 1}}, "/x/!", "There is no operator 'nope'"),
        ({"==": [1]}, "/x", "takes 2 operands, not 1"),
        ({"<": [1, 2, 3, 4]}, "/x", "takes 2 to 3 operands, not 4"),
        ({"and": []}, "/x", "takes at least 1 operand, not 0"),
        ({}, "/x", "0 keys"),
        ({"==": [1, 1], "!=": [1, 2]}, "/x", "2 keys"),
        ({"var": 1.5}, "/x", '"var" takes a path'),
        ({"var": True}, "/x", '"var" takes a path'),
        ({"var": [["a"]]}, "/x", '"var" takes a path'),
        ([1, float("nan")], "/x/1", "NaN"),
        ({"==": [1, float("inf")]}, "/x/==/1", "NaN"),
        ((1, 2), "/x", "tuple"),
    ],
)
def test_malformed_documents_are_problems(expression: Any, path: str, words: str) -> None:
    (problem,) = check_logic(expression, "/x")
    assert (problem.code, problem.path) == ("config.expression", path)
    assert words in problem.message
    with pytest.raises(NodeFailed) as caught:
        evaluate(expression, DATA)
    assert caught.value.code == "expression_invalid"


def test_depth_is_bounded() -> None:
    def nested(levels: int) -> Any:
        made: Any = True
        for _ in range(levels):
            made = {"!": [made]}
        return made

    assert check_logic(nested(MAX_DEPTH)) == []
    assert evaluate(nested(MAX_DEPTH), {}) is True
    for levels in (MAX_DEPTH + 1, 900, 100_000):
        (problem,) = check_logic(nested(levels))
        assert "nests deeper" in problem.message
        with pytest.raises(NodeFailed):
            evaluate(nested(levels), {})


@given(expression=logic, scope=scopes)
def test_what_passes_the_check_gives_a_value_or_fails_as_a_node(
    expression: Any, scope: dict[str, Any]
) -> None:
    assert check_logic(expression) == []
    assert failure_of(lambda: evaluate(expression, scope)) in (None, "expression_failed")


@given(expression=json_values, scope=json_values)
def test_any_document_over_any_data_is_under_control(expression: Any, scope: Any) -> None:
    problems = check_logic(expression)
    code = failure_of(lambda: evaluate(expression, scope))
    assert (code == "expression_invalid") == bool(problems)


NUMBERS = st.integers(-(10**12), 10**12) | st.floats(-1e12, 1e12)


@given(a=NUMBERS, b=NUMBERS, name=st.sampled_from(["<", "<=", ">", ">=", "==", "!=", "+", "*"]))
def test_numbers_are_python_s(a: float, b: float, name: str) -> None:
    python = {
        "<": operator.lt,
        "<=": operator.le,
        ">": operator.gt,
        ">=": operator.ge,
        "==": operator.eq,
        "!=": operator.ne,
        "+": operator.add,
        "*": operator.mul,
    }
    scope = {"a": a, "b": b}
    expected = python[name](a, b)
    assert evaluate({name: [{"var": "a"}, {"var": "b"}]}, scope) == expected


def test_expressions_that_differ_only_in_the_type_of_a_literal_stay_apart() -> None:
    assert evaluate({"===": [{"var": "a"}, 1]}, {"a": True}) is False
    assert evaluate({"===": [{"var": "a"}, True]}, {"a": True}) is True
    assert evaluate({"===": [{"var": "a"}, 1.0]}, {"a": True}) is False


def test_a_document_changed_in_place_is_compiled_anew() -> None:
    expression: dict[str, Any] = {"==": [{"var": "a"}, 1]}
    assert evaluate(expression, {"a": 1}) is True
    expression["=="][1] = 2
    assert evaluate(expression, {"a": 1}) is False


@pytest.mark.parametrize("hostile", ["9" * 5_000, "1" * 200_000 + "x", "+-1", "1e999", "0x10"])
def test_texts_that_look_like_numbers_are_read_in_linear_time(hostile: str) -> None:
    assert evaluate({"==": [{"var": "a"}, 1]}, {"a": hostile}) is False


def test_every_operator_is_tried_above() -> None:
    tried = {
        name
        for mark in test_meaning.pytestmark  # type: ignore[attr-defined]
        for expression, _ in mark.args[1]
        if isinstance(expression, dict)
        for name in expression
    }
    assert tried == set(OPERATORS)


@pytest.mark.parametrize("value", [0, 0.0, "", None, False, []])
def test_false_values(value: Any) -> None:
    assert truthy(value) is False


@pytest.mark.parametrize("value", [1, -1, "0", " ", True, [0], {}])
def test_true_values(value: Any) -> None:
    assert truthy(value) is True
