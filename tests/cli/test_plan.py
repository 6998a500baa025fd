"""``flowkit plan``: status 0 for no change, 2 for changes, 1 for errors; and ``flowkit new``."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import flowkit as fk
from flowkit.gallery import starters
from flowkit.testing import SIMPLE
from service.cli import main
from service.server import free_port
from tests.cli.program import refused
from tests.processes import KEY, Installation, installation

GOOD = 'import flowkit as fk\nflow = fk.Flow("G", trigger="t").delay(days=1).end()\n'
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Return a function that runs the program where files are, as its user does."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FLOWKIT_API_KEY", raising=False)

    def call(*arguments: str) -> tuple[int, str, str]:
        with monkeypatch.context() as patch:
            patch.setattr("sys.path", [*sys.path])
            patch.setattr("sys.argv", ["flowkit", *arguments])
            try:
                main()
                status: object = 0
            except SystemExit as caught:
                status = caught.code
        output = capsys.readouterr()
        return int(str(status or 0)), output.out, output.err

    return call


def test_against_another_file(run: Run) -> None:
    Path("old.py").write_text(GOOD)
    Path("new.py").write_text(GOOD.replace("days=1", "days=2"))
    assert run("plan", "old.py", "--against", "old.py") == (
        0,
        "G: never published\n  no change\n",
        "",
    )
    status, out, err = run("plan", "new.py", "--against", "old.py")
    assert (status, err) == (2, "")
    assert "~ node delay_1 /config/amount: 1 -> 2" in out


def test_templates_of_the_account_are_looked_at(run: Run) -> None:
    text = 'import flowkit as fk\nflow = fk.Flow("G", trigger="t"){}.end()\n'
    Path("old.py").write_text(text.format(""))
    Path("new.py").write_text(text.format('.send(template="hi", language="pt_BR")'))
    Path("templates.json").write_text("[]")
    status, out, _ = run("plan", "new.py", "--against", "old.py")
    assert (status, "template.unknown" in out) == (2, False)
    arguments = ("--against", "old.py", "--templates", "templates.json")
    status, out, _ = run("plan", "new.py", *arguments)
    assert (status, "template.unknown" in out) == (1, True)


def test_a_flow_that_the_other_file_has_not_is_new(run: Run) -> None:
    Path("old.json").write_text(json.dumps(SIMPLE.to_dict()))
    Path("new.py").write_text(GOOD)
    assert run("plan", "new.py", "--against", "old.json") == (2, "G: new, 3 nodes\n", "")


def test_flows_are_found_by_id_first(run: Run) -> None:
    Path("old.json").write_text(json.dumps(SIMPLE.to_dict()))
    Path("new.json").write_text(json.dumps(SIMPLE.replace(name="Renamed").to_dict()))
    status, out, _ = run("plan", "new.json", "--against", "old.json")
    assert status == 2
    assert '~ flow /name: "Simple" -> "Renamed"' in out


def test_errors_are_status_1(run: Run) -> None:
    Path("flow.py").write_text(GOOD + 'draft = fk.Flow("D", trigger="t")\n')
    Path("none.json").write_text("[]")
    status, out, _ = run("plan", "flow.py", "--against", "flow.py")
    assert (status, out.count("no change")) == (1, 2)
    assert run("plan", "none.json", "--against", "none.json")[0] == 1
    assert run("plan", "missing.py", "--against", "none.json")[0] == 1
    status, _, err = run("plan", "flow.py")
    assert (status, "--key or FLOWKIT_API_KEY" in err) == (1, True)


def test_a_service_that_is_not_there_is_status_1(run: Run) -> None:
    Path("flow.py").write_text(GOOD)
    url = f"http://127.0.0.1:{free_port()}"
    status, _, err = run("plan", "flow.py", "--url", url, "--key", "k")
    assert (status, len(err.splitlines())) == (1, 1)
    assert "cannot reach" in err


class TestSimulation:
    """A flow that changes is simulated beside the one that it replaces."""

    @pytest.fixture
    def here(self, tmp_path: Path) -> Iterator[Installation]:
        yield from installation(tmp_path)

    def test_for_the_contacts_that_a_service_has_recorded(
        self, run: Run, here: Installation
    ) -> None:
        here.start_api()
        target = ("--url", here.url, "--key", KEY)
        with fk.Client(here.url, api_key=KEY) as client:
            old = fk.Flow("G", trigger="t").delay(days=1).send(text="Hi", id="hi").end()
            client.push(old)
            for number in range(3):
                contact = {"id": f"c{number}", "phone": "+5511999990000"}
                client.trigger("t", {"contact": contact})
        Path("new.py").write_text(
            'import flowkit as fk\nflow = fk.Flow("G", trigger="t").delay(days=1).end()\n'
        )
        status, out, err = run("plan", "new.py", *target, "--contacts", "2")
        assert (status, err) == (2, "")
        assert "\n  executions: 3 running stay in version 1 until they end\n" in out
        assert "\n  simulated: 2 recorded triggers; seed 0; every message is taken" in out
        assert "\n  2 executions of 2 triggers: 2 by another way\n  messages 2 -> 0\n" in out
        assert "\n    hi       100.0 % -> 0.0 %  2 -> 0   2 -> 0  0\n" in out
        assert run("plan", "new.py", *target, "--contacts", "2")[1] == out
        _, out, _ = run("plan", "new.py", *target, "--no-simulation")
        assert "simulated" not in out

    def test_with_the_flows_that_it_runs(self, run: Run, here: Installation) -> None:
        part = 'fk.Flow("P", trigger="p", id="part").send(text="Part", id="say").end()'
        whole = 'fk.Flow("W", trigger="w").subflow("part", 1).delay(days={}).end()'
        file = "import flowkit as fk\npart = {}\nwhole = {}\n"
        Path("old.py").write_text(file.format(part, whole.format(1)))
        Path("new.py").write_text(file.format(part, whole.format(2)))
        _, out, _ = run("plan", "new.py", "--against", "old.py", "--contacts", "3")
        assert "3 executions of 3 triggers: 3 at other times" in out

        here.start_api()
        with fk.Client(here.url, api_key=KEY) as client:
            part = client.push(fk.Flow("P", trigger="p").send(text="Part", id="say").end())
            whole = whole.replace('"part"', f'"{part.id}"')
            client.push(fk.Flow("W", trigger="w").subflow(part.id, 1).delay(days=1).end())
            draft = client.push(fk.Flow("D", trigger="d").send(text="No end"), activate=False)
        whole = whole.replace(".delay(", f'.start_flow("{draft.id}").delay(')
        Path("new.py").write_text(f"import flowkit as fk\nwhole = {whole.format(2)}\n")
        target = ("--url", here.url, "--key", KEY)
        status, out, err = run("plan", "new.py", *target, "--contacts", "3")
        assert (status, err) == (2, "")
        assert "3 executions of 3 triggers: 3 by another way" in out  # the draft counts as started

    def test_for_contacts_that_are_made_up(self, run: Run) -> None:
        Path("old.py").write_text(GOOD)
        Path("new.py").write_text(GOOD.replace("days=1", "days=2"))
        arguments = ("plan", "new.py", "--against", "old.py", "--contacts", "7", "--seed", "3")
        status, out, err = run(*arguments)
        assert (status, err) == (2, "")
        assert "7 contacts made up, since no trigger is recorded; seed 3" in out
        assert "7 executions of 7 triggers: 7 at other times" in out
        assert run("plan", "new.py", "--against", "old.py", "--contacts", "0")[0] == 2


class TestNew:
    """A starter flow is written to a file that was not there."""

    @pytest.mark.parametrize("name", starters())
    def test_it_is_written_and_valid(self, name: str, run: Run) -> None:
        status, _, err = run("new", "--from", name, "mine.py")
        assert (status, err) == (0, "")
        status, said, _ = run("validate", "mine.py")
        assert (status, said.startswith("mine.py: flow: ")) == (0, True), said

    def test_it_is_printed_where_there_is_no_file(self, run: Run) -> None:
        run("new", "--from", "win-back", "flow.py")
        assert run("new", "--from", "win-back")[1] == Path("flow.py").read_text()

    def test_they_are_listed(self, run: Run) -> None:
        status, out, _ = run("new", "--list")
        assert status == 0
        assert any(line.startswith("abandoned-cart ") for line in out.splitlines())
        status, listed, err = run("new")
        assert (status, listed) == (2, out)
        assert "--from NAME" in err

    def test_nothing_is_overwritten(self, run: Run) -> None:
        Path("mine.py").write_text("precious")
        status, _, err = run("new", "--from", "win-back", "mine.py")
        assert (status, "cannot write mine.py" in err) == (2, True)
        assert Path("mine.py").read_text() == "precious"


def test_a_starter_flow_that_is_not_there() -> None:
    assert "there are abandoned-cart" in refused("new", "--from", "nothing")
