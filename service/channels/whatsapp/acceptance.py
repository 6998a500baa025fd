"""What the Cloud API takes as a message, as far as the simulator checks it.

Owns the reading of a request's JSON: envelope, type, then the type's own fields, in the order
in which Meta looks. Imports `reading` and `interactive`.
"""

from __future__ import annotations

import re
from typing import Any

from service.channels.whatsapp.interactive import MEDIA, interactive_words, media_words
from service.channels.whatsapp.reading import is_text, need, objects

MAX_TEXT = 4096
MAX_PARAMETER = 1024
TYPES = ("text", "template", "interactive", *MEDIA)


def checked(body: Any) -> str:
    """Return the words of the message `body` if it would be taken: what the contact reads.

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
    need(kind in TYPES, 131051, f"This simulator takes {', '.join(TYPES)} only")
    need(kind in body, 131008, f"The parameter {kind} is required")
    need(isinstance(body[kind], dict), 131009, f"{kind} must be an object")
    if kind in MEDIA:
        return media_words(body[kind], kind)
    words = {"text": _text_words, "template": _template_words, "interactive": interactive_words}
    return words[kind](body[kind])


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
    for component in objects(template, "components"):
        part = component.get("type") in ("header", "body", "button")
        need(part, 131009, "A component's type must be header, body or button")
        if component["type"] == "button":
            kinds = ("url", "quick_reply", "copy_code", "flow", "catalog")
            need(component.get("sub_type") in kinds, 131009, "A button needs a known sub_type")
            place = is_text(str(component.get("index")), "[0-9]")
            need(place, 131009, "A button needs its index from 0 to 9")
        for parameter in objects(component, "parameters"):
            need(is_text(parameter.get("type"), ".+"), 131008, "A parameter needs a type")
            if parameter["type"] == "text":
                need(is_text(parameter.get("text"), ".+"), 131008, "A text is missing")
                words.append(parameter["text"])
            elif parameter["type"] in MEDIA:
                file = parameter.get(parameter["type"])
                need(isinstance(file, dict), 131008, "A file is missing")
                media_words(file, parameter["type"])
    for text in words:
        bad = re.search(r"[\n\r\t]| {5}", text)
        need(not bad, 132018, "Param text cannot have new-line/tab or 5 spaces in a row")
        need(len(text) <= MAX_PARAMETER, 132005, "The translated text would be too long")
    return "\n".join(words)


def template_name(body: dict[str, Any]) -> str | None:
    """Return the name of the template that a checked message uses, if it uses one."""
    return str(body["template"]["name"]) if body.get("type") == "template" else None
