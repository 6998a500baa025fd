"""The simulator: order of its checks, its ledger, its rules, and any body at all."""

from __future__ import annotations

import base64
import copy
import io
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pytest
from flask.testing import FlaskClient
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.test import TestResponse

from flowkit.clock import ManualClock
from service.channels.whatsapp.simulator import MAX_BODY, create_simulator

TOKEN = "EAAG-test-token"
PATH = "/v25.0/106540352242922/messages"
TEXT = {
    "messaging_product": "whatsapp",
    "recipient_type": "individual",
    "to": "+5511987654321",
    "type": "text",
    "text": {"body": "Hello, Ana", "preview_url": False},
    "biz_opaque_callback_data": "exec_node",
}
TEMPLATE = {
    "messaging_product": "whatsapp",
    "to": "+16505551234",
    "type": "template",
    "template": {
        "name": "cart_reminder",
        "language": {"code": "pt_BR"},
        "components": [
            {"type": "body", "parameters": [{"type": "text", "text": "Ana"}]},
            {"type": "button", "sub_type": "url", "index": "0", "parameters": []},
        ],
    },
}


@pytest.fixture
def web() -> FlaskClient:
    clock = ManualClock(datetime(2026, 11, 22, 10, tzinfo=UTC))
    return create_simulator(TOKEN, clock=clock).test_client()


def send(web: FlaskClient, body: Any, token: str = TOKEN) -> TestResponse:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return web.post(PATH, data=data, headers={"Authorization": f"Bearer {token}"})


