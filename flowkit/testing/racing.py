"""Threads that start together, for tests of what happens at once. Imports the standard library."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any


def at_once(number: int, work: Callable[[int], Any]) -> list[Any]:
    """Run `work(i)` on `number` threads that start together; return results or exceptions."""
    barrier = threading.Barrier(number)
    results: list[Any] = [None] * number

    def run(i: int) -> None:
        barrier.wait()
        try:
            results[i] = work(i)
        except Exception as error:
            results[i] = error

    threads = [threading.Thread(target=run, args=(i,)) for i in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results
