"""Nodes that send messages. Imports `nodetype`, `fields`, `retry` and `errors`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Literal

from flowkit.errors import NodeFailed
from flowkit.fields import field
from flowkit.nodetype import Context, Effect, NodeType
from flowkit.retry import RetryPolicy

MAX_TEXT = 4096
"""Characters in a WhatsApp text message."""
_PHONE = re.compile(r"\+[1-9][0-9]{6,14}")
_FORBIDDEN_IN_PARAMETER = re.compile(r"[\n\r\t]| {5}")


class SendMessage(NodeType, type="SEND_MESSAGE", category="ACTION", verb="send"):
    """Send a WhatsApp message: free text, or a template that Meta has approved."""

    kind: Literal["text", "template"] = field(
        help="Free text (only inside an open service window) or an approved template."
    )
    text: str | None = field(
        help="What to say, as Liquid.",
        kind="template",
        min_length=1,
        show_when={"kind": "text"},
        widget="textarea",
    )
    preview_url: bool = field(
        False, help="Whether a link in the text gets a preview.", show_when={"kind": "text"}
    )
    template: str | None = field(
        help="Name of the approved template.",
        min_length=1,
        max_length=512,
        show_when={"kind": "template"},
    )
    language: str | None = field(
        help="Language of the template, such as pt_BR.",
        min_length=2,
        max_length=15,
        show_when={"kind": "template"},
    )
    parameters: Sequence[str] = field(
        (),
        help="Values of the template's variables in the body, in order, as Liquid.",
        kind="template",
        max_length=100,
        show_when={"kind": "template"},
    )
    to: str = field(
        "{{ contact.phone }}",
        help="The phone number with + and country code, as Liquid.",
        kind="template",
        min_length=1,
    )
    on_unknown: Literal["fail", "resend"] = field(
        "fail",
        help="When nobody knows whether it was sent: fail (at most once) or send it again.",
    )
    timeout_seconds: float = field(10, help="How long to wait for WhatsApp's answer.", gt=0, le=20)
    retry: RetryPolicy = field(
        RetryPolicy(),
        help="How often and how soon it is sent again when WhatsApp could not take it for now.",
    )

    needs_contact = True

    @classmethod
    def from_call(
        cls, *, kind: Literal["text", "template"] | None = None, **config: Any
    ) -> SendMessage:
        """Return the message; without `kind` it is a template when ``template`` is given."""
        if kind is None:
            kind = "text" if config.get("template") is None else "template"
        return cls(kind=kind, **config)

    def takes(self, handle: str | None) -> tuple[float, float]:
        """Return what all attempts can take, were WhatsApp not to ask for longer waits."""
        return 0.0, self.retry.longest(self.timeout_seconds)

    def sends(self) -> Literal["free", "template"]:
        """Return which of the two it is."""
        return "template" if self.kind == "template" else "free"

    def run(self, ctx: Context) -> Effect:
        """Render the message; the channel sends it."""
        body = self._text(ctx) if self.kind == "text" else self._template(ctx)
        return Effect(
            kind="whatsapp.message",
            request={"to": self._recipient(ctx), "type": self.kind, self.kind: body},
            timeout=self.timeout_seconds,
            on_unknown=self.on_unknown,
            retry=self.retry,
        )

    def _recipient(self, ctx: Context) -> str:
        phone = re.sub(r"[\s().-]", "", ctx.render(self.to))
        if not phone:
            raise NodeFailed(
                "contact_unreachable", f"{self.to} is empty: there is no phone number."
            )
        if not _PHONE.fullmatch(phone):
            raise NodeFailed(
                "contact_unreachable",
                "The phone number must begin with + and the country code, such as +5511999990000.",
            )
        return phone

    def _text(self, ctx: Context) -> dict[str, Any]:
        body = ctx.render(self.text or "").strip()
        if not body:
            raise NodeFailed("message_empty", "The text came out empty; is a variable missing?")
        if len(body) > MAX_TEXT:
            raise NodeFailed(
                "message_too_long",
                f"The text came out with {len(body)} characters; WhatsApp takes {MAX_TEXT}.",
            )
        return {"body": body, "preview_url": self.preview_url}

    def _template(self, ctx: Context) -> dict[str, Any]:
        values = [ctx.render(parameter) for parameter in self.parameters]
        for number, value in enumerate(values, start=1):
            if not value.strip():
                raise NodeFailed("parameter_invalid", f"Parameter {number} came out empty.")
            if _FORBIDDEN_IN_PARAMETER.search(value):
                raise NodeFailed(
                    "parameter_invalid",
                    f"Parameter {number} has a line break, a tab or more than 4 spaces in a row, "
                    "which WhatsApp refuses.",
                )
        body: dict[str, Any] = {"name": self.template, "language": {"code": self.language}}
        if values:
            parameters = [{"type": "text", "text": value} for value in values]
            body["components"] = [{"type": "body", "parameters": parameters}]
        return body
