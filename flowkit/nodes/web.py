"""Nodes that call other systems. Imports `nodetype`, `fields`, `filling`, `retry`, `errors`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Literal

from flowkit.errors import NodeFailed
from flowkit.fields import field
from flowkit.filling import check_texts, filled
from flowkit.nodetype import Context, Effect, NodeType
from flowkit.problems import Problem, pointer
from flowkit.retry import RetryPolicy

MAX_URL = 2_000
MAX_HEADER = 4_096
OURS = frozenset(
    {"connection", "content-length", "host", "idempotency-key", "te", "transfer-encoding"}
    | {"upgrade", "accept-encoding"}
)
"""Headers that the channel sets: where a request goes, where it ends and what it stands for."""

_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}")
_ADDRESS = re.compile(r"https?://[^\s/?#@\\]+([/?#][!-~]*)?", re.IGNORECASE)
_VISIBLE = re.compile(r"[ -~\t]*")

Method = Literal["GET", "POST", "PUT", "PATCH", "DELETE"]


class HttpRequest(NodeType, type="HTTP_REQUEST", category="ACTION", verb="http"):
    """Call another system over HTTP and keep what it answers.

    The request carries the run's key as ``Idempotency-Key``, the same at each attempt. The result
    is ``{status, body}``: the body as JSON where it is such, else as text. An answer of 300 or
    more fails; 429 and 5xx may be tried again. Redirects are not followed, and addresses inside
    the installation's own network are refused unless it allows them.

    Examples
    --------
    >>> flow = (
    ...     fk.Flow("To the CRM", trigger="order_paid")
    ...     .http("POST", "{{ trigger.crm }}/orders", body={"contact": "{{ contact.id }}"})
    ...     .end()
    ... )
    """

    method: Method = field(help="What is asked for.")
    url: str = field(
        help="The address, as Liquid; filter what you put into it with url_encode.",
        kind="template",
        min_length=1,
    )
    headers: Mapping[str, str] | None = field(
        None, help="Headers by name, as Liquid.", kind="template", max_length=50
    )
    body: Any = field(
        None, help="What is sent, as JSON; each text in it is Liquid.", kind="json"
    )  # fmt: skip
    result: str | None = field(
        None,
        help="What is kept of the answer's body, as JMESPath; all of it without.",
        kind="jmespath",
    )
    maximum_bytes: int = field(
        65_536, help="Largest answer that is read, in bytes.", ge=1, le=1_048_576
    )
    timeout_seconds: float = field(10, help="How long to wait for the answer.", gt=0, le=20)
    on_unknown: Literal["fail", "resend"] = field(
        "fail",
        help="When nobody knows whether it arrived: fail (at most once) or ask again; a GET is "
        "always asked again.",
    )
    retry: RetryPolicy = field(
        RetryPolicy(), help="How often and how soon it is tried again after a passing failure."
    )

    @classmethod
    def from_call(cls, method: Method, url: str, **config: Any) -> HttpRequest:
        """Return the request: ``http("POST", "https://crm.example/orders", body={...})``."""
        return cls(method=method, url=url, **config)

    def check(self) -> Iterable[Problem]:
        """Check the address, the names of headers and the texts of the body."""
        if "{" not in self.url and not _is_address(self.url):
            yield Problem("request.url", "/url", "This must be an address with https://.")
        if self.method == "GET" and self.body is not None:
            yield Problem("request.body", "/body", "A GET has no body.")
        seen: set[str] = set()
        for name in self.headers or {}:
            if not _TOKEN.fullmatch(name):
                message = f"{name!r} is no name of a header."
                yield Problem("request.header", pointer("headers", name), message)
            elif name.lower() in OURS or name.lower() in seen:
                message = f"{name} cannot be set here: flowkit sets it, or it is there twice."
                yield Problem("request.header", pointer("headers", name), message)
            seen.add(name.lower())
        for problem in check_texts(self.body, "/body"):
            yield Problem("request.template", problem.path, problem.message)

    def takes(self, handle: str | None) -> tuple[float, float]:
        """Return what all attempts can take."""
        return 0.0, self.retry.longest(self.timeout_seconds)

    def run(self, ctx: Context) -> Effect:
        """Render the request; the channel makes it."""
        url = ctx.render(self.url).strip()
        if not _is_address(url):
            message = "The address did not come out as one with https://, with all else encoded."
            raise NodeFailed("request_invalid", message)
        headers = {name: ctx.render(value).strip() for name, value in (self.headers or {}).items()}
        for name, value in headers.items():
            if len(value) > MAX_HEADER or not _VISIBLE.fullmatch(value):
                message = f"The header {name} came out too long or with odd characters."
                raise NodeFailed("request_invalid", message)
        request = {
            "method": self.method,
            "url": url,
            "headers": headers,
            "maximumBytes": self.maximum_bytes,
            "result": self.result,
        }
        if self.body is not None:
            request["body"] = filled(ctx, self.body)
        return Effect(
            kind="http.request",
            request=request,
            timeout=self.timeout_seconds,
            on_unknown="resend" if self.method == "GET" else self.on_unknown,
            retry=self.retry,
        )


def _is_address(text: str) -> bool:
    return len(text) <= MAX_URL and _ADDRESS.fullmatch(text) is not None
