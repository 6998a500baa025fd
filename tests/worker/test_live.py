"""Flows that are changed, paused and deleted under a real worker, over the real API."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

import flowkit as fk
from service.store.sqlite import SqliteStore
from tests.processes import Installation, installation, until


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """API and worker, for all tests: to start them would take the most time."""
    directory = tmp_path_factory.mktemp("live")
    for here in installation(directory, lease_seconds="2", sweep_seconds="0.1"):
        here.start_api()
        here.start("worker")
        yield here


@pytest.fixture
def here(serving: Installation) -> Iterator[Installation]:
    """API and worker, without a flow at first."""
    yield serving
    for flow in ok(serving, "GET", "/api/flows")["items"]:
        ok(serving, "DELETE", f"/api/flows/{flow['id']}?cancel=true")


@pytest.fixture
def store(here: Installation) -> Iterator[SqliteStore]:
    """The store, beside API and worker."""
    store = SqliteStore(here.database)
    yield store
    store.close()


def content(name: str) -> dict[str, Any]:
    """A flow whose condition has a name of its own."""
    flow = fk.Flow("Live", trigger="test").delay(seconds=0.05, id="wait")
    made = flow.when(True, then=lambda b: b, otherwise=lambda b: b, id=name).end()
    return made.to_dict() | {"isActive": True}


def ok(here: Installation, method: str, path: str, body: Any = None) -> Any:
    answer = here.client.request(method, path, json=body)
    assert answer.is_success, answer.text
    return answer.json() if answer.content else None


def took(here: Installation, execution_id: str) -> tuple[int, set[str]]:
    """The version of an execution that has completed, and the nodes that ran."""
    execution = ok(here, "GET", f"/api/executions/{execution_id}")
    assert execution["status"] == "completed", execution
    return execution["flowVersion"], {run["nodeId"] for run in execution["executedNodes"]}


def test_edits_and_pauses_leave_what_is_under_way_as_it_is(
    here: Installation, store: SqliteStore
) -> None:
    flow = ok(here, "POST", "/api/flows", content("old"))
    address = f"/api/flows/{flow['id']}"
    ok(here, "PATCH", address, {"isPaused": True})
    # The worker reads what is paused once per sweep: what it parks is surely held.
    until(lambda: here.trigger([{}]) and store.held_flows(), what="the worker notices")
    (first,) = here.trigger([{}])
    ok(here, "PUT", f"{address}?author=ann", content("new") | {"isPaused": True})
    (second,) = here.trigger([{}])
    ok(here, "PATCH", address, {"isActive": False})
    for execution_id in (first, second):
        execution = ok(here, "GET", f"/api/executions/{execution_id}")
        assert execution["status"] in ("running", "delayed")
        assert {run["nodeId"] for run in execution["executedNodes"]} == set()
    ok(here, "PATCH", address, {"isPaused": False})
    here.wait_for_all()
    assert took(here, first) == (1, {"trigger_1", "wait", "old", "end_1"})
    assert took(here, second) == (2, {"trigger_1", "wait", "new", "end_1"})
    assert store.held_flows() == frozenset()


def test_many_are_held_and_all_go_on_however_often_it_changes(
    here: Installation, store: SqliteStore
) -> None:
    flow = ok(here, "POST", "/api/flows", content("old"))
    address = f"/api/flows/{flow['id']}"
    started = []
    for turn in range(6):
        ok(here, "PATCH", address, {"isPaused": turn % 2 == 0})
        started += here.trigger([{}] * 20)
    ok(here, "PATCH", address, {"isPaused": False})
    here.wait_for_all()
    for execution_id in started:
        assert took(here, execution_id)[1] == {"trigger_1", "wait", "old", "end_1"}
    until(lambda: not store.held_flows(), what="nothing is held any more")


def test_a_paused_flow_is_deleted_and_leaves_nothing_held(
    here: Installation, store: SqliteStore
) -> None:
    flow = ok(here, "POST", "/api/flows", content("old") | {"isPaused": True})
    until(lambda: here.trigger([{}]) and store.held_flows(), what="the worker notices")
    assert here.client.delete(f"/api/flows/{flow['id']}").status_code == 409
    assert here.client.delete(f"/api/flows/{flow['id']}?cancel=true").status_code == 204
    until(lambda: not store.held_flows(), what="nothing is held any more")
    assert here.rows("SELECT id FROM executions WHERE open > 0") == []


def test_a_retry_runs_the_version_that_the_execution_started_with(
    here: Installation, store: SqliteStore
) -> None:
    """No channel is set up, so that messages fail."""

    def message(name: str) -> dict[str, Any]:
        flow = fk.Flow("Live", trigger="test").send(text="Hello", id=name).end()
        return flow.to_dict() | {"isActive": True}

    flow = ok(here, "POST", "/api/flows", message("old"))
    (execution_id,) = here.trigger([{"contact": {"id": "c1", "phone": "+5511999990000"}}])
    here.wait_for_all()
    ok(here, "PUT", f"/api/flows/{flow['id']}", message("new"))
    ok(here, "POST", f"/api/executions/{execution_id}/retry")
    here.wait_for_all()
    execution = ok(here, "GET", f"/api/executions/{execution_id}")
    assert execution["flowVersion"] == 1
    assert [(r["nodeId"], r["retryCount"]) for r in execution["executedNodes"]] == [
        ("trigger_1", 0),
        ("old", 1),
    ]
