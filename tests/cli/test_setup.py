"""What keeps the program from starting is one clear line and exit status 2; its key; its help."""

from __future__ import annotations

import json
import socket
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from flowkit.errors import SettingsError
from flowkit.testing import at_once
from service.settings import Settings
from service.store.sqlite import SqliteStore
from tests.cli.program import CLEAN, called, flowkit, refused

HEAVY = ("pandas", "flask", "granian", "huey", "rich", "marshmallow", "httpx", "liquid", "sqlite3")


# ------------------------------------------------------------------ the program


def test_help_loads_nothing_that_it_does_not_need() -> None:
    code = (
        "import json, sys; sys.argv = ['flowkit', '--help']\n"
        "from service.cli import main\n"
        "try: main()\n"
        "except SystemExit: sys.stderr.write(json.dumps(sorted(sys.modules)))\n"
    )
    process = subprocess.run(
        [sys.executable, "-c", code], env=CLEAN, capture_output=True, text=True, check=True
    )
    loaded = set(json.loads(process.stderr))
    assert not loaded & set(HEAVY)
    for command in ("demo", "up", "api", "worker", "simulator", "archive", "validate"):
        assert f"\n  {command} " in process.stdout


def test_the_command_is_the_module() -> None:
    script = Path(sys.executable).with_name("flowkit")
    command = subprocess.run(
        [script, "--help"], env=CLEAN, capture_output=True, text=True, check=True
    )
    module = flowkit("--help")
    assert module.returncode == 0
    assert module.stdout.splitlines()[1:] == command.stdout.splitlines()[1:]


def test_a_command_that_does_not_exist_is_status_2() -> None:
    assert called("dance").returncode == 2
    assert called("up", "--port", "0").returncode == 2


@pytest.mark.parametrize("command", ["up", "api", "simulator"])
def test_a_port_that_is_taken(tmp_path: Path, command: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        line = refused(command, "--port", port, FLOWKIT_DATA_DIR=str(tmp_path / "data"))
    assert f"127.0.0.1:{port}" in line


def test_a_host_that_is_not_this_machine(tmp_path: Path) -> None:
    line = refused("up", "--host", "203.0.113.1", FLOWKIT_DATA_DIR=str(tmp_path / "data"))
    assert "cannot listen on 203.0.113.1:5000" in line


@pytest.mark.parametrize("command", ["up", "worker", "demo"])
def test_a_data_directory_that_cannot_be_written(tmp_path: Path, command: str) -> None:
    (tmp_path / "file").touch()
    assert "file" in refused(command, "--data", tmp_path / "file" / "data")
    if command == "up":
        assert "FLOWKIT_DATA_DIR" in refused(command, "--data", tmp_path / "file")


@pytest.mark.parametrize("command", ["up", "api", "worker", "demo"])
def test_a_store_of_a_newer_version(tmp_path: Path, command: str) -> None:
    SqliteStore(tmp_path / "flowkit.db").close()
    connection = sqlite3.connect(tmp_path / "flowkit.db")
    connection.execute("PRAGMA user_version=99")
    connection.close()
    assert "schema 99" in refused(command, "--data", tmp_path)


def test_a_queue_that_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "queue.db").write_bytes(b"not a database" * 100)
    assert "queue.db" in refused("up", "--data", tmp_path)


def test_a_setting_that_is_wrong(tmp_path: Path) -> None:
    line = refused("up", FLOWKIT_LEASE_SECOND="5", FLOWKIT_DATA_DIR=str(tmp_path))
    assert "FLOWKIT_LEASE_SECOND is not a setting" in line
    assert "FLOWKIT_LEASE_SECONDS" in line, "the one that was meant is among those it names"
    assert not list(tmp_path.iterdir())


