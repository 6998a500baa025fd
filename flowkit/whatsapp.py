"""What WhatsApp takes: the limits of messages and the parts that they are made of.

Owns the limits of the Cloud API, where text that is not Liquid is held against them before
anything runs (`fits`) and rendered text afterwards (`said`); and the declared parts of a message,
each with the JSON that the API wants (`written`). Lengths count code points.
May import `nodetype`, `fields`, `problems`, `errors`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from flowkit.errors import NodeFailed
from flowkit.fields import field, normalise
from flowkit.nodetype import Context
from flowkit.problems import Problem, pointer

MESSAGE = "whatsapp.message"
"""Kind of the effects that are messages to the contact."""
INBOUND = "whatsapp.message"
"""Type of the event that is a message of the contact; one below it, after a dot, is so too."""
MAX_TEXT = 4096
"""Characters of a text message, and of a list's text."""
MAX_BODY = 1024
"""Characters of the text beside buttons; older documents say so of a list's text too."""
MAX_CAPTION = 1024
MAX_HEADER = MAX_FOOTER = 60
MAX_BUTTON = 20
"""Characters of a button's title."""
MAX_BUTTONS = 3
MAX_ROWS = MAX_SECTIONS = 10
"""Rows of all sections together."""
MAX_ROW = MAX_SECTION = 24
"""Characters of the title of a row, and of a section."""
MAX_DESCRIPTION = 72
MAX_FILENAME = 240
MAX_PARAMETER = 1024
MAX_COUPON = 15
MAX_URL = 2000
MEDIA = ("image", "video", "document")

_LINK = re.compile(r"https?://[^\s/]+\S*")
_UPLOADED = re.compile(r"[0-9]{1,64}")
_FORBIDDEN_IN_PARAMETER = re.compile(r"[\n\r\t]| {5}")
Media = Literal["image", "video", "document"]


def is_liquid(text: str) -> bool:
    """Return whether a text may come out otherwise than it is written."""
    return "{" in text


def fits(text: str | None, path: str, most: int) -> Iterable[Problem]:
    """Yield what is wrong with a text as far as that is certain before it is rendered."""
    if text is None or is_liquid(text):
        return
    if len(text.strip()) > most:
        message = f"This has {len(text.strip())} characters; WhatsApp takes {most}."
        yield Problem("message.too_long", path, message)
    elif not text.strip():
        yield Problem("message.empty", path, "This must not be empty.")


def said(ctx: Context, text: str, what: str, most: int) -> str:
    """Return the rendered text, without space around it; see `words`."""
    return words(ctx.render(text), what, most)


def words(text: str, what: str, most: int) -> str:
    """Return a text without space around it.

    Raises
    ------
    NodeFailed
        ``message_empty`` or ``message_too_long``.
    """
    text = text.strip()
    if not text:
        raise NodeFailed("message_empty", f"The {what} came out empty; is a variable missing?")
    if len(text) > most:
        message = f"The {what} came out with {len(text)} characters; WhatsApp takes {most}."
        raise NodeFailed("message_too_long", message)
    return text


def is_forbidden(value: str) -> bool:
    """Return whether the API refuses a value of a template's variable for its white space."""
    return _FORBIDDEN_IN_PARAMETER.search(value) is not None


def parameter(ctx: Context, text: str, what: str, most: int = MAX_PARAMETER) -> str:
    """Return the rendered value of a template's variable; see `value`."""
    return value(ctx.render(text), what, most)


def value(text: str, what: str, most: int = MAX_PARAMETER) -> str:
    """Return the value of a template's variable.

    Raises
    ------
    NodeFailed
        ``parameter_invalid`` when the API would refuse it.
    """
    if not text.strip():
        raise NodeFailed("parameter_invalid", f"{what} came out empty.")
    if is_forbidden(text):
        raise NodeFailed(
            "parameter_invalid",
            f"{what} has a line break, a tab or more than 4 spaces in a row, "
            "which WhatsApp refuses.",
        )
    if len(text) > most:
        message = f"{what} came out with {len(text)} characters; WhatsApp takes {most}."
        raise NodeFailed("parameter_invalid", message)
    return text


def is_media(text: str) -> bool:
    """Return whether a text names a file: an address, or the id of an upload."""
    return bool(_UPLOADED.fullmatch(text) or (len(text) <= MAX_URL and _LINK.fullmatch(text)))


def file(ctx: Context, media: str, filename: str | None) -> dict[str, Any]:
    """Return the object that names a file.

    Raises
    ------
    NodeFailed
        ``media_invalid`` when the rendered text names none.
    """
    name = ctx.render(media).strip()
    if not is_media(name):
        message = "The file must be an address with https:// or the digits of an upload's id."
        raise NodeFailed("media_invalid", message)
    made = {"id" if _UPLOADED.fullmatch(name) else "link": name}
    return made | ({"filename": said(ctx, filename, "filename", MAX_FILENAME)} if filename else {})


def media_fits(media: str | None, path: str) -> Iterable[Problem]:
    """Yield what is wrong with a file's address as far as that is certain before it is rendered."""
    if media is not None and not is_liquid(media) and not is_media(media.strip()):
        message = "This must be an address with https:// or the digits of an upload's id."
        yield Problem("message.media", path, message)


def differ(values: Iterable[str], path: str, name: str) -> Iterable[Problem]:
    """Yield a problem for each value of a list's items that came before, unless it is Liquid."""
    seen: set[str] = set()
    for number, value in enumerate(values):
        if value in seen and not is_liquid(value):
            message = f"Each {name} must be there once; {value!r} is there twice."
            yield Problem("message.duplicate", path + pointer(number, name), message)
        seen.add(value)


