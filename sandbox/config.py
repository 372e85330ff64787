"""What the sandbox is told: where to keep its data, which parts to play and on which ports, where NanoMDM is."""

import os
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

VARIABLE = "LOSTPHONE_SANDBOX_CONFIG"

type PartName = Literal["identity", "carrier", "entra", "mail", "smtp", "line", "alerts", "phones"]


class ConfigError(Exception):
    """The configuration cannot be used; the message says why."""


class Authority(BaseModel):
    """Where the certificate authority of the phones lies; made there when absent."""

    model_config = ConfigDict(extra="forbid")

    cert: Path
    key: Path


class NanoMDM(BaseModel):
    """The MDM server that the phones talk to."""

    model_config = ConfigDict(extra="ignore")

    url: str


class Config(BaseModel):
    """One sandbox. A part without a port is not played; port 0 takes a free one, told in the ready line."""

    model_config = ConfigDict(extra="forbid")

    data_dir: Path
    ports: dict[PartName, int]
    nanomdm: NanoMDM | None = None
    ca: Authority | None = None
    notify: Path | None = Field(None, description="A file that gets the ready line, once every part answers.")
    fleet: bool = Field(True, description="Start with the phones and SIMs of fleet.yaml.")
    poll_seconds: float = Field(0.5, gt=0, description="How often a phone that is online asks for commands.")

    @classmethod
    def from_environment(cls) -> "Config":
        """Read the file that the environment names. Raises `ConfigError`."""
        named = os.environ.get(VARIABLE)
        if not named:
            raise ConfigError(f"{VARIABLE} must name a JSON file, see sandbox/README.md")
        try:
            config = cls.model_validate_json(Path(named).read_bytes())
        except (OSError, ValueError) as error:
            raise ConfigError(f"{named} cannot be used: {error}") from error
        if "phones" in config.ports and (config.nanomdm is None or config.ca is None):
            raise ConfigError(f"{named}: phones need nanomdm.url and ca")
        if ("smtp" in config.ports) != ("mail" in config.ports):
            raise ConfigError(f"{named}: smtp and mail belong together")
        return config
