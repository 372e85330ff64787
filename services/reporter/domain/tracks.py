"""What other services say happened, laid into the case.

Every event fits every state of the case, and none claims more than its proof.
"""

from collections.abc import Sequence
from datetime import datetime
from functools import singledispatch

from services.reporter.domain.incident import (
    WIPE_ENDED,
    Alert,
    Decision,
    Duty,
    Incident,
    LineTrack,
    LocateTrack,
    ManualTask,
    Notices,
    Published,
    SessionTrack,
    Track,
)
from services.reporter.domain.report import reopened
from shared.events import mdm_actions as done
from shared.events import notifier as told
from shared.events.payload import Payload, ProofLevel
from shared.events.reporter import ContainmentStep

type _Disclosed = (
    told.DisclosureDrafted
    | told.DisclosureApproved
    | told.DisclosureIssued
    | told.DisclosureRevised
    | told.DisclosureRetracted
)
type _DutyMoved = told.DutyDueSoon | told.DutyOverdue | told.DutyFiled | told.DutyMet | told.DutyWaived

_OF_ONE_PHONE = (
    done.ContainmentPlanned,
    done.ProtectionSnapshotTaken,
    done.DeviceLocked,
    done.LockFailed,
    done.DeviceUnlocked,
    done.DeviceLocated,
    done.LocateFailed,
    done.CarrierSuspended,
    done.CarrierSuspensionFailed,
    done.CarrierResumed,
    done.MisuseSuspected,
)
"""A wipe is known by its nonce: one that is armed on the wrong phone stays in sight."""
_OF_ONE_HOLDER = (done.SessionsRevoked, done.SessionRevocationFailed)
MAX_SIGNALS = 50
MAX_ENTRIES = 200
"""Of each kind that is kept per case; the timeline has all of them."""


def hear(incident: Incident, payload: Payload, at: datetime) -> Decision:
    """The case after an event of another service. A type that means nothing to the case changes nothing, nor does what
    is heard of a phone, or of a holder's sessions, that the case is not about any more."""
    if isinstance(payload, _OF_ONE_PHONE) and payload.device not in (None, incident.facts.device):
        return Decision(incident)
    if isinstance(payload, _OF_ONE_HOLDER) and _somebody_else(payload.holder, incident.facts.holder):
        return Decision(incident)
    after = _hear(payload, incident, at)
    if isinstance(payload, told.DutyOpened) and incident.ended is not None:
        # The rules may answer after people closed the case; a duty is never left behind in a closed one.
        return reopened(after, "duty_opened")
    return Decision(after)


def _somebody_else(named: str | None, holder: str | None) -> bool:
    return None not in (named, holder) and named != holder


def capped(proof: ProofLevel, most: ProofLevel) -> ProofLevel:
    """The proof that an event may claim: an unknown level claims nothing."""
    if proof is ProofLevel.OTHER:
        return ProofLevel.P0
    return min(proof, most)


def ordered(incident: Incident, step: ContainmentStep, at: datetime) -> Incident:
    """The desk ordered a step outside the plan."""
    asked: dict[str, object] = {"state": "requested", "at": at, "reason": None}
    if step is ContainmentStep.LOCK:
        return _track(incident, lock=incident.tracks.lock.model_copy(update=asked))
    if step is ContainmentStep.LOCATE:
        return _track(incident, locate=incident.tracks.locate.model_copy(update={"state": "requested", "reason": None}))
    return incident


def line_ordered(incident: Incident, state: str, at: datetime) -> Incident:
    """The desk asked for the line to be suspended or resumed."""
    return _track(incident, line=LineTrack(state=state, at=at))


def _track(incident: Incident, **changes: object) -> Incident:
    return incident.model_copy(update={"tracks": incident.tracks.model_copy(update=changes)})


@singledispatch
def _hear(payload: Payload, incident: Incident, at: datetime) -> Incident:
    return incident


