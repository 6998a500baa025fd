"""Pages of a list, by opaque cursor.

Owns the cursor's form and the query parameters `limit` and `cursor`. A cursor says after which
record to go on, so that records which come or go meanwhile neither repeat nor skip others.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import marshmallow as ma

from flowkit.execution import PageKey
from flowkit.wire import from_ms, to_ms, to_wire
from service.schemas import WireSchema

R = TypeVar("R")

LIMIT = 50
LIMIT_MOST = 500
_FORM = re.compile(r"([0-9]{1,14})\.([A-Za-z0-9_-]{1,64})", re.ASCII)


def write_cursor(key: PageKey) -> str:
    """Return the cursor that stands for `key`."""
    text = f"{to_ms(key.created_at)}.{key.id}"
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def read_cursor(cursor: str) -> PageKey:
    """Return the key for which a cursor stands.

    Raises
    ------
    ValueError
        When `write_cursor` did not make it.
    """
    data = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
    found = _FORM.fullmatch(data.decode())
    if found is None:
        raise ValueError(f"{cursor!r} is no cursor")
    return PageKey(from_ms(int(found[1])), found[2])


class CursorField(ma.fields.Field[PageKey]):
    """A cursor, in a query or a body."""

    def __init__(self, *, metadata: dict[str, Any]) -> None:
        super().__init__(metadata={"type": "string", **metadata})

    def _deserialize(self, value: Any, attr: Any, data: Any, **options: Any) -> PageKey:
        try:
            return read_cursor(value)
        except (TypeError, ValueError, OverflowError):
            message = "This is no cursor; take nextCursor from the page before, as it is."
            raise ma.ValidationError(message) from None


class LimitQuery(WireSchema):
    """How long a page is."""

    limit = ma.fields.Integer(
        load_default=LIMIT,
        validate=ma.validate.Range(1, LIMIT_MOST),
        metadata={"description": "Most items in the answer."},
    )


class PageQuery(LimitQuery):
    """The query parameters of a list that is newest first."""

    cursor = CursorField(metadata={"description": "`nextCursor` of the page before."})


def newest_first(record: Any) -> PageKey:
    """Return the key of a record in a list of the newest first."""
    return PageKey(record.created_at, record.id)


def by_creation(record: Any) -> str:
    """Return the cursor behind a record of a list that is newest first."""
    return write_cursor(newest_first(record))


def page(
    records: Sequence[R],
    limit: int,
    write: Callable[[R], dict[str, Any]] = to_wire,
    behind: Callable[[R], str] = by_creation,
) -> dict[str, Any]:
    """Return a page: of `records`, read with one more than `limit`, the first `limit`."""
    return {
        "items": [write(record) for record in records[:limit]],
        "nextCursor": behind(records[limit - 1]) if len(records) > limit else None,
    }
