"""What the proofs can find: each code declared once, with what it means.

Owns the declaration; `FINDINGS` is the table for documents. Imports `problems`.
"""

from __future__ import annotations

from dataclasses import dataclass

from flowkit.problems import Problem


@dataclass(frozen=True, slots=True)
class Finding:
    """A kind of finding, by its stable code; making one adds it to the table.

    All are warnings: what they speak of may go well for each contact that comes, and flows that
    are valid today stay so.

    Parameters
    ----------
    code : str
        Such as ``window.closed``.
    meaning : str
        What it says of a flow; one sentence.
    """

    code: str
    meaning: str

    def __post_init__(self) -> None:
        if self.code in FINDINGS:
            raise TypeError(f"the finding {self.code} is declared twice")
        FINDINGS[self.code] = self

    def at(self, path: str, message: str) -> Problem:
        """Return the problem that says so of a place."""
        return Problem(self.code, path, message, "warning")


FINDINGS: dict[str, Finding] = {}
"""Every finding by its code."""