def changed(body: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """Return a copy of `body` with the value at `path` replaced, or removed if it is `...`."""
    result = copy.deepcopy(body)
    *parents, last = (int(part) if part.isdigit() else part for part in path.split("/"))
    place: Any = result
    for part in parents:
        place = place[part]
    if value is ...:
        del place[last]
    else:
        place[last] = value
    return result


def messages(web: FlaskClient, query: str = "") -> Any:
    answer = web.get(f"/_simulator/messages{query}")
    assert answer.status_code == 200
    return answer.get_json()


def test_a_text_is_answered_in_the_documented_shape(web: FlaskClient) -> None:
    answer = send(web, TEXT)

    assert answer.status_code == 200
    body = answer.get_json()
    wamid = body["messages"][0]["id"]
    assert body == {
        "messaging_product": "whatsapp",
        "contacts": [{"input": "+5511987654321", "wa_id": "5511987654321"}],
        "messages": [{"id": wamid}],
    }
    raw = base64.b64decode(wamid.removeprefix("wamid."))
    assert raw.startswith(b"\x1c\x18\x0d5511987654321\x15\x02\x00\x11\x18\x12")
    assert raw.endswith(b"\x00")
    assert messages(web)["items"] == [
        {
            "sequence": 1,
            "id": wamid,
            "to": "+5511987654321",
            "type": "text",
            "body": TEXT,
            "callbackData": "exec_node",
            "time": "2026-11-22T10:00:00.000Z",
            "status": "accepted",
            "code": None,
            "fault": None,
        }
    ]


def test_a_template_is_accepted_in_so_many_words(web: FlaskClient) -> None:
    [sent] = send(web, TEMPLATE).get_json()["messages"]
    assert sent["message_status"] == "accepted"


def test_an_error_has_the_documented_shape(web: FlaskClient) -> None:
    answer = send(web, {**TEXT, "type": "hologram"})

    assert answer.status_code == 400
    error = answer.get_json()["error"]
    assert set(error) == {"message", "type", "code", "error_data", "fbtrace_id"}
    assert error["message"].startswith("(#131051) ")
    assert error["error_data"]["messaging_product"] == "whatsapp"
    assert error["error_data"]["details"]


NAME = "template/name"
CODE = "template/language/code"
PARAMETER = "template/components/0/parameters/0"


@pytest.mark.parametrize(
    ("base", "path", "value", "code"),
    [
        (TEXT, "messaging_product", ..., 100),
        (TEXT, "messaging_product", "sms", 100),
        (TEXT, "to", ..., 100),
        (TEXT, "to", 5511987654321, 131009),
        (TEXT, "to", "5511987654321", 131009),
        (TEXT, "to", "+55119876a4321", 131009),
        (TEXT, "recipient_type", "crowd", 131009),
        (TEXT, "biz_opaque_callback_data", "k" * 513, 131009),
        (TEXT, "biz_opaque_callback_data", 7, 131009),
        (TEXT, "type", "sticker", 131051),
        (TEXT, "type", None, 131051),
        (TEXT, "type", [], 131051),
        (TEXT, "text", ..., 131008),
        (TEXT, "text", "Hello", 131009),
        (TEXT, "text/body", ..., 131008),
        (TEXT, "text/body", " \n", 131009),
        (TEXT, "text/body", 5, 131009),
        (TEXT, "text/body", "x" * 4097, 100),
        (TEXT, "text/preview_url", "no", 131009),
        (TEMPLATE, NAME, ..., 131008),
        (TEMPLATE, NAME, "Cart Reminder", 131009),
        (TEMPLATE, "template/language", ..., 131008),
        (TEMPLATE, "template/language", "pt_BR", 131009),
        (TEMPLATE, CODE, "Portuguese", 131009),
        (TEMPLATE, "template/components", {}, 131009),
        (TEMPLATE, "template/components/0", "body", 131009),
        (TEMPLATE, "template/components/0/type", "footer", 131009),
        (TEMPLATE, "template/components/0/parameters", "Ana", 131009),
        (TEMPLATE, f"{PARAMETER}/type", ..., 131008),
        (TEMPLATE, f"{PARAMETER}/text", ..., 131008),
        (TEMPLATE, f"{PARAMETER}/text", "", 131008),
        (TEMPLATE, f"{PARAMETER}/text", "two\nlines", 132018),
        (TEMPLATE, f"{PARAMETER}/text", "a\ttab", 132018),
        (TEMPLATE, f"{PARAMETER}/text", "five     spaces", 132018),
        (TEMPLATE, f"{PARAMETER}/text", "x" * 1025, 132005),
    ],
)
def test_what_is_wrong_with_a_message_has_its_code(
    web: FlaskClient, base: dict[str, Any], path: str, value: Any, code: int
) -> None:
    answer = send(web, changed(base, path, value))

    assert answer.status_code == 400
    assert answer.get_json()["error"]["code"] == code
    [item] = messages(web)["items"]
    assert (item["status"], item["code"], item["id"]) == ("rejected", code, None)


@pytest.mark.parametrize(
    ("base", "path", "value"),
    [
        (TEXT, "type", ...),
        (TEXT, "recipient_type", ...),
        (TEXT, "to", "+55 (11) 98765-4321"),
        (TEXT, "text/body", "x" * 4096),
        (TEXT, "biz_opaque_callback_data", "k" * 512),
        (TEMPLATE, "template/components", ...),
        (TEMPLATE, f"{PARAMETER}/text", "four    spaces"),
    ],
)
def test_what_is_allowed_is_taken(
    web: FlaskClient, base: dict[str, Any], path: str, value: Any
) -> None:
    assert send(web, changed(base, path, value)).status_code == 200


def test_the_checks_come_in_metas_order(web: FlaskClient) -> None:
    web.post("/_simulator/rules", json={"code": 131026})
    broken = {"type": "hologram"}

    assert send(web, b"{", token="wrong").get_json()["error"]["code"] == 190
    assert send(web, b"{").get_json()["error"]["code"] == 100
    assert send(web, broken).get_json()["error"]["code"] == 100
    assert send(web, {**TEXT, **broken}).get_json()["error"]["code"] == 131051
    assert send(web, TEXT).get_json()["error"]["code"] == 131026


@pytest.mark.parametrize("shown", [None, "", TOKEN, f"bearer {TOKEN}", f"Bearer {TOKEN}x", "ü"])
def test_without_the_token_nothing_is_taken_or_recorded(
    web: FlaskClient, shown: str | None
) -> None:
    headers = {} if shown is None else {"Authorization": shown}
    answer = web.post(PATH, json=TEXT, headers=headers)

    assert answer.status_code == 401
    assert answer.get_json()["error"]["code"] == 190
    assert messages(web)["items"] == []


@pytest.mark.parametrize(
    "body", [b"NaN", b'{"to": 1e999}', b"[" * 5000, b'{"a":' * 70 + b"1" + b"}" * 70, b"\xff"]
)
def test_what_is_no_sound_json_is_refused_and_leaves_the_ledger_readable(
    web: FlaskClient, body: bytes
) -> None:
    assert send(web, body).get_json()["error"]["code"] == 100
    assert messages(web)["items"][0]["body"] is None


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("path", [PATH, "/_simulator/rules"])
def test_a_body_over_a_mebibyte_is_refused(web: FlaskClient, path: str, chunked: bool) -> None:
    def post(size: int) -> TestResponse:
        data = b" " * size
        headers = {"Authorization": f"Bearer {TOKEN}"}
        if not chunked:
            return web.post(path, data=data, headers=headers)
        environ = {
            "wsgi.input_terminated": True,
            "HTTP_TRANSFER_ENCODING": "chunked",
            "CONTENT_LENGTH": "",
        }
        return web.post(
            path, input_stream=io.BytesIO(data), headers=headers, environ_overrides=environ
        )

    assert post(MAX_BODY).status_code == 400
    assert post(MAX_BODY + 1).status_code == 413
    assert post(MAX_BODY * 2).status_code == 413


@pytest.mark.parametrize("path", ["/", "/x/1065/messages", f"/v{'9' * 5000}.0/1065/messages"])
def test_other_paths_are_graph_errors(web: FlaskClient, path: str) -> None:
    answer = web.post(path, json=TEXT)
    assert answer.status_code == 404
    assert answer.get_json()["error"]["code"] == 100


def test_messages_come_in_pages_without_gap_or_repetition(web: FlaskClient) -> None:
    for n in range(25):
        send(web, changed(TEXT, "biz_opaque_callback_data", f"key_{n}"))

    keys, cursor = [], "0"
    while cursor is not None:
        page = messages(web, f"?since={cursor}&limit=10")
        assert len(page["items"]) <= 10
        keys += [item["callbackData"] for item in page["items"]]
        cursor = page["nextCursor"]
    assert keys == [f"key_{n}" for n in range(25)]
    assert messages(web, "?limit=25")["nextCursor"] is None
    assert messages(web, "?limit=24")["nextCursor"] == "24"

    assert web.delete("/_simulator/messages").get_json() == {"deleted": 25}
    assert messages(web) == {"items": [], "nextCursor": None}
    send(web, TEXT)
    assert messages(web, "?since=25")["items"][0]["sequence"] == 26


@pytest.mark.parametrize("query", ["since=x", "since=-1", "limit=1.5", "limit=", "since=²"])
def test_a_bad_query_is_a_problem(web: FlaskClient, query: str) -> None:
    answer = web.get(f"/_simulator/messages?{query}")
    assert answer.status_code == 422
    [problem] = answer.get_json()["problems"]
    assert problem["path"] == "/" + query.split("=")[0]


def test_rules_choose_by_number_text_and_template(web: FlaskClient) -> None:
    def code(body: dict[str, Any]) -> int | None:
        answer = send(web, body).get_json()
        return answer["error"]["code"] if "error" in answer else None

    for rule in (
        {"to": "+55 11 98765-4321", "text": "Ana", "code": 131026},
        {"to": ["+1 650 555 0000", "+16505551234"], "template": "cart_reminder", "code": 131049},
        {"text": "discount", "code": 131000},
    ):
        assert web.post("/_simulator/rules", json=rule).status_code == 201

    assert code(TEXT) == 131026
    assert code(changed(TEXT, "text/body", "Hello")) is None
    assert code(changed(TEXT, "to", "+5511987654320")) is None
    assert code(TEMPLATE) == 131049
    assert code(changed(TEMPLATE, NAME, "other")) is None
    assert code(changed(changed(TEMPLATE, NAME, "o"), f"{PARAMETER}/text", "discount")) == 131000
    assert send(web, changed(TEXT, "text/body", "discount")).status_code == 500


def test_the_oldest_rule_acts_so_often_and_rules_can_be_lifted(web: FlaskClient) -> None:
    first = web.post("/_simulator/rules", json={"code": 131016, "times": 2, "text": None})
    assert first.get_json() == {"id": "rule_1", "code": 131016, "times": 2, "hits": 0}
    second = web.post("/_simulator/rules", json={"code": 131026}).get_json()["id"]

    codes = [send(web, TEXT).get_json()["error"]["code"] for _ in range(3)]
    assert codes == [131016, 131016, 131026]
    assert [rule["hits"] for rule in web.get("/_simulator/rules").get_json()["items"]] == [2, 1]

    assert web.delete(f"/_simulator/rules/{second}").get_json() == {"deleted": 1}
    assert web.delete(f"/_simulator/rules/{second}").status_code == 404
    assert send(web, TEXT).status_code == 200
    assert web.delete("/_simulator/rules").get_json() == {"deleted": 1}
    assert web.get("/_simulator/rules").get_json()["items"] == []


def test_uses_of_a_rule_are_counted_exactly_under_threads() -> None:
    app = create_simulator(TOKEN)
    app.test_client().post("/_simulator/rules", json={"code": 131026, "times": 20})
    start = threading.Barrier(16)

    def some(_: int) -> list[int]:
        web = app.test_client()
        start.wait()
        return [send(web, TEXT).status_code for _ in range(10)]

    with ThreadPoolExecutor(16) as pool:
        statuses = [status for part in pool.map(some, range(16)) for status in part]
    assert (statuses.count(400), statuses.count(200)) == (20, 140)
    items = messages(app.test_client())["items"]
    assert sorted(item["sequence"] for item in items) == [item["sequence"] for item in items]
    assert len(items) == 160


def test_a_slow_answer_waits_and_is_let_go_when_its_rule_is_lifted() -> None:
    app = create_simulator(TOKEN)
    web = app.test_client()
    web.post("/_simulator/rules", json={"latencyMs": 9_000_000, "times": 1})
    done: list[int] = []
    slow = threading.Thread(target=lambda: done.append(send(app.test_client(), TEXT).status_code))
    slow.start()
    while not web.get("/_simulator/rules").get_json()["items"][0]["hits"]:
        pass

    assert done == []
    assert send(web, TEXT).status_code == 200  # the rule is used up; others are not held back
    web.delete("/_simulator/rules")
    slow.join()
    assert done == [200]


@pytest.mark.parametrize(
    ("rule", "path"),
    [
        ([], ""),
        ("code", ""),
        ({}, ""),
        ({"to": "+1650"}, ""),
        ({"code": "131026"}, "/code"),
        ({"code": True}, "/code"),
        ({"code": -1}, "/code"),
        ({"code": 1, "times": 0}, "/times"),
        ({"code": 1, "to": []}, "/to"),
        ({"code": 1, "to": "nobody"}, "/to"),
        ({"code": 1, "to": [7]}, "/to"),
        ({"code": 1, "text": ""}, "/text"),
        ({"code": 1, "template": 1}, "/template"),
        ({"latencyMs": 1.5}, "/latencyMs"),
        ({"fault": "fire"}, "/fault"),
        ({"fault": []}, "/fault"),
        ({"fault": "reset", "code": 1}, "/fault"),
        ({"code": 1, "a/b": 1}, "/a~1b"),
    ],
)
def test_a_bad_rule_is_a_problem_and_changes_nothing(
    web: FlaskClient, rule: Any, path: str
) -> None:
    answer = web.post("/_simulator/rules", json=rule)

    assert answer.status_code == 422
    body = answer.get_json()
    assert (body["code"], body["status"]) == (422, "Unprocessable Entity")
    assert [problem["path"] for problem in body["problems"]] == [path]
    assert web.get("/_simulator/rules").get_json()["items"] == []


def test_control_input_that_is_no_json_or_no_path_is_a_problem(web: FlaskClient) -> None:
    for answer, status in (
        (web.post("/_simulator/rules", data=b"{"), 400),
        (web.get("/_simulator/nothing"), 404),
        (web.put("/_simulator/rules"), 405),
    ):
        assert answer.status_code == status
        assert answer.get_json()["code"] == status
        assert answer.get_json()["problems"][0]["message"]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just("\ud800"),
    lambda children: (
        st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=5), children, max_size=3)
    ),
    max_leaves=10,
)
PATHS = ["to", "type", "text", "text/body", "text/preview_url", "biz_opaque_callback_data"]
TEMPLATE_PATHS = [
    "template",
    NAME,
    "template/language",
    CODE,
    "template/components",
    "template/components/0",
    "template/components/0/type",
    "template/components/0/parameters",
    PARAMETER,
    f"{PARAMETER}/type",
    f"{PARAMETER}/text",
]
near_messages = st.one_of(
    st.builds(changed, st.just(TEXT), st.sampled_from(PATHS), json_values | st.just(...)),
    st.builds(changed, st.just(TEMPLATE), st.sampled_from(TEMPLATE_PATHS), json_values),
)


