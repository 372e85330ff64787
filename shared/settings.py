"""Settings of every service, from the environment (prefix `LOSTPHONE_`)."""

import sys
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, IPvAnyNetwork, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from shared.messaging.kafka import KafkaConnection


class ServiceSettings(BaseSettings):
    """What every service needs. A service adds its own in a subclass."""

    # A setting that does not fit is named without its value: it may be a password.
    model_config = SettingsConfigDict(env_prefix="LOSTPHONE_", extra="ignore", hide_input_in_errors=True)

    kafka_bootstrap: str
    kafka_security: Literal["PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    kafka_username: str | None = None
    kafka_password: SecretStr | None = None
    kafka_ca_file: Path | None = None

    postgres_dsn: SecretStr
    migrate_dsn: SecretStr | None = Field(None, description="A role that may become the owner of the schema.")
    postgres_connections: int = Field(10, ge=2, le=200)

    signing_key_file: Path
    event_keys_file: Path
    vault_key_file: Path

    session_key_file: Path
    oidc_issuer: str
    oidc_client_id: str
    oidc_client_secret: SecretStr

    http_host: str = "127.0.0.1"
    http_port: int = Field(ge=1, le=65535)
    public_url: str = Field(description="This service's own base address, as browsers and vendors see it.")
    trusted_proxies: list[IPvAnyNetwork] = Field(
        [],
        description="Reverse proxies, as addresses or networks, whose X-Forwarded-For counts. Nobody else's does.",
    )
    links: dict[str, str] = Field({}, description="Base addresses of the other services, for links on pages.")

    rules_dir: Path = Path("rules")
    log_level: str = "INFO"
    otlp_endpoint: str | None = None

    @classmethod
    def read(cls) -> Self:
        """From the environment. Where one is missing or does not fit, ends the process with exit status 2, after it
        said which, a line each."""
        try:
            return cls()
        except ValidationError as error:
            wrong = [(".".join(map(str, found["loc"])), found["msg"]) for found in error.errors(include_input=False)]
            said = [f"LOSTPHONE_{name.upper()}: {what}" if name else what for name, what in wrong]
        except SettingsError as error:
            said = [str(error)]
        sys.stderr.write("\n".join(["These settings are missing or do not fit:", *said, ""]))
        raise SystemExit(2)

    def kafka(self) -> KafkaConnection:
        """How to reach Kafka."""
        return KafkaConnection(
            self.kafka_bootstrap,
            self.kafka_security,
            self.kafka_username,
            self.kafka_password,
            str(self.kafka_ca_file) if self.kafka_ca_file else None,
        )
