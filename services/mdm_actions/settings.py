"""Settings of this service, beside those that every service has."""

from pathlib import Path

from pydantic import Field, SecretStr, model_validator

from shared.settings import ServiceSettings

_DEFAULTED = frozenset({"soracom_url", "entra_login_url", "entra_graph_url", "entra_tenants"})


class Settings(ServiceSettings):
    """A provider that is not named is not used: phones, lines or sessions of its kind count as not managed."""

    approvers_file: Path = Field(description="Whose signatures count under a wipe; see `approvers`.")

    nanomdm_url: str | None = None
    nanomdm_api_key: SecretStr | None = None
    nanomdm_webhook_key: SecretStr | None = None
    nanomdm_dsn: SecretStr | None = Field(None, description="NanoMDM's own PostgreSQL database.")

    soracom_url: str = "https://api.soracom.io/v1"
    soracom_auth_key_id: str | None = None
    soracom_auth_key: SecretStr | None = None

    entra_login_url: str = "https://login.microsoftonline.com"
    entra_graph_url: str = "https://graph.microsoft.com"
    entra_client_id: str | None = Field(None, description="One application, consented to in every tenant.")
    entra_client_secret: SecretStr | None = None
    entra_tenants: dict[str, str] = Field({}, description="Tenant by organisation.")

    watch_first_seconds: float = Field(
        1.0,
        gt=0,
        le=60,
        description="After sending, the first look at a command; five times that where a webhook tells of it.",
    )
    watch_most_seconds: float = Field(60.0, gt=0, le=3600, description="The longest pause between two looks.")

    @model_validator(mode="after")
    def _whole_providers(self) -> "Settings":
        for provider in ("nanomdm", "soracom", "entra"):
            fields = [name for name in type(self).model_fields if name.startswith(f"{provider}_")]
            missing = [name for name in fields if getattr(self, name) is None]
            if missing and any(getattr(self, name) is not None for name in fields if name not in _DEFAULTED):
                names = ", ".join(f"LOSTPHONE_{name.upper()}" for name in missing)
                raise ValueError(f"{provider} is configured in part; also set {names}")
        return self
