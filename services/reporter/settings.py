"""Settings of the reporter beside those of every service."""

from typing import Annotated

from pydantic import Field

from shared.settings import ServiceSettings

type Organisation = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")]


class Settings(ServiceSettings):
    """Environment `LOSTPHONE_…`."""

    organisations: list[Organisation] = Field(
        [], description="Organisations that the emergency door is open for, besides those whose phones are known."
    )
    approvals_needed: dict[Organisation, Annotated[int, Field(ge=1, le=8)]] = Field(
        {}, description="Signatures that a wipe needs besides the proposer's; 1 where nothing is said."
    )
    zone: str = Field("Asia/Tokyo", description="For times typed into forms, and for the text for the police.")
    emergency_burst: int = Field(10, ge=1, description="Emergency reports from one address at once …")
    emergency_per_minute: float = Field(5, gt=0, description="… and per minute after that.")
    emergency_overall_burst: int = Field(300, ge=1, description="Emergency reports from all addresses at once …")
    emergency_overall_per_minute: float = Field(
        300, gt=0, description="… and per minute after that; as many again for addresses that sent nothing lately."
    )
    receipt_burst: int = Field(60, ge=1, description="Receipt codes tried from one address at once …")
    receipt_per_minute: float = Field(60, gt=0, description="… and per minute after that.")
