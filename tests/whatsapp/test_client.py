"""The client against the simulator over real loopback HTTP."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from service.channels.whatsapp import client as client_module
from service.channels.whatsapp.client import WhatsAppClient

Connect = Callable[..., WhatsAppClient]

TEXT = {
    "to": "+5511987654321",
    "type": "text",
    "text": {"body": "Olá, Ana! 🛒", "preview_url": False},
}
TEMPLATE = {
    "to": "+16505551234",
    "type": "template",
    "template": {
        "name": "cart_reminder",
        "language": {"code": "en_US"},
        "components": [{"type": "body", "parameters": [{"type": "text", "text": "Jessica"}]}],
    },
}


def error_of(outcome: Any) -> dict[str, Any]:
    assert outcome.error is not None
    assert outcome.result is None
    return dict(outcome.error)


def test_a_text_is_sent_as_the_api_wants_it(simulator: Any, connect: Connect) -> None:
    outcome = connect(simulator.url).perform(TEXT, "exec_1_send", 5)

    assert outcome.status == "completed"
    assert outcome.error is None
    [received] = simulator.messages()
    assert received["body"] == {
        **TEXT,
        "messaging_product": "whatsapp",
        "recipient_type": "individual",
        "biz_opaque_callback_data": "exec_1_send",
    }
    assert (received["status"], received["callbackData"]) == ("accepted", "exec_1_send")
    assert outcome.result == {
        "messageId": received["id"],
        "waId": "5511987654321",
        "messageStatus": None,
    }


def test_a_template_is_answered_with_its_status(simulator: Any, connect: Connect) -> None:
    outcome = connect(simulator.url + "/").perform(TEMPLATE, "k", 5)

    assert outcome.status == "completed"
    assert outcome.result is not None
    assert outcome.result["messageStatus"] == "accepted"
    assert simulator.messages()[0]["body"]["template"] == TEMPLATE["template"]


def test_the_number_loses_its_decoration_but_keeps_its_plus(
    simulator: Any, connect: Connect
) -> None:
    outcome = connect(simulator.url).perform({**TEXT, "to": " +1 (650) 555-1234 "}, "k", 5)

    assert outcome.status == "completed"
    assert simulator.messages()[0]["to"] == "+16505551234"


def test_a_refused_message_is_failed_and_a_retry_shows_the_same_key(
    simulator: Any, connect: Connect
) -> None:
    simulator.rule(to=TEXT["to"], code=131026)
    client = connect(simulator.url)

    error = error_of(client.perform(TEXT, "exec_2_send", 5))
    assert (error["code"], error["class"], error["transient"]) == (
        "whatsapp_131026",
        "permanent",
        False,
    )
    assert error["httpStatus"] == 400
    assert error["message"]
    assert error["details"]
    assert error["advice"]
    assert error["fbtraceId"]

    simulator.lift()
    assert client.perform(TEXT, "exec_2_send", 5).status == "completed"
    assert [(m["callbackData"], m["status"]) for m in simulator.messages()] == [
        ("exec_2_send", "rejected"),
        ("exec_2_send", "accepted"),
    ]


def test_a_wrong_token_is_the_accounts_fault(simulator: Any, connect: Connect) -> None:
    outcome = connect(simulator.url, token="EAAG-wrong").perform(TEXT, "k", 5)

    assert outcome.status == "failed"
    error = error_of(outcome)
    assert (error["code"], error["class"]) == ("whatsapp_190", "account")
    assert "EAAG" not in repr(outcome)
    assert simulator.messages() == []


@pytest.mark.parametrize(
    ("fault", "taken"),
    [
        ("timeout_after_accept", True),
        ("timeout_before_accept", False),
        ("reset", False),
        ("html_500", False),
    ],
)
def test_an_answer_that_does_not_come_leaves_the_outcome_unknown(
    simulator: Any, connect: Connect, fault: str, taken: bool
) -> None:
    simulator.rule(text="Ana", fault=fault, times=1)
    client = connect(simulator.url)

    outcome = client.perform(TEXT, "exec_3_send", 0.5)

    assert outcome.status == "unknown"
    error = error_of(outcome)
    assert (error["code"], error["transient"]) == ("outcome_unknown", False)
    # Sent once: the client never repeats by itself.
    [received] = simulator.messages()
    assert received["status"] == ("accepted" if taken else "rejected")
    assert (received["callbackData"], received["fault"]) == ("exec_3_send", fault)
    assert client.perform(TEXT, "exec_4_send", 5).status == "completed"


def test_a_hang_up_after_acceptance_needs_no_time_out(simulator: Any, connect: Connect) -> None:
    simulator.rule(fault="timeout_after_accept", latencyMs=0)

    outcome = connect(simulator.url).perform(TEXT, "k", 60)

    assert outcome.status == "unknown"
    assert "RemoteProtocolError" in error_of(outcome)["message"]  # hung up, no time-out
    assert simulator.messages()[0]["status"] == "accepted"


def test_nobody_listening_is_certainly_not_sent(connect: Connect) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: connections are refused
        outcome = connect(f"http://127.0.0.1:{taken.getsockname()[1]}").perform(TEXT, "k", 5)

    assert outcome.status == "failed"
    error = error_of(outcome)
    assert (error["code"], error["class"], error["transient"]) == (
        "whatsapp_unreachable",
        "transient",
        True,
    )


def test_nothing_is_written_once_the_time_is_up(
    simulator: Any, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    passed = [0.0]
    really_connect = socket.create_connection

    def slow_name_look_up(*args: Any, **kwargs: Any) -> socket.socket:
        passed[0] += 60
        return really_connect(*args, **kwargs)

    monkeypatch.setattr(client_module, "monotonic", lambda: passed[0])
    monkeypatch.setattr(socket, "create_connection", slow_name_look_up)
    outcome = connect(simulator.url).perform(TEXT, "k", 10)
    monkeypatch.undo()

    assert outcome.status == "failed"
    assert error_of(outcome)["code"] == "whatsapp_unreachable"
    assert simulator.messages() == []


def test_threads_share_a_client_without_waiting_for_each_other(
    simulator: Any, connect: Connect
) -> None:
    rule = simulator.rule(latencyMs=60_000)
    client = connect(simulator.url)
    keys = [f"exec_{n}_send" for n in range(32)]

    def send(key: str) -> Any:
        return client.perform({**TEXT, "text": {"body": key}}, key, 60)

    with ThreadPoolExecutor(len(keys)) as pool:
        under_way = [pool.submit(send, key) for key in keys]
        while simulator.hits(rule) < len(keys):
            pass
        simulator.lift()
        outcomes = {key: sent.result() for key, sent in zip(keys, under_way, strict=True)}

    received = simulator.messages()
    assert sorted(m["callbackData"] for m in received) == sorted(keys)
    for message in received:
        key = message["callbackData"]
        assert message["body"]["text"]["body"] == key
        assert outcomes[key].status == "completed"
        assert outcomes[key].result["messageId"] == message["id"]


class RawServer:
    """Reads requests and answers each connection's first one by `script`."""

    def __init__(self, script: Callable[[socket.socket], None]) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.connections = 0
        self._script = script
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            with connection:
                if not connection.recv(65536):
                    return
                self.connections += 1
                try:
                    self._script(connection)
                except OSError:
                    continue

    def close(self) -> None:
        with socket.create_connection(self._listener.getsockname()):
            pass
        self._thread.join()
        self._listener.close()


