"""Who may get marketing, and how they stop it: W04, W05 and W15.

They are about templates of category MARKETING, which only a snapshot of the account tells; without
one nothing is said. What counts as asking for consent is told by names (`CONSENT`, `STOPPING`):
no flow can prove that a name means what it says, nor that no other flow cares for it, so all are
warnings. Imports `subject`, `ahead`, `decisions`, `templates`, `finding`, `problems`, `errors`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from flowkit.errors import Invalid
from flowkit.jsonlogic import paths
from flowkit.nodes.system import Trigger
from flowkit.nodetype import Way
from flowkit.options import Options
from flowkit.problems import Problem, pointer
from flowkit.validate.ahead import Ahead
from flowkit.validate.decisions import can_be_taken
from flowkit.validate.finding import Finding
from flowkit.validate.subject import Subject
from flowkit.validate.templates import listed, sent
from flowkit.whatsapp import is_inbound

NO_OPT_IN = Finding(
    "consent.not_asked",
    "A marketing template is sent on a path that has not looked whether the contact agreed to it.",
    rules=("W04",),
)
NO_OPT_OUT = Finding(
    "consent.no_way_out",
    "After a marketing template a path goes on to its end without hearing of a wish to stop.",
    rules=("W05",),
)
TO_US = Finding(
    "consent.us_numbers",
    "A marketing template can go to numbers of the United States, to which Meta delivers none.",
    rules=("W15",),
)

CONSENT = ("optin", "optedin", "consent", "subscri", "permission", "marketing")
"""Parts of names that tell of consent, without what is no letter."""
STOPPING = (*CONSENT, "optout", "optedout", "stop", "preference", "suppress", "donotcontact")
"""Parts of names that tell of its end."""
COUNTRY = ("country", "country_code", "countryCode")
"""Last parts of the names of variables that hold a country, such as ``US``."""


def marketing(subject: Subject) -> list[int]:
    """Return the nodes that send templates of category MARKETING, as far as is known."""
    return [
        index
        for index, made in sent(subject)
        if (template := listed(subject, made)) is not None and template.category == "MARKETING"
    ]


def opt_in(subject: Subject) -> Iterator[Problem]:
    """Warn of marketing to contacts of whom nobody has asked whether they agreed."""
    sends = marketing(subject)
    if not sends or len(subject.order) < len(subject.made):
        return
    options = _options(subject)
    rules = options.exit if options else ()
    if _tells(subject.flow.trigger_type, CONSENT) or any(_asks(r.when, CONSENT) for r in rules):
        return
    asked = [True] * len(subject.made)
    for index in subject.of_type("TRIGGER"):
        made = subject.made[index]
        asked[index] = isinstance(made, Trigger) and _asks(made.filter, CONSENT)
    for node in subject.order:
        made = subject.made[node]
        here = asked[node] or any(
            _asks(way.logic, CONSENT) for way in (made.decides() if made else ())
        )
        for target in subject.onward[node]:
            asked[target] = asked[target] and here
    for node in sends:
        if not asked[node]:
            yield NO_OPT_IN.at(
                pointer("nodes", node),
                f"Nothing on the way to {subject.show(node)} looks whether the contact has agreed "
                "to marketing: ask for it in a condition before, such as fk.contact.opt_in == "
                "True, in the TRIGGER's filter, or start the flow by an event that says so.",
            )


def opt_out(subject: Subject) -> Iterator[Problem]:
    """Warn of marketing after which a wish to stop is not heard on every path."""
    sends = marketing(subject)
    if not sends:
        return
    options = _options(subject)
    if options is not None and any(
        _stops(rule.event) or _asks(rule.when, STOPPING) for rule in options.exit
    ):
        return
    ahead = subject.once(Ahead)
    heeded = [False] * len(subject.made)
    after = [False] * len(subject.made)
    for node in reversed(ahead.order):
        made, ways = subject.made[node], ahead.ways[node]
        after[node] = bool(ways) and all(any(heeded[t] for t in ts) for ts in ways.values())
        heeded[node] = after[node] or (
            made is not None
            and (
                any(_stops(event) for event in made.listens())
                or any(_asks(way.logic, STOPPING) for way in made.decides())
            )
        )
    for node in sends:
        if not after[node]:
            yield NO_OPT_OUT.at(
                pointer("nodes", node),
                f"After {subject.show(node)} a path ends without hearing of a wish to stop: let "
                "an event end the flow (settings.exit), or wait for an answer. Where another flow "
                "keeps who has stopped, look at it before each marketing message.",
            )


def us_numbers(subject: Subject) -> Iterator[Problem]:
    """Warn of marketing that contacts of the United States can come to."""
    sends = marketing(subject)
    if not sends:
        return
    seen: set[int] = set()
    ahead = subject.of_type("TRIGGER")
    while ahead:
        node = ahead.pop()
        if node in seen:
            continue
        seen.add(node)
        made = subject.made[node]
        ways = made.decides() if made is not None else ()
        if isinstance(made, Trigger) and made.filter is not None:
            lets_in = Way("", _in_us(made.filter), "")
            if not can_be_taken([lets_in])[0]:
                continue
        taken, otherwise = can_be_taken([way._replace(logic=_in_us(way.logic)) for way in ways])
        others = set(subject.ways[node]) - {way.handle for way in ways}
        for handle in taken | (others if otherwise else set()):
            ahead += subject.ways[node].get(handle, [])
    for node in sends:
        if node in seen:
            yield TO_US.at(
                pointer("nodes", node),
                f"Contacts of the United States can come to {subject.show(node)}, and Meta "
                "delivers no marketing to numbers with +1 there: lead them elsewhere, such as by "
                "fk.contact.country == 'US'.",
            )


def _options(subject: Subject) -> Options | None:
    try:
        return subject.flow.options
    except Invalid:
        return None


def _stops(event: str | None) -> bool:
    return event is not None and (is_inbound(event) or _tells(event, STOPPING))


def _asks(logic: Any, parts: tuple[str, ...]) -> bool:
    return any(_tells(path, parts) for path in paths(logic))


def _tells(name: str, parts: tuple[str, ...]) -> bool:
    plain = re.sub(r"[^a-z]", "", name.lower())
    return any(part in plain for part in parts)


def _in_us(logic: Any) -> Any:
    """Return a condition as it is for a contact whose country is US."""
    if isinstance(logic, list):
        return [_in_us(item) for item in logic]
    if isinstance(logic, dict):
        if set(logic) == {"var"} and any(p.split(".")[-1] in COUNTRY for p in paths(logic)):
            return "US"
        return {name: _in_us(operands) for name, operands in logic.items()}
    return logic
