"""HTTP_REQUEST in a real worker: its answer is there for the nodes behind it, and once."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import flowkit as fk
from service.settings import Settings
from service.worker.process import channels
from tests.channels.server import Answer, system
from tests.processes import until
from tests.worker.stage import PATIENCE, Stage, published


def test_a_request_is_made_and_its_answer_seen(stage: Stage, tmp_path: Path) -> None:
    flow = (
        fk.Flow("Call", trigger="test")
        .http("POST", "{{ trigger.url }}/orders", body={"of": "{{ contact.id }}"}, id="call")
        .http("GET", "{{ trigger.url }}/{{ nodes.call.body.order }}", result="total", id="read")
        .end()
    )
    tries = []

    def answer(request: dict[str, str]) -> Answer:
        tries.append(request["path"])
        if len(tries) == 1:
            return 503, {}, b"busy"
        return 200, {}, b'{"order": 7, "total": 9.5}'

    settings = Settings(data_dir=tmp_path, http_allow_private=True)
    with system() as other, channels(settings) as perform:
        other.answer = answer
        stage.payload["url"] = other.url
        stage.start(published(flow))
        stage.run(stage.runner(effects=perform))
        until(lambda: stage.execution().status == "delayed", seconds=PATIENCE)
        stage.clock.advance(timedelta(minutes=1))
        stage.wait_for("completed")
    assert tries == ["/orders", "/orders", "/7"]
    keys = [request["headers"]["Idempotency-Key"] for request in other.requests]
    assert keys == ["x0_call", "x0_call", "x0_read"]
    assert stage.run_of("call").retry_count == 1
    assert stage.run_of("read").result == {"status": 200, "body": 9.5}


def test_this_machine_is_not_reached_unless_it_is_allowed(stage: Stage, tmp_path: Path) -> None:
    flow = fk.Flow("Call", trigger="test").http("GET", "{{ trigger.url }}", id="call").end()
    with system() as other, channels(Settings(data_dir=tmp_path)) as perform:
        stage.payload["url"] = other.url
        stage.start(published(flow))
        stage.run(stage.runner(effects=perform))
        stage.wait_for("failed")
    assert other.requests == []
    assert stage.run_of("call").error["code"] == "http_forbidden"
