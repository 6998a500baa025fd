"""The command line: ``flowkit demo``, ``up``, ``worker``, ``validate``, ``plan`` and others.

Owns commands, options and exit statuses: 0 done, 1 not as it should be, 2 cannot run as it is
set up, 3 the store's server does not answer (``plan`` has its own). May import everything of the
service; each command imports what it needs itself.
"""

from __future__ import annotations

import contextlib
import json
import logging
import signal
import sys
import time
import types
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

if TYPE_CHECKING:
    from flowkit.problems import Problem
    from service.settings import Settings
    from service.store.base import Store

data_option = click.option(
    "--data",
    "data_dir",
    type=click.Path(path_type=Path),
    help="Directory of store, queue and key (FLOWKIT_DATA_DIR).",
)
host_option = click.option("--host", default="127.0.0.1", show_default=True)
child_option = click.option("--child", is_flag=True, hidden=True)


def port_option(default: int) -> Any:
    """Return the --port option with its default."""
    return click.option("--port", type=click.IntRange(1, 65535), default=default, show_default=True)


def _begin(data_dir: Path | None, *, child: bool = False) -> Settings:
    """Read the settings, and set up what every process needs."""
    from service.settings import Settings

    settings = Settings.from_environment()
    if data_dir is not None:
        settings = replace(settings, data_dir=data_dir)
    logging.basicConfig(
        level=settings.log_level, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    # Every request to a channel is on record in the node runs.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    if child:
        from service.supervisor import end_with_parent

        end_with_parent()
    return settings


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="flowkit")
def cli() -> None:
    """Define WhatsApp marketing flows, run them durably, read their history."""


@cli.command()
@click.option("--contacts", type=click.IntRange(1, 100_000), default=200, show_default=True)
@click.option("--keep", is_flag=True, help="Leave the service running; print address and key.")
@click.option(
    "--configured", is_flag=True, help="Use the store and queue of the settings, not embedded ones."
)
@data_option
def demo(contacts: int, keep: bool, configured: bool, data_dir: Path | None) -> None:
    """Run the whole system once: 200 abandoned carts, with a WhatsApp simulator."""
    from service.demo.run import run

    sys.exit(run(contacts=contacts, keep=keep, data_dir=data_dir, configured=configured))


@cli.command()
@host_option
@port_option(5000)
@click.option("--workers", type=click.IntRange(1, 64), default=1, show_default=True)
@data_option
def up(host: str, port: int, workers: int, data_dir: Path | None) -> None:
    """Run the API and workers together until interrupted."""
    from service.server import must_be_free
    from service.worker.process import check

    settings = _begin(data_dir).prepared()
    must_be_free(host, port)
    check(settings)
    commands = [["api", "--child", "--host", host, "--port", str(port)]]
    commands += [["worker", "--child"]] * workers
    click.echo(f"flowkit is at http://{host}:{port}  (API documentation: /api/docs)")
    click.echo(f"key:  {settings.api_key}")
    click.echo(f"data: {settings.data_dir}")
    _supervise(commands, settings)


def _supervise(commands: list[list[str]], settings: Settings) -> NoReturn:
    """Run the program several times side by side until interrupted, then exit."""
    from service.supervisor import Supervisor

    supervisor = Supervisor(commands, settings.to_environment())
    signal.signal(signal.SIGTERM, lambda *_: supervisor.ask_to_stop())
    signal.signal(signal.SIGINT, lambda *_: supervisor.ask_to_stop())
    supervisor.watch()
    supervisor.stop()
    sys.exit(supervisor.status)


@cli.command()
@host_option
@port_option(5000)
@data_option
@child_option
def api(host: str, port: int, data_dir: Path | None, child: bool) -> None:
    """Run the API alone."""
    from service.server import must_be_free, serve_api
    from service.worker.process import check

    settings = _begin(data_dir, child=child).prepared()
    must_be_free(host, port)
    check(settings)
    if not child:
        click.echo(f"API at http://{host}:{port}, key: {settings.api_key}")
    serve_api(settings, host, port)


@cli.command()
@click.option("--processes", type=click.IntRange(1, 64), default=1, show_default=True)
@click.option(
    "--threads",
    type=click.IntRange(1, 256),
    help="Effects at once in each process (FLOWKIT_EFFECT_CONCURRENCY).",
)
@click.option("--check", "checks", is_flag=True, help="Only tell whether those here are alive.")
@data_option
@child_option
def worker(
    processes: int, threads: int | None, checks: bool, data_dir: Path | None, child: bool
) -> None:
    """Run a worker alone, in one or several processes."""
    settings = _begin(data_dir, child=child)
    if checks:
        sys.exit(_alive(settings))
    from service.worker.process import check, work

    if threads is not None:
        settings = replace(settings, effect_concurrency=threads)
    settings = settings.prepared()
    if processes == 1:
        work(settings)
    else:
        check(settings)
        _supervise([["worker", "--child"]] * processes, settings)