# ------------------------------------------------------------------- the settings


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("SWEEP_SECONDS", "soon", "a number"),
        ("SWEEP_SECONDS", "nan", "from 0.05 to 60"),
        ("LEASE_SECONDS", "0.4", "from 0.5 to 3600"),
        ("LEASE_SECONDS", "inf", "from 0.5 to 3600"),
        ("EFFECT_CONCURRENCY", "1.5", "a whole number"),
        ("EFFECT_CONCURRENCY", "0", "from 1 to 256"),
        ("FORK_QUEUE_LIMIT", "1", "from 2"),
        ("CLAIM_BATCH", "1001", "to 1000"),
        ("API_KEY", "short", "malformed"),
        ("API_KEY", "a key with spaces", "malformed"),
        ("REDIS_URL", "localhost:6379", "malformed"),
        ("MONGODB_URL", "localhost:27017", "malformed"),
        ("MONGODB_URL", "http://localhost", "malformed"),
        ("STORE_WAIT_SECONDS", "-1", "from 0"),
        ("LOG_LEVEL", "LOUD", "DEBUG"),
        ("WHATSAPP_BASE_URL", "graph.facebook.com", "malformed"),
        ("WHATSAPP_TOKEN", "read with its newline\n", "malformed"),
        ("WHATSAPP_APP_SECRET", "secrét", "malformed"),
        ("WHATSAPP_PHONE_NUMBER_ID", "+55 11", "malformed"),
        ("WHATSAPP_API_VERSION", "25", "malformed"),
        ("PAYLOAD_LIMIT_BYTES", "2000000", "BODY_LIMIT_BYTES"),
        ("TYPO", "x", "FLOWKIT_TYPO is not a setting"),
    ],
)
def test_a_setting_out_of_bounds_is_refused_by_name(name: str, value: str, said: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.from_environment({f"FLOWKIT_{name}": value, "HOME": "/root"})
    message = str(caught.value)
    assert f"FLOWKIT_{name}" in message
    assert said in message


def test_no_error_shows_a_secret() -> None:
    for name in ("API_KEY", "REDIS_URL", "MONGODB_URL", "WHATSAPP_TOKEN", "WHATSAPP_APP_SECRET"):
        with pytest.raises(SettingsError) as caught:
            Settings.from_environment({f"FLOWKIT_{name}": "the secret\n"})
        assert "the secret" not in str(caught.value)


def test_no_settings_show_a_secret() -> None:
    names = ("api_key", "whatsapp_token", "whatsapp_app_secret", "whatsapp_verify_token")
    shown = repr(Settings(**dict.fromkeys(names, "hush-hush")))
    assert "hush-hush" not in shown


def test_a_setting_that_is_empty_is_not_set() -> None:
    assert (
        Settings.from_environment({"FLOWKIT_REDIS_URL": "", "FLOWKIT_DATA_DIR": ""}) == Settings()
    )


def test_settings_pass_through_the_environment_unchanged(tmp_path: Path) -> None:
    settings = Settings(
        data_dir=tmp_path, api_key="k" * 20, lease_seconds=1.5, claim_batch=7, whatsapp_token="t"
    )
    assert Settings.from_environment(settings.to_environment()) == settings


def test_an_option_with_the_value_of_a_default_is_passed_on_against_a_variable() -> None:
    variables = {"FLOWKIT_EFFECT_CONCURRENCY": "4"} | Settings().to_environment()
    assert Settings.from_environment(variables) == Settings()


# ------------------------------------------------------------------------ the key


def test_the_key_is_made_once_and_for_its_owner_only(tmp_path: Path) -> None:
    key = Settings(data_dir=tmp_path).prepared().api_key
    file = tmp_path / "api-key"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert key == file.read_text()
    assert Settings(data_dir=tmp_path).prepared().api_key == key
    assert [path.name for path in tmp_path.iterdir()] == ["api-key"]


def test_a_key_that_is_set_is_not_kept(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, api_key="given-by-hand").prepared()
    assert settings.api_key == "given-by-hand"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("content", [b"", b"short", b"two words here", b"\xff" * 20, b"k\0" * 9])
def test_a_kept_key_that_is_none_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "api-key").write_bytes(content)
    with pytest.raises(SettingsError, match="api-key holds no key"):
        Settings(data_dir=tmp_path).prepared()


def test_a_key_that_an_editor_ended_with_a_newline(tmp_path: Path) -> None:
    (tmp_path / "api-key").write_text("written-by-hand\n")
    assert Settings(data_dir=tmp_path).prepared().api_key == "written-by-hand"


def test_threads_that_race_get_one_key(tmp_path: Path) -> None:
    for i in range(20):
        settings = Settings(data_dir=tmp_path / str(i))
        keys = at_once(8, lambda _, settings=settings: settings.prepared().api_key)
        assert len(set(keys)) == 1, keys


def test_processes_that_race_get_one_key(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from service.settings import Settings\n"
        "sys.stdin.read()\n"
        "for i in range(50): print(Settings(data_dir=Path(str(i))).prepared().api_key)\n"
    )
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    racers = [
        subprocess.Popen([sys.executable, "-c", code], env=CLEAN, cwd=tmp_path, **pipes)
        for _ in range(3)
    ]
    for racer in racers:
        racer.stdin.close()
    keys = [racer.stdout.read().split() for racer in racers]
    assert [racer.wait(30) for racer in racers] == [0, 0, 0]
    for racer in racers:
        racer.stdout.close()
    assert len(keys[0]) == len(set(keys[0])) == 50
    assert keys[0] == keys[1] == keys[2]