@pytest.fixture
def raw_server() -> Iterator[Callable[[Callable[[socket.socket], None]], RawServer]]:
    made: list[RawServer] = []

    def make(script: Callable[[socket.socket], None]) -> RawServer:
        made.append(RawServer(script))
        return made[-1]

    yield make
    for server in made:
        server.close()


def test_a_trickling_answer_cannot_hold_a_call_for_ever(raw_server: Any, connect: Connect) -> None:
    def trickle(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n{")
        waiting = threading.Event()
        while True:  # each byte comes well within any read time-out, and there are 60,000
            connection.sendall(b" ")
            waiting.wait(0.02)

    outcome = connect(raw_server(trickle).url).perform(TEXT, "k", 0.3)

    assert outcome.status == "unknown"


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b'HTTP/1.1 200 OK\r\nContent-Length: 90\r\n\r\n{"messages":[{"id":"wamid.x"}',
        b"HTTP/1.1 400 Bad Request\r\nContent-Length: 90\r\n\r\n{",
        b"\x00\xff not HTTP at all\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc",
    ],
)
def test_a_broken_answer_is_unknown_and_asked_for_once(
    raw_server: Any, connect: Connect, answer: bytes
) -> None:
    server = raw_server(lambda connection: connection.sendall(answer))

    outcome = connect(server.url).perform(TEXT, "k", 5)

    assert outcome.status == "unknown"
    assert error_of(outcome)["code"] == "outcome_unknown"
    assert server.connections == 1


def test_a_kept_connection_that_the_server_has_closed_is_not_mistaken_for_sent(
    raw_server: Any, connect: Connect
) -> None:
    body = b'{"messages":[{"id":"wamid.x"}]}'
    whole = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    closed = threading.Event()

    def answer_and_close(connection: socket.socket) -> None:
        connection.sendall(whole)
        connection.shutdown(socket.SHUT_RDWR)
        closed.set()

    server = raw_server(answer_and_close)
    client = connect(server.url)

    assert client.perform(TEXT, "first", 5).status == "completed"
    assert closed.wait(5)
    assert client.perform(TEXT, "second", 5).status == "completed"
    assert server.connections == 2
