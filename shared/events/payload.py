"""The words that event payloads are made of: base model, identifiers, open enumerations.

A payload is the JSON value of one record. Writers build it from these models, which refuse unknown fields;
readers decode it with `Payload.read`, which ignores fields it does not know and takes an unknown
enumeration value as `other`, so that an addition inside a major version never breaks a reader.
"""

import re
from datetime import date, datetime, tzinfo
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Self

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    PlainSerializer,
    WithJsonSchema,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError


def _rfc3339(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


_WRITTEN = re.compile(r"^\d{4}-\d\d-\d\d")


def _written(value: object) -> object:
    """Not seconds since 1970, which pydantic would take as well."""
    if isinstance(value, int | float) or (isinstance(value, str) and not _WRITTEN.match(value)):
        raise ValueError("a moment or day is written out")
    return value


Instant = Annotated[
    AwareDatetime,
    BeforeValidator(_written),
    PlainSerializer(_rfc3339, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "format": "date-time"}, mode="serialization"),
]
"""A moment with its offset, written as RFC 3339 with milliseconds."""

Day = Annotated[date, BeforeValidator(_written)]
"""A calendar day."""

YEARS = range(1900, 3000)
"""Near the ends of the calendar a moment has no date in some time zones, and no page could show it."""


def _in_years(moment: date) -> date:
    if moment.year not in YEARS:
        raise PydanticCustomError("year_out_of_range", "lies between 1900 and 2999")
    return moment


def _if_in_years(moment: datetime | None) -> datetime | None:
    return moment if moment is None or moment.year in YEARS else None


def in_zone(moment: datetime, zone: tzinfo | None) -> datetime:
    """The moment as a clock there shows it, or one here when no zone is given; as it stands where the calendar ends,
    for earlier releases took those."""
    try:
        return moment.astimezone(zone)
    except OverflowError:
        return moment


ToldInstant = Annotated[Instant, AfterValidator(_in_years)]
"""A moment as somebody tells it to us."""

SeenInstant = Annotated[Instant | None, AfterValidator(_if_in_years)]
"""A moment that somebody told, when it is known. What no calendar shows, and earlier releases took, is not known."""

ToldDay = Annotated[Day, AfterValidator(_in_years)]
"""A day as somebody tells it to us."""

IncidentId = Annotated[str, Field(pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")]
DeviceId = Annotated[str, Field(pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")]
Id = Annotated[str, Field(pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")]
PersonRef = Annotated[str, Field(pattern=r"^person-[0-9a-f]{32}$")]
"""A random-looking reference to a person; the vault knows who it is."""
Digest = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{43}$")]
"""A commitment to one value in the vault: base64url SHA-256 of an SD-JWT shaped disclosure (RFC 9901, 4.2.1)."""
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Code = Annotated[str, Field(pattern=r"^[a-z0-9_.-]{1,80}$")]
"""A short machine word such as a reason; people read its translation."""
Reference = Annotated[str, Field(pattern=r"^[A-Za-z0-9 ./_-]{1,60}$")]
"""A number that an authority or provider gave: receipts, acceptance numbers, order numbers."""
Count = Annotated[int, Field(strict=True, ge=0, le=2**53 - 1)]


class OpenEnum(StrEnum):
    """An enumeration that may grow: readers take a value they do not know as `other`."""

    @classmethod
    def _missing_(cls, value: object) -> Self | None:
        return cls("other") if isinstance(value, str) and value != "other" else None

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Published open: known values stand in `x-extensible-enum`, so that a new one breaks no validating reader."""
        reference = handler(schema)
        found = handler.resolve_ref_schema(reference)
        found["x-extensible-enum"] = found.pop("enum")
        return reference


class Part(BaseModel):
    """A piece of a payload."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Payload(Part):
    """The JSON value of one event. Every subclass that is emitted stands in `shared.events.registry`."""

    event_type: ClassVar[str]
    """The CloudEvents type, and the name of the topic for integrators, such as `lostphone.device-lost.v1`."""

    @classmethod
    def read(cls, value: bytes | str | dict[str, Any]) -> Self:
        """Decode as a reader: unknown fields are ignored. Raises `pydantic.ValidationError`."""
        if isinstance(value, dict):
            return cls.model_validate(value, extra="ignore")
        return cls.model_validate_json(value, extra="ignore")

    def write(self) -> bytes:
        """The bytes that go into the record."""
        return self.model_dump_json(exclude_none=True).encode()


class Answer(OpenEnum):
    """Three-valued: `unknown` never suppresses a duty."""

    YES = "yes"
    NO = "no"
    UNKNOWN = "unknown"
    OTHER = "other"


class Ownership(OpenEnum):
    """Whose phone it is. A personal phone is never fully wiped."""

    COMPANY = "company"
    PERSONAL = "personal"
    OTHER = "other"


class ProofLevel(OpenEnum):
    """What may be claimed about a lock or a wipe."""

    P0 = "P0"
    """Nothing: could not be performed."""
    P1 = "P1"
    """The command is recorded as sent."""
    P2 = "P2"
    """The provider accepted it; the device is offline."""
    P3 = "P3"
    """The device acknowledged it."""
    P4 = "P4"
    """Acknowledged, no later check-in, and the evidence is hashed."""
    OTHER = "other"


class EncryptionLevel(OpenEnum):
    """What the inventory before the loss shows about the storage."""

    E0 = "E0"
    """Nothing is shown."""
    E1 = "E1"
    """Encryption on, passcode set, and the version of the system are on record."""
    E2 = "E2"
    """E1, and a limit on failed attempts."""
    OTHER = "other"


class Assurance(OpenEnum):
    """How a state at a third party is known."""

    API_READBACK = "api_readback"
    CARRIER_REFERENCE = "carrier_reference"
    HUMAN_STATEMENT = "human_statement"
    OTHER = "other"
