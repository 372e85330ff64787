"""People agree on a wipe: one proposes and signs, others sign the same statement, then it is ordered.

Signatures are checked here for who gives them and what they stand under; whether they are genuine is for
`mdm_actions`, which alone reads the approvers' keys.
"""

from datetime import datetime, timedelta

from services.reporter.domain.incident import (
    WIPE_ENDED,
    Approval,
    By,
    Decision,
    Incident,
    Proposal,
    ProposalState,
    RefusedError,
)
from services.reporter.domain.report import CLOCK_SKEW
from shared.events.payload import Ownership, Payload
from shared.events.reporter import WipeApproved, WipeDeclined, WipeProposed, WipeRequested, WipeWithdrawn
from shared.events.wipe import StatementSignature, WipeStatement

ACCEPT_WITHIN = timedelta(hours=24)
VALID_FOR = timedelta(days=30)
MAX_APPROVALS = 8
MAX_PROPOSALS = 100


def statement(incident: Incident, ownership: Ownership | None, nonce: str, now: datetime) -> WipeStatement:
    """The statement to sign now. Raises `RefusedError` when this phone may not be wiped."""
    device = _must_be_wipeable(incident, ownership)
    now = now.replace(microsecond=0)
    return WipeStatement(
        organisation=incident.organisation,
        incident=incident.id,
        device=device,
        ownership=Ownership.COMPANY,
        drill=incident.drill,
        decision_version=incident.decision_version,
        accept_by=now + ACCEPT_WITHIN,
        valid_until=now + VALID_FOR,
        nonce=nonce,
    )


def propose(
    incident: Incident,
    ownership: Ownership | None,
    proposed: WipeProposed,
    by: By,
) -> Decision:
    """One person proposes, and has signed. Raises `RefusedError` naming what in the statement does not hold."""
    _must_hold(proposed.statement, incident, ownership, by.at)
    if proposed.statement.nonce in incident.proposals:
        raise RefusedError("nonce_already_used")
    if len(incident.proposals) >= MAX_PROPOSALS:
        raise RefusedError("too_many_proposals", limit=MAX_PROPOSALS)
    waiting = next((p for p in incident.proposals.values() if awaits_approval(p, incident, by.at)), None)
    if waiting is not None:
        raise RefusedError("proposal_already_waiting", nonce=waiting.statement.nonce)
    if incident.live_wipes:
        raise RefusedError("wipe_already_open", nonce=incident.live_wipes[0].statement.nonce)
    proposal = Proposal(
        statement=proposed.statement,
        proposed=proposed.proposed,
        proposer=by.name(),
        reason=proposed.reason,
        proposed_at=by.at,
    )
    return Decision(with_proposal(incident, proposal), (proposed,))


def approve(incident: Incident, nonce: str, signature: StatementSignature, by: By, *, needed: int) -> Decision:
    """Another person signs. With the last signature needed the wipe is ordered."""
    person = by.name()
    proposal = _waiting(incident, nonce, by.at)
    signers = {proposal.proposer, *(approval.person for approval in proposal.approvals)}
    keys = {proposal.proposed.keyid, *(approval.approved.keyid for approval in proposal.approvals)}
    if person in signers or signature.keyid in keys:
        raise RefusedError("same_person_signed_twice")
    approvals = (*proposal.approvals, Approval(person=person, approved=signature, at=by.at))
    events: list[Payload] = [WipeApproved(nonce=nonce, approved=signature)]
    state = ProposalState.PROPOSED
    if len(approvals) >= min(needed, MAX_APPROVALS):
        state = ProposalState.REQUESTED
        events.append(
            WipeRequested(
                statement=proposal.statement,
                proposed=proposal.proposed,
                approved=[approval.approved for approval in approvals],
            )
        )
    after = proposal.model_copy(update={"approvals": approvals, "state": state})
    return Decision(with_proposal(incident, after), tuple(events))


