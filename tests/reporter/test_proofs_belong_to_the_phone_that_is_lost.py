"""What was proved of another phone, or another holder, is not claimed of the one that is lost."""

from datetime import UTC, datetime, timedelta

import pytest

from services.reporter.domain import assessment, desk, report, tracks, wipe
from services.reporter.domain.incident import By, Incident
from shared.events import mdm_actions as done
from shared.events.payload import Answer, EncryptionLevel, Ownership, Payload, ProofLevel
from shared.events.reporter import Cause, Door, LossFacts, WipeProposed
from shared.events.wipe import StatementSignature

_NOW = datetime(2026, 11, 24, 14, 40, tzinfo=UTC)
_WRONG = "0192f0c1-7d3e-7a11-9b52-3f6f1c2d4e5f"
_LOST = "0192f0c1-7d3e-7a11-9b52-3f6f1c2d4e60"
_LINE = "0192f0c1-7d3e-7a11-9b52-3f6f1c2d4e70"
_COMMAND = "5e0a3c44-6f1b-5d7e-8c2a-1b9f0d3e4a55"
_PEOPLE = [f"person-{digit * 32}" for digit in "ab"]
_NONCE = "0" * 32


def _by(person: int = 0) -> By:
    return By(_PEOPLE[person], _NOW)


def _reported(device: str | None) -> Incident:
    answers = report.Report(reported_as="proxy", holder_name="h", phone="09011112222", callback="0312345678")
    facts = LossFacts(device=device, holder=_PEOPLE[0], callback="H" * 43)
    incident = "0192f0c1-0000-7000-8000-000000000001"
    return report.accept(incident, "acme-kk", answers, facts, _by(), door=Door.SIGNED_IN).incident


def _hear(incident: Incident, *payloads: Payload) -> Incident:
    for payload in payloads:
        incident = tracks.hear(incident, payload, _NOW).incident
    return incident


def _of(kind: type[Payload], device: str, **facts: object) -> Payload:
    given = {"device": device, "command": _COMMAND, "line": _LINE, "carrier": "soracom", "nonce": _NONCE} | facts
    return kind.model_validate({name: value for name, value in given.items() if name in kind.model_fields})


def _locked(device: str) -> Payload:
    return _of(done.DeviceLocked, device, mode="lost_mode", proof="P3", acknowledged_at=_NOW)


def _located(device: str) -> Payload:
    return _of(done.DeviceLocated, device, located_at=_NOW, source="mdm", position="P" * 43)


def _stopped(device: str) -> Payload:
    facts = {"action": "suspend", "trigger": "timer", "assurance": "api_readback", "effective_at": _NOW}
    return _of(done.CarrierSuspended, device, **facts)


def _snapshot(device: str) -> Payload:
    names = ("encrypted", "passcode_set", "supervised", "mdm_enrolled", "remote_erase_ready", "attempts_limited")
    facts = dict.fromkeys(names, "yes") | {"taken_at": _NOW, "encryption_level": "E2", "snapshot": "0" * 64}
    return _of(done.ProtectionSnapshotTaken, device, **facts)


def _wiped(incident: Incident) -> Incident:
    signature = StatementSignature(keyid="k1", signature="A" * 86 + "==")
    other = StatementSignature(keyid="k2", signature="A" * 86 + "==")
    statement = wipe.statement(incident, Ownership.COMPANY, _NONCE, _NOW)
    proposed = WipeProposed(statement=statement, proposed=signature, reason="passcode_note")
    incident = wipe.propose(incident, Ownership.COMPANY, proposed, _by()).incident
    incident = wipe.approve(incident, _NONCE, other, _by(1), needed=1).incident
    device = incident.facts.device or ""
    return _hear(incident, _of(done.WipeConfirmed, device, proof="P3", confirmed_at=_NOW, evidence="0" * 64))


def _another_phone(incident: Incident) -> Incident:
    return desk.triage(incident, Cause.LEFT_BEHIND, "high", _by(), changes={"device": _LOST}).incident


def test_lock_position_line_and_wipe_of_the_wrong_phone_are_nothing_about_the_lost_one() -> None:
    wrong = _wiped(_hear(_reported(_WRONG), _snapshot(_WRONG), _locked(_WRONG), _located(_WRONG), _stopped(_WRONG)))
    assert assessment.prefill(wrong, _NOW).wipe_proof is ProofLevel.P3
    after = _another_phone(wrong)
    assert (after.tracks.lock.state, after.tracks.locate.position, after.tracks.line.state) == ("none", None, "none")
    assert after.wipe.state == "none"
    filled = assessment.prefill(after, _NOW)
    assert (filled.lock_proof, filled.wipe_proof) == (ProofLevel.P0, ProofLevel.P0)
    assert (filled.encryption_level, filled.protection.encrypted) == (EncryptionLevel.E0, Answer.UNKNOWN)


