"""What the desk says in one act: the bodies of requests, from the API as JSON and from the pages as forms."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt

from services.reporter.domain.report import Answers, Words
from shared.events.payload import Code, DeviceId, Digest, Id, PersonRef, Reference, ToldDay, ToldInstant
from shared.events.reporter import Cause, ContainmentStep, Place, PoliceReportKind
from shared.events.wipe import StatementSignature, WipeStatement

type EmployeeId = Annotated[str, Field(min_length=1, max_length=200)]


class Order(BaseModel):
    """A body that names nothing unknown."""

    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=True)


class Reason(Order):
    """Why."""

    reason: Code


class Verify(Order):
    """How the desk made sure; `break_glass` needs a reason and is reviewed."""

    method: Code = "call_back"
    report: StrictInt | None = Field(
        None, ge=1, le=10_000, description="Which report; the first that waits when absent."
    )
    reason: Code | None = None


class TriageOrder(Order):
    """Holder, device and cause. What is absent stays as reported."""

    cause: Cause
    severity: Literal["low", "medium", "high"]
    device: DeviceId | None = None
    phone: Words | None = Field(None, description="Number, serial, IMEI or asset tag, instead of the device's id.")
    holder: PersonRef | None = None
    holder_id: EmployeeId | None = Field(None, description="The holder's `sub`, instead of the reference.")


class DeskAmend(Answers):
    """What the desk learned, and when the organisation came to know it."""

    known_at: ToldInstant | None = None


class StepOrder(Order):
    """One reversible step outside the plan."""

    step: Literal[
        ContainmentStep.REVOKE_SESSIONS,
        ContainmentStep.LOCK,
        ContainmentStep.LOCATE,
        ContainmentStep.PLAY_SOUND,
        ContainmentStep.UNLOCK,
    ]
    reason: Code


class Proposal(Order):
    """A signed statement to wipe."""

    statement: WipeStatement
    signature: StatementSignature
    reason: Code
    reason_text: Annotated[str, Field(min_length=1, max_length=1000)] | None = None


class Approve(Order):
    """The second person's signature over the same statement."""

    signature: StatementSignature


class SuspendLine(Order):
    """`acknowledge` names the risk of stopping the line before the wipe has ended."""

    reason: Code
    acknowledge: StrictBool = False


class Police(Order):
    """A report to the police; send it again with the acceptance number when there is one."""

    kind: PoliceReportKind = PoliceReportKind.LOST_PROPERTY
    channel: Code = "online"
    prefecture: Code | None = None
    filed_at: ToldInstant | None = None
    reception_number: Reference | None = None
    acceptance_number: Reference | None = None


class Facility(Order):
    """The taxi company, station or shop was asked."""

    facility: Place
    name: Words | None = None
    outcome: Literal["contacted", "holding", "not_found", "handed_to_police"] = "contacted"
    contacted_at: ToldInstant | None = None
    reference: Reference | None = None


class SecondExemption(Order):
    """The version of the assessment under which the exemption was signed."""

    version: Annotated[int, Field(ge=1, le=10_000)]


class Recovered(Order):
    """The phone is in hand."""

    recovered_at: ToldInstant | None = None
    from_whom: Code
    identity_checked: Literal["yes", "no", "unknown"]
    viewed: Literal["yes", "no", "unknown"] = "unknown"


class Prevention(Order):
    """A measure against the next time. The same `action` again moves its state."""

    action: Id | None = None
    measure: Code
    kind: Literal["rule", "device_setting", "managed_service"]
    owner: PersonRef | None = None
    owner_id: EmployeeId | None = None
    due: ToldDay | None = None
    state: Literal["planned", "in_progress", "done"] = "planned"


class Close(Order):
    """How it ended."""

    outcome: Code


class Disclose(Order):
    """Which fields to open for evidence, by the commitments in the log, and why."""

    digests: list[Digest] = Field(min_length=1, max_length=200)
    reason: Code


class Search(Order):
    """Whose reference is asked for."""

    employee_id: EmployeeId = Field(description="The `sub` of the company's identity provider.")


class Erase(Order):
    """Why a person's data is erased."""

    ground: Code
