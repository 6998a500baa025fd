"""JSON data as BSON, and back exactly.

BSON keeps no whole number of more than 64 bits, MongoDB gives keys with ``$`` and ``.`` a meaning
of their own, and mongoengine does so with ``_cls`` and ``_ref``. So such keys are written with
percent signs, and such numbers as ``{"%int": "..."}``, which no key that is written so can be.
Imports the standard library only.
"""

from __future__ import annotations

import re
from typing import Any

_ODD = re.compile(r"[%$.\0]|^_(?=cls$|ref$)")
_WRITTEN = re.compile(r"%([0-9A-F]{2})")
INT = "%int"
EMPTY = "%"
"""In place of an empty key, which not every tool for MongoDB takes."""


def pack(value: Any) -> Any:
    """Return JSON data as MongoDB keeps it."""
    if isinstance(value, dict):
        return {_key(key): pack(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [pack(item) for item in value]
    if type(value) is int and not -(2**63) <= value < 2**63:
        return {INT: str(value)}
    return value


def unpack(value: Any) -> Any:
    """Return the JSON data of which `pack` made `value`."""
    if isinstance(value, dict):
        if INT in value:
            return int(value[INT])
        return {_name(key): unpack(item) for key, item in value.items()}
    if isinstance(value, list):
        return [unpack(item) for item in value]
    return value


def _key(name: str) -> str:
    return _ODD.sub(lambda found: f"%{ord(found[0]):02X}", name) or EMPTY


def _name(key: str) -> str:
    if key == EMPTY:
        return ""
    return _WRITTEN.sub(lambda found: chr(int(found[1], 16)), key) if "%" in key else key
