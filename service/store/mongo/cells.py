"""Cells in MongoDB. May import `flowkit`, pymongo and what is beside it.

A cell is one document, changed under a guard on its revision, with the latest answers in it: state
and answer are one atomic step without a transaction. When they become many, whoever comes next
copies them to documents of their own before it lets go of them, so that each answer is always in
one of the two places. Who looks for one looks into the cell first: they only move the other way.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from pymongo import UpdateOne
from pymongo.errors import DuplicateKeyError

from flowkit.wire import canonical
from service.store.cells import Cell, CellAnswer, Change
from service.store.mongo.database import MongoDatabase
from service.store.mongo.documents import CellAnswerDocument, CellDocument, Mapper

RECENT = 50
"""Answers that a cell holds at most."""

_cells = Mapper(Cell, CellDocument)
_answers = Mapper(CellAnswer, CellAnswerDocument)


class MongoCells:
    """The verbs of `service.store.cells.Cells`."""

    _db: MongoDatabase

    def change_cell(
        self,
        cell_id: str,
        key: str,
        change: Change,
        *,
        now: datetime,
        expires_at: datetime | None = None,
    ) -> Any:
        # Each time round somebody else has changed the cell, so all get on.
        while True:
            found = self._db.rows(CellDocument).find_one({"_id": cell_id})
            cell = _cells.read(found) if found else Cell(cell_id)
            recent = cell.recent or {}
            if key in recent:
                return recent[key]
            known = self._db.rows(CellAnswerDocument).find_one({"_id": key})
            if known is not None:
                return _answers.read(known).answer
            state, answer = change(cell.state)
            answer = json.loads(canonical(answer))
            if len(recent) >= RECENT:
                self._keep(recent, now)
                recent = {}
            changed = Cell(cell_id, state, recent | {key: answer}, cell.revision + 1, expires_at)
            if self._replaced(changed):
                return answer

    def _replaced(self, cell: Cell) -> bool:
        """Put a cell in the place of the one with the revision before it, if that is there."""
        rows, document = self._db.rows(CellDocument), _cells.write(cell)
        if cell.revision == 1:
            try:
                rows.insert_one(document)
            except DuplicateKeyError:
                return False
        elif not rows.replace_one(
            {"_id": cell.id, "revision": cell.revision - 1}, document
        ).matched_count:
            return False
        self._db.count()
        return True

    def _keep(self, answers: dict[str, Any], now: datetime) -> None:
        """Keep answers in documents of their own."""
        documents = [_answers.write(CellAnswer(key, now, a)) for key, a in answers.items()]
        self._db.bulk(
            self._db.rows(CellAnswerDocument),
            [
                UpdateOne({"_id": document.pop("_id")}, {"$setOnInsert": document}, upsert=True)
                for document in documents
            ],
        )
