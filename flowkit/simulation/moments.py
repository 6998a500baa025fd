"""Moments that know where they come from: times of one execution that stand for those of many.

Owns `Moment`, a datetime that is "so long after the n-th time of the execution". Adding to it
gives such a moment again; a comparison of two is written on a tape, so that for another execution
it can be looked up whether it comes out the same. Whatever else could be seen of it raises
`Untracked`. May import nothing of flowkit.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any, NoReturn

MICROSECOND = timedelta(microseconds=1)
Compared = Callable[[str, Any, Any, bool], None]
"""Told of each comparison: its operator, both sides, and how it came out."""


class Untracked(BaseException):
    """Something was looked at in a way that cannot be repeated for others.

    No `Exception`: it is not to be taken for a node's own mistake, which the engine records.
    """


def untold(name: str, left: Any, right: Any, result: bool) -> NoReturn:
    """Refuse a comparison where nobody takes it down."""
    raise Untracked("a comparison outside a turn")


class Moment(datetime):
    """So many microseconds after the time at `place` of an execution.

    Those times are whole milliseconds; so what is below them is known from the offset.
    """

    place: int
    offset: int
    told: Compared

    @classmethod
    def at(cls, real: datetime, place: int, offset: int, told: Compared) -> Moment:
        """Return the moment that is `real` in the execution at hand."""
        made = cls(
            *(real.year, real.month, real.day, real.hour, real.minute, real.second),
            real.microsecond,
            UTC,
        )
        made.place, made.offset, made.told = place, offset, told
        return made

    def __reduce_ex__(self, protocol: Any) -> Any:
        return Moment.at, (self._real(), self.place, self.offset, untold)

    def _real(self) -> datetime:
        return datetime.combine(datetime.date(self), datetime.timetz(self))

    def __add__(self, by: timedelta) -> Moment:
        return type(self).at(
            self._real() + by, self.place, self.offset + by // MICROSECOND, self.told
        )

    def _shifted(self, offset: int) -> Moment:
        return self + timedelta(microseconds=offset)

    __radd__ = __add__

    def __sub__(self, other: Any) -> Any:
        if isinstance(other, timedelta):
            return self + -other
        raise Untracked("a difference of two moments")

    def __rsub__(self, other: Any) -> NoReturn:
        raise Untracked("a difference of two moments")

    def _compare(self, name: str, other: Any) -> bool:
        if not isinstance(other, datetime):
            raise Untracked("a comparison with something else")
        plain = other._real() if isinstance(other, Moment) else other
        result: bool = getattr(operator, name)(self._real(), plain)
        self.told(name, self, other, result)
        return result

    def __lt__(self, other: Any) -> bool:
        return self._compare("lt", other)

    def __le__(self, other: Any) -> bool:
        return self._compare("le", other)

    def __gt__(self, other: Any) -> bool:
        return self._compare("gt", other)

    def __ge__(self, other: Any) -> bool:
        return self._compare("ge", other)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, datetime) and self._compare("eq", other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        raise Untracked("a hash")

    def astimezone(self, tz: tzinfo | None = None) -> Moment:
        """Return itself, which is in UTC."""
        if tz is not UTC:
            raise Untracked("another time zone")
        return self

    def replace(self, **changes: Any) -> Moment:  # type: ignore[override]
        """Return it with other microseconds: what is below the millisecond can be cut off."""
        if changes.keys() != {"microsecond"}:
            raise Untracked("parts replaced")
        by = changes["microsecond"] - datetime.microsecond.__get__(self)
        if by % 1000 != -self.offset % 1000 or abs(by) >= 1000:
            raise Untracked("parts replaced")
        return self + timedelta(microseconds=by)


class Watched(Moment):
    """A moment for those who must not look into it at all, only count on from it."""


def _seen(name: str) -> property:
    def look(self: Moment) -> NoReturn:
        raise Untracked(name)

    return property(look)


def _said(self: Moment, *_: Any) -> NoReturn:
    raise Untracked("its text")


_KNOWN = {"tzinfo", "astimezone", "replace", "min", "max", "resolution"}
_MADE = {"combine", "fromtimestamp", "fromisoformat", "now", "today", "strptime", "utcnow"}
for _name in dir(datetime):
    if not _name.startswith("_") and _name not in _KNOWN | _MADE:
        setattr(Watched, _name, _seen(_name))
        if _name not in ("microsecond", "isoformat"):  # what the engine writes needs them
            setattr(Moment, _name, _seen(_name))
for _name in ("__str__", "__repr__", "__format__", "__reduce_ex__"):
    setattr(Watched, _name, _said)


def plain(value: datetime) -> datetime:
    """Return a moment as it is in the execution at hand, knowing nothing of its origin."""
    return value._real() if isinstance(value, Moment) else value
