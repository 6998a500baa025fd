"""A local stand-in for the WhatsApp Cloud API, with a ledger and faults on demand.

Answers ``POST /v{n}.{m}/{phone-number-id}/messages`` in the documented shapes for texts, templates,
files (image, video, document) and interactive messages (buttons, lists, links); every other type
is refused with code 131051. It is stricter than Meta in
one point: a recipient without ``+`` is refused with 131009, where Meta would put its own
country code in front and write to a stranger. It keeps no registry of templates.

What it received, and what it shall refuse, is under ``/_simulator``, which asks for no
authentication: run it on a loopback address only. Everything is in memory and guarded by one
lock, so it runs in any threaded WSGI server of one process; the ledger grows until cleared.

Imports Flask, flowkit, the error table and the acceptance rules.
"""

from __future__ import annotations

import base64
import hmac
import itertools
import json
import math
import re
import secrets
import threading
from http import HTTPStatus
from typing import Any

from flask import Flask, Response, jsonify, request
from werkzeug.exceptions import HTTPException, NotFound, RequestEntityTooLarge

from flowkit.clock import Clock, SystemClock
from flowkit.errors import Invalid
from flowkit.problems import Problem, pointer
from flowkit.wire import iso
from service.channels.whatsapp.acceptance import checked, template_name
from service.channels.whatsapp.errors import graph_error
from service.channels.whatsapp.reading import Refused, is_text, need

MAX_BODY = 1024 * 1024
MAX_DEPTH = 64
MAX_PAGE = 10_000
HANG_MS = 30_000
FAULTS = ("timeout_after_accept", "timeout_before_accept", "reset", "html_500")
OPTIONS = {
    "to": "must be a phone number or a list of them",
    "text": "must be a string that is not empty",
    "template": "must be a string that is not empty",
    "times": "must be a whole number from 1",
    "code": "must be the number of a Graph API error",
    "latencyMs": "must be a whole number of milliseconds",
    "fault": f"must be one of {', '.join(FAULTS)}",
}


