"""The WhatsApp Cloud API client: one POST per message, and what became of it.

Owns the request's envelope and the reading of every possible answer. Never retries by
itself: the API has no idempotency key, so two equal POSTs are two messages. Whether to send
again is decided above, from the outcome:

``completed``
    The API took the message and named its id.
``failed``
    It certainly was not taken: the API said so, or nothing was ever sent.
``unknown``
    The request left, or may have, and no answer tells what became of it.

Imports httpx, `flowkit.nodetype` and the error table; no store, no Flask.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from time import monotonic
from typing import Any
from urllib.parse import urlsplit

import httpx

from flowkit.errors import SettingsError
from flowkit.nodetype import Outcome
from service.channels.deadline import NEVER_SENT, until
from service.channels.whatsapp.errors import graph_error

MAX_CONNECTIONS = 64
IDLE_SECONDS = 3.0  # below the 5 s after which common servers hang up: less risk of a dead line
MAX_KEY = 512
MAX_ANSWER_BYTES = 64 * 1024
MAX_ERROR_TEXT = 500
MAX_ID = 512
MAX_CODE = 10_000_000

WORDS = {"text", "body", "caption", "title", "description", "display_text", "button"} | {
    "filename", "payload", "coupon_code"
}  # fmt: skip
"""Names of the fields that hold what the contact reads or answers."""

_PHONE = re.compile(r"\+[1-9][0-9]{4,14}")
_LOOPBACK = {"127.0.0.1", "::1", "localhost"}


class WhatsAppClient:
    """Sends messages from one business phone number; safe to share between threads.

    Parameters
    ----------
    base_url : str
        Where the Graph API is, without version: ``https://graph.facebook.com`` or a simulator.
    token : str
        Bearer token; appears in no error, log line or repr.
    phone_number_id : str
        The sender.
    version : str
        Graph API version, such as ``v25.0``.
    connect_timeout : float
        Seconds in which a connection must stand, within the time-out of the call.
    transport : httpx.BaseTransport, optional
        Replaces the network.

    Raises
    ------
    SettingsError
        When the token or the address cannot be used at all.
    """

    def __init__(
        self,
        base_url: str,
        token: str,
        phone_number_id: str,
        version: str,
        *,
        connect_timeout: float = 5.0,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        if not re.fullmatch(r"[\x21-\x7e]+", token):
            # httpx would quote the token in its own complaint.
            raise SettingsError("the WhatsApp token is empty or has characters no header allows")
        parts = urlsplit(base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise SettingsError(f"the WhatsApp base URL {base_url!r} is no http(s) address")
        self._url = f"{base_url.rstrip('/')}/{version}/{phone_number_id}/messages"
        self._connect_timeout = connect_timeout
        self._token = token
        self._http = httpx.Client(
            headers={
                "Authorization": f"Bearer {token}",
                "Content-Type": "application/json",
                "Accept-Encoding": "identity",
            },
            limits=httpx.Limits(
                max_connections=MAX_CONNECTIONS,
                max_keepalive_connections=MAX_CONNECTIONS,
                keepalive_expiry=IDLE_SECONDS,
            ),
            transport=transport,
            # A proxy from the environment cannot reach a simulator on this machine.
            trust_env=parts.hostname not in _LOOPBACK,
        )

    def perform(self, request: dict[str, Any], key: str, timeout: float) -> Outcome:
        """Send one message and say what became of it; network and API errors never raise.

        Parameters
        ----------
        request : dict
            The message as the API wants it, without ``messaging_product``,
            ``recipient_type`` and ``biz_opaque_callback_data``. ``to`` is international,
            with its ``+``; spaces, dots, dashes and brackets in it are dropped.
        key : str
            Idempotency key, at most 512 characters; status webhooks echo it.
        timeout : float
            Seconds for the whole call: waiting for a connection, connecting, writing and
            reading share it. Two things can outlast it: the operating system's name
            look-up (nothing is sent after the time is up), and a peer that trickles its
            answer byte by byte, as each read waits for what was left when headers or body
            began.

        Returns
        -------
        Outcome
            ``completed`` with result ``{messageId, waId, messageStatus}``; ``failed`` with
            error ``{code, message, class, transient, ...}``, where code is
            ``whatsapp_<number>``, ``whatsapp_unreachable`` or ``whatsapp_request_invalid``;
            ``unknown`` with code ``outcome_unknown``.
        """
        deadline = monotonic() + timeout
        problem = _unsendable(request, key)
        if problem is not None:
            return _failed("whatsapp_request_invalid", problem, "permanent")
        message = {
            **request,
            "to": _international(request["to"]),
            "messaging_product": "whatsapp",
            "recipient_type": "individual",
            "biz_opaque_callback_data": key,
        }
        try:
            content = json.dumps(message, separators=(",", ":"), allow_nan=False).encode()
            hidden = [self._token, *sorted(_words(request), key=len, reverse=True)]
        except (TypeError, ValueError, RecursionError):
            return _failed("whatsapp_request_invalid", "the message is not JSON data", "permanent")
        try:
            status, body = self._post(content, deadline)
        except NEVER_SENT as error:
            said = f"the WhatsApp API cannot be reached: {str(error) or type(error).__name__}"
            return _failed("whatsapp_unreachable", _clean(said, hidden), "transient")
        except Exception as error:
            # Whatever this is, bytes may have left: no exception may pass as "not sent". Its
            # text is left out, since protocol errors quote what was sent.
            return _unknown(f"the connection ended before an answer ({type(error).__name__})")
        return _read(status, body, hidden)

    def close(self) -> None:
        """Close the connections; calls under way end as unknown."""
        self._http.close()

    def _post(self, content: bytes, deadline: float) -> tuple[int, bytes]:
        extensions = until(deadline, self._connect_timeout)
        body = bytearray()
        with self._http.stream(
            "POST", self._url, content=content, extensions=extensions
        ) as response:
            for chunk in response.iter_bytes():
                body += chunk
                # What was cut off is not JSON; what is whole counts, however late it came.
                if len(body) > MAX_ANSWER_BYTES or monotonic() >= deadline:
                    break
        return response.status_code, bytes(body)


def _read(status: int, body: bytes, hidden: list[str]) -> Outcome:
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        answer = None
    answer = answer if isinstance(answer, dict) else {}
    result = _accepted(answer) if 200 <= status < 300 else None
    if result is not None:
        return Outcome(status="completed", result=result)
    error = answer.get("error")
    code = error.get("code") if isinstance(error, dict) else None
    if not isinstance(error, dict) or type(code) is not int or not 0 <= code < MAX_CODE:
        lack = "a message id" if 200 <= status < 300 else "a Graph API error"
        return _unknown(
            f"HTTP {status} came back without {lack}; check the WhatsApp base URL and version",
            httpStatus=status,
        )
    return _refused(status, code, error, hidden)


def _refused(status: int, code: int, error: dict[str, Any], hidden: list[str]) -> Outcome:
    known = graph_error(code, says_transient=error.get("is_transient") is True)
    data = error.get("error_data")
    details = _text(data.get("details") if isinstance(data, dict) else data)
    message = _text(error.get("message")) or f"(#{code}) {known.title}"
    more: dict[str, Any] = {"httpStatus": status, "advice": known.advice}
    if details:
        more["details"] = _clean(details, hidden)
    if _text(error.get("fbtrace_id")):
        more["fbtraceId"] = _clean(error["fbtrace_id"], hidden)
    if known.retry_after is not None:
        more["retryAfterSeconds"] = known.retry_after
    return _failed(f"whatsapp_{code}", _clean(message, hidden), known.error_class, **more)


def _clean(text: str, hidden: list[str]) -> str:
    """Return `text` fit to be stored: no token, none of the message's words, bounded."""
    for secret in hidden:
        text = text.replace(secret, "[...]")
    return _storable(text)[:MAX_ERROR_TEXT]


