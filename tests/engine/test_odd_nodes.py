"""Node types with mistakes: their node fails with a reason, and nothing else is harmed."""

from __future__ import annotations

import json

import pytest

from flowkit.flow import Flow
from tests.engine.driver import SAY, World, flow_of
from tests.engine.nodes import ODD

CODES = {
    "takes an unknown way": "handle_unconnected",
    "gives too much": "result_too_large",
    "gives too much while it waits": "result_too_large",
    "sets too much": "result_too_large",
    "gives a list": "result_invalid",
    "gives a set": "result_invalid",
    "gives NaN": "result_invalid",
    "gives keys that do not compare": "result_invalid",
    "gives half a character": "result_invalid",
    "gives no end": "result_invalid",
    "sets what is no object": "result_invalid",
    "sets what is no data": "result_invalid",
}


@pytest.mark.parametrize("how", ODD)
def test_it_fails_its_own_branch_only(how: str) -> None:
    nodes = {"odd": ("TEST_ODD", {"how": how}), "good": SAY}
    world = World(flow_of(nodes, "start > odd > end", "start > good > end"))
    assert world.run().status == "failed"
    assert world.branches == {"root": "forked", "root_0": "failed", "root_1": "completed"}
    run = world.run_of("odd")
    assert (run.status, run.result) == ("failed", None)
    assert world.error("odd") == CODES.get(how, "node_error")
    assert run.error is not None
    assert run.error["transient"] is False
    text = json.dumps(run.error, ensure_ascii=False, allow_nan=False)
    assert 0 < len(text.encode()) < 5_000
    assert world.answers == ["ok", "ok"]


@pytest.mark.parametrize("how", ["raises", "returns nothing", "gives a set"])
def test_it_can_be_retried_once_it_is_mended(how: str) -> None:
    nodes = {"odd": ("TEST_ODD", {"how": how})}
    world = World(flow_of(nodes, "start > odd > end"))
    world.run()
    world.retry()
    assert world.run().status == "failed"
    mended = ("TEST_REMEMBER", {"name": "a", "value": "b"})
    world.flow = flow_of({"odd": mended}, "start > odd > end")
    world.retry()
    assert world.run().status == "completed"
    assert world.run_of("odd").retry_count == 2


def test_an_error_says_what_went_wrong() -> None:
    world = World(flow_of({"odd": ("TEST_ODD", {"how": "raises"})}, "start > odd > end"))
    world.run()
    assert world.run_of("odd").error == {
        "code": "node_error",
        "message": "ZeroDivisionError: by zero",
        "transient": False,
    }


def test_a_type_that_is_gone_fails_its_node() -> None:
    world = World(flow_of({"gone": ("TEST_ODD", {"how": "raises"})}, "start > gone > end"))
    document = world.flow.to_dict()
    document["nodes"][1]["type"] = "TEST_NO_LONGER"
    world.flow = Flow.from_dict(document)
    assert world.run().status == "failed"
    assert "TEST_NO_LONGER" in str(world.run_of("gone").error)
