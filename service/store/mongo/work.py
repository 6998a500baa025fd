"""What workers do with branches in MongoDB: claim, renew, release, commit.

May import `flowkit`, pymongo and what is beside it.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from pymongo import ASCENDING, UpdateMany, UpdateOne

from flowkit.execution import (
    Answer,
    BranchRef,
    Claim,
    Patch,
    judge,
    status_of,
)
from service.store.mongo.database import MongoDatabase, Rows
from service.store.mongo.documents import ExecutionDocument
from service.store.mongo.known import (
    BRANCHES,
    HEAD,
    RUNS,
    Known,
    Memory,
    earliest,
    executions,
    head_of,
)
from service.store.mongo.patch import Change, change

READY_AT, LEASE_AT = f"{BRANCHES}.readyAt", f"{BRANCHES}.leaseAt"
LIVE = {"$in": ["running", "delayed"]}
_ELEMENT = ("branchId", "status", "epoch", "resumeAt", "readyAt", "leaseAt", "owner")
PLACES = dict.fromkeys((*HEAD, *(f"{BRANCHES}.{name}" for name in _ELEMENT)), 1)
"""What a claim is decided on."""
ROUNDS = 100
"""How often a patch is tried when others change the execution at the same time."""


class Found(NamedTuple):
    """A branch that can be claimed: since when, and where it is."""

    since: datetime
    execution_id: str
    branch_id: str
    place: int
    element: Mapping[str, Any]


class MongoWork:
    """The verbs of `service.store.base.Work`."""

    _db: MongoDatabase
    _memory: Memory

    @property
    def _executions(self) -> Rows:
        return self._db.rows(ExecutionDocument)

    # -- claims

    def claim(
        self, owner: str, *, now: datetime, lease_ms: int, limit: int, expired: bool = True
    ) -> list[Claim]:
        if lease_ms <= 0:
            raise ValueError("a lease must be longer than 0 ms")
        lease = timedelta(milliseconds=lease_ms)
        documents: dict[str, dict[str, Any]] = {}
        for query, order in _claimable(owner, now, lease, expired=expired):
            documents |= {d["_id"]: d for d in self._ordered(query, order, limit)}
        found = sorted(
            branch
            for document in documents.values()
            for branch in _branches(document, owner, now, lease, expired=expired)
        )[:limit]
        if not found:
            return []
        token = secrets.token_hex(8)
        chosen: dict[str, list[Found]] = {}
        for branch in found:
            chosen.setdefault(branch.execution_id, []).append(branch)
        # Executions of one flow tend to stand at the same place: one update claims them all.
        grouped: dict[str, tuple[dict[str, Any], dict[str, Any], list[str]]] = {}
        for execution_id, taken in chosen.items():
            guard, update = _take(documents[execution_id], taken, owner, now + lease, token)
            grouped.setdefault(repr((guard, update)), (guard, update, []))[2].append(execution_id)
        self._db.bulk(
            self._executions,
            [
                UpdateMany({"_id": {"$in": ids}, **guard}, update)
                for guard, update, ids in grouped.values()
            ],
        )
        claims = []
        for document in self._executions.find({"_id": {"$in": list(chosen)}}):
            ours = {
                branch.branch_id
                for branch in chosen[document["_id"]]
                if document[BRANCHES][branch.place].get("claim") == token
            }
            if ours:
                claims.append(self._claim(document, ours))
        return claims

    def _claim(self, document: dict[str, Any], branch_ids: set[str]) -> Claim:
        known = Known.of(document)
        self._memory.put(known)
        head = executions.read({**document, BRANCHES: [], RUNS: []})
        mine = {branch_id: known.branches[branch_id].branch for branch_id in branch_ids}
        return Claim(head, mine, known.recorded())

    def renew(self, refs: Sequence[BranchRef], *, now: datetime, lease_ms: int) -> list[BranchRef]:
        until = now + timedelta(milliseconds=lease_ms)
        return self._held(refs, lambda place: {"$set": {f"{place}.leaseAt": until}})

    def release(self, refs: Sequence[BranchRef], *, now: datetime, hold: bool = False) -> None:
        def update(place: str) -> dict[str, Any]:
            made: dict[str, Any] = {
                "$set": {f"{place}.status": "ready"},
                "$inc": {f"{place}.epoch": 1},
                "$unset": {f"{place}.owner": "", f"{place}.leaseAt": ""},
            }
            if hold:
                made["$inc"]["held"] = 1
            else:
                made["$set"][f"{place}.readyAt"] = now
            return made

        self._held(refs, update)

    def _held(
        self, refs: Sequence[BranchRef], update: Callable[[str], dict[str, Any]]
    ) -> list[BranchRef]:
        """Update branches under claims that still hold; return claims that no longer do.

        Only of an update that keeps a claim can that be told; of another it is all of them.
        """
        known = self._known({ref.execution_id for ref in refs})
        gone, grouped = [], dict[tuple[int, int], list[BranchRef]]()
        for ref in refs:
            execution = known.get(ref.execution_id)
            at = execution.branches.get(ref.branch_id) if execution else None
            if at is None:
                gone.append(ref)
            else:
                grouped.setdefault((at.place, ref.epoch), []).append(ref)
        for (index, epoch), group in grouped.items():
            place = f"{BRANCHES}.{index}"
            guard = {
                "_id": {"$in": [ref.execution_id for ref in group]},
                f"{place}.epoch": epoch,
                f"{place}.status": "running",
            }
            made = self._executions.update_many(guard, update(place))
            self._db.count()
            if made.matched_count < len(group):
                held = {d["_id"] for d in self._executions.find(guard, {"_id": 1})}
                gone += [ref for ref in group if ref.execution_id not in held]
        return gone

    # -- parked branches

    def held_flows(self) -> frozenset[str]:
        return frozenset(self._executions.distinct("flowId", {"held": {"$exists": True}}))

    def unhold(self, flow_id: str, *, now: datetime, limit: int) -> int:
        parked = {"flowId": flow_id, "held": {"$exists": True}}
        updates = []
        for document in self._executions.find(parked, {**PLACES, "held": 1}).limit(limit):
            # The number of parkings guards against one that comes in between.
            guard: dict[str, Any] = {"_id": document["_id"], "held": document["held"]}
            put: dict[str, Any] = {}
            for index, element in enumerate(document[BRANCHES]):
                if element["status"] == "ready" and "readyAt" not in element:
                    guard[f"{BRANCHES}.{index}.epoch"] = element["epoch"]
                    put[f"{BRANCHES}.{index}.readyAt"] = now
            update: dict[str, Any] = {"$unset": {"held": ""}} | ({"$set": put} if put else {})
            updates.append(UpdateOne(guard, update))
        return self._db.bulk(self._executions, updates) if updates else 0

    # -- commits

    def commit(self, patches: Sequence[Patch], *, now: datetime, lease_ms: int = 0) -> list[Answer]:
        answers: dict[int, Answer] = {}
        known: dict[int, Known] = {}
        for number, patch in enumerate(patches):
            remembered = self._memory.get(patch.execution_id)
            if remembered is not None:
                known[number] = remembered
        fresh: set[int] = set()
        for _ in range(ROUNDS):
            todo = [n for n in range(len(patches)) if n not in answers]
            missing = {patches[n].execution_id: n for n in todo if n not in known}
            for found in self._read(missing):
                known[missing[found.id]] = found
            fresh |= set(missing.values())
            changes: dict[int, Change] = {}
            token = secrets.token_hex(8)
            for n in todo:
                answer = _judged(patches[n], known.get(n))
                if answer.outcome == "ok":
                    changes[n] = change(
                        known[n], patches[n], now=now, lease_ms=lease_ms, token=token
                    )
                elif n in fresh:
                    answers[n] = answer
                else:
                    del known[n]  # what was remembered may be old
            for n, made in self._apply(changes, token).items():
                if isinstance(made, Known):
                    known[n] = made
                    fresh.add(n)
                else:
                    answers[n] = made
            if len(answers) == len(patches):
                return [answers[n] for n in range(len(patches))]
        for n in range(len(patches)):
            answers.setdefault(n, Answer("conflict", known[n].status))
        return [answers[n] for n in range(len(patches))]

    def _apply(self, changes: Mapping[int, Change], token: str) -> dict[int, Answer | Known]:
        """Make changes; return an answer for each that is made, else what the document is."""
        if not changes:
            return {}
        updates = [UpdateOne(made.guard, made.update) for made in changes.values()]
        made_all = self._db.bulk(self._executions, updates) == len(updates)
        said: dict[int, Answer | Known] = {}
        if made_all:
            for n, made in changes.items():
                self._memory.put(made.known)
                said[n] = made.answer
            return said
        numbers = {made.known.id: n for n, made in changes.items()}
        for document in self._executions.find({"_id": {"$in": list(numbers)}}):
            n = numbers[document["_id"]]
            made = changes[n]
            if _at(document, made.proof) == token:
                said[n] = made.answer
                self._memory.forget(made.known.id)
            else:
                said[n] = Known.of(document)
        return said

    def _known(self, ids: Iterable[str]) -> dict[str, Known]:
        found = {i: self._memory.get(i) for i in ids}
        read = {k.id: k for k in self._read([i for i, k in found.items() if k is None])}
        return {i: k for i, k in found.items() if k is not None} | read

    def _read(self, ids: Iterable[str]) -> list[Known]:
        """Read executions anew, without their contexts."""
        wanted = list(ids)
        if not wanted:
            return []
        return [
            Known.of(document)
            for document in self._executions.find({"_id": {"$in": wanted}}, {"context": 0})
        ]

    def next_due(self, *, now: datetime) -> datetime | None:
        ready = self._ordered({READY_AT: {"$exists": True}}, READY_AT, 1)
        waiting = self._ordered({"status": LIVE, "resumeAt": {"$exists": True}}, "resumeAt", 1)
        held = self._ordered({LEASE_AT: {"$exists": True}}, LEASE_AT, 1)
        times = [min(at, now) for at in _times(ready, "readyAt")]
        times += [document["resumeAt"] for document in waiting]
        times += _times(held, "leaseAt")
        return min(times, default=None)

    def _ordered(self, query: dict[str, Any], path: str, limit: int) -> list[dict[str, Any]]:
        """Return what claims are decided on, of executions in the order of the least at `path`."""
        return list(self._executions.find(query, PLACES).sort(path, ASCENDING).limit(limit))


def _claimable(
    owner: str, now: datetime, lease: timedelta, *, expired: bool
) -> list[tuple[dict[str, Any], str]]:
    """Return the questions that find executions with claimable branches, and their orders."""
    found: list[tuple[dict[str, Any], str]] = [
        ({READY_AT: {"$exists": True}}, READY_AT),
        ({"status": LIVE, "resumeAt": {"$lte": now}}, "resumeAt"),
    ]
    if expired:
        for reach in ({"$lte": now}, {"$gt": now + 2 * lease}):
            lost = {"owner": {"$ne": owner}, "leaseAt": reach}
            found.append(({LEASE_AT: reach, BRANCHES: {"$elemMatch": lost}}, LEASE_AT))
    return found


def _branches(
    document: Mapping[str, Any], owner: str, now: datetime, lease: timedelta, *, expired: bool
) -> Iterable[Found]:
    """Yield the claimable branches of an execution."""
    for index, element in enumerate(document[BRANCHES]):
        status, since = element["status"], None
        if status == "ready":
            since = element.get("readyAt")
        elif status == "waiting":
            since = element["resumeAt"] if element["resumeAt"] <= now else None
        elif status == "running" and expired and element.get("owner") != owner:
            at = element["leaseAt"]
            since = at if at <= now or at > now + 2 * lease else None
        if since is not None:
            yield Found(since, document["_id"], element["branchId"], index, element)


def _take(
    document: Mapping[str, Any],
    taken: Sequence[Found],
    owner: str,
    until: datetime,
    token: str,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the condition and the update that claim branches of one execution."""
    guard: dict[str, Any] = {}
    put: dict[str, Any] = {}
    drop: dict[str, str] = {}
    add: dict[str, int] = {}
    for _, _, branch_id, index, element in taken:
        place = f"{BRANCHES}.{index}"
        guard |= {
            f"{place}.branchId": branch_id,
            f"{place}.epoch": element["epoch"],
            f"{place}.status": element["status"],
        }
        put |= {
            f"{place}.status": "running",
            f"{place}.owner": owner,
            f"{place}.leaseAt": until,
            f"{place}.claim": token,
        }
        add[f"{place}.epoch"] = 1
        drop[f"{place}.readyAt"] = ""
    woken = sum(branch.element["status"] == "waiting" for branch in taken)
    if woken:
        ours = {branch.place for branch in taken}
        resume_at, others = earliest(
            (index, element["epoch"], element["resumeAt"])
            for index, element in enumerate(document[BRANCHES])
            if element["status"] == "waiting" and index not in ours
        )
        guard |= head_of(document) | others
        put["waiting"] = document["waiting"] - woken
        put["status"] = status_of(document["open"], put["waiting"], document["failed"])
        if resume_at is None:
            drop["resumeAt"] = ""
        else:
            put["resumeAt"] = resume_at
    return guard, {"$set": put, "$unset": drop, "$inc": add}


