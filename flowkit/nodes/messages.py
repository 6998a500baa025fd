"""Nodes that send messages. Imports `nodetype`, `fields`, `retry`, `problems`, `whatsapp`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any, Literal

from flowkit import whatsapp
from flowkit.errors import NodeFailed
from flowkit.fields import field
from flowkit.nodetype import Context, Effect, NodeType, Text
from flowkit.problems import Problem, pointer
from flowkit.retry import RetryPolicy
from flowkit.whatsapp import ButtonParameter, Header, ReplyButton, Section, differ, fits, said

_PHONE = re.compile(r"\+[1-9][0-9]{6,14}")
_INTERACTIVE = ("buttons", "list", "cta_url")

Kind = Literal["text", "template", "image", "video", "document", "buttons", "list", "cta_url"]


class SendMessage(NodeType, type="SEND_MESSAGE", category="ACTION", verb="send"):
    """Send a WhatsApp message: a template that Meta has approved, or one of the free kinds.

    The free kinds (text, files, buttons, lists, links) can only be sent inside an open service
    window.

    Examples
    --------
    >>> flow = (
    ...     fk.Flow("Greeting", trigger="signed_up")
    ...     .send(
    ...         template="welcome",
    ...         language="en_US",
    ...         parameters=["{{ contact.first_name | default: 'you' }}"],
    ...     )
    ...     .end()
    ... )
    """

    kind: Kind = field(help="An approved template, or what can be sent in an open service window.")
    text: str | None = field(
        help="What to say, as Liquid.",
        kind="template",
        min_length=1,
        show_when={"kind": ("text", *_INTERACTIVE)},
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
    button_parameters: Sequence[ButtonParameter] = field(
        (),
        help="Values of the variables of the template's buttons.",
        max_length=10,
        show_when={"kind": "template"},
    )
    media: str | None = field(
        help="The file's https address, or the id of the upload, as Liquid.",
        kind="template",
        min_length=1,
        show_when={"kind": whatsapp.MEDIA},
    )
    caption: str | None = field(
        None,
        help="What to say below the file, as Liquid.",
        kind="template",
        min_length=1,
        show_when={"kind": whatsapp.MEDIA},
        widget="textarea",
    )
    filename: str | None = field(
        None,
        help="What the document is called, as Liquid.",
        kind="template",
        min_length=1,
        show_when={"kind": "document"},
    )
    header: Header | None = field(
        None,
        help="What stands above the text; a list takes only text.",
        show_when={"kind": ("template", *_INTERACTIVE)},
    )
    footer: str | None = field(
        None,
        help="What stands below the text, as Liquid.",
        kind="template",
        min_length=1,
        show_when={"kind": _INTERACTIVE},
    )
    buttons: Sequence[ReplyButton] | None = field(
        help="The answers that the contact can tap.",
        min_length=1,
        max_length=whatsapp.MAX_BUTTONS,
        show_when={"kind": "buttons"},
    )
    button_text: str | None = field(
        help="What stands on the button that opens the list or the link, as Liquid.",
        kind="template",
        min_length=1,
        show_when={"kind": ("list", "cta_url")},
    )
    sections: Sequence[Section] | None = field(
        help="The choices of the list; at most ten in all sections.",
        min_length=1,
        max_length=whatsapp.MAX_SECTIONS,
        show_when={"kind": "list"},
    )
    url: str | None = field(
        help="Where the button leads, as Liquid.",
        kind="template",
        min_length=1,
        show_when={"kind": "cta_url"},
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
    def from_call(cls, *, kind: Kind | None = None, **config: Any) -> SendMessage:
        """Return the message; without `kind` it follows from what is given.

        ``template``, ``buttons``, ``sections`` and ``url`` each belong to one kind; a text is the
        rest. A file's kind must be named.
        """
        marks: dict[str, Kind] = {
            "template": "template",
            "buttons": "buttons",
            "sections": "list",
            "url": "cta_url",
        }
        given = [own for name, own in marks.items() if config.get(name) is not None]
        return cls(kind=kind or (given[0] if given else "text"), **config)

    def check(self) -> Iterable[Problem]:
        """Hold the message to WhatsApp's limits, as far as they can be judged before it is sent."""
        if self.kind in whatsapp.MEDIA:
            yield from whatsapp.media_fits(self.media, "/media")
            yield from fits(self.caption, "/caption", whatsapp.MAX_CAPTION)
        elif self.kind == "text":
            yield from fits(self.text, "/text", whatsapp.MAX_TEXT)
        elif self.kind == "template":
            indexes = [str(button.index) for button in self.button_parameters]
            yield from differ(indexes, "/buttonParameters", "index")
        else:
            yield from fits(self.text, "/text", self._most)
            yield from fits(self.footer, "/footer", whatsapp.MAX_FOOTER)
            yield from self._check_choices()

    @property
    def _most(self) -> int:
        return whatsapp.MAX_TEXT if self.kind == "list" else whatsapp.MAX_BODY

    def _check_choices(self) -> Iterable[Problem]:
        if self.kind == "buttons":
            buttons = self.buttons or ()
            yield from differ([button.id for button in buttons], "/buttons", "id")
            yield from differ([button.title for button in buttons], "/buttons", "title")
            return
        yield from fits(self.button_text, "/buttonText", whatsapp.MAX_BUTTON)
        if self.kind == "cta_url":
            if not whatsapp.is_liquid(self.url or "") and not _address(self.url or ""):
                yield Problem("message.url", "/url", "This must be an address with https://.")
            return
        sections = self.sections or ()
        if self.header is not None and self.header.kind != "text":
            message = "The header of a list can only be a text."
            yield Problem("message.header", "/header/kind", message)
        if sum(len(section.rows) for section in sections) > whatsapp.MAX_ROWS:
            message = f"A list has at most {whatsapp.MAX_ROWS} rows in all its sections."
            yield Problem("message.too_many", "/sections", message)
        known: set[str] = set()
        for number, section in enumerate(sections):
            if section.title is None and len(sections) > 1:
                message = "With several sections each needs a title."
                yield Problem("message.empty", pointer("sections", number, "title"), message)
            for place, row in enumerate(section.rows):
                if row.id in known:
                    message = f"Each id must be there once; {row.id!r} is there twice."
                    path = pointer("sections", number, "rows", place, "id")
                    yield Problem("message.duplicate", path, message)
                known.add(row.id)
        long = whatsapp.MAX_BODY < len(self.text or "") <= whatsapp.MAX_TEXT
        if long and not whatsapp.is_liquid(self.text or ""):
            message = f"Older documents of WhatsApp allow a list {whatsapp.MAX_BODY} characters."
            yield Problem("message.long", "/text", message, "warning")

    def takes(self, handle: str | None) -> tuple[float, float]:
        """Return what all attempts can take, were WhatsApp not to ask for longer waits."""
        return 0.0, self.retry.longest(self.timeout_seconds)

    def sends(self) -> Literal["free", "template"]:
        """Return which of the two it is."""
        return "template" if self.kind == "template" else "free"

    def run(self, ctx: Context) -> Effect:
        """Render the message; the channel sends it."""
        type_ = "interactive" if self.kind in _INTERACTIVE else self.kind
        made = {
            "text": self._text,
            "template": self._template,
            "interactive": self._interactive,
        }.get(type_, self._media)
        return Effect(
            kind=whatsapp.MESSAGE,
            request={"to": self._to.of(ctx), "type": type_, type_: made(ctx)},
            timeout=self.timeout_seconds,
            on_unknown=self.on_unknown,
            retry=self.retry,
        )

    def texts(self) -> tuple[Text, ...] | None:
        """Return recipient and texts, of the kinds that hang on nothing else."""
        if self.kind == "text":
            return self._to, self._body
        if self.kind == "template" and self.header is None and not self.button_parameters:
            return self._to, *self._values
        return None

    @property
    def _to(self) -> Text:
        return Text(self.to, _recipient, (self.to,))

    @property
    def _body(self) -> Text:
        return Text(self.text or "", whatsapp.words, ("text", whatsapp.MAX_TEXT))

    @property
    def _values(self) -> tuple[Text, ...]:
        return tuple(
            Text(text, whatsapp.value, (f"Parameter {number}",))
            for number, text in enumerate(self.parameters, start=1)
        )

    def _text(self, ctx: Context) -> dict[str, Any]:
        return {"body": self._body.of(ctx), "preview_url": self.preview_url}

    def _template(self, ctx: Context) -> dict[str, Any]:
        body: dict[str, Any] = {"name": self.template, "language": {"code": self.language}}
        components = [] if self.header is None else [self.header.component(ctx)]
        if self.parameters:
            values = [{"type": "text", "text": value.of(ctx)} for value in self._values]
            components.append({"type": "body", "parameters": values})
        components += [button.component(ctx) for button in self.button_parameters]
        return body | ({"components": components} if components else {})

    def _media(self, ctx: Context) -> dict[str, Any]:
        named = self.filename if self.kind == "document" else None
        made = whatsapp.file(ctx, self.media or "", named)
        if self.caption is not None:
            made["caption"] = said(ctx, self.caption, "caption", whatsapp.MAX_CAPTION)
        return made

    def _interactive(self, ctx: Context) -> dict[str, Any]:
        made: dict[str, Any] = {"type": "button" if self.kind == "buttons" else self.kind}
        if self.header is not None:
            made["header"] = self.header.written(ctx)
        made["body"] = {"text": said(ctx, self.text or "", "text", self._most)}
        if self.footer is not None:
            made["footer"] = {"text": said(ctx, self.footer, "footer", whatsapp.MAX_FOOTER)}
        return made | {"action": self._action(ctx)}

    def _action(self, ctx: Context) -> dict[str, Any]:
        if self.kind == "buttons":
            buttons = [button.written(ctx) for button in self.buttons or ()]
            if len({button["reply"]["title"] for button in buttons}) < len(buttons):
                message = "Two buttons came out with the same title, which WhatsApp refuses."
                raise NodeFailed("buttons_ambiguous", message)
            return {"buttons": buttons}
        shown = said(ctx, self.button_text or "", "button", whatsapp.MAX_BUTTON)
        if self.kind == "list":
            sections = [section.written(ctx) for section in self.sections or ()]
            return {"button": shown, "sections": sections}
        url = ctx.render(self.url or "").strip()
        if not _address(url):
            message = "The link did not come out as an address with https://."
            raise NodeFailed("link_invalid", message)
        return {"name": "cta_url", "parameters": {"display_text": shown, "url": url}}


def _recipient(text: str, template: str) -> str:
    phone = re.sub(r"[\s().-]", "", text)
    if not phone:
        raise NodeFailed("contact_unreachable", f"{template} is empty: there is no phone number.")
    if not _PHONE.fullmatch(phone):
        raise NodeFailed(
            "contact_unreachable",
            "The phone number must begin with + and the country code, such as +5511999990000.",
        )
    return phone


def _address(url: str) -> bool:
    return url.startswith(("https://", "http://")) and whatsapp.is_media(url)
