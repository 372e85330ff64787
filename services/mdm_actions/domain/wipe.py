"""Whether an order to wipe counts: two different people signed exactly this, for exactly this phone, in time, once.

Nothing that came over Kafka is believed here but the signatures of people, checked against the file of approver
keys that only this service reads.
"""

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from typing import Literal

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from pydantic import BaseModel, ConfigDict, Field

from services.mdm_actions.domain.line import IncidentState
from shared.events.payload import Ownership, PersonRef
from shared.events.reporter import WipeRequested
from shared.events.wipe import StatementSignature, Step, WipeStatement, verifies

ACCEPT_AT_MOST = timedelta(hours=24)
VALID_AT_MOST = timedelta(days=30)
_CLOCK_SKEW = timedelta(minutes=5)


class Approver(BaseModel):
    """One person's key, as it stands in the approvers' file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    person: PersonRef
    organisation: str
    public_key: bytes = Field(min_length=32, max_length=32)
    may: frozenset[Literal["propose", "approve"]] = frozenset({"propose", "approve"})


type Approvers = Mapping[str, Approver]
"""By key id."""


class WipeRefusedError(Exception):
    """The order does not count. `reason` is a code; nothing was sent to any device."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Facts(BaseModel):
    """What this service itself knows, against which the statement must hold."""

    model_config = ConfigDict(frozen=True)

    organisation: str
    incident: str
    incident_state: IncidentState
    drill: bool
    device: str | None
    ownership: Ownership | None
    managed: bool
    decision_version: int
    nonce_used: bool
    wipe_open: bool


class Authorisation(BaseModel):
    """Who stands behind an order that counts."""

    model_config = ConfigDict(frozen=True)

    proposer: PersonRef
    approvers: list[PersonRef]

    @property
    def people(self) -> list[PersonRef]:
        return [self.proposer, *self.approvers]


def authorise(order: WipeRequested, approvers: Approvers, facts: Facts, now: datetime) -> Authorisation:
    """Who signed, when everything holds. Raises `WipeRefusedError` at the first thing that does not."""
    statement = order.statement
    _same_case(statement, facts)
    _in_time(statement, now)
    proposer = _signer(Step.PROPOSE, statement, order.proposed, approvers)
    agreed = [_signer(Step.APPROVE, statement, signature, approvers) for signature in order.approved]
    people = [proposer, *agreed]
    if len(set(people)) != len(people):
        raise WipeRefusedError("same_person_signed_twice")
    if facts.nonce_used:
        raise WipeRefusedError("nonce_already_used")
    if facts.wipe_open:
        raise WipeRefusedError("wipe_already_open")
    return Authorisation(proposer=proposer, approvers=agreed)


def still_holds(statement: WipeStatement, facts: Facts, now: datetime) -> None:
    """Look once more, just before a command leaves. Raises `WipeRefusedError` when something changed since."""
    _same_case(statement, facts)
    if now >= statement.valid_until:
        raise WipeRefusedError("validity_over")


def _same_case(statement: WipeStatement, facts: Facts) -> None:
    wrong: Collection[tuple[bool, str]] = (
        (statement.organisation != facts.organisation, "organisation_differs"),
        (statement.incident != facts.incident, "incident_differs"),
        (facts.device is None or statement.device != facts.device, "device_differs"),
        (statement.drill != facts.drill, "drill_differs"),
        # Unknown ownership counts as personal: a wipe must be sure.
        (facts.ownership is not Ownership.COMPANY, "personal_device"),
        (statement.ownership is not Ownership.COMPANY, "personal_device"),
        (facts.incident_state is not IncidentState.OPEN, "incident_not_open"),
        (statement.decision_version != facts.decision_version, "decision_version_stale"),
        (not facts.managed, "device_not_managed"),
    )
    for is_wrong, reason in wrong:
        if is_wrong:
            raise WipeRefusedError(reason)


def _in_time(statement: WipeStatement, now: datetime) -> None:
    if now > statement.accept_by:
        raise WipeRefusedError("accept_window_over")
    if statement.accept_by > now + ACCEPT_AT_MOST + _CLOCK_SKEW:
        raise WipeRefusedError("accept_window_too_long")
    if now >= statement.valid_until:
        raise WipeRefusedError("validity_over")
    if statement.valid_until > now + VALID_AT_MOST + _CLOCK_SKEW:
        raise WipeRefusedError("validity_too_long")


def _signer(step: Step, statement: WipeStatement, signature: StatementSignature, approvers: Approvers) -> PersonRef:
    approver = approvers.get(signature.keyid)
    if approver is None or approver.organisation != statement.organisation:
        raise WipeRefusedError("key_unknown")
    if step.value not in approver.may:
        raise WipeRefusedError("not_allowed_to_sign")
    if not verifies(step, statement, signature, Ed25519PublicKey.from_public_bytes(approver.public_key)):
        raise WipeRefusedError("signature_invalid")
    return approver.person