def create_simulator(token: str, *, clock: Clock | None = None) -> Flask:
    """Return the simulator as a WSGI application.

    Parameters
    ----------
    token : str
        The bearer token that senders must show.
    clock : Clock, optional
        Stamps the recorded messages; the machine's clock by default.

    Notes
    -----
    ``GET /_simulator/messages?since=0&limit=1000`` lists what authorised senders sent, oldest
    first, as ``{items, nextCursor}``; pass ``nextCursor`` as ``since`` for the next page.
    ``DELETE`` clears. ``POST /_simulator/rules`` takes ``{to?, text?, template?, times?}``
    to choose messages (all that are given must fit; the oldest fitting rule acts; `text` is
    found in what the contact reads, of a template in its parameters) and what happens to them:
    ``code`` refuses with that error, ``latencyMs`` waits first, ``fault`` breaks the answer:

    - ``timeout_after_accept``: takes the message, waits (`latencyMs`, 30 s unless told),
      then hangs up without an answer; ``timeout_before_accept``: the same, not taken
    - ``reset``: hangs up in the middle of the answer, not taken
    - ``html_500``: a proxy's error page, not taken

    ``GET`` lists the rules; ``DELETE /_simulator/rules[/id]`` lifts them and ends what hangs
    in them.
    """
    app = Flask(__name__)
    # One byte more, so that a chunked body that reaches the limit can be told from one that
    # was cut there.
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY + 1
    clock = clock or SystemClock()
    expected = f"Bearer {token}".encode()
    lock = threading.Lock()  # guards the three that follow
    numbers = itertools.count(1)
    ledger: list[dict[str, Any]] = []
    rules: list[_Rule] = []

    def record(
        body: Any, wamid: str | None = None, code: int | None = None, fault: Any = None
    ) -> None:
        known = body if isinstance(body, dict) else {}
        item = {
            "id": wamid,
            "to": known.get("to"),
            "type": known.get("type"),
            "body": body,
            "callbackData": known.get("biz_opaque_callback_data"),
            "status": "rejected" if wamid is None else "accepted",
            "code": code,
            "fault": fault,
        }
        with lock:
            ledger.append({**item, "sequence": next(numbers), "time": iso(clock.now())})

    @app.post("/<version>/<phone_number_id>/messages")
    def send(version: str, phone_number_id: str) -> Any:
        if not re.fullmatch(r"v[0-9]{1,3}\.[0-9]{1,3}", version):
            raise NotFound("Paths begin with a version such as /v25.0")
        raw = _body()  # read also when refused, or the rest would be taken for a request
        shown = request.headers.get("Authorization", "").encode("utf-8", "surrogateescape")
        if not hmac.compare_digest(shown, expected):
            return _graph_error(190, "The access token is not the one that is expected")
        body: Any = None
        try:
            body = _json(raw)
            words = checked(body)
            with lock:
                rule = next((rule for rule in rules if rule.fits(body, words)), None)
                if rule:
                    rule.hits += 1
            fault = rule.given.get("fault") if rule else None
            if rule and not fault:
                rule.wait(default_ms=0)
            if rule and "code" in rule.given:
                raise Refused(rule.given["code"], "Refused by a rule of the simulator")
        except Refused as refused:
            record(body, code=refused.code)
            return _graph_error(refused.code, refused.details)
        wamid = _wamid(body["to"]) if fault in (None, "timeout_after_accept") else None
        record(body, wamid=wamid, fault=fault)
        return _broken(rule, fault) if rule and fault else jsonify(_success(body, str(wamid)))

    @app.get("/_simulator/messages")
    def list_messages() -> Any:
        since, limit = _query("since", 0), max(1, min(_query("limit", 1000), MAX_PAGE))
        with lock:
            found = [item for item in ledger if item["sequence"] > since]
        cursor = str(found[limit - 1]["sequence"]) if len(found) > limit else None
        return jsonify(items=found[:limit], nextCursor=cursor)

    @app.delete("/_simulator/messages")
    def clear_messages() -> Any:
        with lock:
            count = len(ledger)
            ledger.clear()
        return jsonify(deleted=count)

    @app.get("/_simulator/rules")
    def list_rules() -> Any:
        with lock:
            return jsonify(items=[rule.to_dict() for rule in rules], nextCursor=None)

    @app.post("/_simulator/rules")
    def add_rule() -> Any:
        try:
            given = _rule_options(_json(_body()))
        except Refused as refused:
            return _problems(400, [Problem("json.invalid", "", refused.details)])
        with lock:
            rules.append(_Rule(f"rule_{next(numbers)}", given))
            return jsonify(rules[-1].to_dict()), 201

    @app.delete("/_simulator/rules")
    @app.delete("/_simulator/rules/<rule_id>")
    def lift_rules(rule_id: str | None = None) -> Any:
        with lock:
            gone = [rule for rule in rules if rule_id in (None, rule.id)]
            rules[:] = [rule for rule in rules if rule not in gone]
        if rule_id is not None and not gone:
            raise NotFound(f"There is no rule {rule_id!r}")
        for rule in gone:
            rule.lifted.set()
        return jsonify(deleted=len(gone))

    @app.errorhandler(Invalid)
    def invalid(error: Invalid) -> Any:
        return _problems(422, error.problems)

    @app.errorhandler(HTTPException)
    def http_error(error: HTTPException) -> Any:
        status, said = error.code or 500, error.description or error.name
        if not request.path.startswith("/_simulator"):
            return _graph_error(100, said, status)
        code = f"http.{error.name.lower().replace(' ', '_')}"
        return _problems(status, [Problem(code, "", said)])

    return app


class _Rule:
    """What `given` says, how often it acted, and a way out for requests that wait in it."""

    def __init__(self, rule_id: str, given: dict[str, Any]) -> None:
        self.id = rule_id
        self.given = given
        self.hits = 0
        self.lifted = threading.Event()

    def fits(self, body: dict[str, Any], words: str) -> bool:
        to = self.given.get("to", body["to"])
        return (
            self.hits < self.given.get("times", math.inf)
            and _digits(body["to"]) in map(_digits, [to] if isinstance(to, str) else to)
            and self.given.get("text", "") in words
            and ("template" not in self.given or self.given["template"] == template_name(body))
        )

    def wait(self, default_ms: int) -> None:
        self.lifted.wait(self.given.get("latencyMs", default_ms) / 1000)

    def to_dict(self) -> dict[str, Any]:
        return {**self.given, "id": self.id, "hits": self.hits}


