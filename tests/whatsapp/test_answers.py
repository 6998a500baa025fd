"""What the client makes of any answer, and what it never gives away."""

from __future__ import annotations

import json
import logging
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowkit.errors import SettingsError
from flowkit.nodetype import Outcome
from service.channels.whatsapp.client import WhatsAppClient

TOKEN = "EAAG-secret-token"
WORDS = "Your order 4711 waits for you"
TEXT = {"to": "+16505551234", "type": "text", "text": {"body": WORDS}}
ACCEPTED = {
    "messaging_product": "whatsapp",
    "contacts": [{"input": "+16505551234", "wa_id": "16505551234"}],
    "messages": [{"id": "wamid.HBgL"}],
}


def answered(status: int, body: Any, request: dict[str, Any] = TEXT) -> Outcome:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()

    def handler(_: httpx.Request) -> httpx.Response:
        return httpx.Response(status, content=content)

    return performed(httpx.MockTransport(handler), request)


def performed(
    transport: httpx.BaseTransport, request: dict[str, Any] = TEXT, key: str = "exec_node"
) -> Outcome:
    client = WhatsAppClient("https://api.test", TOKEN, "1065", "v25.0", transport=transport)
    try:
        return client.perform(request, key, 10)
    finally:
        client.close()


def graph_error(code: Any, **more: Any) -> dict[str, Any]:
    return {"error": {"message": "it went wrong", "type": "OAuthException", "code": code, **more}}


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (500, b"<html>Sorry, something went wrong.</html>"),
        (503, b""),
        (404, {"detail": "no such page"}),
        (302, b""),
        (200, b""),
        (200, b"{"),
        (200, b"\xff\xfe\x00"),
        (200, b"[" * 5000),
        (200, b"[" * 200_000),
        (200, b"9" * 5000),
        (200, [ACCEPTED]),
        (200, {}),
        (200, {"messages": []}),
        (200, {"messages": [{}]}),
        (200, {"messages": [{"id": ""}]}),
        (200, {"messages": [{"id": 7}]}),
        (200, {"messages": {"id": "wamid.x"}}),
        (200, {"messages": [{"id": "w" * 10_000}]}),
        (500, ACCEPTED),
        (400, {"error": "bad"}),
        (400, {"error": {"message": "no code"}}),
        (400, graph_error("131026")),
        (400, graph_error(True)),
        (400, graph_error(-5)),
        (400, graph_error(10**30)),
        (400, graph_error(131026.5)),
    ],
)
def test_an_answer_that_says_nothing_certain_is_unknown(status: int, body: Any) -> None:
    outcome = answered(status, body)

    assert outcome.status == "unknown"
    assert outcome.error is not None
    assert outcome.error["code"] == "outcome_unknown"
    assert outcome.error["transient"] is False
    assert outcome.error["httpStatus"] == status


@pytest.mark.parametrize("status", [200, 400, 401, 429, 500, 503])
def test_the_code_decides_and_not_the_http_status(status: int) -> None:
    outcome = answered(status, graph_error(131049, fbtrace_id="Az8"))

    assert outcome == Outcome(
        status="failed",
        error={
            "code": "whatsapp_131049",
            "message": "it went wrong",
            "class": "user",
            "transient": False,
            "httpStatus": status,
            "advice": "Wait at least 24 hours; earlier attempts lengthen the block.",
            "fbtraceId": "Az8",
            "retryAfterSeconds": 86400.0,
        },
    )


@pytest.mark.parametrize("data", [{"details": "too fast"}, "too fast"])
def test_details_are_found_in_both_documented_places(data: Any) -> None:
    error = answered(400, graph_error(130429, error_data=data)).error

    assert error is not None
    assert (error["details"], error["transient"]) == ("too fast", True)


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (httpx.ConnectError("refused"), "failed", "whatsapp_unreachable"),
        (httpx.ConnectTimeout("slow"), "failed", "whatsapp_unreachable"),
        (httpx.PoolTimeout("busy"), "failed", "whatsapp_unreachable"),
        (httpx.WriteTimeout("slow"), "unknown", "outcome_unknown"),
        (httpx.WriteError("reset"), "unknown", "outcome_unknown"),
        (httpx.ReadTimeout("slow"), "unknown", "outcome_unknown"),
        (httpx.ReadError("reset"), "unknown", "outcome_unknown"),
        (httpx.RemoteProtocolError("hung up"), "unknown", "outcome_unknown"),
        (httpx.LocalProtocolError(f"Bearer {TOKEN}"), "unknown", "outcome_unknown"),
        (OSError("odd"), "unknown", "outcome_unknown"),
    ],
)
def test_only_what_fails_before_writing_counts_as_not_sent(
    error: Exception, status: str, code: str
) -> None:
    calls = []

    def handler(request: httpx.Request) -> httpx.Response:
        calls.append(request)
        raise error

    outcome = performed(httpx.MockTransport(handler))

    assert outcome.status == status
    assert outcome.error is not None
    assert outcome.error["code"] == code
    assert outcome.error["transient"] is (status == "failed")
    assert len(calls) == 1
    assert TOKEN not in repr(outcome)


