"""Who goes through a simulated flow: contacts from a frame, a file, a list or a seeded generator.

Owns the reading and its refusals: every contact that is wrong is named before anything runs.
May import `engine`, `errors`, `problems`, `wire`; pandas only where CSV or Parquet is read.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from flowkit.engine import contact_identity
from flowkit.errors import Invalid
from flowkit.problems import Problem, pointer
from flowkit.wire import parse_iso

Contact = Mapping[str, Any]
TEXTS = ("user_id", "phone", "timezone", "country", "language")
"""Fields of a contact that are text wherever they are given."""
INBOUND_AT = "last_inbound_at"
"""Field of a contact that says when it wrote last."""
_PLAIN = {str, bool, int}
ROWS_NAMED = 5
"""How many rows a refusal names of each mistake."""


@dataclass(frozen=True, kw_only=True)
class Population:
    """Contacts that are made up, always the same ones from the same seed.

    Parameters
    ----------
    size : int
        How many.
    seed : int, optional
        Another seed, other contacts.
    fields : mapping, optional
        What contacts have beside ``id`` and ``phone``: by field, the values and their weights,
        such as ``{"country": {"BR": 3, "US": 1}}``.

    Raises
    ------
    Invalid
        When a field has no values, or weights that are no numbers above 0.
    """

    size: int
    seed: int = 0
    fields: Mapping[str, Mapping[Any, float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        found = []
        if self.size < 0:
            message = "The size of a population is 0 or more."
            found.append(Problem("population.size", "/size", message))
        for name, weights in self.fields.items():
            if not weights or not all(_positive(weight) for weight in weights.values()):
                message = f"{name!r} needs values with weights above 0, such as {{'BR': 3}}."
                found.append(Problem("population.weights", pointer("fields", name), message))
        if found:
            raise Invalid(found)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        chance = random.Random(self.seed)
        drawn = {
            name: chance.choices(list(weights), list(weights.values()), k=self.size)
            for name, weights in self.fields.items()
        }
        for number in range(self.size):
            contact = {"id": f"c{number}", "phone": f"+5511{900_000_000 + number}"}
            yield contact | {name: values[number] for name, values in drawn.items()}


def _positive(weight: Any) -> bool:
    return not isinstance(weight, bool) and isinstance(weight, (int, float)) and weight > 0


def contacts_of(
    source: Any, columns: Mapping[str, type] | None = None, *, repeats: bool = False
) -> list[dict[str, Any]]:
    """Return the contacts that a source holds.

    Parameters
    ----------
    source : pandas.DataFrame, path, Population or iterable of mapping
        A file is CSV, Parquet or NDJSON by its name's ending. A missing value is an absent field.
    columns : mapping, optional
        The type of every field that each contact must have, such as ``{"age": int}``.
    repeats : bool, optional
        Whether a contact may stand there several times.

    Raises
    ------
    Invalid
        ``population.columns`` where columns are missing; ``population.value`` where values are
        of another type; ``population.identity`` where contacts have no id, user_id or phone;
        ``population.duplicate`` where several have the same; ``population.timezone`` where there
        is no such zone; ``population.time`` where ``last_inbound_at`` is no moment. Each names
        the column and the rows, from 0.
    """
    contacts = [_plain(record) for record in _records(source)]
    wanted = dict(columns or {})
    found = _missing(contacts, wanted) or [
        *_mistyped(contacts, wanted | {name: str for name in TEXTS if name not in wanted}),
        *_unidentified(contacts, repeats=repeats),
        *_zones(contacts),
        *_inbound(contacts),
    ]
    if found:
        raise Invalid(found)
    return contacts


def _records(source: Any) -> Iterable[Any]:
    if isinstance(source, (str, Path)):
        return _read(Path(source))
    if hasattr(source, "to_dict") and hasattr(source, "columns"):
        records: list[Any] = source.to_dict("records")
        return records
    if isinstance(source, Iterable) and not isinstance(source, Mapping):
        return source
    message = f"Contacts come from a frame, a path or a list, not from {type(source).__name__}."
    raise Invalid([Problem("population.source", "", message)])


def _read(path: Path) -> Iterable[Any]:
    kind = path.suffix.lower()
    try:
        if kind in (".ndjson", ".jsonl"):
            return [json.loads(line) for line in path.read_text("utf-8").splitlines() if line]
        if kind in (".csv", ".parquet"):
            import pandas as pd

            text = dict.fromkeys(("id", *TEXTS), "str")
            frame = pd.read_csv(path, dtype=text) if kind == ".csv" else pd.read_parquet(path)
            records: list[Any] = frame.to_dict("records")
            return records
    except (OSError, ValueError) as error:
        message = f"{path.name} cannot be read: {error}"
        raise Invalid([Problem("population.file", "", message)]) from error
    message = f"{path.name} is no .csv, .parquet, .ndjson or .jsonl file."
    raise Invalid([Problem("population.file", "", message)])


def _plain(record: Any) -> dict[str, Any]:
    """Return a contact as JSON data; what pandas takes for missing is absent."""
    if not isinstance(record, Mapping):
        message = f"A contact is an object, not {type(record).__name__}."
        raise Invalid([Problem("population.source", "", message)])
    if _PLAIN.issuperset(map(type, record.values())) and {str}.issuperset(map(type, record)):
        return dict(record)
    contact = {}
    for name, value in record.items():
        value = _json(value)
        if value is not None:
            contact[str(name)] = value
    return contact


def _json(value: Any) -> Any:
    if value is None or type(value) in _PLAIN:
        return value
    if isinstance(value, str):  # of a class of its own, such as an enumeration
        return str.__str__(value)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_json(item) for item in value]
    if value != value or type(value).__name__ in ("NAType", "NaTType"):
        return None
    if hasattr(value, "isoformat"):
        return value.isoformat()
    return _json(value.tolist()) if hasattr(value, "tolist") else str(value)


def _rows(rows: Sequence[int]) -> str:
    """Return rows in words."""
    named = ", ".join(map(str, rows[:ROWS_NAMED]))
    more = f" and {len(rows) - ROWS_NAMED} more" if len(rows) > ROWS_NAMED else ""
    return f"row{'s' if len(rows) > 1 else ''} {named}{more}"


def _missing(contacts: Sequence[Contact], wanted: Mapping[str, type]) -> list[Problem]:
    found = []
    for name in wanted:
        rows = [row for row, contact in enumerate(contacts) if name not in contact]
        if rows:
            where = "every row" if len(rows) == len(contacts) else _rows(rows)
            message = f"The column {name!r} is missing in {where}."
            found.append(Problem("population.columns", pointer(name), message))
    return found


def _mistyped(contacts: Sequence[Contact], types: Mapping[str, type]) -> Iterator[Problem]:
    for name, kind in types.items():
        found = {type(contact[name]) for contact in contacts if name in contact}
        wrong = {other for other in found if not _is(other, kind)}
        if wrong:
            rows = [row for row, c in enumerate(contacts) if name in c and type(c[name]) in wrong]
            example = contacts[rows[0]][name]
            message = (
                f"The column {name!r} holds {kind.__name__}, but {_rows(rows)} "
                f"{'have' if len(rows) > 1 else 'has'} another type, such as {example!r}."
            )
            yield Problem("population.value", pointer(rows[0], name), message)


def _is(type_: type, kind: type) -> bool:
    """Return whether values of a type are of a kind: whole numbers are numbers, truth is none."""
    wanted = (int, float) if kind is float else kind
    return issubclass(type_, wanted) and (kind is bool or not issubclass(type_, bool))


def _unidentified(contacts: Sequence[Contact], *, repeats: bool) -> Iterator[Problem]:
    identities = [contact_identity(contact) for contact in contacts]
    if len(set(identities) - {None}) == len(contacts):
        return
    rows_of: dict[str | None, list[int]] = {}
    for row, identity in enumerate(identities):
        rows_of.setdefault(identity, []).append(row)
    nameless = rows_of.pop(None, None)
    if nameless:
        message = f"A contact has an id, a user_id or a phone; {_rows(nameless)} without."
        yield Problem("population.identity", pointer(nameless[0]), message)
    for identity, rows in rows_of.items():
        if len(rows) > 1 and not repeats:
            message = (
                f"The contact {identity!r} stands in {_rows(rows)}; each stands once, unless "
                "repeats=True makes each row a trigger of its own."
            )
            yield Problem("population.duplicate", pointer(rows[1], "id"), message)


def _zones(contacts: Sequence[Contact]) -> Iterator[Problem]:
    rows_of: dict[Any, list[int]] = {}
    for row, contact in enumerate(contacts):
        if isinstance(contact.get("timezone"), str):
            rows_of.setdefault(contact["timezone"], []).append(row)
    for zone, rows in rows_of.items():
        try:
            ZoneInfo(zone)
        except (ValueError, OSError, LookupError):
            message = f"There is no time zone {zone!r} ({_rows(rows)}); write one such as "
            yield Problem(
                "population.timezone", pointer(rows[0], "timezone"), message + "America/Sao_Paulo."
            )


def _inbound(contacts: Sequence[Contact]) -> Iterator[Problem]:
    wrong = [
        row
        for row, contact in enumerate(contacts)
        if INBOUND_AT in contact and not _moment(contact[INBOUND_AT])
    ]
    if wrong:
        message = f"{INBOUND_AT} is ISO 8601 with its zone; {_rows(wrong)} otherwise."
        yield Problem("population.time", pointer(wrong[0], INBOUND_AT), message)


def _moment(value: Any) -> bool:
    try:
        return value is None or bool(parse_iso(value))
    except (TypeError, ValueError, AttributeError):
        return False
