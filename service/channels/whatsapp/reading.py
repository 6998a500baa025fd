"""Reading a request as the Cloud API does: what is missing or malformed is refused with its code.

Imports the standard library only.
"""

from __future__ import annotations

import re
from typing import Any


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


def text(parent: dict[str, Any], name: str, most: int) -> str:
    """Return a text that must be there, with something in it, and not too long."""
    need(name in parent, 131008, f"The parameter {name} is required")
    value = parent[name]
    need(is_text(value, r".*\S.*"), 131009, f"{name} must be a text that is not empty")
    need(len(value) <= most, 131009, f"{name} must be at most {most} characters long")
    return str(value)


def objects(parent: dict[str, Any], name: str) -> list[dict[str, Any]]:
    """Return a list of objects; one that is not there is empty."""
    items = parent.get(name, [])
    fine = isinstance(items, list) and all(isinstance(item, dict) for item in items)
    need(fine, 131009, f"{name} must be a list of objects")
    return list(items)