def _alive(settings: Settings) -> int:
    """Say whether the workers of this machine go on; return the exit status."""
    from service.worker.heartbeat import ages

    patience = max(60.0, 3 * settings.sweep_seconds)  # a store may take half of it to fail
    found = ages(settings.data_dir, now=time.time())
    stuck = [pid for pid, age in found.items() if age > patience]
    if stuck:
        click.echo(f"no sign of life for {patience:.0f} s from worker {stuck[0]}")
    else:
        click.echo(f"{len(found)} worker processes are alive")
    return 1 if stuck or not found else 0


@cli.command()
@host_option
@port_option(5001)
@click.option("--token", default="simulator", show_default=True, help="The token it expects.")
@child_option
def simulator(host: str, port: int, token: str, child: bool) -> None:
    """Run the simulator of the WhatsApp Cloud API alone."""
    from service.server import must_be_free, serve_simulator

    _begin(None, child=child)
    must_be_free(host, port)
    if not child:
        click.echo(f"WhatsApp simulator at http://{host}:{port}, token: {token}")
    serve_simulator(token, host, port)


@cli.group()
def keys() -> None:
    """Keys of the API beside the installation's own, each with a name."""


@keys.command("create")
@click.argument("name")
@data_option
def create_key(name: str, data_dir: Path | None) -> None:
    """Make a key called NAME and print it: it is shown this once, and kept nowhere."""
    from flowkit.clock import SystemClock
    from service.keys import NAME, digest_of, new_key
    from service.store.base import ApiKey

    if not NAME.fullmatch(name):
        raise click.BadParameter("a name is 1 to 64 of A-Z a-z 0-9 _ . @ + -", param_hint="NAME")
    key = new_key()
    with _store(data_dir) as store:
        store.insert_api_key(ApiKey(name, digest_of(key), SystemClock().now()))
    click.echo(key)


@keys.command("list")
@data_option
def list_keys(data_dir: Path | None) -> None:
    """Print the name of each key, and since when there is one."""
    from flowkit.wire import iso

    with _store(data_dir) as store:
        for key in store.list_api_keys():
            click.echo(f"{key.name}\t{iso(key.created_at)}")


@keys.command("delete")
@click.argument("name")
@data_option
def delete_key(name: str, data_dir: Path | None) -> None:
    """Delete the key called NAME; running APIs stop taking it within seconds."""
    with _store(data_dir) as store:
        store.delete_api_key(name)


def _store(data_dir: Path | None) -> contextlib.closing[Store]:
    """Open the store of the settings, to be closed at the end of a block."""
    from service.store.open import open_store

    return contextlib.closing(open_store(_begin(data_dir).prepared()))


@cli.command()
@click.option("--before", help="An age (90d, 12h) or a date; FLOWKIT_RETENTION_DAYS by default.")
@click.option("--to", "url", help="Directory or URL (s3://...); FLOWKIT_ARCHIVE_URL by default.")
@click.option("--dry-run", is_flag=True, help="Only say what would be archived.")
@data_option
def archive(before: str | None, url: str | None, dry_run: bool, data_dir: Path | None) -> None:
    """Move executions that ended long ago into Parquet files, and delete them here."""
    from service.archive_command import run

    run(_begin(data_dir).prepared(), before=before, url=url, dry_run=dry_run)


templates_option = click.option(
    "--templates",
    type=click.Path(path_type=Path),
    help="JSON of the account's message templates, as the Cloud API lists them.",
)


def _templates(file: Path | None) -> Any:
    """Return the message templates of a file, if one is given."""
    from flowkit.errors import Invalid, SettingsError
    from flowkit.validate import read_templates

    try:
        return None if file is None else read_templates(file)
    except Invalid as error:
        raise SettingsError(f"--templates {file}: {error}") from error


@cli.command()
@click.argument("file", type=click.Path(path_type=Path))
@templates_option
def validate(file: Path, templates: Path | None) -> None:
    """Check the flows in FILE (JSON, or Python that defines them) and print their problems."""
    from flowkit.problems import errors
    from flowkit.validate import validate as check

    # A problem quotes the flow, and not every terminal can show every character.
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    known = _templates(templates)
    wrong = False
    for name, document in _documents(file):
        problems = check(document, templates=known)
        wrong = wrong or bool(errors(problems))
        click.echo(f"{name}: {_summary(problems)}")
        for problem in problems:
            click.echo(f"  {problem}")
    sys.exit(1 if wrong else 0)


