"""Conditions in Python: what they compile to, and the mistakes they catch."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowkit.errors import NodeFailed
from flowkit.expression import (
    Expr,
    check_mapping,
    contact,
    evaluate,
    results,
    search,
    trigger,
    var,
    variables,
)
from flowkit.jsonlogic import check_logic, truthy
from tests.examples import examples


@pytest.mark.parametrize(
    ("expression", "logic"),
    [
        (contact.country == "BR", {"==": [{"var": "contact.country"}, "BR"]}),
        (contact.country != None, {"!=": [{"var": "contact.country"}, None]}),  # noqa: E711
        (trigger.total > 100, {">": [{"var": "trigger.total"}, 100]}),
        (100 < trigger.total, {">": [{"var": "trigger.total"}, 100]}),  # noqa: SIM300
        (contact.age >= contact.limit, {">=": [{"var": "contact.age"}, {"var": "contact.limit"}]}),
        (
            (contact.a == 1) >= contact.b,
            {">=": [{"==": [{"var": "contact.a"}, 1]}, {"var": "contact.b"}]},
        ),
        (
            ~contact.a == contact.b,
            {"==": [{"!": [{"var": "contact.a"}]}, {"var": "contact.b"}]},
        ),
        (contact.age <= 3, {"<=": [{"var": "contact.age"}, 3]}),
        (variables.seen < 3, {"<": [{"var": "vars.seen"}, 3]}),
        (~contact.vip, {"!": [{"var": "contact.vip"}]}),
        (contact.a & contact.b, {"and": [{"var": "contact.a"}, {"var": "contact.b"}]}),
        (contact.a | False, {"or": [{"var": "contact.a"}, False]}),
        (True & contact.a, {"and": [True, {"var": "contact.a"}]}),
        (contact.country.is_in(["BR", "PT"]), {"in": [{"var": "contact.country"}, ["BR", "PT"]]}),
        (contact.tags.contains("vip"), {"in": ["vip", {"var": "contact.tags"}]}),
        (contact.phone.exists(), {"!=": [{"var": "contact.phone"}, None]}),
        (trigger["line items"][0].price, {"var": "trigger.line items.0.price"}),
        (contact["_id"], {"var": "contact._id"}),
        (contact["exists"], {"var": "contact.exists"}),
        (results.send_message_1.messageId, {"var": "nodes.send_message_1.messageId"}),
        (var("flow.name"), {"var": "flow.name"}),
    ],
    ids=lambda value: repr(value)[:60],
)
def test_python_compiles_to_jsonlogic(expression: Expr, logic: Any) -> None:
    assert expression.to_jsonlogic() == logic
    assert check_logic(logic) == []


def test_long_chains_stay_flat() -> None:
    chain = contact.a == 0
    for number in range(200):
        chain = chain & (contact.a == number)
    assert check_logic(chain.to_jsonlogic()) == []


@pytest.mark.parametrize(
    "mistake",
    [
        lambda: contact.a and contact.b,
        lambda: (contact.a == 1) or (contact.b == 2),
        lambda: not contact.a,
        lambda: 1 < contact.a < 5,
        lambda: "vip" in contact.tags,
        lambda: contact.country in ["BR", "PT"],
        lambda: 1 if contact.a else 2,
    ],
)
def test_python_s_own_logic_is_refused_with_the_correction(mistake: Any) -> None:
    with pytest.raises(TypeError) as caught:
        mistake()
    said = str(caught.value)
    for wrong, right in (
        ("`a and b`", "`(a) & (b)`"),
        ("`a or b`", "`(a) | (b)`"),
        ("`not a`", "`~(a)`"),
        ("`1 < x < 5`", "`(x > 1) & (x < 5)`"),
        ("`x in [1, 2]`", "`x.is_in([1, 2])`"),
    ):
        assert any(wrong in line and right in line for line in said.splitlines())


def test_other_mistakes_are_type_errors() -> None:
    for mistake in (
        lambda: list(contact.tags),
        lambda: contact.country == {"a": 1},
        lambda: contact.age > float("nan"),
        lambda: contact.country == object(),
        lambda: contact.country.is_in("BR"),
        lambda: contact["a.b"],
        lambda: contact[-1],
        lambda: contact[True],
        lambda: contact[""],
        lambda: var(""),
    ):
        with pytest.raises(TypeError):
            mistake()


def test_expressions_can_be_hashed_copied_and_pickled() -> None:
    one, other = contact.country == "BR", contact.country == "BR"
    assert len({one, other, one}) == 2
    assert {one: "kept"}[one] == "kept"
    for twin in (copy.deepcopy(one), pickle.loads(pickle.dumps(one)), copy.copy(one)):
        assert twin.to_jsonlogic() == one.to_jsonlogic()
    assert repr(one) == 'Expr({"==": [{"var": "contact.country"}, "BR"]})'


SIZES = st.integers(-3, 3)


@st.composite
def pairs(draw: Any) -> tuple[Expr, Any]:
    """An expression, and a function of (a, b) that computes the same in Python."""
    bound = draw(SIZES)
    leaf = st.sampled_from(
        [
            (contact.a == bound, lambda a, b: a == bound),
            (contact.a < contact.b, lambda a, b: a < b),
            (contact.b >= bound, lambda a, b: b >= bound),
            (contact.a.is_in([bound, 0]), lambda a, b: a in (bound, 0)),
            (contact.a.exists(), lambda a, b: True),
            (contact.c.exists(), lambda a, b: False),
        ]
    )
    if draw(st.booleans()):
        return draw(leaf)
    (one, f), (other, g) = draw(pairs()), draw(pairs())
    return draw(
        st.sampled_from(
            [
                (one & other, lambda a, b: f(a, b) and g(a, b)),
                (one | other, lambda a, b: f(a, b) or g(a, b)),
                (~one, lambda a, b: not f(a, b)),
            ]
        )
    )


@settings(max_examples=examples(50, 200))
@given(pair=pairs(), a=SIZES, b=SIZES)
def test_what_is_written_in_python_means_the_same_as_jsonlogic(pair: Any, a: int, b: int) -> None:
    expression, python = pair
    value = evaluate(expression.to_jsonlogic(), {"contact": {"a": a, "b": b}})
    assert truthy(value) is python(a, b)


class TestSearch:
    """JMESPath into payloads."""

    def test_finds_and_does_not_find(self) -> None:
        payload = {"customer": {"id": 7, "phone": "+55"}}
        assert search("customer.{id: id, phone: phone}", payload) == {"id": 7, "phone": "+55"}
        assert search("contact", payload) is None
        assert search("contact.phone", [1, 2]) is None

    @pytest.mark.parametrize(
        "path", ["", "a b", "(" * 500, "(" * 5000, "`", "nothing(@)", "a[?nothing(b)]", "\x00"]
    )
    def test_what_is_malformed_is_found_before_it_runs(self, path: str) -> None:
        (problem,) = check_mapping(path, "/contact")
        assert (problem.code, problem.path) == ("config.jmespath", "/contact")
        with pytest.raises(NodeFailed) as caught:
            search(path, {})
        assert caught.value.code == "mapping_invalid"

    @pytest.mark.parametrize("path", ["abs(a)", "sort(@)", "&a", "`1e999`"])
    def test_what_does_not_fit_the_data_fails(self, path: str) -> None:
        with pytest.raises(NodeFailed) as caught:
            search(path, {"a": "x"})
        assert caught.value.code == "mapping_failed"
