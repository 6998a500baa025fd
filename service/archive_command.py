"""``flowkit archive``: what it is asked, and how it shows what it does.

May import everything of the service but Flask.
"""

from __future__ import annotations

import contextlib
from datetime import timedelta

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from flowkit.clock import SystemClock
from flowkit.errors import SettingsError
from service.settings import Settings
from service.store.open import open_store

try:
    from flowkit.history.layout import Place, not_read
    from service.archive import Summary, archive, cutoff, reach, survey
except ImportError as error:
    raise SettingsError(f"archives need `pip install 'flowkit[archive]'` ({error})") from error


def run(settings: Settings, *, before: str | None, url: str | None, dry_run: bool) -> None:
    """Archive, or say what would be archived.

    Raises
    ------
    SettingsError
        When it is not said what goes where, or the archive cannot be used.
    Invalid
        When `before` is malformed or the archive is damaged.
    """
    console = Console(highlight=False, soft_wrap=True)
    url = url or settings.archive_url
    if url is None and not dry_run:
        raise SettingsError("say where the archive is: --to or FLOWKIT_ARCHIVE_URL")
    if before is None and not settings.retention_days:
        raise SettingsError("say what goes: --before, since FLOWKIT_RETENTION_DAYS is 0")
    now = SystemClock().now()
    asked = cutoff(before, now) if before else now - timedelta(days=settings.retention_days)
    until = reach(asked, now, keys=timedelta(hours=settings.idempotency_hours))
    if until < asked:
        console.print(f"up to {until:%Y-%m-%d %H:%M} UTC: what ended later has to stay yet")
    with contextlib.closing(open_store(settings)) as store:
        if dry_run or url is None:
            found = survey(store, before=until)
            console.print(f"would archive {_numbers(found)}")
            for month, number in sorted(found.months.items()):
                console.print(f"  {month}: {number:,} executions")
            return
        columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
        try:
            place = Place(url)
            with Progress(*columns, console=console, transient=True) as progress:
                task = progress.add_task("archiving")

                def show(done: Summary) -> None:
                    progress.update(task, description=f"archived {_numbers(done)}")

                done = archive(store, place, before=until, progress=show)
            known = [part for parts in place.manifests().values() for part in parts]
            leftovers = place.leftovers(known)
        except OSError as error:
            raise SettingsError(f"the archive {url} cannot be used: {error}") from error
    console.print(f"archived {_numbers(done)} to {url}")
    if leftovers:
        console.print(not_read(leftovers))
    if done.kept:
        console.print(f"{done.kept:,} of them changed meanwhile and stay here as well")


def _numbers(summary: Summary) -> str:
    return f"{summary.executions:,} executions and {summary.node_runs:,} node runs"
