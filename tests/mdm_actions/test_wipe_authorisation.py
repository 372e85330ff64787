"""A wipe counts when two different people signed exactly it, in time, once; all else is refused with a reason."""

import secrets
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from services.mdm_actions.domain.line import IncidentState
from services.mdm_actions.domain.wipe import Approver, Facts, WipeRefusedError, authorise, still_holds
from shared.events.payload import Ownership
from shared.events.reporter import WipeRequested
from shared.events.wipe import StatementSignature, Step, WipeStatement, sign

_NOW = datetime(2026, 11, 24, 15, 0, tzinfo=UTC)
_DEVICE = "0192f0c1-7d3e-7a11-9b52-3f6f1c2d4e5f"
_INCIDENT = "0192f0c1-0000-7000-8000-000000000001"
_AIKO, _BEN, _CHLOE, _DAN = (f"person-{digit * 32}" for digit in "abcd")
_KEYS = {name: Ed25519PrivateKey.generate() for name in ("aiko", "aiko-2", "ben", "chloe", "dan", "stranger")}


def _approver(name: str, person: str, **changes: Any) -> Approver:
    return Approver(
        person=person, public_key=_KEYS[name].public_key().public_bytes_raw(), **{"organisation": "acme-kk"} | changes
    )


_APPROVERS = {
    "aiko": _approver("aiko", _AIKO),
    "aiko-2": _approver("aiko-2", _AIKO),
    "ben": _approver("ben", _BEN),
    "chloe": _approver("chloe", _CHLOE, organisation="other-kk"),
    "dan": _approver("dan", _DAN, may={"propose"}),
}
_FACTS = Facts(
    organisation="acme-kk",
    incident=_INCIDENT,
    incident_state=IncidentState.OPEN,
    drill=False,
    device=_DEVICE,
    ownership=Ownership.COMPANY,
    managed=True,
    decision_version=1,
    nonce_used=False,
    wipe_open=False,
)


def _statement(**changes: Any) -> WipeStatement:
    usual: dict[str, Any] = {
        "organisation": "acme-kk",
        "incident": _INCIDENT,
        "device": _DEVICE,
        "ownership": Ownership.COMPANY,
        "drill": False,
        "decision_version": 1,
        "accept_by": _NOW + timedelta(hours=23),
        "valid_until": _NOW + timedelta(days=29),
        "nonce": secrets.token_hex(16),
    }
    return WipeStatement(**usual | changes)


def _signed(step: Step, statement: WipeStatement, name: str) -> StatementSignature:
    return sign(step, statement, name, _KEYS[name])


def _order(statement: WipeStatement, proposer: str = "aiko", approver: str = "ben") -> WipeRequested:
    return WipeRequested(
        statement=statement,
        proposed=_signed(Step.PROPOSE, statement, proposer),
        approved=[_signed(Step.APPROVE, statement, approver)],
    )


def _refusal(order: WipeRequested, facts: Facts = _FACTS, now: datetime = _NOW) -> str:
    with pytest.raises(WipeRefusedError) as refused:
        authorise(order, _APPROVERS, facts, now)
    return refused.value.reason


def test_two_people_who_signed_the_same_statement_authorise_it() -> None:
    found = authorise(_order(_statement()), _APPROVERS, _FACTS, _NOW)
    assert found.people == [_AIKO, _BEN]


def test_one_person_with_two_keys_is_still_one_person() -> None:
    assert _refusal(_order(_statement(), "aiko", "aiko-2")) == "same_person_signed_twice"
    assert _refusal(_order(_statement(), "aiko", "aiko")) == "same_person_signed_twice"


def test_a_proposal_cannot_pass_for_an_approval() -> None:
    statement = _statement()
    order = WipeRequested(
        statement=statement,
        proposed=_signed(Step.PROPOSE, statement, "aiko"),
        approved=[_signed(Step.PROPOSE, statement, "ben")],
    )
    assert _refusal(order) == "signature_invalid"


def test_a_signature_over_another_statement_is_refused() -> None:
    signed, sent = _statement(), _statement()
    order = _order(signed).model_copy(update={"statement": sent})
    assert _refusal(order) == "signature_invalid"


def test_a_forged_signature_under_a_known_key_id_is_refused() -> None:
    statement = _statement()
    forged = sign(Step.APPROVE, statement, "ben", _KEYS["stranger"])
    assert _refusal(_order(statement).model_copy(update={"approved": [forged]})) == "signature_invalid"


def test_a_second_approval_that_is_forged_spoils_the_whole_order() -> None:
    statement = _statement()
    good = _order(statement)
    forged = sign(Step.APPROVE, statement, "dan", _KEYS["stranger"])
    assert _refusal(good.model_copy(update={"approved": [*good.approved, forged]})) == "not_allowed_to_sign"


def test_unknown_and_foreign_keys_are_refused() -> None:
    assert _refusal(_order(_statement(), approver="stranger")) == "key_unknown"
    assert _refusal(_order(_statement(), approver="chloe")) == "key_unknown"


def test_a_key_that_may_only_propose_does_not_approve() -> None:
    assert _refusal(_order(_statement(), approver="dan")) == "not_allowed_to_sign"


@pytest.mark.parametrize(
    ("statement", "facts", "reason"),
    [
        ({"organisation": "other-kk"}, {}, "organisation_differs"),
        ({"incident": "0192f0c1-0000-7000-8000-000000000002"}, {}, "incident_differs"),
        ({"device": "0192f0c1-7d3e-7a11-9b52-3f6f1c2d4e60"}, {}, "device_differs"),
        ({}, {"device": None}, "device_differs"),
        ({"drill": True}, {}, "drill_differs"),
        ({}, {"drill": True}, "drill_differs"),
        ({"ownership": Ownership.PERSONAL}, {}, "personal_device"),
        ({}, {"ownership": Ownership.PERSONAL}, "personal_device"),
        ({}, {"ownership": None}, "personal_device"),
        ({}, {"incident_state": IncidentState.RECOVERED}, "incident_not_open"),
        ({}, {"incident_state": IncidentState.CLOSED}, "incident_not_open"),
        ({}, {"decision_version": 2}, "decision_version_stale"),
        ({}, {"managed": False}, "device_not_managed"),
        ({}, {"nonce_used": True}, "nonce_already_used"),
        ({}, {"wipe_open": True}, "wipe_already_open"),
        ({"accept_by": _NOW - timedelta(seconds=1)}, {}, "accept_window_over"),
        ({"accept_by": _NOW + timedelta(hours=25)}, {}, "accept_window_too_long"),
        ({"valid_until": _NOW}, {}, "validity_over"),
        ({"valid_until": _NOW + timedelta(days=31)}, {}, "validity_too_long"),
    ],
)
def test_every_part_of_the_statement_must_hold(statement: dict[str, Any], facts: dict[str, Any], reason: str) -> None:
    assert _refusal(_order(_statement(**statement)), _FACTS.model_copy(update=facts)) == reason


def test_the_last_look_refuses_what_changed_since_the_approval() -> None:
    statement = _statement()
    still_holds(statement, _FACTS, _NOW)
    for change in ({"incident_state": IncidentState.RECOVERED}, {"decision_version": 2}):
        with pytest.raises(WipeRefusedError):
            still_holds(statement, _FACTS.model_copy(update=change), _NOW)
    with pytest.raises(WipeRefusedError, match="validity_over"):
        still_holds(statement, _FACTS, statement.valid_until)


def test_the_last_look_does_not_ask_for_the_acceptance_window_again() -> None:
    statement = _statement()
    still_holds(statement, _FACTS, statement.accept_by + timedelta(hours=1))