def decline(incident: Incident, nonce: str, reason: str, by: By) -> Decision:
    """An approver says no, and the proposal is over."""
    proposal = _waiting(incident, nonce, by.at)
    after = proposal.model_copy(update={"state": ProposalState.DECLINED, "end_reason": reason})
    return Decision(with_proposal(incident, after), (WipeDeclined(nonce=nonce, reason=reason),))


def withdraw(incident: Incident, nonce: str, reason: str) -> Decision:
    """A proposal or an order is taken back. Every statement signed before this one moves out of date with it."""
    proposal = find(incident, nonce)
    if not withdrawable(proposal):
        raise RefusedError("proposal_ended", state=describe(proposal))
    after = proposal.model_copy(update={"state": ProposalState.WITHDRAWN, "end_reason": reason})
    version = incident.decision_version + 1
    moved = with_proposal(incident, after).model_copy(update={"decision_version": version})
    return Decision(moved, (WipeWithdrawn(nonce=nonce, reason=reason, decision_version=version),))


def withdrawable(proposal: Proposal) -> bool:
    """Whether there is still something to take back."""
    waits = proposal.state in (ProposalState.PROPOSED, ProposalState.REQUESTED)
    return waits and proposal.outcome.state not in WIPE_ENDED


def find(incident: Incident, nonce: str) -> Proposal:
    """Raises `RefusedError` when no proposal has this nonce."""
    proposal = incident.proposals.get(nonce)
    if proposal is None:
        raise RefusedError("proposal_unknown", nonce=nonce)
    return proposal


def awaits_approval(proposal: Proposal, incident: Incident, now: datetime) -> bool:
    """Whether another person can still sign it."""
    return proposal.state is ProposalState.PROPOSED and standing(proposal, incident, now) is None


def standing(proposal: Proposal, incident: Incident, now: datetime) -> str | None:
    """None while its statement still stands, or why it does not: `lapsed` or `stale`."""
    if now > proposal.statement.accept_by:
        return "lapsed"
    return "stale" if proposal.statement.decision_version != incident.decision_version else None


def describe(proposal: Proposal) -> str:
    """What became of it, as one code."""
    return proposal.outcome.state if proposal.outcome.state != "none" else proposal.state.value


def _waiting(incident: Incident, nonce: str, now: datetime) -> Proposal:
    incident.must_be_open()
    proposal = find(incident, nonce)
    if proposal.state is not ProposalState.PROPOSED:
        raise RefusedError("proposal_ended", state=describe(proposal))
    reason = standing(proposal, incident, now)
    if reason is not None:
        raise RefusedError(f"proposal_{reason}")
    return proposal


def _must_be_wipeable(incident: Incident, ownership: Ownership | None) -> str:
    incident.must_be_open()
    incident.must_be_verified()
    if incident.recovered is not None:
        raise RefusedError("already_recovered")
    device = incident.facts.device
    if device is None or ownership is None:
        raise RefusedError("device_unknown")
    if ownership is not Ownership.COMPANY:
        raise RefusedError("personal_device")
    return device


def _must_hold(signed: WipeStatement, incident: Incident, ownership: Ownership | None, now: datetime) -> None:
    now_asked = statement(incident, ownership, signed.nonce, now)
    for name in ("organisation", "incident", "device", "ownership", "drill", "decision_version"):
        if getattr(signed, name) != getattr(now_asked, name):
            raise RefusedError("statement_differs", field=name)
    if not now < signed.accept_by <= now + ACCEPT_WITHIN + CLOCK_SKEW:
        raise RefusedError("statement_differs", field="accept_by")
    if not signed.accept_by <= signed.valid_until <= now + VALID_FOR + CLOCK_SKEW:
        raise RefusedError("statement_differs", field="valid_until")


def with_proposal(incident: Incident, proposal: Proposal) -> Incident:
    """The case with this proposal in place of the one of the same nonce."""
    proposals = {**incident.proposals, proposal.statement.nonce: proposal}
    return incident.model_copy(update={"proposals": proposals})
