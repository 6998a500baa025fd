"""docker-compose.yml and the image: no container runs here, so what they say is run without one.

Not judged here: the images of MongoDB and Redis themselves, mongosh, and Docker.
"""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jsonschema
import pytest
import yaml

from flowkit.testing import SIMPLE
from service.app import create_app
from service.cli import cli
from service.settings import PREFIX, Settings
from service.store.sqlite import SqliteStore
from tests.processes import KEY, ROOT, Installation, installation, until
from tests.servers.redis import RedisServer
from tests.servers.runtime import need

COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))
SERVICES: dict[str, Any] = COMPOSE["services"]
OURS = [name for name, service in SERVICES.items() if service["image"] == "flowkit"]
DOCKERFILE = (ROOT / "service" / "Dockerfile").read_text("utf-8")
GIVEN = {f"{PREFIX}API_KEY": KEY}
"""What a user sets."""


def environment(name: str) -> dict[str, str]:
    """Return the environment of a service, as Compose fills in its variables."""

    def fill(match: re.Match[str]) -> str:
        variable, operator, rest = match.groups()
        if operator == ":?":
            return GIVEN[variable]
        return GIVEN.get(variable, rest)

    return {
        name: re.sub(r"\$\{(\w+)(:[?-])([^}]*)\}", fill, str(value))
        for name, value in SERVICES[name].get("environment", {}).items()
    }


def parse(words: list[str]) -> None:
    """Parse a command line of ours, without running it."""
    cli.commands[words[0]].make_context(words[0], words[1:])


def instructions(name: str) -> list[str]:
    """Return the arguments of an instruction of the Dockerfile, wherever it stands."""
    return re.findall(rf"^{name} (.*)$", DOCKERFILE, re.MULTILINE)


# ----------------------------------------------------------------------- what is written


def test_it_is_a_compose_file() -> None:
    schema = json.loads(Path(__file__).with_name("compose-spec.schema.json").read_text("utf-8"))
    jsonschema.Draft202012Validator(schema).validate(COMPOSE)


def test_the_services_are_those_of_production() -> None:
    assert SERVICES.keys() == {"mongodb", "redis", "api", "worker"}
    assert SERVICES["worker"]["deploy"]["replicas"] == 2
    assert OURS == ["api", "worker"]
    for name, service in SERVICES.items():
        assert service["healthcheck"]["test"], f"{name} has no health check"
    named = {v.partition(":")[0] for s in SERVICES.values() for v in s.get("volumes", [])}
    assert named == COMPOSE["volumes"].keys()


@pytest.mark.parametrize("name", OURS)
def test_the_program_takes_its_command_and_settings(name: str) -> None:
    parse(SERVICES[name]["command"])
    _, program, *words = SERVICES[name]["healthcheck"]["test"]
    if program == "flowkit":
        parse(words)
    settings = Settings.from_environment(environment(name))
    assert settings.api_key == KEY
    assert urlsplit(settings.mongodb_url).hostname == "mongodb"
    assert urlsplit(settings.redis_url).hostname == "redis"


@pytest.mark.parametrize("name", OURS)
def test_it_holds_no_secret(name: str) -> None:
    secret = {f"{PREFIX}{f.name.upper()}" for f in fields(Settings) if not f.repr}
    for variable, value in SERVICES[name]["environment"].items():
        if variable in secret and not value.startswith("${"):
            assert urlsplit(value).password is None, variable
            assert urlsplit(value).scheme, f"{variable} is a secret and is no address"


def test_the_replica_set_is_the_one_that_is_asked_for() -> None:
    address = urlsplit(environment("api")[f"{PREFIX}MONGODB_URL"])
    (replica_set,) = parse_qs(address.query)["replicaSet"]
    command = SERVICES["mongodb"]["command"]
    assert command[command.index("--replSet") + 1] == replica_set
    script = SERVICES["mongodb"]["healthcheck"]["test"][-1]
    assert f'_id: "{replica_set}"' in script
    assert f'host: "{address.netloc}"' in script


