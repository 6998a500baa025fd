"""The settings of a flow: who may enter, who leaves, when no message goes, what a failure means.

Declared once, as a config is; `Flow.settings` is the JSON form. May import `duration`, `fields`,
`nodetype`, `scope`, `execution`, `zones`, `problems`, `errors`, `wire`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from flowkit.duration import Duration
from flowkit.errors import Invalid
from flowkit.fields import field, parse, specs
from flowkit.nodetype import Next, Wait
from flowkit.problems import Problem, errors, pointer
from flowkit.wire import iso
from flowkit.zones import DAY, SHIFT, WEEKDAYS, Weekday, hours, read_time, zone_for

if TYPE_CHECKING:
    from flowkit.execution import Received
    from flowkit.nodetype import Context
    from flowkit.scope import Scope


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """How often one contact may enter a flow."""

    policy: Literal["always", "once", "once_active", "again_after"] = field(
        "always",
        help="Each time; once ever; again when the last execution has ended; or again when some "
        "time has passed since the last entry.",
    )
    after: Duration | None = field(
        help="How long after an entry the contact may enter again.",
        show_when={"policy": "again_after"},
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Exit:
    """What makes a contact leave the flow at once, wherever the execution is."""

    event: str | None = field(
        None,
        help="Type of an event; without one the condition is looked at before each node.",
        min_length=1,
        max_length=128,
    )
    when: Any = field(
        None,
        help="Condition, as JSONLogic; that of an event sees its payload as `event`.",
        kind="expression",
    )

    def check(self) -> Iterable[Problem]:
        """Require one of the two."""
        if self.event is None and self.when is None:
            yield Problem("settings.exit", "", "Name an event, or write a condition in `when`.")

    def reason(self) -> dict[str, Any]:
        """Return what an execution records that ends by it."""
        return {"reason": "exit", "event": self.event}


@dataclass(frozen=True, slots=True, kw_only=True)
class GoalEvent:
    """The event for which the flow is made; who is there leaves it, converted."""

    name: str = field(help="What is reached, such as purchase.", min_length=1, max_length=128)
    event: str = field(help="Type of the event.", min_length=1, max_length=128)
    when: Any = field(
        None, help="Condition on the event's payload (`event`), as JSONLogic.", kind="expression"
    )

    def reason(self) -> dict[str, Any]:
        """Return what an execution records that ends by it."""
        return {"reason": "goal", "goal": self.name, "event": self.event}


@dataclass(frozen=True, slots=True, kw_only=True)
class QuietHours:
    """Hours of the day, in the contact's zone, in which the flow sends no message."""

    starts: str = field(help="Time of day from which it is quiet, such as 21:00.", kind="time")
    ends: str = field(
        help="Time of day until which it is; before `starts` it is that of the day after.",
        kind="time",
    )
    days: Sequence[Weekday] = field(
        WEEKDAYS, help="Weekdays on which the quiet begins.", min_length=1, max_length=7
    )
    policy: Literal["defer", "skip"] = field(
        "defer", help="What becomes of a message then: it waits until they end, or is not sent."
    )

    def check(self) -> Iterable[Problem]:
        """Require a time in which messages go out."""
        if self.starts == self.ends and set(self.days) == set(WEEKDAYS):
            message = "It is quiet all day, every day: no message would ever go out."
            yield Problem("settings.quiet_hours", "/ends", message)

    def longest(self, trying: float = 0.0) -> float:
        """Return the seconds for which a message can be held back, at most.

        One that is tried for `trying` seconds can be held back by several nights.
        """
        if self.policy == "skip":
            return 0.0
        quiet = self._quiet
        between = max(DAY - quiet % DAY - SHIFT, 60.0)
        return (quiet + SHIFT) * (1 + trying // between)

    @property
    def _quiet(self) -> float:
        """Seconds from the beginning of the quiet to its end, if clocks are not changed."""
        first, last = read_time(self.starts), read_time(self.ends)
        minutes = (last.hour - first.hour) * 60 + last.minute - first.minute
        if minutes:
            return minutes * 60 % DAY
        places = {WEEKDAYS.index(day) for day in self.days}
        in_a_row = max(
            next(n for n in range(1, 8) if (place + n) % 7 not in places) for place in places
        )
        return in_a_row * DAY

    def holds(self, ctx: Context) -> Wait | Next | None:
        """Return what becomes of a message now; None when it may go out."""
        zone = zone_for(None, ctx.contact, ctx.time_zone)
        until = ctx.now
        for start, end in hours(ctx.now, self.starts, self.ends, self.days, zone.info):
            if start <= until < end:
                until = end
        if until == ctx.now:
            return None
        facts = {"quietHours": zone.facts() | {"until": iso(until)}}
        if self.policy == "skip":
            return Next(result=facts, suppressed=True)
        return Wait(until=until, result=facts, again=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The settings of a flow."""

    entry: Entry = field(Entry(), help="How often one contact may enter.")
    exit: Sequence[Exit] = field(
        (), help="What makes a contact leave at once; the first that holds.", max_length=20
    )
    goal: GoalEvent | None = field(None, help="The event for which the flow is made.")
    time_zone: str | None = field(
        None, help="Zone of contacts that have none, such as America/Sao_Paulo.", kind="zone"
    )
    quiet_hours: QuietHours | None = field(
        None, help="Hours in which no message of the flow goes out."
    )
    on_failure: Literal["continue", "end"] = field(
        "continue",
        help="What a branch that has failed for good means to the others: they go on, or end.",
    )

    def listens(self) -> tuple[str, ...]:
        """Return the types of the events that end an execution."""
        return tuple(rule.event for rule in self.by_event())

    def by_event(self) -> Iterator[Any]:
        """Yield the rules that name an event: exits first, then the goal."""
        yield from (rule for rule in self.exit if rule.event is not None)
        if self.goal is not None:
            yield self.goal

    def ended_by(self, event: Received, scope: Scope) -> dict[str, Any] | None:
        """Return why an event ends the execution, or None."""
        for rule in self.by_event():
            if rule.event == event.type and scope.fits(rule.when, event):
                return {**rule.reason(), "eventId": event.id}
        return None

    def exit_of(self, scope: Scope) -> dict[str, Any] | None:
        """Return why the execution ends before its next node, or None."""
        for rule in self.exit:
            if rule.event is None and scope.fits(rule.when):
                return rule.reason()
        return None


KEYS = tuple(spec.wire for spec in specs(Options))


def check_options(settings: Mapping[str, Any]) -> list[Problem]:
    """Return what is wrong with a flow's settings; unknown ones are kept, with a warning."""
    _, found = parse(Options, _known(settings), "/settings")
    return found + [
        Problem(
            "settings.unknown",
            "/settings" + pointer(name),
            f"There is no setting {name!r}, so it has no effect; there are {', '.join(KEYS)}.",
            "warning",
        )
        for name in settings
        if name not in KEYS
    ]


def read_options(settings: Mapping[str, Any]) -> Options:
    """Return the settings of a flow.

    Raises
    ------
    Invalid
        When they have errors.
    """
    made, found = parse(Options, _known(settings), "/settings")
    if made is None:
        raise Invalid(errors(found))
    return made


def _known(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if name in KEYS}
