"""The settings of an installation, read once from ``FLOWKIT_*`` environment variables.

Owns every setting's name, default and bounds: the variable of a field is its name in upper
case behind ``FLOWKIT_``. May import the standard library and `flowkit.errors`.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from flowkit.errors import SettingsError

PREFIX = "FLOWKIT_"


def _setting(
    default: Any,
    *,
    help: str,
    ge: float | None = None,
    le: float | None = None,
    pattern: str | None = None,
    secret: bool = False,
) -> Any:
    return field(
        default=default,
        repr=not secret,
        metadata={"help": help, "ge": ge, "le": le, "pattern": pattern},
    )


URL = r"https?://[^\s/]+(/\S*)?"
VISIBLE = r"[!-~]{1,4096}"
"""What a header can carry: a secret that was read with its newline is refused here."""
KEY = r"[!-~]{8,256}"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Every setting, with its default; checked when it is made."""

    data_dir: Path = _setting(  # noqa: RUF009 - a declaration
        Path("flowkit-data"), help="directory of store, queue and key"
    )
    api_key: str | None = _setting(
        None, help="key that clients present; made and kept when absent", secret=True,
        pattern=KEY,
    )  # fmt: skip
    mongodb_url: str | None = _setting(
        None, help="MongoDB store in place of SQLite", secret=True,
        pattern=r"mongodb(\+srv)?://\S+",
    )  # fmt: skip
    redis_url: str | None = _setting(
        None, help="Redis queue in place of SQLite", secret=True, pattern=r"rediss?://\S+|unix://\S+"
    )  # fmt: skip
    store_wait_seconds: float = _setting(
        60.0, help="how long a start waits for the store's server", ge=0, le=3600
    )
    lease_seconds: float = _setting(
        30.0, help="how long a claim holds; an effect gets two thirds", ge=0.5, le=3600
    )
    sweep_seconds: float = _setting(1.0, help="longest sleep of a worker", ge=0.05, le=60)
    fork_queue_limit: int = _setting(10, help="forks from here on are shared", ge=2, le=10_000)
    effect_concurrency: int = _setting(16, help="effects at once in a worker", ge=1, le=256)
    claim_batch: int = _setting(100, help="branches claimed at once", ge=1, le=1_000)
    trigger_sync_limit: int = _setting(10, help="flows for which ?wait=true waits", ge=0, le=1_000)
    broadcast_limit: int = _setting(
        1_000_000, help="most recipients of a broadcast", ge=1, le=100_000_000
    )
    body_limit_bytes: int = _setting(1_048_576, help="largest request body", ge=1_024, le=2**28)
    payload_limit_bytes: int = _setting(262_144, help="largest trigger payload", ge=256, le=2**24)
    result_limit_bytes: int = _setting(16_384, help="largest result of a node", ge=256, le=2**22)
    execution_limit_bytes: int = _setting(
        2**20, help="largest execution: payload and history", ge=2**16, le=2**23
    )
    retention_days: int = _setting(
        90, help="how long an ended execution is kept; 0 for ever", ge=0, le=36_500
    )
    archive_url: str | None = _setting(
        None, help="where executions are archived, instead of expiring", pattern=r"\S+"
    )
    idempotency_hours: int = _setting(
        24, help="how long a trigger's idempotency key is kept", ge=1, le=8_760
    )
    log_level: str = _setting(
        "INFO", help="least severe messages that are logged", pattern="DEBUG|INFO|WARNING|ERROR"
    )
    http_allow_private: bool = _setting(
        False, help="whether HTTP_REQUEST reaches addresses that are not public"
    )
    whatsapp_base_url: str = _setting(
        "https://graph.facebook.com", help="where the Cloud API is", pattern=URL
    )
    whatsapp_token: str | None = _setting(None, help="access token", secret=True, pattern=VISIBLE)
    whatsapp_phone_number_id: str | None = _setting(
        None, help="id of the sending number", pattern=r"\d{1,32}"
    )
    whatsapp_api_version: str = _setting("v25.0", help="Graph API version", pattern=r"v\d+\.\d+")
    whatsapp_app_secret: str | None = _setting(
        None, help="signs webhooks", secret=True, pattern=VISIBLE
    )
    whatsapp_verify_token: str | None = _setting(
        None, help="verifies webhooks", secret=True, pattern=VISIBLE
    )

    def __post_init__(self) -> None:
        for f in fields(self):
            value = getattr(self, f.name)
            rule = f.metadata
            name = PREFIX + f.name.upper()
            if value is None:
                continue
            if rule["ge"] is not None and not rule["ge"] <= value <= rule["le"]:
                raise SettingsError(
                    f"{name} is {value}: it must be from {rule['ge']} to {rule['le']}"
                )
            if rule["pattern"] and not re.fullmatch(rule["pattern"], value):
                raise SettingsError(f"{name} is malformed: it must match {rule['pattern']}")
        if self.payload_limit_bytes > self.body_limit_bytes:
            raise SettingsError(
                f"{PREFIX}PAYLOAD_LIMIT_BYTES is more than {PREFIX}BODY_LIMIT_BYTES"
            )
        if 0 < self.retention_days * 24 < self.idempotency_hours:
            # A redelivery whose execution is gone would start it again.
            raise SettingsError(f"{PREFIX}RETENTION_DAYS is shorter than {PREFIX}IDEMPOTENCY_HOURS")

    @property
    def expires_after_days(self) -> int | None:
        """How long after their end executions expire; None when they stay, or are archived."""
        return None if self.archive_url else self.retention_days or None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Settings:
        """Read the settings.

        Parameters
        ----------
        environment : mapping, optional
            In place of the process's environment.

        Raises
        ------
        SettingsError
            When a value is malformed or out of bounds, or a ``FLOWKIT_*`` variable is none of
            these settings: a misspelt setting must not be ignored.
        """
        environment = os.environ if environment is None else environment
        hints = typing.get_type_hints(cls)
        known = {PREFIX + f.name.upper(): f.name for f in fields(cls)}
        values: dict[str, Any] = {}
        for variable, text in environment.items():
            if not variable.startswith(PREFIX) or variable in NOT_SETTINGS:
                continue
            if variable not in known:
                raise SettingsError(
                    f"{variable} is not a setting; known are {', '.join(sorted(known))}"
                )
            name = known[variable]
            if text == "":
                continue
            values[name] = _read(variable, hints[name], text)
        return cls(**values)

    def to_environment(self) -> dict[str, str]:
        """Return the variables that make these settings, for child processes.

        What is not set is empty: a child must not take it from its parent's environment.
        """
        values = ((f.name, getattr(self, f.name)) for f in fields(self))
        return {PREFIX + name.upper(): "" if v is None else str(v) for name, v in values}

    def prepared(self) -> Settings:
        """Return the settings with the data directory made, and a key: made once and kept.

        Raises
        ------
        SettingsError
            When the data directory cannot be made or written.
        """
        data_dir = self.data_dir.absolute()
        try:
            data_dir.mkdir(parents=True, exist_ok=True)
            probe = data_dir / f".probe-{os.getpid()}-{secrets.token_hex(4)}"
            probe.touch()
            probe.unlink()
            key = self.api_key or _kept_key(data_dir / "api-key")
        except OSError as error:
            raise SettingsError(
                f"the data directory {data_dir} cannot be written: {error.strerror}; "
                f"set {PREFIX}DATA_DIR or --data"
            ) from error
        return replace(self, data_dir=data_dir, api_key=key)


