"""Retries over HTTP: in another version, from the start, and of many executions at once."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from flowkit.flow import Flow
from flowkit.nodetype import Outcome
from tests.api.harness import PAYLOAD, REFUSED, SENT, Service, problems_of, sending

BUSY = Outcome("failed", error={"code": "busy", "message": "later", "transient": True})


def chain(*texts: str, name: str = "Chain") -> dict[str, Any]:
    """A valid flow of messages, each node named by its text."""
    flow = Flow(name, trigger="cart")
    for text in texts:
        flow = flow.send(text=text, id=text)
    return flow.end().to_dict()


def refuse(*texts: str, by: Outcome = REFUSED) -> Callable[[Any], Outcome]:
    """Return a channel that refuses these messages."""
    return lambda p: by if p.effect.request["text"]["body"] in texts else SENT


def failed(service: Service, *texts: str, number: int = 1, by: Outcome = REFUSED) -> list[str]:
    """Return executions of one flow, newest first, that failed at their last message."""
    service.add(chain(*texts))
    ids: list[str] = []
    for _ in range(number):
        ids = service.start() + ids
        service.clock.advance(timedelta(seconds=1))
    service.work(refuse(texts[-1], by=by))
    return ids


def publish(service: Service, *texts: str) -> dict[str, Any]:
    """Publish another version of the only flow."""
    (flow,) = service.ok("GET", "/api/flows")["items"]
    document = chain(*texts) | {"isActive": True}
    changed: dict[str, Any] = service.ok("PUT", f"/api/flows/{flow['id']}", document)
    return changed


def shown(service: Service, execution: str) -> dict[str, Any]:
    answer: dict[str, Any] = service.ok("GET", f"/api/executions/{execution}")
    return answer


def sent(service: Service) -> list[str]:
    """Let a worker do all there is to do; return what it sent."""
    texts: list[str] = []

    def perform(performance: Any) -> Outcome:
        texts.append(performance.effect.request["text"]["body"])
        return SENT

    service.work(perform)
    return texts


# -- by policy


def test_an_attempt_of_the_policy_is_brought_forward(service: Service) -> None:
    (execution,) = failed(service, "a", by=BUSY)
    before = shown(service, execution)
    assert (before["status"], before["resumeAt"] is None) == ("delayed", False)
    assert before["executedNodes"][-1]["status"] == "failed"
    retried = service.ok("POST", f"/api/executions/{execution}/retry", {"nodeIds": ["a"]})
    assert (retried["status"], retried["resumeAt"]) == ("running", None)
    assert sent(service) == ["a"]
    assert shown(service, execution)["status"] == "completed"


# -- in the latest version


def test_it_goes_on_in_the_latest_version_when_that_is_asked_for(service: Service) -> None:
    one, two = failed(service, "a", "b", number=2)
    publish(service, "a", "b", "c")
    service.ok("POST", f"/api/executions/{one}/retry")
    assert sent(service) == ["b"]
    assert shown(service, one)["flowVersion"] == 1
    moved = service.ok("POST", f"/api/executions/{two}/retry?version=latest", {"nodeIds": ["b"]})
    assert moved["flowVersion"] == 2
    assert sent(service) == ["b", "c"]
    assert shown(service, two)["status"] == "completed"


def test_without_a_newer_version_latest_is_what_it_has(service: Service) -> None:
    (execution,) = failed(service, "a")
    service.ok("POST", f"/api/executions/{execution}/retry?version=latest")
    assert sent(service) == ["a"]


@pytest.mark.parametrize(
    ("texts", "code"),
    [(("a", "c"), "retry.node_missing"), (("b", "a"), "retry.node_repeated")],
)
def test_a_version_that_cannot_take_it_up_is_refused_and_nothing_changes(
    service: Service, texts: tuple[str, ...], code: str
) -> None:
    (execution,) = failed(service, "a", "b")
    publish(service, *texts)
    before = service.everything()
    answer = service("POST", f"/api/executions/{execution}/retry?version=latest")
    assert answer.status_code == 422
    (problem,) = problems_of(answer)
    assert problem["code"] == code
    assert "node a" in problem["message"] or "node b" in problem["message"]
    assert service.everything() == before


def parallel(wait: str, *, more: bool = False) -> dict[str, Any]:
    """A flow of a message beside a delay, whose node is named."""

    def after(b: Any) -> Any:
        waited = b.delay(hours=1, id=wait)
        return waited.send(text="late", id="late") if more else waited

    return (
        Flow("Beside", trigger="cart")
        .parallel(lambda b: b.send(text="a", id="a"), after)
        .end()
        .to_dict()
    )


def test_what_waits_goes_on_in_the_new_version_too(service: Service) -> None:
    flow = service.add(parallel("wait"))
    (execution,) = service.start()
    service.work(refuse("a"))
    service.ok("PUT", f"/api/flows/{flow['id']}", parallel("wait", more=True) | {"isActive": True})
    moved = service.ok("POST", f"/api/executions/{execution}/retry?version=latest")
    waiting = moved["branches"][2]
    assert waiting["status"] == "waiting"
    assert waiting["resumeData"]["nextNodeIds"] == ["late"]
    assert moved["resumeAt"] == waiting["resumeAt"] is not None
    assert sent(service) == ["a"]
    service.clock.advance(timedelta(hours=1))
    assert sent(service) == ["late"]


def test_what_waits_must_be_there_too(service: Service) -> None:
    flow = service.add(parallel("wait"))
    (execution,) = service.start()
    service.work(refuse("a"))
    service.ok("PUT", f"/api/flows/{flow['id']}", parallel("pause") | {"isActive": True})
    address = f"/api/executions/{execution}/retry?version=latest"
    assert service.refused(422, "POST", address) == {"retry.node_missing"}


def test_another_version_waits_until_nothing_is_running(service: Service) -> None:
    flow = service.add(sending())
    (execution,) = service.start()
    service.work(lambda p: REFUSED)
    (a, b) = [
        x["currentNodeId"] for x in shown(service, execution)["branches"] if x["status"] == "failed"
    ]
    service.ok("POST", f"/api/executions/{execution}/retry", {"nodeIds": [a]})
    renamed = sending() | {"name": "Renamed", "isActive": True}
    service.ok("PUT", f"/api/flows/{flow['id']}", renamed)
    address = f"/api/executions/{execution}/retry?version=latest"
    service.refused(409, "POST", address, {"nodeIds": [b]})
    service.work()
    assert service.ok("POST", address)["flowVersion"] == 2


def test_a_worker_that_has_taken_what_waits_is_not_moved_under_its_feet(service: Service) -> None:
    flow = service.add(parallel("wait"))
    (execution,) = service.start()
    service.work(refuse("a"))
    service.ok("PUT", f"/api/flows/{flow['id']}", parallel("wait", more=True) | {"isActive": True})
    service.clock.advance(timedelta(hours=1))
    now = service.clock.now()
    assert service.store.claim("worker", now=now, lease_ms=30_000, limit=100)
    service.refused(409, "POST", f"/api/executions/{execution}/retry?version=latest")


@pytest.mark.parametrize("query", ["version=2", "version=", "version=newest", "from=start"])
def test_a_version_is_pinned_or_latest(service: Service, query: str) -> None:
    (execution,) = failed(service, "a")
    service.refused(422, "POST", f"/api/executions/{execution}/retry?{query}")


def test_a_flow_that_is_gone_has_no_latest_version(service: Service) -> None:
    (execution,) = failed(service, "a")
    (flow,) = service.ok("GET", "/api/flows")["items"]
    service("DELETE", f"/api/flows/{flow['id']}")
    service.refused(404, "POST", f"/api/executions/{execution}/retry?version=latest")
    service.ok("POST", f"/api/executions/{execution}/retry")


# -- from the start


@pytest.mark.parametrize(("query", "version"), [("", 1), ("?version=latest", 2)])
def test_from_the_start_is_a_new_execution(service: Service, query: str, version: int) -> None:
    (execution,) = failed(service, "a", "b")
    publish(service, "a", "b", "c")
    before = shown(service, execution)
    service.rings.clear()
    address = f"/api/executions/{execution}/retry{query}"
    begun = service.ok("POST", address, {"fromStart": True}, status=201)
    assert begun["id"] != execution
    assert (begun["status"], begun["flowVersion"]) == ("running", version)
    assert (
        begun["context"] == before["context"] == {"trigger": PAYLOAD, "contact": PAYLOAD["contact"]}
    )
    assert begun["contactId"] == before["contactId"]
    assert (begun["executedNodes"], len(service.rings)) == ([], 1)
    assert sent(service) == ["a", "b", "c"][: version + 1]
    assert shown(service, execution) == before
    assert shown(service, begun["id"])["status"] == "completed"


def test_what_is_completed_can_begin_again_too(service: Service) -> None:
    service.add(chain("a"))
    (execution,) = service.start()
    service.work()
    service.ok("POST", f"/api/executions/{execution}/retry", {"fromStart": True}, status=201)


def test_a_payload_that_the_latest_version_does_not_take_does_not_begin_again(
    service: Service,
) -> None:
    (execution,) = failed(service, "a")
    (flow,) = service.ok("GET", "/api/flows")["items"]
    document = chain("a") | {"isActive": True}
    document["nodes"][0]["config"] = {"filter": {">": [{"var": "trigger.total"}, 1000]}}
    service.ok("PUT", f"/api/flows/{flow['id']}", document)
    address = f"/api/executions/{execution}/retry"
    refused = service.refused(422, "POST", f"{address}?version=latest", {"fromStart": True})
    assert refused == {"retry.filtered"}
    service.ok("POST", address, {"fromStart": True}, status=201)


@pytest.mark.parametrize(
    "body",
    [
        {"fromStart": True, "nodeIds": ["a"]},
        {"fromStart": "true"},
        {"fromStart": 1},
        {"fromStart": None},
    ],
)
def test_from_the_start_is_asked_for_plainly(service: Service, body: Any) -> None:
    (execution,) = failed(service, "a")
    service.refused(422, "POST", f"/api/executions/{execution}/retry", body)
    assert len(service.ok("GET", "/api/executions")["items"]) == 1


# -- of many


def retry_many(service: Service, **body: Any) -> dict[str, Any]:
    answer: dict[str, Any] = service.ok("POST", "/api/executions/retry", body)
    return answer


def test_all_that_failed_are_retried_page_by_page(service: Service) -> None:
    ids = failed(service, "a", number=5)
    service.rings.clear()
    first = retry_many(service, limit=2)
    assert (first["retried"], first["refused"]) == (ids[:2], [])
    rest = retry_many(service, limit=1000, cursor=first["nextCursor"])
    assert (rest["retried"], rest["nextCursor"]) == (ids[2:], None)
    assert len(service.rings) == 2
    assert sent(service) == ["a"] * 5
    assert retry_many(service) == {"retried": [], "refused": [], "nextCursor": None}


def test_more_than_are_read_at_once(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    from service.api import retries

    monkeypatch.setattr(retries, "AT_ONCE", 2)
    ids = failed(service, "a", number=5)
    first = retry_many(service, limit=3)
    assert first["retried"] == ids[:3]
    assert retry_many(service, cursor=first["nextCursor"])["retried"] == ids[3:]


def test_the_filter_chooses(service: Service) -> None:
    three, two, one = failed(service, "a", number=3)
    (flow,) = service.ok("GET", "/api/flows")["items"]
    moments = [shown(service, x)["createdAt"] for x in (one, two, three)]
    for nothing in (
        {"flowId": "other"},
        {"contact": "c2"},
        {"status": "delayed"},
        {"errorCode": "999"},
        {"nodeIds": ["b"]},
        {"from": "2030-01-01T00:00:00Z"},
    ):
        assert retry_many(service, **nothing)["retried"] == [], nothing
    assert retry_many(service, **{"from": moments[1], "to": moments[2]})["retried"] == [two]
    fits = {"flowId": flow["id"], "contact": "c1", "status": "failed", "errorCode": "131026"}
    assert retry_many(service, **fits, nodeIds=["a", "x"])["retried"] == [three, one]


def test_only_the_nodes_that_fit_run_again(service: Service) -> None:
    service.add(sending())
    (execution,) = service.start()
    codes = {"a": "busy", "b": "full"}
    service.work(
        lambda p: Outcome("failed", error={"code": codes[p.effect.request["text"]["body"]]})
    )
    assert retry_many(service, errorCode="full")["retried"] == [execution]
    assert sent(service) == ["b"]


def test_one_that_is_refused_does_not_keep_the_others(service: Service) -> None:
    *many, early = failed(service, "a", "b", number=3)
    publish(service, "a", "c")
    service.ok("POST", f"/api/executions/{early}/retry")
    service.work(refuse("b"))
    answer = retry_many(service, version="latest", nodeIds=["b"])
    assert answer["retried"] == []
    assert [one["executionId"] for one in answer["refused"]] == [*many, early]
    assert {one["problem"]["code"] for one in answer["refused"]} == {"retry.node_missing"}
    publish(service, "a", "b", "c")
    assert retry_many(service, version="latest")["retried"] == [*many, early]
    assert sent(service) == ["b", "c"] * 3


def test_what_changes_meanwhile_is_decided_anew(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = failed(service, "a", number=3)
    commit = service.store.commit
    interruptions = [None]

    def interrupted(patches: Any, **options: Any) -> Any:
        if interruptions:
            interruptions.pop()
            patches[0].revision -= 1
        return commit(patches, **options)

    monkeypatch.setattr(service.store, "commit", interrupted)
    assert sorted(retry_many(service)["retried"]) == sorted(ids)


@pytest.mark.parametrize(
    "body",
    [
        *({"limit": limit} for limit in (0, 1001, "5", 1.5, None)),
        *({"status": status} for status in ("completed", "cancelled", "x", None)),
        {"nodeIds": []},
        *({"cursor": cursor} for cursor in ("x", 5, [], {})),
        {"version": 2},
        {"from": "yesterday"},
        {"flow": "x"},
        {"include": "branches"},
        [],
        5,
    ],
)
def test_a_retry_of_many_that_does_not_fit_changes_nothing(service: Service, body: Any) -> None:
    (execution,) = failed(service, "a")
    service.refused(422, "POST", "/api/executions/retry", body)
    assert shown(service, execution)["status"] == "failed"
