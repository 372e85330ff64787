"""What may be said about a phone's protection from before the loss."""

from datetime import UTC, datetime
from typing import Any

import pytest

from services.mdm_actions.domain.protection import Posture
from shared.events.payload import Answer, EncryptionLevel

_POSTURE = Posture(
    device="0192f0c1-7d3e-7a11-9b52-3f6f1c2d4e5f",
    observed_at=datetime(2026, 11, 24, 15, 0, tzinfo=UTC),
    encrypted=Answer.YES,
    passcode_set=Answer.YES,
    attempts_limited=Answer.YES,
    os_version="26.1",
)


@pytest.mark.parametrize(
    ("change", "level"),
    [
        ({}, EncryptionLevel.E2),
        ({"attempts_limited": Answer.UNKNOWN}, EncryptionLevel.E1),
        ({"passcode_set": Answer.UNKNOWN}, EncryptionLevel.E0),
        ({"encrypted": Answer.NO}, EncryptionLevel.E0),
        ({"os_version": None}, EncryptionLevel.E0),
    ],
)
def test_unknown_never_counts_as_protected(change: dict[str, Any], level: EncryptionLevel) -> None:
    assert _POSTURE.model_copy(update=change).level is level


def test_the_hash_names_exactly_this_snapshot() -> None:
    assert _POSTURE.sha256 == Posture.model_validate_json(_POSTURE.document()).sha256
    assert _POSTURE.sha256 != _POSTURE.model_copy(update={"os_version": "26.2"}).sha256
