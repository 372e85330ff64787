"""Settings of the notifier beside those of every service."""

from typing import Annotated, Literal

from pydantic import Field, SecretStr

from shared.settings import ServiceSettings

type Organisation = Annotated[str, Field(pattern=r"^([a-z0-9][a-z0-9_-]{0,63}|\*)$")]


class Settings(ServiceSettings):
    """Environment `LOSTPHONE_…`. `*` stands for every organisation that is not named."""

    smtp_host: str | None = Field(None, description="Absent: no mail leaves.")
    smtp_port: int = Field(587, ge=1, le=65535)
    smtp_security: Literal["none", "starttls", "tls"] = "starttls"
    smtp_username: str | None = None
    smtp_password: SecretStr | None = None
    mail_senders: dict[Organisation, str] = Field(
        {"*": "notice@lostphone.example"}, description="From whom notices come."
    )
    line_url: str = "https://api.line.me"
    line_channel_tokens: dict[Organisation, SecretStr] = Field({}, description="Channel access tokens of LINE.")
    alert_urls: dict[str, list[str]] = Field(
        {},
        description="Apprise addresses under <organisation>/<role>, <organisation> or *; {organisation} and {role} "
        "in an address are filled in.",
    )
    alert_again_minutes: float = Field(10, gt=0, le=1440, description="Until somebody acknowledges.")
    rule_packs: dict[Organisation, list[str]] = Field(
        {}, description="The duty rule packs of an organisation; else those marked default."
    )