@given(
    body=(near_messages | json_values).map(lambda value: json.dumps(value).encode()) | st.binary()
)
def test_any_body_is_answered_and_the_ledger_stays_readable(body: bytes) -> None:
    web = create_simulator(TOKEN).test_client()
    web.post("/_simulator/rules", json={"text": "zzz", "to": "+1", "template": "z", "code": 1})
    answer = send(web, body)

    assert answer.status_code in (200, 400)
    answered = answer.get_json()
    [item] = messages(web)["items"]
    assert item["status"] == ("accepted" if answer.status_code == 200 else "rejected")
    assert ("messages" in answered) == (answer.status_code == 200)
    assert ("error" in answered) == (answer.status_code == 400)


rule_values = json_values | st.integers(0, 10) | st.sampled_from(["reset", "+1650", "Ana"])


@given(
    rule=st.dictionaries(
        st.sampled_from(["to", "text", "template", "code", "fault", "times"]), rule_values
    )
    | json_values
)
def test_any_rule_is_taken_or_a_problem(rule: Any) -> None:
    web = create_simulator(TOKEN).test_client()
    answer = web.post("/_simulator/rules", data=json.dumps(rule))

    assert answer.status_code in (201, 400, 422)
    assert answer.status_code == 201 or answer.get_json()["problems"]
    assert len(web.get("/_simulator/rules").get_json()["items"]) == (answer.status_code == 201)
    assert send(web, TEXT).status_code < 600
