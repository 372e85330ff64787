"""The case: current facts, tracks, decisions, and the main status that follows from them.

An incident is never edited by hand: each rule in this package takes one and gives a `Decision`, the next incident and
the events that say so. The main status is computed, so that it cannot contradict the tracks.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from pydantic import AwareDatetime, BaseModel, ConfigDict

from shared.events.mdm_actions import ContainmentPlanned, ProtectionSnapshotTaken
from shared.events.payload import Assurance, Payload, ProofLevel
from shared.events.reporter import (
    DeviceRecovered,
    Door,
    FacilityContacted,
    LeakAssessed,
    LossFacts,
    PoliceReportFiled,
    PreventionActionRecorded,
    ReportedAs,
)
from shared.events.wipe import StatementSignature, WipeStatement


class RefusedError(Exception):
    """A rule of the case says no. `code` names the rule, `facts` what it is about; nothing was changed."""

    def __init__(self, code: str, **facts: object) -> None:
        super().__init__(code)
        self.code = code
        self.facts = facts


class Status(StrEnum):
    """The main line of the case; tracks move on their own beside it."""

    REPORTED = "reported"
    TRIAGED = "triaged"
    CONTAINING = "containing"
    CONTAINED = "contained"
    ASSESSING = "assessing"
    NOTIFYING = "notifying"
    MONITORING = "monitoring"
    RECOVERED = "recovered"
    CLOSED = "closed"
    CANCELLED = "cancelled"


class Fact(BaseModel):
    """A piece of the case."""

    model_config = ConfigDict(frozen=True)


class Track(Fact):
    """How far one step is, and how that is known."""

    state: str = "none"
    at: AwareDatetime | None = None
    proof: ProofLevel = ProofLevel.P0
    reason: str | None = None


class SessionTrack(Track):
    """The sign-in sessions at one provider, and whose they are, where that was said."""

    holder: str | None = None


class LocateTrack(Track):
    """The last known position; where it is lies in the vault."""

    accuracy_m: int | None = None
    source: str | None = None
    position: str | None = None


class LineTrack(Track):
    """The line at the carrier."""

    assurance: Assurance | None = None
    reference: str | None = None


class ManualTask(Fact):
    """Something that a person has to do outside."""

    kind: str
    due_at: AwareDatetime
    done_at: AwareDatetime | None = None


class Tracks(Fact):
    """Everything that was heard about containment."""

    plan: ContainmentPlanned | None = None
    protection: ProtectionSnapshotTaken | None = None
    sessions: Mapping[str, SessionTrack] = {}
    lock: Track = Track()
    locate: LocateTrack = LocateTrack()
    line: LineTrack = LineTrack()
    tasks: Mapping[str, ManualTask] = {}
    misuse: tuple[str, ...] = ()


class ProposalState(StrEnum):
    """How far people are with one wipe."""

    PROPOSED = "proposed"
    REQUESTED = "requested"
    DECLINED = "declined"
    WITHDRAWN = "withdrawn"


class Approval(Fact):
    """One more signature under a statement."""

    person: str
    approved: StatementSignature
    at: AwareDatetime


class Proposal(Fact):
    """One statement to wipe, who signed it, and what became of it at the device."""

    statement: WipeStatement
    proposed: StatementSignature
    proposer: str
    reason: str
    proposed_at: AwareDatetime
    state: ProposalState = ProposalState.PROPOSED
    approvals: tuple[Approval, ...] = ()
    outcome: Track = Track()
    end_reason: str | None = None

    @property
    def live(self) -> bool:
        """Whether the phone may still be erased by this order."""
        armed = self.outcome.state in ("sent", "not_cancellable")
        return armed or (self.state is ProposalState.REQUESTED and self.outcome.state not in WIPE_ENDED)


WIPE_ENDED = frozenset({"confirmed", "failed", "expired", "disarmed", "refused"})
"""Outcomes after which nothing more will happen to the phone by this order."""


class Duty(Fact):
    """A duty that the notifier opened: somebody must be told."""

    duty: str
    rule: str
    phase: str
    recipient: str
    state: str
    provisional: bool = False
    due: AwareDatetime | None = None
    receipt: str | None = None

    @property
    def ended(self) -> bool:
        return self.state in ("filed", "met", "waived")


class Alert(Fact):
    """An alert to the people inside."""

    kind: str
    sent_at: AwareDatetime
    acknowledged_by: str | None = None
    acknowledged_at: AwareDatetime | None = None


class Published(Fact):
    """The disclosure, as last heard."""

    disclosure: str
    state: str
    version: int
    at: AwareDatetime
    edition: str | None = None
    url: str | None = None


class Notices(Fact):
    """One batch of notices to the people concerned."""

    people: int
    by_channel: Mapping[str, int] = {}
    by_state: Mapping[str, int] = {}
    started_at: AwareDatetime | None = None
    settled_at: AwareDatetime | None = None


class Incident(Fact):
    """One lost phone, from the report to the end."""

    id: str
    organisation: str
    drill: bool = False
    door: Door
    reported_as: ReportedAs
    reporter: str | None = None
    reported_at: AwareDatetime
    locale: str = "ja"
    facts: LossFacts
    amendments: int = 0
    reports: int = 1
    decision_version: int = 1
    verified_at: AwareDatetime | None = None
    verified_by: str | None = None
    triaged_at: AwareDatetime | None = None
    severity: str | None = None
    found_claimed_at: AwareDatetime | None = None
    tracks: Tracks = Tracks()
    proposals: Mapping[str, Proposal] = {}
    assessments: tuple[LeakAssessed, ...] = ()
    reassess: bool = False
    police: tuple[PoliceReportFiled, ...] = ()
    facilities: tuple[FacilityContacted, ...] = ()
    duties: Mapping[str, Duty] = {}
    alerts: Mapping[str, Alert] = {}
    notices: Mapping[str, Notices] = {}
    published: Published | None = None
    recovered: DeviceRecovered | None = None
    written_off: str | None = None
    prevention: Mapping[str, PreventionActionRecorded] = {}
    ended: Status | None = None
    ended_at: AwareDatetime | None = None
    outcome: str | None = None
    brought_back: bool = False
    """Some of it was read again from the log after a restore; words told at that time are lost."""

    @property
    def verified(self) -> bool:
        """A signed-in report stands by itself; one through the emergency door waits for the desk."""
        return self.verified_at is not None

    @property
    def open_duties(self) -> list[Duty]:
        return [duty for duty in self.duties.values() if not duty.ended]

    @property
    def live_wipes(self) -> list[Proposal]:
        """Orders that may still act on the phone; one that was withdrawn too, while the provider still holds it."""
        return [proposal for proposal in self.proposals.values() if proposal.live]

    @property
    def wipe(self) -> Track:
        """The wipe of the lost phone as far as it is proved: the confirmed order, else the one that may still act, else
        the one with the most proof, else the newest."""
        of_this_phone = [p for p in self.proposals.values() if p.statement.device == self.facts.device]
        if not of_this_phone:
            return Track()
        last = max(
            of_this_phone,
            key=lambda p: (p.outcome.state == "confirmed", p.live, p.outcome.proof, p.proposed_at),
        )
        if last.outcome.state != "none":
            return last.outcome
        return Track(state=last.state.value, at=last.proposed_at, reason=last.end_reason)

    @property
    def status(self) -> Status:
        """The furthest phase that the case has reached."""
        if self.ended is not None:
            return self.ended
        if self.recovered is not None:
            return Status.RECOVERED
        if self.triaged_at is None:
            return Status.REPORTED
        if self.assessments:
            return self._status_after_assessment()
        if self.tracks.plan is None:
            return Status.TRIAGED
        return Status.CONTAINING if self.containment_open else Status.CONTAINED

    def _status_after_assessment(self) -> Status:
        if self.open_duties:
            return Status.NOTIFYING
        if self.duties or self.assessments[-1].final:
            return Status.MONITORING
        return Status.ASSESSING

    @property
    def containment_open(self) -> bool:
        """Whether a containment step was begun and has not ended."""
        tracks = self.tracks
        waiting = {"planned", "requested"}
        steps = (
            tracks.lock.state,
            tracks.locate.state,
            tracks.line.state,
            *(t.state for t in tracks.sessions.values()),
        )
        return bool(self.live_wipes) or any(state in waiting for state in steps)

    def must_be_open(self) -> None:
        """Raises `RefusedError` when the case has ended."""
        if self.ended is not None:
            raise RefusedError("incident_ended", status=self.ended.value)

    def must_be_verified(self) -> None:
        """Raises `RefusedError` while an emergency report waits for the desk."""
        if not self.verified:
            raise RefusedError("report_not_verified")


@dataclass(frozen=True)
class Decision:
    """The incident as it is next, and the events that tell it, in this order."""

    incident: Incident
    events: tuple[Payload, ...] = ()

    def then(self, other: "Decision") -> "Decision":
        """Another decision that was taken on `self.incident`."""
        return Decision(other.incident, self.events + other.events)


@dataclass(frozen=True)
class By:
    """Who acts, and when."""

    person: str | None
    at: datetime

    def name(self) -> str:
        """The person reference. Raises `RefusedError` for somebody who has not signed in."""
        if self.person is None:
            raise RefusedError("sign_in_needed")
        return self.person
