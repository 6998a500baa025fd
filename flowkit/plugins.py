"""What installed packages bring along: modules that register something when they are imported.

Owns how entry points are loaded. Imports nothing of flowkit.
"""

from __future__ import annotations

import warnings


def load(group: str, what: str) -> None:
    """Import the modules that the entry points of a group name.

    One that cannot be imported must not take the others down: it is warned of, as `what` of it
    cannot be loaded.
    """
    from importlib.metadata import entry_points  # brings email, zipfile and sockets along

    for entry in entry_points(group=group):
        try:
            entry.load()
        except Exception as error:
            message = f"the {what} of {entry.value!r} cannot be loaded: {error}"
            warnings.warn(message, RuntimeWarning, stacklevel=3)