@pytest.mark.parametrize(
    "request_",
    [
        {**TEXT, "to": "16505551234"},
        {**TEXT, "to": "+"},
        {**TEXT, "to": "+1650555123456789"},
        {**TEXT, "to": "+٤٤٢٠٧١٨٣٨٧٥٠"},
        {**TEXT, "to": 16505551234},
        {**TEXT, "to": None},
        {"type": "text", "text": {"body": WORDS}},
        {**TEXT, "text": {"body": float("nan")}},
        {**TEXT, "text": {"body": object()}},
    ],
)
def test_what_cannot_be_sent_never_leaves(request_: dict[str, Any]) -> None:
    outcome = performed(httpx.MockTransport(lambda _: pytest.fail("it left")), request_)

    assert outcome.status == "failed"
    assert outcome.error is not None
    assert outcome.error["code"] == "whatsapp_request_invalid"
    assert outcome.error["transient"] is False


def test_a_key_longer_than_the_field_never_leaves() -> None:
    fits = httpx.MockTransport(lambda _: httpx.Response(200, json=ACCEPTED))
    assert performed(fits, key="k" * 512).status == "completed"

    outcome = performed(httpx.MockTransport(lambda _: pytest.fail("it left")), key="k" * 513)
    assert outcome.error is not None
    assert outcome.error["code"] == "whatsapp_request_invalid"


def test_neither_token_nor_words_are_given_away(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    said = f"Bearer {TOKEN} may not send '{WORDS}'"
    outcome = answered(
        400, graph_error(100, error_data={"details": said}, message=said, fbtrace_id=said)
    )

    shown = repr(outcome) + caplog.text
    assert "may not send" in shown
    assert TOKEN not in shown
    assert WORDS not in shown


def test_template_parameters_are_not_given_away_but_its_name_is() -> None:
    template = {
        "name": "cart_reminder",
        "language": {"code": "en_US"},
        "components": [{"type": "body", "parameters": [{"type": "text", "text": "Jessica"}]}],
    }
    request = {"to": "+16505551234", "type": "template", "template": template}
    said = "cart_reminder in en_US does not take 'Jessica'"
    error = answered(400, graph_error(132012, error_data={"details": said}), request).error

    assert error is not None
    assert error["details"] == "cart_reminder in en_US does not take '[...]'"


def test_a_client_does_not_show_its_token() -> None:
    client = WhatsAppClient("https://api.test", TOKEN, "1065", "v25.0")
    client.close()
    assert TOKEN not in repr(client)
    for bad in ("", "tök€n-secret", "secret\nX-Evil: 1", "two words-secret"):
        with pytest.raises(SettingsError) as caught:
            WhatsAppClient("https://api.test", bad, "1065", "v25.0")
        assert "secret" not in str(caught.value)


@pytest.mark.parametrize("url", ["", "graph.facebook.com", "ftp://graph.facebook.com", "http://"])
def test_an_address_that_is_none_is_a_settings_error(url: str) -> None:
    with pytest.raises(SettingsError):
        WhatsAppClient(url, TOKEN, "1065", "v25.0")


def test_half_a_surrogate_pair_becomes_something_that_can_be_stored() -> None:
    said = "odd \ud800 end"
    refused = answered(400, graph_error(100, error_data={"details": said}, message=said)).error
    accepted = answered(200, {"messages": [{"id": said, "message_status": said}]}).result

    assert refused is not None
    assert accepted is not None
    expected = "odd ? end"
    assert (refused["message"], refused["details"]) == (expected, expected)
    assert (accepted["messageId"], accepted["messageStatus"]) == (expected, expected)


def test_what_the_api_says_is_kept_within_bounds() -> None:
    said = "long " * 10_000
    error = answered(400, graph_error(100, error_data=said, message=said, fbtrace_id=said)).error

    assert error is not None
    assert len(json.dumps(error)) < 4096
    assert error["message"].startswith("long long")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just("\ud800"),
    lambda children: (
        st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=5), children, max_size=3)
    ),
    max_leaves=10,
)
graph_errors = st.fixed_dictionaries(
    {},
    optional={
        name: json_values | st.integers(0, 200_000) | st.just(f"{TOKEN} {WORDS} \udfff")
        for name in ("code", "message", "error_data", "fbtrace_id", "is_transient", "type")
    },
)
answers = st.one_of(
    json_values,
    st.fixed_dictionaries({"error": graph_errors | json_values}),
    st.fixed_dictionaries(
        {},
        optional={
            "messages": st.lists(st.fixed_dictionaries({}, optional={"id": json_values})),
            "contacts": st.lists(st.fixed_dictionaries({}, optional={"wa_id": json_values})),
            "error": graph_errors,
        },
    ),
)


@given(
    status=st.sampled_from([200, 201, 204, 301, 400, 401, 404, 429, 500, 503])
    | st.integers(200, 599),
    body=answers.map(lambda value: json.dumps(value).encode()) | st.binary(),
)
def test_any_answer_becomes_an_outcome_that_can_be_stored(status: int, body: bytes) -> None:
    outcome = answered(status, body)

    assert outcome.status in ("completed", "failed", "unknown")
    assert (outcome.result is not None) == (outcome.status == "completed")
    assert (outcome.error is None) == (outcome.status == "completed")
    stored = json.dumps([outcome.result, outcome.error], ensure_ascii=False, allow_nan=False)
    stored.encode("utf-8")
    assert len(stored) < 16 * 1024
    if outcome.error is not None:
        assert type(outcome.error["transient"]) is bool
        assert TOKEN not in stored
        assert WORDS not in stored
