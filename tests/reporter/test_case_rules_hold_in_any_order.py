"""Whatever people decide and whatever is heard, in any order: the rules of the case hold."""

import base64
import secrets
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from services.reporter.domain import assessment, desk, report, tracks, wipe
from services.reporter.domain.incident import By, Decision, Incident, RefusedError, Status
from services.reporter.domain.own_events import Saying, again, opened
from shared.events import event_types
from shared.events import mdm_actions as done
from shared.events import notifier as told
from shared.events.payload import Answer, Ownership, Payload, ProofLevel
from shared.events.reporter import (
    Cause,
    ContainmentStep,
    DeviceLost,
    DeviceRecovered,
    Door,
    FacilityContacted,
    LossFacts,
    Place,
    PoliceReportFiled,
    PoliceReportKind,
    PreventionActionRecorded,
    WipeProposed,
    WipeRequested,
    WipeWithdrawn,
)
from shared.events.wipe import StatementSignature

_START = datetime(2026, 11, 24, 14, 40, tzinfo=UTC)
_DEVICES = ["0192f0c1-7d3e-7a11-9b52-3f6f1c2d4e5f", "0192f0c1-7d3e-7a11-9b52-3f6f1c2d4e60"]
_PEOPLE = [f"person-{digit * 32}" for digit in "abcd"]
_DUTIES = ["0192f0c1-7d3e-7a11-9b52-3f6f1c2d4e70", "0192f0c1-7d3e-7a11-9b52-3f6f1c2d4e71"]
_COMMAND = "5e0a3c44-6f1b-5d7e-8c2a-1b9f0d3e4a55"
_DIGEST = "H" * 43

people = st.sampled_from(_PEOPLE)
signature = st.builds(
    lambda key, filler: StatementSignature(keyid=key, signature=base64.b64encode(filler * 64).decode()),
    st.sampled_from(["k1", "k2", "k3", "k4"]),
    st.sampled_from([b"a", b"b"]),
)


