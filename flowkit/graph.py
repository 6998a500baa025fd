"""`Node` and `Edge`, and how records are read from React Flow's JSON without losing anything.

A record knows the mission's keys and keeps every other in ``extra``. What a document left out,
wrote as null or wrote in another spelling is written back so, unless the field has been changed.
Imports `problems`, `wire`, `errors`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from flowkit.problems import Problem, pointer
from flowkit.wire import INTERNAL, iso, parse_iso

MAX_DEPTH = 100
"""Levels of arrays and objects in a document."""

Said = Mapping[str, tuple[Any, Any]]
"""For each known key: the field's value as it was read, and what the document said."""
ABSENT = object()


@dataclass(frozen=True, slots=True)
class Key:
    """One known key of a record: its field, its JSON type, and how the two are translated."""

    wire: str
    name: str
    wanted: str
    is_a: Callable[[Any], bool]
    default: Any = None
    required: bool = False
    always: bool = False
    read: Callable[[Any], Any] = lambda value: value
    write: Callable[[Any], Any] = lambda value: value
