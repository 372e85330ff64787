"""Requests in: what people send, with every field bounded."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StrictBool

from services.notifier.domain.document import Details, Issuer
from shared.events.payload import Code, Instant, Reference, Sha256


class _Order(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=True)


class File(_Order):
    """The authority took the report; here is its number."""

    receipt: Reference
    receipt_hash: Sha256 | None = None
    filed_at: Instant | None = Field(None, description="Now, when absent.")


class Meet(_Order):
    """Fulfilled without a filing, and how."""

    how: Code
    met_at: Instant | None = None


class Reason(_Order):
    """Why, as a short machine word."""

    reason: Code


class Notices(_Order):
    """Tell everybody on the list who was not told yet."""

    template: Code
    assessment_version: Annotated[int, Field(strict=True, ge=1, le=10_000)]
    issuer: Issuer
    preview: StrictBool = False


class Approve(_Order):
    """Approve exactly this text."""

    text: Sha256


class Revise(_Order):
    """The next edition, and why."""

    reason: Code
    details: Details


class FileForm(BaseModel):
    """The same from a page."""

    model_config = ConfigDict(str_strip_whitespace=True)

    receipt: Reference
