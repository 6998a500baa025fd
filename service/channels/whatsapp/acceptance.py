"""What the Cloud API takes as a message, as far as the simulator checks it.

Owns the reading of a request's JSON: envelope, type, then the type's own fields, in the order
in which Meta looks. Imports the standard library only.
"""

from __future__ import annotations

import re
from typing import Any

MAX_TEXT = 4096
MAX_PARAMETER = 1024


class Refused(Exception):
    """The request is answered with an error of the Graph API."""

    def __init__(self, code: int, details: str) -> None:
        super().__init__(code, details)
        self.code = code
        self.details = details


def need(met: bool, code: int, details: str) -> None:
    """Refuse with `code` and `details` unless `met`."""
    if not met:
        raise Refused(code, details)


def is_text(value: Any, pattern: str) -> bool:
    """Whether `value` is a string that matches `pattern` from end to end."""
    return isinstance(value, str) and re.fullmatch(pattern, value, re.DOTALL) is not None


def checked(body: Any) -> str:
    """Return the words of the message `body` if it would be taken: its text or parameters.

    Raises
    ------
    Refused
        For anything else, with the code that Meta answers with.
    """
    need(isinstance(body, dict), 100, "The request body must be a JSON object")
    product = body.get("messaging_product")
    need(product == "whatsapp", 100, "The parameter messaging_product must be 'whatsapp'")
    need("to" in body, 100, "The parameter to is required")
    phone = r"[ ().-]*\+([ ().-]*[0-9]){5,15}[ ().-]*"
    need(is_text(body["to"], phone), 131009, "to must be a phone with + and country code")
    individual = body.get("recipient_type", "individual") == "individual"
    need(individual, 131009, "recipient_type must be 'individual'")
    data = is_text(body.get("biz_opaque_callback_data", ""), ".{0,512}")
    need(data, 131009, "biz_opaque_callback_data must be a string of at most 512 characters")
    kind = body.get("type", "text")  # Meta's default
    need(kind in ("text", "template"), 131051, "This simulator takes text and template only")
    need(kind in body, 131008, f"The parameter {kind} is required")
    need(isinstance(body[kind], dict), 131009, f"{kind} must be an object")
    return _text_words(body[kind]) if kind == "text" else _template_words(body[kind])


def _text_words(text: dict[str, Any]) -> str:
    need("body" in text, 131008, "The parameter text['body'] is required")
    need(is_text(text["body"], r".*\S.*"), 131009, "text['body'] must not be empty")
    preview = isinstance(text.get("preview_url", False), bool)
    need(preview, 131009, "text['preview_url'] must be true or false")
    fits = len(text["body"]) <= MAX_TEXT
    need(fits, 100, f"Param text['body'] must be at most {MAX_TEXT} characters long")
    return str(text["body"])


def _template_words(template: dict[str, Any]) -> str:
    complete = "name" in template and "language" in template
    need(complete, 131008, "template['name'] and template['language'] are required")
    named = is_text(template["name"], "[a-z0-9_]{1,512}")
    need(named, 131009, "template['name']: up to 512 small letters, digits and _")
    code = template["language"].get("code") if isinstance(template["language"], dict) else None
    spoken = is_text(code, "[a-z]{2,3}(_[A-Z]{2,3})?")
    need(spoken, 131009, "template['language']['code'] must be a code such as pt_BR")
    words = []
    for component in _objects(template, "components"):
        part = component.get("type") in ("header", "body", "button")
        need(part, 131009, "A component's type must be header, body or button")
        for parameter in _objects(component, "parameters"):
            need(is_text(parameter.get("type"), ".+"), 131008, "A parameter needs a type")
            if parameter["type"] == "text":
                need(is_text(parameter.get("text"), ".+"), 131008, "A text is missing")
                words.append(parameter["text"])
    for text in words:
        bad = re.search(r"[\n\r\t]| {5}", text)
        need(not bad, 132018, "Param text cannot have new-line/tab or 5 spaces in a row")
        need(len(text) <= MAX_PARAMETER, 132005, "The translated text would be too long")
    return "\n".join(words)


def _objects(parent: dict[str, Any], name: str) -> list[dict[str, Any]]:
    items = parent.get(name, [])
    fine = isinstance(items, list) and all(isinstance(item, dict) for item in items)
    need(fine, 131009, f"{name} must be a list of objects")
    return list(items)


def template_name(body: dict[str, Any]) -> str | None:
    """Return the name of the template that a checked message uses, if it uses one."""
    return str(body["template"]["name"]) if body.get("type") == "template" else None