@pytest.mark.parametrize("late", [_locked, _located, _stopped])
def test_what_is_heard_late_of_the_wrong_phone_changes_no_track(late: object) -> None:
    after = _another_phone(_reported(_WRONG))
    assert callable(late)
    assert _hear(after, late(_WRONG)).tracks == after.tracks
    assert _hear(after, late(_LOST)).tracks != after.tracks


def test_a_wipe_that_is_still_armed_on_the_wrong_phone_stays_in_sight() -> None:
    reported = _reported(_WRONG)
    statement = wipe.statement(reported, Ownership.COMPANY, _NONCE, _NOW)
    signature = StatementSignature(keyid="k1", signature="A" * 86 + "==")
    proposed = WipeProposed(statement=statement, proposed=signature, reason="passcode_note")
    incident = wipe.propose(reported, Ownership.COMPANY, proposed, _by()).incident
    other = StatementSignature(keyid="k2", signature="A" * 86 + "==")
    incident = wipe.approve(incident, _NONCE, other, _by(1), needed=1).incident
    incident = _hear(incident, _of(done.WipeSent, _WRONG, proof="P2", sent_at=_NOW))
    after = _another_phone(incident)
    assert [proposal.statement.device for proposal in after.live_wipes] == [_WRONG]
    assert "wipe_open" in desk.missing_for_closing(after)


def test_the_plan_for_a_phone_that_is_named_later_is_shown_in_place_of_the_one_without_it() -> None:
    steps = [{"step": "lock", "state": "not_supported", "reason": "not_managed"}]
    plan = {"playbook": "default", "playbook_version": 1, "waits_for_verification": False, "steps": steps}
    without = _hear(_reported(None), done.ContainmentPlanned.model_validate(plan))
    assert without.tracks.lock.state == "not_supported"
    named = _another_phone(without)
    planned = plan | {"device": _LOST, "steps": [{"step": "lock", "state": "now"}]}
    after = _hear(named, done.ContainmentPlanned.model_validate(planned))
    assert after.tracks.lock.state == "planned"
    assert after.containment_open


def test_sessions_that_ended_were_those_of_the_holder_of_then() -> None:
    ended = done.SessionsRevoked.model_validate({"provider": "entra", "command": _COMMAND, "effective_at": _NOW})
    incident = _hear(_reported(_WRONG), ended)
    changed = report.amend(incident, {"holder": _PEOPLE[1]}, By(_PEOPLE[0], _NOW + timedelta(minutes=1))).incident
    assert changed.tracks.sessions == {}


@pytest.mark.parametrize("payload", [done.SessionsRevoked, done.SessionRevocationFailed])
def test_what_is_heard_late_of_another_holders_sessions_is_not_said_of_this_one(payload: type[Payload]) -> None:
    incident = _hear(_reported(_WRONG), _sessions(payload, _PEOPLE[0]))
    named = report.amend(incident, {"holder": _PEOPLE[1]}, By(_PEOPLE[0], _NOW + timedelta(minutes=1))).incident
    assert named.tracks.sessions == {}
    assert _hear(named, _sessions(payload, _PEOPLE[0])) == named
    assert _hear(named, _sessions(payload, _PEOPLE[1])).tracks.sessions["entra"].holder == _PEOPLE[1]


def test_a_holder_whose_sessions_ended_before_the_report_named_them_keeps_what_was_done() -> None:
    reported = _reported(_WRONG)
    unnamed = reported.model_copy(update={"facts": reported.facts.model_copy(update={"holder": None})})
    incident = _hear(unnamed, _sessions(done.SessionsRevoked, _PEOPLE[1]))
    named = report.amend(incident, {"holder": _PEOPLE[1]}, By(_PEOPLE[0], _NOW + timedelta(minutes=1))).incident
    assert named.tracks.sessions["entra"].state == "revoked"


def _sessions(payload: type[Payload], holder: str) -> Payload:
    facts = {"provider": "entra", "command": _COMMAND, "holder": holder}
    ended = payload is done.SessionsRevoked
    return payload.model_validate(facts | ({"effective_at": _NOW} if ended else {"reason": "user_not_found"}))
