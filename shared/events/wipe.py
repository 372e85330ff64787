"""The statement that two people sign before a phone is wiped, and how it is signed.

Both sign the same statement with keys that never leave their machines: the one who proposes under one
domain tag, the one who approves under another, so that neither signature can pass for the other.
"""

import base64
from enum import StrEnum
from typing import Annotated, Literal

import orjson
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from pydantic import Field, StrictBool

from shared.events.payload import DeviceId, IncidentId, Instant, Ownership, Part

Base64 = Annotated[str, Field(pattern=r"^[A-Za-z0-9+/]{86}==$")]
KeyId = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")]


class Step(StrEnum):
    """Which of the two signatures."""

    PROPOSE = "propose"
    APPROVE = "approve"


class WipeStatement(Part):
    """What exactly is to be erased, and until when. Nothing outside this statement decides a wipe."""

    organisation: str
    incident: IncidentId
    device: DeviceId
    ownership: Ownership
    action: Literal["erase"] = "erase"
    drill: StrictBool
    decision_version: int = Field(
        strict=True, ge=1, le=2**31 - 1, description="Moves on recovery, withdrawal, change of device or holder."
    )
    accept_by: Instant = Field(description="The second signature must be there by then (24 hours).")
    valid_until: Instant = Field(description="The device must have obeyed by then (30 days).")
    nonce: str = Field(pattern=r"^[0-9a-f]{32}$")

    def canonical(self) -> bytes:
        """Canonical JSON: keys sorted, no spaces, strings, integers and booleans only."""
        return orjson.dumps(self.model_dump(mode="json"), option=orjson.OPT_SORT_KEYS)


class StatementSignature(Part):
    """One person's Ed25519 signature over a statement; `keyid` names the key in the approvers' file."""

    keyid: KeyId
    signature: Base64


def signing_input(step: Step, statement: WipeStatement) -> bytes:
    """The bytes that are signed."""
    return f"lostphone.wipe.{step}.v1\n".encode() + statement.canonical()


def sign(step: Step, statement: WipeStatement, keyid: str, key: Ed25519PrivateKey) -> StatementSignature:
    """Sign on the person's own machine."""
    signature = key.sign(signing_input(step, statement))
    return StatementSignature(keyid=keyid, signature=base64.b64encode(signature).decode())


def verifies(step: Step, statement: WipeStatement, signature: StatementSignature, key: Ed25519PublicKey) -> bool:
    """Whether this key signed this statement for this step."""
    try:
        key.verify(base64.b64decode(signature.signature), signing_input(step, statement))
    except InvalidSignature:
        return False
    return True
