"""HTTP requests of flows: one call to somebody's system, and what became of it.

Owns where such a call may go and the reading of its answer. The name of a host is looked up once,
every address that it has is judged, and the connection is made to the one that was judged: what
the name means a moment later changes nothing. Connections are not kept, since to one address may
belong many hosts. Never retries by itself, and follows no redirect.

``failed`` with a passing error (``transient``)
    Nothing was done, or the other side says so: no connection, 429, 5xx; and any GET without an
    answer.
``unknown``
    The request left, or may have, and no answer came.

Imports httpx, `flowkit` and `service.channels.deadline`; no store, no Flask.
"""

from __future__ import annotations

import ipaddress
import json
import socket
from time import monotonic
from typing import Any

import httpx

from flowkit.errors import NodeFailed
from flowkit.expression import search
from flowkit.nodetype import Outcome
from service.channels.deadline import NEVER_SENT, until

CONNECT_SECONDS = 5.0
MAX_CONNECTIONS = 64
MAX_ADDRESSES = 3
"""How many addresses of a host are tried until a connection stands."""
PASSING = frozenset({408, 425, 429})
"""Answers below 500 after which the same request may succeed."""
NAT64 = ipaddress.ip_network("64:ff9b::/96")
MAX_SAID = 500


class Forbidden(Exception):
    """The request must not be made."""


class HttpChannel:
    """Makes requests; safe to share between threads.

    Parameters
    ----------
    allow_private : bool
        Whether addresses that are not public may be reached, such as this machine's.
    transport : httpx.BaseTransport, optional
        Replaces the network.
    """

    def __init__(
        self, *, allow_private: bool = False, transport: httpx.BaseTransport | None = None
    ) -> None:
        self._allow_private = allow_private
        self._http = httpx.Client(
            headers={"User-Agent": "flowkit", "Accept-Encoding": "identity"},
            limits=httpx.Limits(max_connections=MAX_CONNECTIONS, max_keepalive_connections=0),
            follow_redirects=False,
            transport=transport,
            # A proxy would look up the name again, and reach what it likes.
            trust_env=False,
        )

    def perform(self, request: dict[str, Any], key: str, timeout: float) -> Outcome:
        """Make one request and say what became of it; network errors never raise.

        Parameters
        ----------
        request : dict
            ``{method, url, headers, body?, result?, maximumBytes}``, rendered.
        key : str
            Sent as ``Idempotency-Key``.
        timeout : float
            Seconds for the whole call.

        Returns
        -------
        Outcome
            ``completed`` with result ``{status, body}``; ``failed`` with code ``http_<status>``,
            ``http_unreachable``, ``http_unanswered``, ``http_forbidden``, ``request_invalid``,
            ``http_answer_too_large`` or that of a mapping that cannot be applied; ``unknown``
            with code ``outcome_unknown``.
        """
        deadline = monotonic() + timeout
        try:
            url = httpx.URL(request["url"])
            headers, content = _written(request, key, url)
            addresses = self._addresses(url)
        except Forbidden as error:
            return _failed("http_forbidden", str(error))
        except OSError as error:
            return _failed("http_unreachable", f"there is no such host ({error})", transient=True)
        except (ValueError, TypeError, RecursionError, httpx.InvalidURL) as error:
            return _failed("request_invalid", f"the request cannot be written: {error}")
        method, most = request["method"], request["maximumBytes"]
        said = "the host has no address"
        for address in addresses[:MAX_ADDRESSES]:
            place = url.copy_with(host=address)
            extensions = until(deadline, CONNECT_SECONDS) | {"sni_hostname": _host(url)}
            made = self._http.build_request(
                method, place, headers=headers, content=content, extensions=extensions
            )
            try:
                status, body = self._sent(made, most, deadline)
            except NEVER_SENT as error:
                said = f"the address cannot be reached: {str(error) or type(error).__name__}"
            except Exception as error:
                # Whatever this is, bytes may have left.
                return _unanswered(method, type(error).__name__)
            else:
                return _read(request, status, body)
        return _failed("http_unreachable", said, transient=True)

    def close(self) -> None:
        """End; calls under way end as unknown."""
        self._http.close()

    def _sent(self, request: httpx.Request, most: int, deadline: float) -> tuple[int, bytes | None]:
        """Return the status and the body of the answer; None for one that is too large."""
        body = bytearray()
        response = self._http.send(request, stream=True)
        try:
            for chunk in response.iter_bytes():
                body += chunk
                if len(body) > most:
                    return response.status_code, None
                if monotonic() >= deadline:
                    raise httpx.ReadTimeout("the time was up in the middle of the answer")
        finally:
            response.close()
        return response.status_code, bytes(body)

    def _addresses(self, url: httpx.URL) -> list[str]:
        """Return the host's addresses; raise `Forbidden` where one of them is not to be reached."""
        if url.scheme not in ("http", "https") or not url.host or url.userinfo:
            raise Forbidden("the address must be http or https, with a host and without a user")
        if (url.port or 0) > 65_535:
            raise Forbidden(f"there is no port {url.port}")
        found = socket.getaddrinfo(_host(url), url.port or url.scheme, type=socket.SOCK_STREAM)
        addresses = list(dict.fromkeys(str(address[0]) for *_, address in found))
        if not self._allow_private and not all(map(is_public, addresses)):
            raise Forbidden(
                f"{url.host} is inside a network that flows may not reach; an installation that "
                "wants it sets FLOWKIT_HTTP_ALLOW_PRIVATE"
            )
        return addresses