@_hear.register
def _(payload: done.ContainmentPlanned, incident: Incident, at: datetime) -> Incident:
    tracks = incident.tracks
    planned = {step.step: step for step in payload.steps}
    changes: dict[str, object] = {"plan": payload}
    for name, track, steps in (
        ("lock", tracks.lock, ("lock", "lost_mode")),
        ("locate", tracks.locate, ("locate",)),
        ("line", tracks.line, ("suspend_line",)),
    ):
        step = next((planned[step] for step in steps if step in planned), None)
        if step is not None and track.state in ("none", "planned", "waiting"):
            state = "planned" if step.state == "now" else step.state
            changes[name] = track.model_copy(update={"state": state, "at": at, "reason": step.reason})
    return _track(incident, **changes)


@_hear.register
def _(payload: done.ProtectionSnapshotTaken, incident: Incident, at: datetime) -> Incident:
    # Never changed later: the first one stands.
    return incident if incident.tracks.protection is not None else _track(incident, protection=payload)


@_hear.register
def _(payload: done.SessionsRevoked, incident: Incident, at: datetime) -> Incident:
    revoked = SessionTrack(state="revoked", at=payload.effective_at, proof=ProofLevel.P3, holder=payload.holder)
    return _track(incident, sessions={**incident.tracks.sessions, payload.provider: revoked})


@_hear.register
def _(payload: done.SessionRevocationFailed, incident: Incident, at: datetime) -> Incident:
    failed = SessionTrack(state="failed", at=at, reason=payload.reason, holder=payload.holder)
    return _track(incident, sessions={**incident.tracks.sessions, payload.provider: failed})


@_hear.register
def _(payload: done.DeviceLocked, incident: Incident, at: datetime) -> Incident:
    proof = capped(payload.proof, ProofLevel.P4)
    return _track(incident, lock=Track(state="locked", at=payload.acknowledged_at, proof=proof, reason=payload.mode))


@_hear.register
def _(payload: done.LockFailed, incident: Incident, at: datetime) -> Incident:
    return _track(incident, lock=Track(state="failed", at=at, reason=payload.reason))


@_hear.register
def _(payload: done.DeviceUnlocked, incident: Incident, at: datetime) -> Incident:
    was = incident.tracks.lock
    # The proof of the lock stays: it held until now.
    return _track(incident, lock=was.model_copy(update={"state": "unlocked", "at": payload.acknowledged_at}))


@_hear.register
def _(payload: done.DeviceLocated, incident: Incident, at: datetime) -> Incident:
    return _track(
        incident,
        locate=LocateTrack(
            state="obtained",
            at=payload.located_at,
            proof=ProofLevel.P3,
            accuracy_m=payload.accuracy_m,
            source=payload.source,
            position=payload.position,
        ),
    )


@_hear.register
def _(payload: done.LocateFailed, incident: Incident, at: datetime) -> Incident:
    was = incident.tracks.locate
    # An older position stays known; only the last try failed.
    state = "obtained" if was.position else "unavailable"
    return _track(incident, locate=was.model_copy(update={"state": state, "reason": payload.reason}))


@_hear.register
def _(payload: done.CarrierSuspended, incident: Incident, at: datetime) -> Incident:
    line = LineTrack(
        state="suspended",
        at=payload.effective_at,
        proof=ProofLevel.P3,
        reason=payload.trigger.value,
        assurance=payload.assurance,
        reference=payload.reference,
    )
    return _track(incident, line=line)


@_hear.register
def _(payload: done.CarrierSuspensionFailed, incident: Incident, at: datetime) -> Incident:
    return _track(incident, line=LineTrack(state="suspend_failed", at=at, reason=payload.reason))


@_hear.register
def _(payload: done.CarrierResumed, incident: Incident, at: datetime) -> Incident:
    line = LineTrack(state="resumed", at=payload.effective_at, assurance=payload.assurance, reference=payload.reference)
    return _track(incident, line=line)


@_hear.register
def _(payload: done.MisuseSuspected, incident: Incident, at: datetime) -> Incident:
    signals = (*incident.tracks.misuse, payload.signal)[-MAX_SIGNALS:]
    return _track(incident, misuse=signals).model_copy(update={"reassess": bool(incident.assessments)})


@_hear.register
def _(payload: done.ManualTaskOpened, incident: Incident, at: datetime) -> Incident:
    tasks = {**incident.tracks.tasks, payload.task: ManualTask(kind=payload.kind, due_at=payload.due_at)}
    return _track(incident, tasks=dict(list(tasks.items())[-MAX_ENTRIES:]))


