"""Bodies that are streamed: NDJSON, one JSON value a line, of any length.

Owns the reading in parts, so that no body is ever held in memory whole, and what is known about
its end. May import Flask, `flowkit.problems`, `body` and `errors`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from flask import request

from flowkit.errors import Invalid
from flowkit.problems import Problem, pointer
from service.api.body import decode
from service.api.errors import Refused

NDJSON = "application/x-ndjson"
STREAMED = frozenset({"Broadcasts.create_broadcast"})
"""Endpoints that read NDJSON in parts, to which the limit of bodies does not apply."""
PART_BYTES = 65_536


class Line(NamedTuple):
    """A line that is not blank: its number, from 1, and its value, or what is wrong with it."""

    number: int
    value: Any
    problem: Problem | None = None


def is_streamed() -> bool:
    """Return whether the body of this request is read in parts."""
    return request.endpoint in STREAMED and request.mimetype == NDJSON


def read_lines(limit: int) -> Iterator[Line]:
    """Yield the lines of this request's body.

    Parameters
    ----------
    limit : int
        Bytes that a line may have.

    Raises
    ------
    Refused
        400 when the client broke off before the length that it had announced, 415 when the body
        is compressed.
    """
    if request.headers.get("Content-Encoding", "identity") != "identity":
        raise Refused(415, [Problem("body.type", "", "Send the body uncompressed.")])
    got = 0

    def part() -> bytes:
        nonlocal got
        data = request.stream.read(PART_BYTES)
        got += len(data)
        return data

    for number, data in enumerate(split(part, limit), start=1):
        if data is None:
            yield Line(number, None, _too_long(number, limit))
        elif data and not data.isspace():
            yield _line(number, data)
    # The server ends a body that broke off as if it were whole.
    if got < (request.content_length or 0):
        raise Refused(400, [Problem("body.broken_off", "", "The body ended before its length.")])


def split(part: Callable[[], bytes], limit: int) -> Iterator[bytes | None]:
    """Yield the lines of what `part` returns bit by bit; None for one longer than `limit`."""
    rest: list[bytes] = []
    size = 0
    while data := part():
        *ended, last = data.split(b"\n")
        for line in ended:
            yield b"".join((*rest, line)) if size + len(line) <= limit else None
            rest, size = [], 0
        size += len(last)
        # Of a line that is too long nothing is kept, however long it goes on.
        rest = [*rest, last] if size <= limit else []
    if size:
        yield b"".join(rest) if size <= limit else None


def _line(number: int, data: bytes) -> Line:
    try:
        return Line(number, decode(data))
    except (Invalid, Refused) as error:
        problem = error.problems[0]
        said = problem.message.replace("The body", "The line")
        return Line(number, None, Problem(problem.code, pointer(number), said))


def _too_long(number: int, limit: int) -> Problem:
    message = f"The line is longer than FLOWKIT_PAYLOAD_LIMIT_BYTES ({limit}) allows."
    return Problem("body.line_too_long", pointer(number), message)
