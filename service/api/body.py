"""What comes in with a request: JSON bodies and query parameters, read strictly.

Owns the reading: what passes here is JSON that every store can keep. May import Flask, webargs,
marshmallow, flask-smorest, `flowkit.problems` and `errors`.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any, NoReturn

import flask
import flask_smorest
import marshmallow as ma
from flask import request
from webargs.flaskparser import FlaskParser
from werkzeug.exceptions import RequestEntityTooLarge

from flowkit.errors import Invalid
from flowkit.problems import Problem, pointer
from service.api.errors import Refused

DEPTH_LIMIT = 100
"""Levels of nesting; as many as a MongoDB document may have."""
DIGITS_LIMIT = 300
"""Digits of a whole number: with more, it could not be compared with a fraction."""
_SUSPECT = re.compile(rb"\\u(?:[dD][89a-fA-F]|0000)")


class _Unacceptable(ValueError):
    """A number that is JSON, or nearly, and cannot be kept."""


def _constant(text: str) -> NoReturn:
    raise _Unacceptable(f"{text} is not JSON; write null, or leave it out.")


def _whole(text: str) -> int:
    if len(text) > DIGITS_LIMIT:
        raise _Unacceptable(f"A whole number has {len(text)} digits; {DIGITS_LIMIT} are the most.")
    return int(text)


def _fraction(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise _Unacceptable(f"The number {text[:40]} is too large.")
    return number


_decoder = json.JSONDecoder(parse_constant=_constant, parse_int=_whole, parse_float=_fraction)


def read_bytes() -> bytes:
    """Return the body of the request; 413 when it is larger than the service takes."""
    data = request.get_data()
    # Without a length werkzeug stops reading at the limit and does not say so.
    if len(data) == request.max_content_length and len(data) != request.content_length:
        raise RequestEntityTooLarge
    return data


def read_json() -> Any:
    """Return the JSON value in the body of the request; None when there is no body.

    Raises
    ------
    Refused
        415 when the body does not say that it is JSON, 400 when it is not, 413 when it is too
        large.
    Invalid
        When it holds what cannot be kept: too deep, or text that is no Unicode.
    """
    data = read_bytes()
    if not data:
        return None
    if not request.is_json or request.headers.get("Content-Encoding", "identity") != "identity":
        message = "Send the body as JSON, uncompressed, with `Content-Type: application/json`."
        raise Refused(415, [Problem("body.type", "", message)])
    return decode(data)


def decode(data: bytes) -> Any:
    """Return the JSON value that `data` is; what is wrong with it is raised as by `read_json`."""
    try:
        value = _decoder.decode(data.decode())
    except UnicodeDecodeError as error:
        raise _malformed(f"The body is not UTF-8 (byte {error.start}).") from None
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise _malformed(f"The body is not JSON: {error.msg} ({where}).") from None
    except _Unacceptable as error:
        raise _malformed(str(error)) from None
    except RecursionError:
        raise Invalid([_too_deep()]) from None
    _check(value, data)
    return value


def _malformed(message: str) -> Refused:
    return Refused(400, [Problem("body.malformed", "", message)])


def _too_deep() -> Problem:
    message = f"The body nests deeper than {DEPTH_LIMIT} levels; flatten it."
    return Problem("body.too_deep", "", message)


def _check(value: Any, data: bytes) -> None:
    """Refuse what `json` reads and a store cannot keep."""
    # Both counts cost next to nothing and spare most bodies the walk.
    if data.count(b"[") + data.count(b"{") > DEPTH_LIMIT and _depth(value) > DEPTH_LIMIT:
        raise Invalid([_too_deep()])
    if _SUSPECT.search(data):
        text = json.dumps(value, ensure_ascii=False)
        try:
            text.encode()
        except UnicodeEncodeError:
            message = "A text has half of a surrogate pair (\\ud800 to \\udfff), which is no text."
            raise Invalid([Problem("body.text", "", message)]) from None
        if _has_nul(value):
            message = "A text has the character NUL (\\u0000), which cannot be stored."
            raise Invalid([Problem("body.text", "", message)])


def _depth(value: Any) -> int:
    level, depth = [value], 0
    while level:
        depth += 1
        level = [child for item in level for child in _children(item)]
    return depth - 1


def _children(item: Any) -> list[Any]:
    if isinstance(item, dict):
        return list(item.values())
    return item if isinstance(item, list) else []


def _has_nul(value: Any) -> bool:
    level = [value]
    while level:
        for item in level:
            texts = item if isinstance(item, dict) else [item]
            if any(isinstance(text, str) and "\0" in text for text in texts):
                return True
        level = [child for item in level for child in _children(item)]
    return False


class Parser(FlaskParser):
    """webargs' parser with this module's reader, and problems in place of its messages."""

    DEFAULT_UNKNOWN_BY_LOCATION = {"query": ma.RAISE, "headers": ma.EXCLUDE, "json": None}

    def load_json(self, req: flask.Request, schema: ma.Schema) -> Any:
        """Return the body; that of an empty one is an empty object."""
        value = read_json()
        return {} if value is None and not req.get_data() else value

    def handle_error(
        self, error: ma.ValidationError, req: flask.Request, schema: ma.Schema, **options: Any
    ) -> NoReturn:
        """Refuse the request with what the schema says."""
        by_location = error.messages_dict
        raise Invalid(
            [problem for place in by_location for problem in problems(by_location[place], place)]
        )


def problems(messages: Any, place: str, *parts: str | int) -> list[Problem]:
    """Return marshmallow's nested messages as a flat list."""
    if isinstance(messages, dict):
        return [
            problem
            for key, inner in messages.items()
            for problem in problems(inner, place, *parts, *([] if key == "_schema" else [key]))
        ]
    code = "query.invalid" if place == "query" else "body.invalid"
    return [Problem(code, pointer(*parts), message) for message in messages]


class Blueprint(flask_smorest.Blueprint):
    """flask-smorest's blueprint with the strict parser."""

    ARGUMENTS_PARSER = Parser()