NOT_SETTINGS = frozenset({"FLOWKIT_FAIL_AT", "FLOWKIT_TEST_MONGODB_URL", "FLOWKIT_TEST_STORE"})
"""Variables of the tests: the first is read by `service.faults`."""


SAID = {"true": True, "1": True, "false": False, "0": False}
"""How a setting says yes or no."""


def _read(variable: str, hint: Any, text: str) -> Any:
    wanted = next(t for t in (typing.get_args(hint) or (hint,)) if t is not type(None))
    if wanted is bool:
        if text.lower() not in SAID:
            raise SettingsError(f"{variable} is {text!r}: it must be true or false")
        return SAID[text.lower()]
    try:
        return wanted(text)
    except ValueError:
        raise SettingsError(
            f"{variable} is {text!r}: it must be "
            f"{'a whole number' if wanted is int else 'a number'}"
        ) from None


def _kept_key(path: Path) -> str:
    """Return the key kept at `path`; the process that comes first makes it."""
    if not path.exists():
        own = path.with_name(f"{path.name}-{os.getpid()}-{secrets.token_hex(4)}")
        descriptor = os.open(own, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_urlsafe(32))
        # A hard link fails when another process was faster, and never shows half a key.
        with contextlib.suppress(FileExistsError):
            os.link(own, path)
        own.unlink()
    key = path.read_text("ascii", errors="replace").strip()
    if not re.fullmatch(KEY, key):
        raise SettingsError(
            f"{path} holds no key of 8 to 256 visible ASCII characters: delete it, and one is made"
        )
    return key