class Case(RuleBasedStateMachine):
    @initialize(
        door=st.sampled_from([Door.SIGNED_IN, Door.EMERGENCY]), device=st.one_of(st.none(), st.sampled_from(_DEVICES))
    )
    def opened(self, door: Door, device: str | None) -> None:
        self.now = _START
        self.events: list[Payload] = []
        self.refused = 0
        answers = report.Report(reported_as="proxy", holder_name="h", phone="09011112222", callback="0312345678")
        facts = LossFacts(device=device, callback=_DIGEST)
        by = By(_PEOPLE[0] if door is Door.SIGNED_IN else None, self.now)
        self.incident = self.told_again = Incident.model_construct()
        self.take(
            lambda: report.accept("0192f0c1-0000-7000-8000-000000000001", "acme-kk", answers, facts, by, door=door)
        )

    def take(self, decide: Callable[[], Decision]) -> None:
        self.now += timedelta(minutes=7)
        self.person: str | None = None
        before = self.incident
        try:
            decision = decide()
        except RefusedError:
            self.refused += 1
            return
        assert decision.incident.decision_version >= getattr(before, "decision_version", 1)
        assert len(decision.incident.duties) >= len(getattr(before, "duties", {}))
        assert len(decision.incident.assessments) >= len(getattr(before, "assessments", ()))
        self.check_events(before, decision)
        self.incident = decision.incident
        self.events.extend(decision.events)
        for event in decision.events:
            self.tell_again(event)

    def hear(self, payload: Payload) -> None:
        def decide() -> Decision:
            self.told_again = tracks.hear(self.told_again, payload, self.now).incident
            return tracks.hear(self.incident, payload, self.now)

        self.take(decide)

    def tell_again(self, event: Payload) -> None:
        """As a reporter does that was restored from a backup, out of the log."""
        told_again = type(event).read(event.write())
        saying = Saying(self.incident.id, "acme-kk", drill=False, person=self.person, at=self.now)
        if isinstance(told_again, DeviceLost):
            self.told_again = opened(told_again, saying)
        else:
            self.told_again = again(self.told_again, told_again, saying)

    def check_events(self, before: Incident, decision: Decision) -> None:
        for event in decision.events:
            type(event).read(event.write())
            if isinstance(event, WipeRequested):
                proposal = decision.incident.proposals[event.statement.nonce]
                signers = [proposal.proposer, *(approval.person for approval in proposal.approvals)]
                assert len(signers) == len(set(signers)) >= 2
                assert event.statement.decision_version == before.decision_version
                assert before.recovered is None
                assert before.verified
                assert event.statement.ownership is Ownership.COMPANY
                assert self.now <= event.statement.accept_by
            if isinstance(event, WipeWithdrawn):
                assert event.decision_version == decision.incident.decision_version

    def by(self, person: str | None) -> By:
        self.person = person
        return By(person, self.now)

    @rule(hours=st.integers(1, 40))
    def time_passes(self, hours: int) -> None:
        self.now += timedelta(hours=hours)

    @rule(method=st.sampled_from(["call_back", "in_person"]), person=people)
    def verify(self, method: str, person: str) -> None:
        self.take(lambda: report.verify(self.incident, method, self.by(person)))

    @rule(cause=st.sampled_from(list(Cause)), device=st.sampled_from([None, *_DEVICES]), person=people)
    def triage(self, cause: Cause, device: str | None, person: str) -> None:
        changes = {"device": device} if device else {}
        self.take(lambda: desk.triage(self.incident, cause, "high", self.by(person), changes=changes))

    @rule(passcode=st.sampled_from(list(Answer)), overwrite=st.booleans())
    def amend(self, passcode: Answer, overwrite: bool) -> None:
        self.take(
            lambda: report.amend(self.incident, {"passcode_attached": passcode}, self.by(None), overwrite=overwrite)
        )

    @rule(signed_in=st.booleans(), device=st.sampled_from(_DEVICES))
    def second_report(self, signed_in: bool, device: str) -> None:
        if self.incident.ended is None:
            facts = LossFacts(device=device, callback="I" * 43, cause=Cause.THEFT)
            self.take(lambda: report.join(self.incident, facts, signed_in=signed_in, by=self.by(None)))
            assert self.incident.facts.callback == _DIGEST

    @rule(trusted=st.booleans())
    def found(self, trusted: bool) -> None:
        self.take(lambda: report.claim_found(self.incident, self.by(None), trusted=trusted))

    @rule(step=st.sampled_from(list(ContainmentStep)), person=people)
    def step(self, step: ContainmentStep, person: str) -> None:
        self.take(lambda: desk.order_step(self.incident, step, "desk_wishes", self.by(person)))

    @rule(person=people, signature=signature, stale=st.booleans(), owner=st.sampled_from([*Ownership, None]))
    def propose(self, person: str, signature: StatementSignature, stale: bool, owner: Ownership | None) -> None:
        def decide() -> Decision:
            statement = wipe.statement(self.incident, owner, secrets.token_hex(16), self.now)
            if stale:
                statement = statement.model_copy(update={"decision_version": statement.decision_version + 1})
            proposed = WipeProposed(statement=statement, proposed=signature, reason="passcode_note")
            return wipe.propose(self.incident, owner, proposed, self.by(person))

        self.take(decide)

    def nonce(self) -> str:
        return next(reversed(self.incident.proposals), "0" * 32)

    @rule(person=people, signature=signature, needed=st.integers(1, 2))
    def approve(self, person: str, signature: StatementSignature, needed: int) -> None:
        self.take(lambda: wipe.approve(self.incident, self.nonce(), signature, self.by(person), needed=needed))

    @rule(person=people)
    def decline(self, person: str) -> None:
        self.take(lambda: wipe.decline(self.incident, self.nonce(), "wait", self.by(person)))

    @rule()
    def withdraw(self) -> None:
        self.take(lambda: wipe.withdraw(self.incident, self.nonce(), "device_found"))

    @rule(person=people, checked=st.sampled_from([Answer.YES, Answer.NO]))
    def recover(self, person: str, checked: Answer) -> None:
        back = DeviceRecovered(recovered_at=self.now, from_whom="police", identity_checked=checked)
        duties = dict(self.incident.duties)
        self.take(lambda: desk.recover(self.incident, back, self.by(person)))
        assert self.incident.duties == duties

    @rule(person=people, people_count=st.sampled_from([None, 80, 1240]), sign_off=st.booleans())
    def assess(self, person: str, people_count: int | None, sign_off: bool) -> None:
        findings = assessment.Findings(people=people_count, exemption_signed_off=sign_off)
        self.take(lambda: assessment.assess(self.incident, findings, self.by(person)))

    @rule(person=people, named=st.booleans())
    def suspend_line(self, person: str, named: bool) -> None:
        wipe_state = self.incident.wipe.state
        orders = self.incident.tracks.line
        self.take(lambda: desk.suspend_line(self.incident, "misuse_of_line", self.by(person), named=named))
        if not named and self.incident.tracks.line != orders:
            assert wipe_state in ("confirmed", "failed", "expired")

    @rule()
    def resume_line(self) -> None:
        self.take(lambda: desk.resume_line(self.incident, "phone_back", self.by(None)))

    @rule()
    def police_and_facility(self) -> None:
        report = PoliceReportFiled(kind=PoliceReportKind.LOST_PROPERTY, channel="online", filed_at=self.now)
        contact = FacilityContacted(facility=Place.TAXI, outcome="holding", contacted_at=self.now)
        self.take(lambda: desk.record_police(self.incident, report, self.by(None)))
        self.take(lambda: desk.record_facility(self.incident, contact, self.by(None)))

    @rule(person=people)
    def break_glass(self, person: str) -> None:
        self.take(lambda: desk.break_glass(self.incident, "reporter_unreachable", self.by(person)))

    @rule()
    def write_off(self) -> None:
        self.take(lambda: desk.write_off(self.incident, "not_found"))

    @rule()
    def prevention(self) -> None:
        action = PreventionActionRecorded(action=_COMMAND, measure="no_phone_at_drinking_events", kind="rule")
        self.take(lambda: desk.record_prevention(self.incident, action))

    @rule(person=people)
    def close(self, person: str) -> None:
        before = self.incident
        self.take(lambda: desk.close(self.incident, "wiped_not_recovered", self.by(person)))
        if before.ended is None and self.incident.status is Status.CLOSED:
            assert not before.open_duties
            assert before.prevention
            assert before.assessments
            assert not before.reassess
            assert not before.live_wipes

    @rule(person=people)
    def cancel(self, person: str) -> None:
        before = self.incident
        self.take(lambda: desk.cancel(self.incident, "false_alarm", self.by(person)))
        if before.ended is None and self.incident.status is Status.CANCELLED:
            assert not before.open_duties
            assert not before.live_wipes

    @rule()
    def reopen(self) -> None:
        self.take(lambda: report.reopened(self.incident, "phone_handed_in"))

    @rule(entry=st.sampled_from([entry for entry in event_types() if entry.model in tracks.HEARD]))
    def hear_anything(self, entry: object) -> None:
        example = entry.model.read(entry.example)  # type: ignore[attr-defined]
        refused = self.refused
        self.hear(example)
        assert self.refused == refused, "what is heard is never refused"

    @rule(
        kind=st.sampled_from([done.WipeSent, done.WipeConfirmed, done.WipeFailed, done.WipeDisarmed, done.WipeExpired])
    )
    def hear_about_the_wipe(self, kind: type[Payload]) -> None:
        entry = next(entry for entry in event_types() if entry.model is kind)
        heard = kind.read(entry.example | {"nonce": self.nonce(), "proof": "P3"})
        self.hear(heard)

    @rule(
        number=st.integers(0, 1),
        what=st.sampled_from([told.DutyOpened, told.DutyFiled, told.DutyWaived, told.DutyOverdue]),
    )
    def hear_about_a_duty(self, number: int, what: type[Payload]) -> None:
        entry = next(entry for entry in event_types() if entry.model is what)
        self.hear(what.read(entry.example | {"duty": _DUTIES[number]}))

    @invariant()
    def no_duty_is_left_open_in_an_ended_case(self) -> None:
        if self.incident.ended is not None:
            assert not self.incident.open_duties

    @invariant()
    def wiped_is_only_said_when_the_phone_said_so(self) -> None:
        confirmed = any(proposal.outcome.state == "confirmed" for proposal in self.incident.proposals.values())
        if not confirmed:
            assert self.incident.wipe.proof <= ProofLevel.P2
        if self.incident.wipe.state == "confirmed":
            assert confirmed

    @invariant()
    def the_case_survives_being_stored(self) -> None:
        again = Incident.model_validate(self.incident.model_dump(mode="json"))
        assert again.status is self.incident.status
        assert again.decision_version == self.incident.decision_version

    @invariant()
    def what_was_told_and_heard_makes_the_same_case_again(self) -> None:
        assert self.told_again == self.incident

    @invariant()
    def the_decision_version_moves_only_for_its_reasons(self) -> None:
        moves = sum(
            isinstance(event, DeviceRecovered | WipeWithdrawn)
            or bool({"device", "holder"} & set(getattr(event, "changed", [])))
            for event in self.events
        )
        assert self.incident.decision_version == 1 + moves


Case.TestCase.settings = settings(max_examples=120, stateful_step_count=35, deadline=None)
TestCaseRules = Case.TestCase
