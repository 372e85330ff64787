"""What a tool needs to join in with a running installation: `status.json` in its data directory.

The fields are a promise (docs: the `lostphone status --json` command). The file holds passwords and a token of the
embedded stack, so only its owner can read it.
"""

import os
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from lostphone.private_file import replace_private
from lostphone.sources import Part, Source

DATA_VARIABLE = "LOSTPHONE_DATA"
DEFAULT_DATA = Path(".lostphone/data")
FILE = "status.json"
INSTALLATION = "installation.json"
"""The file by which a directory is known as ours."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class Kafka(_Part):
    """Where the broker is, and how a client signs in there. Passwords stand in the files of `clients` alone, which
    only their owner can read: principal → settings of librdkafka, with those of Kafka's own tools beside them."""

    bootstrap: str
    security_protocol: Literal["PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    sasl_mechanism: str | None = None
    ca_file: str | None = None
    clients: dict[str, str] = {}


class Database(_Part):
    """How a service reaches its schema."""

    dsn: str


class PublicKey(_Part):
    """A key that signs events: standard base64 of its 32 bytes, and the only service that may use it."""

    service: str
    public_key: str


class Events(_Part):
    """Public keys by key id."""

    keys: dict[str, PublicKey]


class Log(_Part):
    """The transparency log of the audit service, and an auditor's token for the embedded stack."""

    url: str
    origin: str
    vkey: str
    bearer: str


class Process(_Part):
    """A process of the installation; no pid while it waits to be started again."""

    pid: int | None


class Status(_Part):
    """An installation that runs."""

    data_dir: str
    kafka: Kafka
    postgres: dict[str, Database]
    http: dict[str, str]
    sandbox: dict[str, str]
    events: Events
    log: Log
    sources: dict[Part, Source] = {}
    """Who runs the broker and the database: `embedded`, the installation itself, or whoever the `environment` names."""
    processes: dict[str, Process]

    def public(self) -> dict[str, Any]:
        """As `lostphone status --json` prints it."""
        return self.model_dump(mode="json")


def data_directory(option: Path | None) -> Path:
    """The data directory: the option, else the environment, else `.lostphone/data` here."""
    return (option or Path(os.environ.get(DATA_VARIABLE) or DEFAULT_DATA)).absolute()


def read(data_dir: Path) -> Status | None:
    """The status that was written last, or None when there is none that can be read."""
    try:
        return Status.model_validate_json((data_dir / FILE).read_bytes())
    except (OSError, ValidationError):
        return None


def write(data_dir: Path, status: Status) -> None:
    """Replace the status file; a reader sees the old one or the new one."""
    replace_private(data_dir / FILE, status.model_dump_json(indent=2).encode() + b"\n")


def remove(data_dir: Path) -> None:
    """There is nothing to join any more."""
    (data_dir / FILE).unlink(missing_ok=True)
