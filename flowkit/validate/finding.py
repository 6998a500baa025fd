"""What validation can say: each code declared once, with what it means.

Owns the declaration; `FINDINGS` is the table for documents, and `UNDECIDED` says of the rules of
WhatsApp that no finding stands for why none can. Imports `problems`.
"""

from __future__ import annotations

from dataclasses import dataclass

from flowkit.problems import Problem, Severity


@dataclass(frozen=True, slots=True)
class Finding:
    """A kind of finding, by its stable code; making one adds it to the table.

    What may go well for each contact that comes is a warning, so that flows which are valid today
    stay so; an error is what cannot.

    Parameters
    ----------
    code : str
        Such as ``window.closed``.
    meaning : str
        What it says of a flow; one sentence.
    severity : {"warning", "error"}, optional
        A flow with errors cannot be active.
    rules : tuple of str, optional
        WhatsApp's rules that it watches over, ``W01`` to ``W22``.
    """

    code: str
    meaning: str
    severity: Severity = "warning"
    rules: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.code in FINDINGS:
            raise TypeError(f"the finding {self.code} is declared twice")
        FINDINGS[self.code] = self

    def at(self, path: str, message: str) -> Problem:
        """Return the problem that says so of a place."""
        return Problem(self.code, path, message, self.severity)


FINDINGS: dict[str, Finding] = {}
"""Every finding by its code."""

UNDECIDED = {
    "W13": "Whether a message needs the one before it is in their words; those that follow each "
    "other within 6 seconds, and so may change places, are named by `pace.pair`.",
    "W14": "The size of the audience and the account's tier are not the flow's: `fk.simulate` "
    "with a `Channel` tells when the last message goes out.",
    "W16": "Whether a person can be reached is in the words of the messages, or in what other "
    "systems do with the contact.",
    "W20": "Whether a contact comes from an advertisement is in the message, not in the flow; it "
    "only makes messages free, so `cost_bound` holds without.",
}
"""Rules that cannot be decided from a flow, and why."""