def _unsendable(request: dict[str, Any], key: str) -> str | None:
    to = request.get("to")
    if not isinstance(to, str) or not _PHONE.fullmatch(_international(to)):
        return "the recipient is no phone number with + and country code, such as +5511987654321"
    if len(key) > MAX_KEY:
        return f"the idempotency key is longer than {MAX_KEY} characters"
    return None


def _international(to: str) -> str:
    return re.sub(r"[\s().-]", "", to)


def _accepted(answer: dict[str, Any]) -> dict[str, Any] | None:
    message = _first(answer.get("messages"))
    wamid = _text(message.get("id"))
    if not wamid or len(wamid) > MAX_ID:
        return None
    return {
        "messageId": _storable(wamid),
        "waId": _short(_first(answer.get("contacts")).get("wa_id")),
        "messageStatus": _short(message.get("message_status")),
    }


def _first(items: Any) -> dict[str, Any]:
    return items[0] if isinstance(items, list) and items and isinstance(items[0], dict) else {}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _short(value: Any) -> str | None:
    return _storable(value)[:MAX_ID] if isinstance(value, str) else None


def _storable(text: str) -> str:
    # JSON can spell half a surrogate pair, which no store can encode.
    return text.encode("utf-8", "replace").decode()


def _words(value: Any) -> Iterator[str]:
    """Yield what the message says, where it is of 3 characters or more."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for name, item in items:
        if isinstance(item, str):
            if name in WORDS and len(item.strip()) >= 3:
                yield item
        elif isinstance(item, (dict, list)):
            yield from _words(item)


def _failed(code: str, message: str, error_class: str, **more: Any) -> Outcome:
    error = {
        "code": code,
        "message": message,
        "class": error_class,
        "transient": error_class == "transient",
        **more,
    }
    return Outcome(status="failed", error=error)


def _unknown(message: str, **more: Any) -> Outcome:
    error = {"code": "outcome_unknown", "message": message, "transient": False, **more}
    return Outcome(status="unknown", error=error)