def _judged(patch: Patch, known: Known | None) -> Answer:
    """Return what the guards of a patch say against what is known."""
    if known is None:
        return Answer("fenced", "cancelled", fenced=[m.branch.branch_id for m in patch.move])
    answer = judge(
        patch,
        status=known.status,
        revision=known.revision,
        epochs={
            move.branch.branch_id: known.branches[move.branch.branch_id].branch.epoch
            for move in patch.move
            if move.branch.branch_id in known.branches
        },
        runs={key: known.runs[key].run for key in _keys(patch) if key in known.runs},
    )
    answer.open, answer.waiting, answer.failed = known.open, known.waiting, known.failed
    return answer


def _keys(patch: Patch) -> Iterable[str]:
    yield from (run.idempotency_key for run in patch.append)
    yield from (settle.run.idempotency_key for settle in patch.settle)
    yield from (meeting.run.idempotency_key for meeting in patch.meet)


def _times(documents: Iterable[Mapping[str, Any]], name: str) -> list[datetime]:
    return [e[name] for document in documents for e in document[BRANCHES] if name in e]


def _at(document: Mapping[str, Any], path: str) -> Any:
    """Return the value at a path of an update."""
    value: Any = document
    for part in path.split("."):
        if isinstance(value, list):
            value = value[int(part)] if int(part) < len(value) else {}
        else:
            value = value.get(part)
        if value is None:
            return None
    return value
