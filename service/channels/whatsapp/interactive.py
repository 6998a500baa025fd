"""What the Cloud API takes as files, buttons, lists and links, as far as the simulator checks it.

Imports `reading`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from service.channels.whatsapp.reading import is_text, need, objects, text

MEDIA = ("image", "video", "document")
MAX_CAPTION = 1024
MAX_BODY = {"button": 1024, "list": 4096, "cta_url": 1024}
"""Characters of the text, by type."""
MAX_SMALL = 60
"""Characters of header and footer."""
MAX_TITLE = 20
"""Characters on a button."""
MAX_ROWS = 10


def media_words(media: dict[str, Any], kind: str) -> str:
    """Return the words that come with a file: one that is uploaded, or at an address."""
    named = ("id" in media) != ("link" in media)
    need(named, 131008, f"{kind} needs either an id or a link")
    link = is_text(media.get("link", "http://x"), r"https?://\S+")
    need(link, 131009, f"{kind}['link'] must be an address")
    need(is_text(media.get("id", "1"), "[0-9]+"), 131009, f"{kind}['id'] must be a media id")
    need(kind == "document" or "filename" not in media, 100, "Only a document has a filename")
    words = [text(media, name, MAX_CAPTION) for name in ("caption", "filename") if name in media]
    return "\n".join(words)


def interactive_words(message: dict[str, Any]) -> str:
    """Return the words of an interactive message."""
    kind = str(message.get("type"))
    need(kind in MAX_BODY, 131009, f"interactive['type'] must be one of {', '.join(MAX_BODY)}")
    words = []
    if "header" in message:
        words.append(_header_words(_part(message, "header"), kind))
    words.append(text(_part(message, "body"), "text", MAX_BODY[kind]))
    if "footer" in message:
        words.append(text(_part(message, "footer"), "text", MAX_SMALL))
    act: dict[str, Callable[[dict[str, Any]], list[str]]] = {
        "button": _button_words,
        "list": _list_words,
        "cta_url": _link_words,
    }
    return "\n".join([*words, *act[kind](_part(message, "action"))])


def _part(parent: dict[str, Any], name: str) -> dict[str, Any]:
    need(name in parent, 131008, f"The parameter {name} is required")
    part = parent[name]
    need(isinstance(part, dict), 131009, f"{name} must be an object")
    return dict(part)


def _header_words(header: dict[str, Any], kind: str) -> str:
    of = header.get("type")
    need(of == "text" or (of in MEDIA and kind != "list"), 131009, f"{of} is no header of a {kind}")
    if of == "text":
        return text(header, "text", MAX_SMALL)
    return media_words(_part(header, str(of)), str(of))


def _button_words(action: dict[str, Any]) -> list[str]:
    buttons = objects(action, "buttons")
    need(1 <= len(buttons) <= 3, 131009, "There must be 1 to 3 buttons")
    replies = [_part(button, "reply") for button in buttons]
    need(all(b.get("type") == "reply" for b in buttons), 131009, "A button's type must be reply")
    ids = [text(reply, "id", 256) for reply in replies]
    titles = [text(reply, "title", MAX_TITLE) for reply in replies]
    distinct = len({*ids}) == len({*titles}) == len(replies)
    need(distinct, 131009, "Ids and titles of buttons must differ")
    return titles


def _list_words(action: dict[str, Any]) -> list[str]:
    words = [text(action, "button", MAX_TITLE)]
    sections = objects(action, "sections")
    rows = [row for section in sections for row in objects(section, "rows")]
    filled = all(section.get("rows") for section in sections)
    need(filled and 1 <= len(rows) <= MAX_ROWS, 131009, f"A list has 1 to {MAX_ROWS} rows")
    for section in sections:
        if len(sections) > 1 or "title" in section:
            words.append(text(section, "title", 24))
    for row in rows:
        words.append(text(row, "title", 24))
        if "description" in row:
            words.append(text(row, "description", 72))
    ids = {text(row, "id", 200) for row in rows}
    need(len(ids) == len(rows), 131009, "Ids of rows must differ")
    return words


def _link_words(action: dict[str, Any]) -> list[str]:
    need(action.get("name") == "cta_url", 131009, "The action's name must be cta_url")
    parameters = _part(action, "parameters")
    need(is_text(parameters.get("url"), r"https?://\S+"), 131009, "url must be an address")
    return [text(parameters, "display_text", MAX_TITLE)]