@cli.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--url", default="http://127.0.0.1:5000", show_default=True, help="The service.")
@click.option("--key", envvar="FLOWKIT_API_KEY", help="Its key (FLOWKIT_API_KEY).")
@click.option(
    "--against",
    type=click.Path(path_type=Path),
    help="Compare with the flows in this file; no service is asked.",
)
@click.option(
    "--contacts",
    type=click.IntRange(min=1),
    default=1_000,
    show_default=True,
    help="For how many of its last contacts a change is simulated; made up where there is none.",
)
@click.option("--seed", default=0, show_default=True, help="Another seed, other chances.")
@click.option("--no-simulation", is_flag=True, help="Only compare; simulate nothing.")
@templates_option
def plan(
    file: Path,
    url: str,
    key: str | None,
    against: Path | None,
    contacts: int,
    seed: int,
    no_simulation: bool,
    templates: Path | None,
) -> None:
    """Tell what pushing the flows in FILE would change; nothing is stored.

    A flow that changes is simulated beside the one that it replaces. The exit status is 0 when
    nothing changes, 2 when something does, and 1 when a flow has errors or the service cannot be
    asked.
    """
    from flowkit.client import Client
    from flowkit.errors import FlowkitError, SettingsError
    from service.plan_command import ERROR, run

    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    chosen: dict[str, Any] = {
        "contacts": 0 if no_simulation else contacts,
        "seed": seed,
        "templates": _templates(templates),
    }
    try:
        if against is not None:
            sys.exit(run(_documents(file), None, _documents(against), **chosen))
        if not key:
            raise SettingsError("plan needs the service's key: give --key or FLOWKIT_API_KEY")
        with Client(url, api_key=key) as client:
            sys.exit(run(_documents(file), client, **chosen))
    except FlowkitError as error:
        click.echo(f"flowkit: {' '.join(str(error).splitlines())}", err=True)
        sys.exit(ERROR)


@cli.command()
@click.argument("file", type=click.Path(path_type=Path), required=False)
@click.option("--from", "name", help="The starter flow, such as abandoned-cart.")
@click.option("--list", "lists", is_flag=True, help="Only tell which starter flows there are.")
def new(file: Path | None, name: str | None, lists: bool) -> None:
    """Write a starter flow into FILE, or print it where there is none; FILE must be new."""
    from flowkit.errors import SettingsError
    from flowkit.gallery import source, starters

    if lists or name is None:
        for starter, about in starters().items():
            click.echo(f"{starter:<24}{about}")
        if not lists:
            raise SettingsError("say which one: flowkit new --from NAME [FILE]")
        return
    text = source(name)
    if file is None:
        click.echo(text, nl=False)
        return
    try:
        with file.open("x", encoding="utf-8") as out:
            out.write(text)
    except OSError as error:
        raise SettingsError(f"cannot write {file}: {error}") from error
    click.echo(f"{file}: try `flowkit validate {file}`")


def _summary(problems: list[Problem]) -> str:
    if not problems:
        return "no problems"
    number = sum(problem.severity == "error" for problem in problems)
    return f"{number} errors, {len(problems) - number} warnings"


def _documents(file: Path) -> list[tuple[str, Any]]:
    """Return the name and document of each flow that a file holds."""
    from flowkit.errors import SettingsError
    from flowkit.flow import Flow

    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"cannot read {file}: {error}") from error
    if file.suffix != ".py":
        try:
            return [(str(file), json.loads(text))]
        except (ValueError, RecursionError) as error:
            raise SettingsError(f"{file} is not JSON: {error}") from error
    # As `python FILE` does it: its neighbours can be imported. A module of its own, since the
    # node types that it may define look for their annotations there.
    module = types.ModuleType("flowkit_flows")
    module.__file__ = str(file)
    sys.modules[module.__name__] = module
    sys.path.insert(0, str(file.parent))
    try:
        exec(compile(text, str(file), "exec"), vars(module))
    except (Exception, SystemExit) as error:
        raise SettingsError(f"{file} does not run: {type(error).__name__}: {error}") from error
    flows = [
        (f"{file}: {name}", value.to_dict())
        for name, value in vars(module).items()
        if isinstance(value, Flow)
    ]
    if not flows:
        raise SettingsError(f"{file} defines no flow: assign one to a name at its top level")
    return flows


def main() -> None:
    """Run the command line; what keeps it from running is one line and exit status 2 or 3."""
    try:
        cli()
    except Exception as error:
        from flowkit.errors import FlowkitError, StoreUnavailable

        if not isinstance(error, FlowkitError):
            raise
        click.echo(f"flowkit: {' '.join(str(error).splitlines())}", err=True)
        sys.exit(3 if isinstance(error, StoreUnavailable) else 2)
