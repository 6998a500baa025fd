"""Executions: shown, filtered, retried, cancelled; also by two at once."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any

import pytest

from flowkit.errors import Conflict
from flowkit.execution import Execution
from flowkit.wire import from_wire, iso, to_wire
from tests.api.harness import NOW, REFUSED, SENT, Service, delayed, problems_of, sending

HEAD = {
    "id",
    "flowId",
    "flowVersion",
    "status",
    "triggerType",
    "contactId",
    "resumeAt",
    "createdAt",
    "updatedAt",
    "endedAt",
    "endedBy",
}


@pytest.fixture
def failed(service: Service) -> str:
    """An execution of two messages, of which one was refused."""
    service.add(sending())
    (execution,) = service.start()
    refuse_b(service)
    assert service.ok("GET", f"/api/executions/{execution}")["status"] == "failed"
    return execution


def refuse_b(service: Service) -> None:
    def perform(performance: Any) -> Any:
        return REFUSED if performance.effect.request["text"]["body"] == "b" else SENT

    service.work(perform)


def runs(execution: dict[str, Any]) -> dict[str, str]:
    return {run["nodeId"]: run["status"] for run in execution["executedNodes"]}


def test_an_execution_is_shown_whole(service: Service, failed: str) -> None:
    shown = service.ok("GET", f"/api/executions/{failed}")
    assert set(shown) == HEAD | {"context", "branches", "executedNodes"}
    assert runs(shown) == {
        "trigger_1": "completed",
        "send_message_1": "completed",
        "send_message_2": "failed",
        "end_1": "completed",
    }
    assert [branch["status"] for branch in shown["branches"]] == ["forked", "completed", "failed"]
    assert shown["contactId"] == "c1"
    assert shown["context"]["contact"]["phone"] == "+5511999990000"
    assert shown["createdAt"] == iso(NOW) == "2026-11-22T10:00:00.000Z"
    assert shown == to_wire(from_wire(Execution, shown))


def test_a_list_shows_heads_and_what_is_asked_for(service: Service, failed: str) -> None:
    whole = service.ok("GET", f"/api/executions/{failed}")
    for include in ("", "context", "branches", "executedNodes", "context,executedNodes"):
        (item,) = service.ok("GET", f"/api/executions?include={include}")["items"]
        assert set(item) == HEAD | {part for part in include.split(",") if part}
        assert item == {key: whole[key] for key in item}


def test_the_list_is_filtered(service: Service) -> None:
    wait = service.add(delayed("Wait", "wait"))
    send = service.add(sending("Send", "send"))
    ids: list[str] = []
    for trigger, contact in (("wait", "a"), ("send", "a"), ("send", "b")):
        ids += service.start(trigger, {"contact": {"id": contact, "phone": "+5511999990000"}})
        service.work()
        service.clock.advance(timedelta(minutes=1))
    one, two, three = ids

    def listed(query: str) -> list[str]:
        return [item["id"] for item in service.ok("GET", f"/api/executions?{query}")["items"]]

    minute = [iso(NOW + timedelta(minutes=i)) for i in range(4)]
    assert listed("") == [three, two, one]
    assert listed(f"flowId={wait['id']}") == [one]
    assert listed(f"flowId={send['id']}&contact=a") == [two]
    assert listed("contact=a") == [two, one]
    assert listed("status=delayed") == [one]
    assert listed("status=completed") == [three, two]
    assert listed("status=running") == []
    assert listed(f"from={minute[1]}") == [three, two]
    assert listed(f"to={minute[1]}") == [one]
    assert listed(f"from={minute[1]}&to={minute[2]}") == [two]
    assert listed("from=2026-11-22T11:01:00%2B01:00") == [three, two]
    assert listed("contact=%00") == []


def test_a_retry_makes_the_failed_node_run_again(service: Service, failed: str) -> None:
    service.rings.clear()
    service.clock.advance(timedelta(minutes=1))
    retried = service.ok("POST", f"/api/executions/{failed}/retry", {})
    assert (retried["status"], retried["endedAt"]) == ("running", None)
    assert len(service.rings) == 1
    service.work()
    shown = service.ok("GET", f"/api/executions/{failed}")
    assert shown["status"] == "completed"
    (run,) = (r for r in shown["executedNodes"] if r["nodeId"] == "send_message_2")
    assert (run["status"], run["retryCount"]) == ("completed", 1)
    service.refused(409, "POST", f"/api/executions/{failed}/retry")


@pytest.mark.parametrize("body", [b"", b"{}", b'{"nodeIds": ["send_message_2"]}'])
def test_ways_to_ask_for_a_retry(service: Service, failed: str, body: bytes) -> None:
    answer = service("POST", f"/api/executions/{failed}/retry", body)
    assert answer.status_code == 200
    assert answer.get_json()["status"] == "running"


@pytest.mark.parametrize(
    "body",
    [
        {"nodeIds": ["send_message_1"]},
        {"nodeIds": ["send_message_2", "nothing"]},
        {"nodeIds": ["\x7f😀"]},
        {"nodeIds": []},
        {"nodeIds": None},
        {"nodeIds": "send_message_2"},
        {"nodeIds": [5]},
        {"nodeIds": [None]},
        {"nodeids": ["send_message_2"]},
        [],
        ["send_message_2"],
        5,
        None,
    ],
)
def test_a_retry_that_does_not_fit_changes_nothing(
    service: Service, failed: str, body: Any
) -> None:
    before = service.everything()
    service.rings.clear()
    service.refused(422, "POST", f"/api/executions/{failed}/retry", body)
    assert service.everything() == before
    assert service.rings == []


def test_what_cannot_be_retried_or_cancelled_is_409(service: Service) -> None:
    service.add(delayed())
    (execution,) = service.start()
    address = f"/api/executions/{execution}"
    service.refused(409, "POST", f"{address}/retry")
    cancelled = service.ok("POST", f"{address}/cancel")
    assert cancelled["status"] == "cancelled"
    before = service.everything()
    answer = service("POST", f"{address}/cancel")
    assert answer.status_code == 409
    assert "cancelled" in problems_of(answer)[0]["message"]
    service.refused(409, "POST", f"{address}/retry")
    assert service.everything() == before


def test_cancelling_ends_what_waits_at_once(service: Service) -> None:
    service.add(delayed())
    (execution,) = service.start()
    service.work()
    assert service.ok("GET", f"/api/executions/{execution}")["status"] == "delayed"
    shown = service.ok("POST", f"/api/executions/{execution}/cancel")
    assert (shown["status"], shown["resumeAt"]) == ("cancelled", None)
    assert shown["endedAt"] == iso(service.clock.now())
    assert {run["status"] for run in shown["executedNodes"]} == {"completed", "cancelled"}
    service.clock.advance(timedelta(days=1))
    service.work()
    assert service.ok("GET", f"/api/executions/{execution}") == shown


@pytest.mark.parametrize("body", [{}, {"nodeIds": ["send_message_2"]}])
def test_of_two_retries_at_once_one_wins_and_the_other_gets_409(
    service: Service, failed: str, body: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Both have read the execution as it failed before either commits.
    barrier = threading.Barrier(2)
    read = service.store.get_execution
    first = threading.local()

    def get_execution(execution_id: str) -> Execution:
        execution = read(execution_id)
        if not getattr(first, "done", False):
            first.done = True
            barrier.wait(timeout=10)
        return execution

    monkeypatch.setattr(service.store, "get_execution", get_execution)
    answers: list[int] = []

    def retry() -> None:
        answer = service("POST", f"/api/executions/{failed}/retry", body)
        answers.append(answer.status_code)

    threads = [threading.Thread(target=retry) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == [200, 409]
    monkeypatch.undo()
    service.work()
    shown = service.ok("GET", f"/api/executions/{failed}")
    assert shown["status"] == "completed"
    assert {run["retryCount"] for run in shown["executedNodes"]} == {0, 1}


def test_a_retry_outlives_what_siblings_do_meanwhile(
    service: Service, failed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Two changes by others get in between before the request gets through.
    commit = service.store.commit
    interruptions = [0, 0]

    def interrupted(patches: Any, **options: Any) -> Any:
        if interruptions:
            interruptions.pop()
            (patch,) = patches
            patch.revision -= 1
        return commit(patches, **options)

    monkeypatch.setattr(service.store, "commit", interrupted)
    assert service.ok("POST", f"/api/executions/{failed}/retry")["status"] == "running"


def test_an_execution_that_never_stands_still_is_409(
    service: Service, failed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit: Any = type(service.store).commit

    def interrupted(store: Any, patches: Any, **options: Any) -> Any:
        (patch,) = patches
        patch.revision -= 1
        return commit(store, patches, **options)

    monkeypatch.setattr(type(service.store), "commit", interrupted)
    assert service.refused(409, "POST", f"/api/executions/{failed}/retry") == {Conflict.code}