@dataclass(frozen=True, kw_only=True)
class Header:
    """What stands above the text of a message."""

    kind: Literal["text", "image", "video", "document"] = field(help="A text or a file.")
    text: str | None = field(
        help="The text, as Liquid; of a template the value of its variable.",
        kind="template",
        min_length=1,
        show_when={"kind": "text"},
    )
    media: str | None = field(
        help="The file's https address, or the id of the upload, as Liquid.",
        kind="template",
        min_length=1,
        show_when={"kind": MEDIA},
    )
    filename: str | None = field(
        None, help="What the document is called, as Liquid.", kind="template", min_length=1,
        show_when={"kind": "document"},
    )  # fmt: skip

    def __post_init__(self) -> None:
        normalise(self)

    def check(self) -> Iterable[Problem]:
        """Hold the text to its limit."""
        if self.kind == "text":
            yield from fits(self.text, "/text", MAX_HEADER)
        else:
            yield from media_fits(self.media, "/media")

    def written(self, ctx: Context) -> dict[str, Any]:
        """Return the header of an interactive message."""
        if self.kind == "text":
            return {"type": "text", "text": said(ctx, self.text or "", "header", MAX_HEADER)}
        return {"type": self.kind, self.kind: self._file(ctx)}

    def component(self, ctx: Context) -> dict[str, Any]:
        """Return the component of a template's header."""
        value: dict[str, Any] = {"type": self.kind}
        if self.kind == "text":
            value["text"] = parameter(ctx, self.text or "", "The header's text", MAX_HEADER)
        else:
            value[self.kind] = self._file(ctx)
        return {"type": "header", "parameters": [value]}

    def _file(self, ctx: Context) -> dict[str, Any]:
        return file(ctx, self.media or "", self.filename if self.kind == "document" else None)


@dataclass(frozen=True, kw_only=True)
class ButtonParameter:
    """The variable part of a template's button."""

    index: int = field(help="Which of the template's buttons, from 0.", ge=0, le=9)
    kind: Literal["url", "quick_reply", "copy_code"] = field(
        "url", help="What the value is: the end of an address, a reply's payload or a coupon code."
    )
    value: str = field(help="The value, as Liquid.", kind="template", min_length=1)

    def __post_init__(self) -> None:
        normalise(self)

    def component(self, ctx: Context) -> dict[str, Any]:
        """Return the component of the button."""
        type_, name, most = {
            "url": ("text", "text", MAX_URL),
            "quick_reply": ("payload", "payload", 256),
            "copy_code": ("coupon_code", "coupon_code", MAX_COUPON),
        }[self.kind]
        value = parameter(ctx, self.value, f"The parameter of button {self.index}", most)
        return {
            "type": "button",
            "sub_type": self.kind,
            "index": str(self.index),
            "parameters": [{"type": type_, name: value}],
        }


@dataclass(frozen=True, kw_only=True)
class ReplyButton:
    """A button that answers for the contact."""

    id: str = field(help="What a flow knows the answer by.", min_length=1, max_length=256)
    title: str = field(help="What stands on it, as Liquid.", kind="template", min_length=1)

    def __post_init__(self) -> None:
        normalise(self)

    def check(self) -> Iterable[Problem]:
        """Hold the title to its limit."""
        return fits(self.title, "/title", MAX_BUTTON)

    def written(self, ctx: Context) -> dict[str, Any]:
        """Return the button."""
        title = said(ctx, self.title, "title of a button", MAX_BUTTON)
        return {"type": "reply", "reply": {"id": self.id, "title": title}}


@dataclass(frozen=True, kw_only=True)
class Row:
    """A choice of a list."""

    id: str = field(help="What a flow knows the answer by.", min_length=1, max_length=200)
    title: str = field(help="The choice, as Liquid.", kind="template", min_length=1)
    description: str | None = field(
        None, help="More about it, as Liquid.", kind="template", min_length=1
    )

    def __post_init__(self) -> None:
        normalise(self)

    def check(self) -> Iterable[Problem]:
        """Hold the texts to their limits."""
        yield from fits(self.title, "/title", MAX_ROW)
        yield from fits(self.description, "/description", MAX_DESCRIPTION)

    def written(self, ctx: Context) -> dict[str, Any]:
        """Return the row."""
        made = {"id": self.id, "title": said(ctx, self.title, "title of a row", MAX_ROW)}
        if self.description is not None:
            words = said(ctx, self.description, "description of a row", MAX_DESCRIPTION)
            made["description"] = words
        return made


@dataclass(frozen=True, kw_only=True)
class Section:
    """Choices of a list that belong together."""

    title: str | None = field(
        None,
        help="What they have in common, as Liquid; needed when there are several sections.",
        kind="template",
        min_length=1,
    )
    rows: Sequence[Row] = field(help="The choices.", min_length=1, max_length=MAX_ROWS)

    def __post_init__(self) -> None:
        normalise(self)

    def check(self) -> Iterable[Problem]:
        """Hold the title to its limit."""
        return fits(self.title, "/title", MAX_SECTION)

    def written(self, ctx: Context) -> dict[str, Any]:
        """Return the section."""
        made: dict[str, Any] = {"rows": [row.written(ctx) for row in self.rows]}
        if self.title is not None:
            made["title"] = said(ctx, self.title, "title of a section", MAX_SECTION)
        return made


def is_inbound(event: str) -> bool:
    """Return whether events of a type are messages of the contact."""
    return event == INBOUND or event.startswith(INBOUND + ".")
