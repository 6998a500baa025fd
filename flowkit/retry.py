"""When an effect that failed is tried again by itself, and what is kept of its attempts.

Owns the policy and the decision; the engine asks, and keeps the time. Imports `fields`,
`execution`, `wire`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from flowkit.fields import field, normalise
from flowkit.wire import iso

if TYPE_CHECKING:
    from flowkit.execution import NodeRun

ATTEMPTS_MOST = 10
"""Attempts of one series; as many that have passed are kept of a run."""
HAND, POLICY = "hand", "policy"
"""Who asked for the attempt after one that is kept."""
DAY = 86_400
PATIENCE_SECONDS = 7 * DAY
"""The longest wait between two attempts, whoever asks for it."""


@dataclass(frozen=True, kw_only=True)
class RetryPolicy:
    """How often and how soon an effect is tried again after a transient error.

    Only errors that are marked as transient are tried again: nothing was done, and the same
    request may succeed later. An effect of which nobody knows whether it happened never is;
    that is the matter of ``onUnknown``.
    """

    maximum_attempts: int = field(
        5, help="Attempts in all, the first included; 1 never tries again.", ge=1, le=ATTEMPTS_MOST
    )
    initial_interval: float = field(
        5, help="Seconds from the end of the first attempt to the second.", gt=0, le=DAY
    )
    backoff_coefficient: float = field(
        2, help="By how much each wait is longer than the one before.", ge=1, le=100
    )
    maximum_interval: float = field(
        300, help="Seconds that a wait is never longer than.", gt=0, le=PATIENCE_SECONDS
    )
    non_retryable: Sequence[str] = field(
        (), help="Codes of errors after which it is not tried again.", max_length=100
    )

    def __post_init__(self) -> None:
        normalise(self)

    def delay(self, attempt: int) -> float | None:
        """Return the seconds between attempt number `attempt` (from 1) and the next.

        None when it is the last.
        """
        if attempt >= self.maximum_attempts:
            return None
        wait = self.initial_interval * self.backoff_coefficient ** (attempt - 1)
        return min(wait, self.maximum_interval)

    def longest(self, timeout: float) -> float:
        """Return the seconds from the first attempt to the end of the last, each `timeout` long."""
        waits = (self.delay(attempt) or 0 for attempt in range(1, self.maximum_attempts))
        return self.maximum_attempts * timeout + sum(waits)

    def after(self, error: Mapping[str, Any], attempt: int) -> float | None:
        """Return the seconds after which an attempt that ended with `error` is followed by another.

        An error can ask for more with ``retryAfterSeconds``. None when there is no other attempt.
        """
        if error.get("transient") is not True or error.get("code") in self.non_retryable:
            return None
        wait = self.delay(attempt)
        asked = error.get("retryAfterSeconds")
        if wait is None or isinstance(asked, bool) or not isinstance(asked, (int, float)):
            return wait
        return min(max(wait, asked), PATIENCE_SECONDS)


ONCE = RetryPolicy(maximum_attempts=1)
"""Never again."""
PATIENT = RetryPolicy(maximum_attempts=ATTEMPTS_MOST, initial_interval=1)
"""For what can be done again without harm."""


def again(run: NodeRun, asked_by: str) -> dict[str, Any]:
    """Return the fields of a run's next attempt: the one before goes among its attempts."""
    attempt = {
        "status": run.status,
        "startTime": iso(run.start_time),
        "endTime": iso(run.end_time) if run.end_time else None,
        "result": run.result,
        "error": run.error,
        "retriedBy": asked_by,
    }
    return {
        "attempts": (*run.attempts, attempt)[-ATTEMPTS_MOST:],
        "retry_count": run.retry_count + 1,
        "result": None,
        "error": None,
    }


def in_series(run: NodeRun) -> int:
    """Return the number of a run's attempt since it was last asked for by hand, from 1."""
    by = [attempt.get("retriedBy") for attempt in reversed(run.attempts)]
    return 1 + next((i for i, who in enumerate(by) if who != POLICY), len(by))