def _body() -> bytes:
    raw = request.get_data(cache=False)
    if len(raw) > MAX_BODY:
        raise RequestEntityTooLarge
    return raw


def _json(raw: bytes) -> Any:
    def finite(text: str) -> float:
        if not math.isfinite(number := float(text)):
            raise ValueError("not a JSON number")
        return number

    try:
        value = json.loads(raw, parse_float=finite, parse_constant=finite)
    except (ValueError, RecursionError):
        raise Refused(100, "The request body is not valid JSON") from None
    need(_shallow(value, MAX_DEPTH), 100, f"The body is nested over {MAX_DEPTH} levels deep")
    return value


def _shallow(value: Any, levels: int) -> bool:
    children = value.values() if isinstance(value, dict) else value
    return not isinstance(value, (dict, list)) or (
        levels > 0 and all(_shallow(child, levels - 1) for child in children)
    )


def _digits(phone: str) -> str:
    return re.sub(r"[^0-9]", "", phone)


def _wamid(to: str) -> str:
    """Return an id built as the real ones are: base64 of the recipient and a random part."""
    phone, unique = _digits(to).encode(), secrets.token_hex(9).upper().encode()
    head = b"\x1c\x18%c%b\x15\x02\x00" % (len(phone), phone)
    return "wamid." + base64.b64encode(head + b"\x11\x18%c%b\x00" % (len(unique), unique)).decode()


def _success(message: dict[str, Any], wamid: str) -> dict[str, Any]:
    sent = {"id": wamid}
    if template_name(message):
        sent["message_status"] = "accepted"
    contact = {"input": message["to"], "wa_id": _digits(message["to"])}
    return {"messaging_product": "whatsapp", "contacts": [contact], "messages": [sent]}


def _graph_error(code: int, details: str, status: int | None = None) -> tuple[Response, int]:
    known = graph_error(code)
    error = {
        "message": f"(#{code}) {known.title}",
        "type": "OAuthException",
        "code": code,
        "error_data": {"messaging_product": "whatsapp", "details": details},
        "fbtrace_id": "A" + secrets.token_urlsafe(16),
    }
    return jsonify(error=error), status or known.http_status


def _broken(rule: _Rule, fault: str) -> Response:
    rule.wait(default_ms=HANG_MS if fault.startswith("timeout") else 0)
    if fault == "html_500":
        return Response("<html><body>Sorry, something went wrong.</body></html>", status=500)
    # WSGI cannot hang up; a promise of more bytes than come makes every server do it.
    half = Response(iter([b"{"]), mimetype="application/json")
    half.headers["Content-Length"] = "512"
    return half


def _problems(status: int, problems: list[Problem]) -> tuple[Response, int]:
    said = HTTPStatus(status).phrase
    return jsonify(code=status, status=said, problems=[p.to_dict() for p in problems]), status


def _query(name: str, default: int) -> int:
    text = request.args.get(name, str(default))
    if not re.fullmatch("[0-9]{1,15}", text):
        raise Invalid([Problem("query.invalid", pointer(name), f"{name} must be a whole number")])
    return int(text)


def _rule_options(document: Any) -> dict[str, Any]:
    """Return the options of a rule, those that are null left out; raise `Invalid` if wrong."""
    if not isinstance(document, dict):
        raise Invalid([Problem("rule.invalid", "", "a rule must be a JSON object")])
    given = {name: value for name, value in document.items() if value is not None}
    problems = [
        Problem("rule.invalid", pointer(name), OPTIONS.get(name, "there is no such option"))
        for name, value in given.items()
        if not _is_option(name, value)
    ]
    if "code" in given and "fault" in given:
        problems.append(Problem("rule.conflict", "/fault", "give a code or a fault, not both"))
    if not given.keys() & {"code", "fault", "latencyMs"}:
        problems.append(Problem("rule.empty", "", "give a code, a fault or latencyMs"))
    if problems:
        raise Invalid(problems)
    return given


def _is_option(name: str, value: Any) -> bool:
    match name:
        case "to":
            phones = value if isinstance(value, list) else [value]
            return bool(phones) and all(is_text(phone, ".*[0-9].*") for phone in phones)
        case "text" | "template":
            return is_text(value, ".+")
        case "fault":
            return value in FAULTS
        case "code" | "times" | "latencyMs":
            return type(value) is int and (name == "times") <= value < 10_000_000
    return False
