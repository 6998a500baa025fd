"""Runs the demonstration: real processes, real HTTP, a simulator in WhatsApp's place.

May import everything of flowkit and the service.
"""

from __future__ import annotations

import json
import shlex
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pandas as pd
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from flowkit.client import Client
from flowkit.clock import SystemClock
from flowkit.errors import ServiceError
from flowkit.history import node_table
from flowkit.problems import errors
from service.demo.checkouts import checkouts
from service.demo.flow import VOUCHER, abandoned_cart
from service.server import free_port
from service.settings import Settings
from service.supervisor import Supervisor
from service.worker.process import check

HOST = "127.0.0.1"
TOKEN = "demo"
REJECTED_EVERY = 10
"""One contact in so many is refused the voucher, until the demonstration lifts that."""
START_SECONDS = 30.0
SETTLE_SECONDS = 45.0
"""How long executions may take beyond 20 ms each before the demonstration gives up."""
SENDERS = 8


class DemoFailed(Exception):
    """Something did not end as it should."""


def run(*, contacts: int, keep: bool, data_dir: Path | None, configured: bool = False) -> int:
    """Run the demonstration and return its exit status.

    Parameters
    ----------
    contacts : int
        How many webhooks to post, one for each contact.
    keep : bool
        Whether to leave the service running until interrupted.
    data_dir : Path, optional
        Where to keep the data; a new temporary directory when absent.
    configured : bool
        Whether to use the store and the queue that the settings name. Else it is embedded, since
        a demonstration has no place among the flows of a production.
    """
    console = Console()
    if data_dir is None:
        data_dir = Path(tempfile.mkdtemp(prefix="flowkit-demo-"))
    port, whatsapp_port = free_port(), free_port()
    settings = Settings.from_environment()
    if not configured:
        settings = replace(settings, mongodb_url=None, redis_url=None)
    settings = replace(
        settings,
        data_dir=data_dir,
        whatsapp_base_url=f"http://{HOST}:{whatsapp_port}",
        whatsapp_token=TOKEN,
        whatsapp_phone_number_id="106540352242922",
        log_level="WARNING",
    ).prepared()
    check(settings)
    supervisor = Supervisor(
        [
            [
                "simulator",
                "--child",
                "--host",
                HOST,
                "--port",
                str(whatsapp_port),
                "--token",
                TOKEN,
            ],
            ["api", "--child", "--host", HOST, "--port", str(port)],
            ["worker", "--child"],
        ],
        settings.to_environment(),
    )
    supervisor.watch_aside()
    url = f"http://{HOST}:{port}"
    try:
        with (
            Client(url, api_key=settings.api_key) as client,
            httpx.Client(base_url=settings.whatsapp_base_url) as whatsapp,
        ):
            try:
                _wait_until_up(client, whatsapp, supervisor)
                _demonstrate(console, client, whatsapp, contacts)
            except (DemoFailed, ServiceError, httpx.HTTPError) as failure:
                console.print(f"[red]The demonstration failed: {failure}[/red]")
                return 1
            console.print(f"\nThe history lies in [bold]{settings.data_dir}[/bold]; look again:")
            console.print(
                f"  flowkit up --data {shlex.quote(str(settings.data_dir))}", soft_wrap=True
            )
            if keep:
                console.print(
                    f"\nThe service is at [bold]{url}[/bold] (documentation: {url}/api/docs)"
                )
                console.print(f"key: {settings.api_key}", soft_wrap=True)
                console.print(
                    f"WhatsApp simulator: {settings.whatsapp_base_url}/_simulator/messages"
                )
                console.print("Ctrl-C ends it.")
                _until_interrupted()
        return 0
    finally:
        supervisor.stop()


def _demonstrate(console: Console, client: Client, whatsapp: httpx.Client, contacts: int) -> None:
    problems = errors(abandoned_cart.validate())
    if problems:
        raise DemoFailed("; ".join(map(str, problems)))
    flow = client.push(abandoned_cart, activate=True)
    # Not those of a demonstration before this one, on the same data.
    ours = {"flow": flow, "since": SystemClock().now()}
    console.print(
        f"[bold]{flow.name}[/bold]: {len(flow.nodes)} nodes, version {flow.version}, active"
    )

    bodies = list(checkouts(contacts))
    rejected = [body["customer"]["phone"] for body in bodies[::REJECTED_EVERY]]
    rule = {"to": rejected, "text": VOUCHER, "code": 131026}
    whatsapp.post("/_simulator/rules", json=rule).raise_for_status()

    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
    ) as progress:
        posting = progress.add_task("webhooks accepted", total=contacts)
        with ThreadPoolExecutor(SENDERS) as pool:
            for _ in pool.map(lambda body: client.trigger("cart_abandoned", body), bodies):
                progress.advance(posting)
        running = progress.add_task("executions ended ", total=contacts)
        executions = _settled(
            client, ours, contacts, lambda n: progress.update(running, completed=n)
        )
    _show(console, client, ours, executions, "After the first run")
    _expect(executions, completed=contacts - len(rejected), failed=len(rejected))

    console.print(f"\nThe voucher was refused to {len(rejected)} contacts. Lifting that; retrying.")
    whatsapp.delete("/_simulator/rules").raise_for_status()
    for execution_id in executions.loc[executions["status"] == "failed", "execution_id"]:
        client.retry(str(execution_id), ["voucher"])
    executions = _settled(client, ours, contacts, lambda n: None)
    _show(console, client, ours, executions, "After the retry")
    _expect(executions, completed=contacts, failed=0)

    _show_messages(console, _received(whatsapp, set(executions["execution_id"])), contacts)


