"""What a trigger starts: mapping, filter, contact, refusals."""

from __future__ import annotations

import contextlib
import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowkit import engine
from flowkit.errors import Invalid
from flowkit.execution import Execution
from flowkit.flow import Flow
from flowkit.testing import EPOCH, check_invariants
from tests.engine.driver import PAYLOAD, SAY, flow_of
from tests.sdk.strategies import json_values

MESSAGES = {"hello": SAY}


def start(flow: Flow, payload: Any) -> Execution | None:
    return engine.start(flow, payload, execution_id="x", now=EPOCH)


def plain(**trigger: Any) -> Flow:
    """A flow that needs no contact unless TRIGGER maps one."""
    return flow_of({}, "start > end", trigger=trigger)


def refusal(flow: Flow, payload: Any) -> str:
    with pytest.raises(Invalid) as caught:
        start(flow, payload)
    (problem,) = caught.value.problems
    assert "flow" in problem.message
    assert problem.severity == "error"
    return problem.code


def test_an_execution_begins_ready_at_the_trigger_with_what_it_was_given() -> None:
    execution = start(flow_of(MESSAGES, "start > hello > end"), PAYLOAD)
    assert execution is not None
    check_invariants(execution)
    (root,) = execution.branches
    assert (root.branch_id, root.status, root.path) == ("root", "ready", ["start"])
    assert (execution.status, execution.flow_id, execution.flow_version) == ("running", "flow", 1)
    assert execution.context == {"trigger": PAYLOAD, "contact": PAYLOAD["contact"]}
    assert execution.contact_id == "c1"
    assert execution.created_at == EPOCH
    assert execution.executed_nodes == []


@pytest.mark.parametrize(
    ("contact", "identity"),
    [
        ({"id": "c1", "user_id": "u", "phone": "+1"}, "c1"),
        ({"user_id": "u", "phone": "+1"}, "u"),
        ({"phone": "+1"}, "+1"),
        ({"id": 7}, "7"),
        ({"id": 0}, "0"),
        ({"id": "", "phone": "+1"}, "+1"),
        ({"id": None, "phone": "+1"}, "+1"),
        ({"id": True, "phone": "+1"}, "+1"),
        ({"id": {"a": 1}, "phone": "+1"}, "+1"),
        ({"name": "Ana"}, None),
        ({}, None),
        ("c1", None),
        (["c1"], None),
        (None, None),
    ],
)
def test_a_contact_is_known_by_its_id_else_user_id_else_phone(
    contact: Any, identity: str | None
) -> None:
    execution = start(plain(), {"contact": contact})
    assert execution is not None
    assert execution.contact_id == identity
    assert execution.context["contact"] == (contact if isinstance(contact, dict) else None)


def test_a_contact_is_mapped_out_of_the_payload() -> None:
    flow = plain(contact="order.buyers[0].{id: number, phone: tel}")
    execution = start(flow, {"order": {"buyers": [{"number": 9, "tel": "+1"}]}})
    assert execution is not None
    assert execution.context["contact"] == {"id": 9, "phone": "+1"}
    assert execution.contact_id == "9"


@pytest.mark.parametrize("payload", [{}, {"contact": {"name": "Ana"}}, [], None, "text", 1])
def test_no_contact_is_a_refusal_where_one_is_expected(payload: Any) -> None:
    assert refusal(plain(contact="contact"), payload) == "trigger.contact_missing"
    assert refusal(flow_of(MESSAGES, "start > hello > end"), payload) == "trigger.contact_missing"
    assert start(plain(), payload) is not None, "none is expected here"


@pytest.mark.parametrize(
    ("filter", "starts"),
    [
        ({"==": [{"var": "trigger.coin"}, True]}, True),
        ({"==": [{"var": "contact.name"}, "Ana"]}, True),
        ({"==": [{"var": "flow.name"}, "Drawn by hand"]}, True),
        ({"<": [{"var": "now"}, "2027"]}, True),
        ({"==": [{"var": "trigger.nothing"}, 1]}, False),
        ({"var": "trigger.empty_list"}, False),
        ({"var": "trigger.empty_object"}, True),
        (False, False),
        (0, False),
    ],
)
def test_the_filter_decides_by_the_truth_of_jsonlogic(filter: Any, starts: bool) -> None:
    payload = PAYLOAD | {"empty_list": [], "empty_object": {}}
    assert (start(plain(filter=filter), payload) is not None) == starts


def test_a_filter_that_says_no_is_no_refusal_even_without_a_contact() -> None:
    flow = plain(contact="contact", filter={"var": "trigger.wanted"})
    assert start(flow, {}) is None
    assert refusal(flow, {"wanted": True}) == "trigger.contact_missing"


def test_a_filter_or_mapping_that_breaks_is_a_refusal() -> None:
    broken = plain(filter={"<": [{"var": "trigger.a"}, 1]})
    assert refusal(broken, {"a": {"not": "a number"}}) == "expression_failed"
    assert refusal(plain(contact="length(trigger)"), {"trigger": 1}) != "trigger.contact_missing"


@given(payload=json_values, mapping=st.sampled_from(["contact", "@", "keys(@)", "a.b[?c > `1`]"]))
def test_any_payload_starts_or_is_refused(payload: Any, mapping: str) -> None:
    flow = plain(contact=mapping, filter={">": [{"var": "trigger.a"}, {"var": "trigger.b"}]})
    before = copy.deepcopy(payload)
    execution = None
    with contextlib.suppress(Invalid):
        execution = start(flow, payload)
    if execution is not None:
        check_invariants(execution)
        json.dumps(execution.context)
    assert payload == before