@_hear.register
def _(payload: done.ManualTaskDone, incident: Incident, at: datetime) -> Incident:
    task = incident.tracks.tasks.get(payload.task)
    if task is None:
        return incident
    finished = task.model_copy(update={"done_at": payload.done_at})
    return _track(incident, tasks={**incident.tracks.tasks, payload.task: finished})


def _outcome(incident: Incident, nonce: str | None, outcome: Track) -> Incident:
    proposal = incident.proposals.get(nonce) if nonce else None
    if proposal is None or proposal.outcome.state == "confirmed":
        return incident
    ended = proposal.outcome.state in WIPE_ENDED
    if ended and outcome.state != "confirmed":
        return incident
    kept = max(proposal.outcome.proof, outcome.proof)
    after = proposal.model_copy(update={"outcome": outcome.model_copy(update={"proof": kept})})
    return incident.model_copy(update={"proposals": {**incident.proposals, nonce: after}})


@_hear.register
def _(payload: done.WipeSent, incident: Incident, at: datetime) -> Incident:
    proof = capped(payload.proof, ProofLevel.P2)
    return _outcome(incident, payload.nonce, Track(state="sent", at=payload.sent_at, proof=proof))


@_hear.register
def _(payload: done.WipeConfirmed, incident: Incident, at: datetime) -> Incident:
    proof = capped(payload.proof, ProofLevel.P4)
    after = _outcome(incident, payload.nonce, Track(state="confirmed", at=payload.confirmed_at, proof=proof))
    return after.model_copy(update={"reassess": bool(incident.assessments)})


@_hear.register
def _(payload: done.WipeFailed, incident: Incident, at: datetime) -> Incident:
    return _outcome(incident, payload.nonce, Track(state="failed", at=at, reason=payload.reason))


@_hear.register
def _(payload: done.WipeExpired, incident: Incident, at: datetime) -> Incident:
    return _outcome(incident, payload.nonce, Track(state="expired", at=payload.expired_at))


@_hear.register
def _(payload: done.WipeDisarmed, incident: Incident, at: datetime) -> Incident:
    return _outcome(incident, payload.nonce, Track(state="disarmed", at=at, reason=payload.method))


@_hear.register
def _(payload: done.WipeNotCancellable, incident: Incident, at: datetime) -> Incident:
    return _outcome(incident, payload.nonce, Track(state="not_cancellable", at=at, reason=payload.reason))


@_hear.register
def _(payload: done.CommandRejected, incident: Incident, at: datetime) -> Incident:
    tracks, failed = incident.tracks, {"at": at, "reason": payload.reason}
    match payload.what:
        case "wipe":
            return _outcome(incident, payload.nonce, Track(state="refused", at=at, reason=payload.reason))
        case "suspend_line" if tracks.line.state == "suspend_requested":
            return _track(incident, line=tracks.line.model_copy(update=failed | {"state": "suspend_failed"}))
        case "resume_line" if tracks.line.state == "resume_requested":
            return _track(incident, line=tracks.line.model_copy(update=failed | {"state": "resume_failed"}))
        case "lock" if tracks.lock.state == "requested":
            return _track(incident, lock=tracks.lock.model_copy(update=failed | {"state": "failed"}))
        case "locate" if tracks.locate.state == "requested":
            state = "obtained" if tracks.locate.position else "unavailable"
            return _track(incident, locate=tracks.locate.model_copy(update={"state": state, "reason": payload.reason}))
    return incident


def _duty(incident: Incident, payload: _DutyMoved, **changes: object) -> Incident:
    key = f"{payload.duty}/{payload.phase}"
    duty = incident.duties.get(key)
    if duty is None or (duty.ended and changes.get("state") in ("due_soon", "overdue")):
        return incident
    return incident.model_copy(update={"duties": {**incident.duties, key: duty.model_copy(update=changes)}})


@_hear.register
def _(payload: told.DutyOpened, incident: Incident, at: datetime) -> Incident:
    key = f"{payload.duty}/{payload.phase}"
    before = incident.duties.get(key)
    duty = Duty(
        duty=payload.duty,
        rule=payload.rule,
        phase=payload.phase,
        recipient=payload.recipient,
        # Opened again after its end: it is owed again.
        state=before.state if before is not None and not before.ended else "opened",
        provisional=payload.provisional,
        due=payload.due,
        receipt=before.receipt if before is not None and not before.ended else None,
    )
    return incident.model_copy(update={"duties": {**incident.duties, key: duty}})