def _wait_until_up(client: Client, whatsapp: httpx.Client, supervisor: Supervisor) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            client.health()
            whatsapp.get("/_simulator/rules").raise_for_status()
            return
        except (ServiceError, httpx.HTTPError) as error:
            if supervisor.status or time.monotonic() > deadline:
                raise DemoFailed(f"the service did not start: {error}") from error
            time.sleep(0.05)


def _settled(client: Client, ours: dict[str, Any], contacts: int, tell: Any) -> pd.DataFrame:
    """Wait until every execution has ended, and return their frame."""
    deadline = time.monotonic() + SETTLE_SECONDS + 0.02 * contacts
    while True:
        executions = client.executions(**ours)
        ended = int(executions["ended_at"].notna().sum())
        tell(ended)
        if ended >= contacts:
            return executions
        if time.monotonic() > deadline:
            statuses = dict(executions["status"].value_counts())
            raise DemoFailed(f"of {contacts} executions only {ended} ended in time: {statuses}")
        time.sleep(0.2)


def _expect(executions: pd.DataFrame, **expected: int) -> None:
    found = Counter(executions["status"])
    if any(found[status] != number for status, number in expected.items()):
        raise DemoFailed(f"expected {expected}, found {dict(found)}")


def _show(
    console: Console,
    client: Client,
    ours: dict[str, Any],
    executions: pd.DataFrame,
    title: str,
) -> None:
    by_status = executions["status"].value_counts().sort_index()
    _print(console, f"{title}: executions by status", ("status", "executions"), by_status.items())
    table = node_table(client.node_runs(**ours))
    _print(
        console,
        f"{title}: nodes",
        ("node", "entered", "completed", "failed", "median ms"),
        (
            (row.node_id, row.entered, row.completed, row.failed, _ms(row.median_duration))
            for row in table.itertuples()
        ),
    )


def _received(whatsapp: httpx.Client, execution_ids: set[str]) -> list[dict[str, Any]]:
    """Return what the simulator has on record of these executions."""
    messages: list[dict[str, Any]] = []
    since: Any = 0
    while since is not None:
        page = whatsapp.get("/_simulator/messages", params={"since": since}).json()
        messages += page["items"]
        since = page["nextCursor"]
    return [m for m in messages if str(m["callbackData"]).partition("_")[0] in execution_ids]


def _ms(duration: Any) -> str:
    return "" if pd.isna(duration) else f"{duration.total_seconds() * 1000:,.0f}"


def _show_messages(console: Console, messages: list[dict[str, Any]], contacts: int) -> None:
    accepted = [m for m in messages if m["status"] == "accepted"]
    kinds = Counter((m["type"], m["status"]) for m in messages)
    rows = ((kind, status, number) for (kind, status), number in sorted(kinds.items()))
    _print(console, "Messages that the simulator received", ("type", "status", "messages"), rows)
    console.print("for example:")
    for message in accepted[:2] + accepted[-2:]:
        said = json.dumps(message["body"][message["type"]], ensure_ascii=False)
        console.print(f"  to {message['to']}  {said}", overflow="ellipsis", no_wrap=True)
    per_contact = Counter(message["to"] for message in accepted)
    if len(per_contact) != contacts or set(per_contact.values()) != {4}:
        raise DemoFailed("each contact should have got four messages, each once")


def _print(console: Console, title: str, columns: tuple[str, ...], rows: Any) -> None:
    console.print(f"\n[bold]{title}[/bold]")
    table = Table()
    for i, column in enumerate(columns):
        table.add_column(column, justify="left" if i == 0 else "right")
    for row in rows:
        table.add_row(*map(str, row))
    console.print(table)


def _until_interrupted() -> None:
    try:
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:
        sys.stdout.write("\n")
