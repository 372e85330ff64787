"""Requests in: what people send, with every field bounded."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool, model_validator

from services.notifier.domain.document import Details, Issuer
from shared.events.payload import Code, Reference, Sha256, ToldInstant


class _Order(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=True)


class File(_Order):
    """The authority took the report; here is its number."""

    receipt: Reference
    receipt_hash: Sha256 | None = None
    filed_at: ToldInstant | None = Field(None, description="Now, when absent.")


class Meet(_Order):
    """Fulfilled without a filing, and how."""

    how: Code
    met_at: ToldInstant | None = None


class Reason(_Order):
    """Why, as a short machine word."""

    reason: Code


class Notices(_Order):
    """Tell everybody on the list who was not told yet."""

    template: Code
    assessment_version: Annotated[int, Field(strict=True, ge=1, le=10_000)]
    issuer: Issuer
    preview: StrictBool = False


class Search(_Order):
    """A person concerned, as the lists have them: by mail address, or by LINE id who has none."""

    mail: Annotated[str, Field(min_length=3, max_length=254)] | None = None
    line_user_id: Annotated[str, Field(min_length=1, max_length=40)] | None = None

    @model_validator(mode="after")
    def _one(self) -> "Search":
        if (self.mail is None) == (self.line_user_id is None):
            raise ValueError("mail or line_user_id, one of them")
        return self


class Approve(_Order):
    """Approve exactly this text."""

    text: Sha256


class Revise(_Order):
    """The next edition, and why."""

    reason: Code
    details: Details


class _Form(BaseModel):
    """What a page sends, beside the fields of the page itself."""

    model_config = ConfigDict(frozen=True, str_strip_whitespace=True)


class WaiveForm(_Form):
    """Why a duty does not hold."""

    reason: Code


class NoticesForm(_Form):
    """Who speaks, and whether the texts are looked at first."""

    assessment_version: Annotated[int, Field(ge=1, le=10_000)]
    issuer: dict[str, Any] = {}
    step: Literal["preview", "send"] = "preview"


class Lines(_Form):
    """One sentence a line, in both languages."""

    ja: Annotated[str, Field(max_length=20_000)] = ""
    en: Annotated[str, Field(max_length=20_000)] = ""

    def pairs(self) -> list[dict[str, str]] | None:
        """The sentences; None when there are more of them in one language."""
        ja, en = ([line.strip() for line in text.splitlines() if line.strip()] for text in (self.ja, self.en))
        return [{"ja": one, "en": other} for one, other in zip(ja, en, strict=True)] if len(ja) == len(en) else None


class DetailsForm(_Form):
    """What people add to the facts of a disclosure."""

    issuer: dict[str, Any] = {}
    prevention: Lines = Lines()
    advice: Lines = Lines()
    edits: dict[str, dict[str, str]] = {}
