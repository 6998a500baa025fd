"""``flowkit validate``: status 0 for a flow without errors, 1 with, 2 where there is none."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from flowkit.flow import Flow
from flowkit.testing import SIMPLE
from service.cli import main
from tests.cli.program import flowkit, refused

REPLY = "whatsapp.message"
GOOD = f'import flowkit as fk\ngreeting = fk.Flow("G", trigger="{REPLY}").send(text="Hi").end()\n'


@pytest.fixture
def validate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Any:
    """Return a function that validates a file of that name and content."""

    def run(name: str, content: Any) -> tuple[int, str, str]:
        file = tmp_path / name
        if isinstance(content, bytes):
            file.write_bytes(content)
        elif isinstance(content, str):
            file.write_text(content, "utf-8")
        else:
            file.write_text(json.dumps(content))
        monkeypatch.setattr("sys.path", [*sys.path])
        monkeypatch.setattr("sys.argv", ["flowkit", "validate", str(file)])
        with pytest.raises(SystemExit) as caught:
            main()
        output = capsys.readouterr()
        return int(caught.value.code or 0), output.out, output.err

    return run


def test_a_flow_in_json(validate: Any) -> None:
    status, out, err = validate("flow.json", SIMPLE.to_dict() | {"triggerType": REPLY})
    assert (status, err) == (0, "")
    assert out.rstrip().endswith("flow.json: no problems")


def test_a_flow_in_json_with_a_byte_order_mark(validate: Any) -> None:
    content = b"\xef\xbb\xbf" + json.dumps(SIMPLE.to_dict()).encode()
    assert validate("flow.json", content)[0] == 0


def test_flows_in_python(validate: Any) -> None:
    status, out, err = validate("flows.py", GOOD + 'bad = fk.Flow("B", trigger="t")\n')
    lines = out.splitlines()
    assert (status, err) == (1, "")
    assert lines[0].endswith("flows.py: greeting: no problems")
    assert "flows.py: bad: " in lines[1]
    assert all(line.startswith("  error ") for line in lines[2:])


def test_warnings_alone_are_no_failure(validate: Any) -> None:
    document = SIMPLE.to_dict() | {"triggerType": REPLY}
    document["nodes"][1]["category"] = "LOGIC"
    status, out, _ = validate("flow.json", document)
    assert status == 0
    assert "0 errors, 1 warnings" in out
    assert "  warning " in out


def test_templates_of_the_account(tmp_path: Path) -> None:
    flow = Flow("T", trigger="t").send(template="hi", language="pt_BR").end()
    (tmp_path / "flow.json").write_text(flow.to_json())
    (tmp_path / "templates.json").write_text('{"data": []}')
    process = flowkit(
        "validate", tmp_path / "flow.json", "--templates", tmp_path / "templates.json"
    )
    assert process.returncode == 1
    shown = [line.strip() for line in process.stdout.splitlines()[1:]]
    assert shown == [str(problem) for problem in flow.validate(templates=[])]
    assert "template.unknown" in shown[0]
    (tmp_path / "templates.json").write_text("5")
    said = refused("validate", tmp_path / "flow.json", "--templates", tmp_path / "templates.json")
    assert "templates.type" in said


def test_every_problem_is_shown_with_its_place(validate: Any) -> None:
    document = SIMPLE.to_dict()
    document["nodes"][1]["config"] = {"kind": "text", "text": 5, "colour": "red"}
    status, out, _ = validate("flow.json", document)
    assert status == 1
    assert "2 errors" in out
    assert "/nodes/1/config/text" in out
    assert "/nodes/1/config/colour" in out


@pytest.mark.parametrize("document", [[], 5, None, "text", {}, {"nodes": 1}, {"nodes": [[]]}])
def test_any_json_is_judged(validate: Any, document: Any) -> None:
    status, out, err = validate("flow.json", json.dumps(document))
    assert (status, err) == (1, "")
    assert "  error " in out


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("flow.json", "{", "is not JSON"),
        ("flow.json", "[" * 100_000, "is not JSON"),
        ("flow.json", "", "is not JSON"),
        ("flow.json", b"\xff\xfe\x00", "cannot read"),
        ("flows.py", "import", "SyntaxError"),
        ("flows.py", "1/0", "ZeroDivisionError"),
        ("flows.py", "raise RuntimeError('one\\ntwo')", "one two"),
        ("flows.py", "raise SystemExit(0)", "SystemExit"),
        ("flows.py", "x = 1", "defines no flow"),
        ("flows.py", b"\xff\xfe\x00", "cannot read"),
        ("flows.py", b"\x00", "does not run"),
    ],
)
def test_a_file_that_holds_no_flow(validate: Any, name: str, content: Any, said: str) -> None:
    status, out, err = validate(name, content)
    (line,) = err.splitlines()
    assert (status, out) == (2, "")
    assert line.startswith("flowkit: ")
    assert said in line


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    assert "cannot read" in refused("validate", tmp_path / "nothing.json")
    assert "cannot read" in refused("validate", tmp_path)


def test_a_python_file_runs_as_python_runs_it(tmp_path: Path) -> None:
    """It imports its neighbours, and defines node types of its own with all that belongs to it."""
    (tmp_path / "neighbour.py").write_text("TRIGGER = 't'\n")
    (tmp_path / "flows.py").write_text(
        "from __future__ import annotations\n"
        "import flowkit as fk\n"
        "from flowkit.fields import field\n"
        "from flowkit.nodetype import Context, Next, NodeType\n"
        "from neighbour import TRIGGER\n"
        "class AddTag(NodeType, type='ADD_TAG', category='ACTION', verb='add_tag'):\n"
        "    '''Add a tag.'''\n"
        "    tag: str = field(help='The tag.', min_length=1)\n"
        "    def run(self, ctx: Context) -> Next:\n"
        "        return Next()\n"
        "flow = fk.Flow('F', trigger=TRIGGER).add_tag(tag='x').end()\n"
    )
    process = flowkit("validate", tmp_path / "flows.py")
    assert (process.returncode, process.stderr) == (0, "")
    assert "no problems" in process.stdout


def test_a_terminal_that_cannot_show_every_character(tmp_path: Path) -> None:
    document = SIMPLE.to_dict()
    document["nodes"][1]["id"] = "消息"
    file = tmp_path / "flow.json"
    file.write_text(json.dumps(document))
    process = flowkit("validate", file, PYTHONIOENCODING="latin-1")
    assert (process.returncode, process.stderr) == (1, "")
    assert "\\u6d88\\u606f" in process.stdout