@_hear.register
def _(payload: told.DutyDueSoon, incident: Incident, at: datetime) -> Incident:
    return _duty(incident, payload, state="due_soon")


@_hear.register
def _(payload: told.DutyOverdue, incident: Incident, at: datetime) -> Incident:
    return _duty(incident, payload, state="overdue")


@_hear.register
def _(payload: told.DutyFiled, incident: Incident, at: datetime) -> Incident:
    return _duty(incident, payload, state="filed", receipt=payload.receipt)


@_hear.register
def _(payload: told.DutyMet, incident: Incident, at: datetime) -> Incident:
    return _duty(incident, payload, state="met")


@_hear.register
def _(payload: told.DutyWaived, incident: Incident, at: datetime) -> Incident:
    return _duty(incident, payload, state="waived")


@_hear.register
def _(payload: told.AlertSent, incident: Incident, at: datetime) -> Incident:
    if payload.alert in incident.alerts:
        return incident
    alerts = {**incident.alerts, payload.alert: Alert(kind=payload.kind, sent_at=at)}
    return incident.model_copy(update={"alerts": dict(list(alerts.items())[-MAX_ENTRIES:])})


@_hear.register
def _(payload: told.AlertAcknowledged, incident: Incident, at: datetime) -> Incident:
    alert = incident.alerts.get(payload.alert) or Alert(kind=payload.kind, sent_at=at)
    taken = alert.model_copy(
        update={"acknowledged_by": payload.acknowledged_by, "acknowledged_at": payload.acknowledged_at}
    )
    return incident.model_copy(update={"alerts": {**incident.alerts, payload.alert: taken}})


@_hear.register
def _(payload: told.NoticesSent, incident: Incident, at: datetime) -> Incident:
    batch = incident.notices.get(payload.batch, Notices(people=payload.people))
    sent = batch.model_copy(update={"by_channel": payload.by_channel, "started_at": payload.started_at})
    return incident.model_copy(update={"notices": {**incident.notices, payload.batch: sent}})


@_hear.register
def _(payload: told.NoticesSettled, incident: Incident, at: datetime) -> Incident:
    batch = incident.notices.get(payload.batch, Notices(people=payload.people))
    settled = batch.model_copy(update={"by_state": payload.by_state, "settled_at": payload.settled_at})
    return incident.model_copy(update={"notices": {**incident.notices, payload.batch: settled}})


@_hear.register
def _(payload: told.DisclosureDrafted, incident: Incident, at: datetime) -> Incident:
    return _publish(incident, payload, "draft", at)


@_hear.register
def _(payload: told.DisclosureApproved, incident: Incident, at: datetime) -> Incident:
    return _publish(incident, payload, "approved", at)


@_hear.register
def _(payload: told.DisclosureIssued, incident: Incident, at: datetime) -> Incident:
    return _publish(incident, payload, "issued", payload.issued_at, edition=payload.edition, url=payload.url)


@_hear.register
def _(payload: told.DisclosureRevised, incident: Incident, at: datetime) -> Incident:
    return _publish(incident, payload, "revised", payload.issued_at, edition=payload.edition)


@_hear.register
def _(payload: told.DisclosureRetracted, incident: Incident, at: datetime) -> Incident:
    return _publish(incident, payload, "retracted", payload.retracted_at)


def _publish(incident: Incident, payload: _Disclosed, state: str, at: datetime, **more: str | None) -> Incident:
    url = more.get("url") or (incident.published.url if incident.published is not None else None)
    published = Published(
        disclosure=payload.disclosure,
        state=state,
        version=payload.version,
        at=at,
        edition=more.get("edition"),
        url=url,
    )
    return incident.model_copy(update={"published": published})


HEARD: Sequence[type[Payload]] = tuple(
    kind for kind in _hear.registry if isinstance(kind, type) and issubclass(kind, Payload) and kind is not Payload
)
"""The types that mean something to the case."""