def _host(url: httpx.URL) -> str:
    return url.raw_host.decode("ascii")


def _written(
    request: dict[str, Any], key: str, url: httpx.URL
) -> tuple[dict[str, str], bytes | None]:
    headers = {**request["headers"], "Idempotency-Key": key, "Host": url.netloc.decode("ascii")}
    if "body" not in request:
        return headers, None
    if not any(name.lower() == "content-type" for name in headers):
        headers["Content-Type"] = "application/json"
    text = json.dumps(request["body"], ensure_ascii=False, allow_nan=False)
    return headers, text.encode()


def is_public(address: str) -> bool:
    """Return whether an IP address is one of the public internet's; also the one within it."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)
        if inner is None and ip in NAT64:
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if inner is not None:
            ip = inner
    return ip.is_global and not ip.is_multicast


def _unanswered(method: str, error: str) -> Outcome:
    said = f"the connection ended before an answer ({error})"
    if method == "GET":
        return _failed("http_unanswered", said, transient=True)
    unknown = {"code": "outcome_unknown", "message": said, "transient": False}
    return Outcome("unknown", error=unknown)


def _read(request: dict[str, Any], status: int, body: bytes | None) -> Outcome:
    if status >= 300:
        passing = status in PASSING or status >= 500
        said = "" if body is None else body[:MAX_SAID].decode(errors="replace").strip()
        hint = "; redirects are not followed" if status < 400 else ""
        return _failed(f"http_{status}", f"HTTP {status}{hint} {said}".strip(), transient=passing)
    if body is None:
        most = request["maximumBytes"]
        return _failed("http_answer_too_large", f"the answer has more than {most} bytes")
    value = _value(body)
    if request.get("result"):
        try:
            value = search(request["result"], value)
        except NodeFailed as failure:
            return _failed(failure.code, failure.message)
    return Outcome("completed", result={"status": status, "body": value})


def _value(body: bytes) -> Any:
    """Return the JSON of an answer, else its text, nothing as None."""
    try:
        return json.loads(body, parse_constant=_refuse) if body else None
    except (ValueError, RecursionError):
        return body.decode(errors="replace")


def _refuse(name: str) -> Any:
    raise ValueError(name)


def _failed(code: str, message: str, *, transient: bool = False) -> Outcome:
    return Outcome("failed", error={"code": code, "message": message, "transient": transient})