def test_the_image_installs_what_the_settings_need() -> None:
    (run,) = [line for line in instructions("RUN") if "pip install" in line]
    requirement = shlex.split(run)[-1]
    extras = set(re.fullmatch(r"\.\[(.*)\]", requirement)[1].split(","))  # type: ignore[index]
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert extras == {"service", "redis", "mongodb"}
    assert extras <= declared["optional-dependencies"].keys()
    for copied in instructions("COPY"):
        *sources, _ = [word for word in copied.split() if not word.startswith("--")]
        assert "--from" in copied or all((ROOT / source).exists() for source in sources)
    ignored = (ROOT / ".dockerignore").read_text("utf-8").split()
    for source in ("pyproject.toml", "README.md", "LICENSE", "flowkit", "service"):
        assert f"!{source}" in ignored


def test_the_image_runs_the_program_and_not_as_root() -> None:
    assert json.loads(instructions("ENTRYPOINT")[0]) == ["flowkit"]
    parse(json.loads(instructions("CMD")[0]))
    assert instructions("USER") == ["flowkit"]
    for words in instructions("ENV"):
        given = dict(word.split("=") for word in words.split())
        Settings.from_environment(given)
        assert given[f"{PREFIX}DATA_DIR"] in instructions("VOLUME")


def test_the_address_of_the_health_check_exists(tmp_path: Path) -> None:
    (url,) = re.findall(r"http://[^\"]*", " ".join(SERVICES["api"]["healthcheck"]["test"]))
    address = urlsplit(url)
    command = SERVICES["api"]["command"]
    assert command[command.index("--port") + 1] == str(address.port)
    assert instructions("EXPOSE") == [str(address.port)]
    assert all(port.endswith(f":{address.port}") for port in SERVICES["api"]["ports"])
    store = SqliteStore(tmp_path / "flowkit.db")
    app = create_app(Settings(data_dir=tmp_path, api_key=KEY), store)
    assert app.test_client().get(address.path).status_code == 200
    store.close()


# ------------------------------------------------------------------------- what is run


class ComposedRedis(RedisServer):
    """Redis by the command of the file."""

    def command(self) -> list[str]:
        here = ["--port", str(self.port), "--dir", str(self.directory)]
        return [*SERVICES["redis"]["command"], *here]


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[ComposedRedis]:
    need(programs=("redis-cli",))
    server = ComposedRedis(tmp_path)
    yield server
    server.kill()


@pytest.fixture
def here(tmp_path: Path, redis: ComposedRedis, mongodb_url: str) -> Iterator[Installation]:
    yield from installation(tmp_path, redis_url=redis.url, mongodb_url=mongodb_url)


def healthy(name: str, here: Installation, port: int) -> bool:
    """Run a service's health check, for servers that listen on a port of this test's."""
    kind, *words = SERVICES[name]["healthcheck"]["test"]
    words = [word.replace(":5000/", f":{port}/") for word in words]
    if kind == "CMD-SHELL":
        words = ["sh", "-c", words[0].replace("redis-cli", f"redis-cli -p {port}")]
    elif words[0] == "flowkit":
        words = [sys.executable, "-m", "service", *words[1:]]
    elif words[0] == "python":
        words[0] = sys.executable
    return not subprocess.run(words, env=here.environment, capture_output=True).returncode


def test_the_commands_make_a_service(redis: ComposedRedis, here: Installation) -> None:
    assert healthy("redis", here, redis.port)
    assert not healthy("api", here, here.port)
    assert not healthy("worker", here, here.port)
    api = here.start(*SERVICES["api"]["command"], "--port", str(here.port))
    workers = [here.start(*SERVICES["worker"]["command"]) for _ in range(2)]
    for name in OURS:
        until(lambda: healthy(name, here, here.port), what=f"{name} is healthy")  # noqa: B023
    assert here.client.get("/readyz").json() == {"status": "ok"}
    document = SIMPLE.to_dict() | {"isActive": True}
    del document["id"]
    here.client.post("/api/flows", json=document).raise_for_status()
    (started,) = here.trigger([{"contact": {"id": "c1", "phone": "+5511900000001"}}])

    def ended() -> bool:
        execution = here.client.get(f"/api/executions/{started}").json()
        return execution["status"] in ("completed", "failed")  # without WhatsApp it fails

    until(ended, what="a worker runs it")
    redis.kill()
    assert not healthy("redis", here, redis.port)
    assert healthy("api", here, here.port)  # degraded, but it serves
    assert [here.stop(process) for process in (api, *workers)] == [0, 0, 0]
