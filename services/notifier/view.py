"""How alerts, duties, batches and disclosures look from outside, as JSON."""

from typing import Any

from services.notifier.disclosures import Disclosure, Disclosures
from services.notifier.domain import alert as alert_rules
from services.notifier.domain.fulfilment import WAYS, takes_receipt
from services.notifier.ledger import Batch
from services.notifier.rulebook import Rulebook
from services.notifier.store import Alert, Duty, Incident

type View = dict[str, Any]


def of_alert(alert: Alert) -> View:
    words = alert_rules.KINDS[alert.kind].title
    return {
        "alert": alert.id,
        "incident": alert.scope.subject,
        "drill": alert.scope.drill,
        "kind": alert.kind,
        "title": {"ja": words.ja, "en": words.en},
        "attempt": alert.attempt,
        "opened_at": alert.opened_at,
        "acknowledged_by": alert.acknowledged_by,
        "acknowledged_at": alert.acknowledged_at,
        "ended": alert.ended,
    }


def of_duty(duty: Duty, rulebook: Rulebook) -> View:
    opened = duty.opened
    return {
        "duty": duty.id,
        "incident": duty.scope.subject,
        "drill": duty.scope.drill,
        "rule": opened.rule,
        "phase": opened.phase,
        "title": rulebook.title(opened.rule, opened.phase),
        "rule_version": opened.rule_version,
        "jurisdiction": opened.jurisdiction,
        "recipient": opened.recipient,
        "provisional": opened.provisional,
        "reasons": opened.reasons,
        "assessment_version": opened.assessment_version,
        "known_at": opened.known_at,
        "soft_due": opened.soft_due,
        "due": opened.due,
        "state": duty.state,
        "takes_receipt": takes_receipt(opened.recipient),
        "ways": WAYS.get(opened.recipient, ()),
        "overdue": duty.overdue,
        "ended_at": duty.ended_at,
        "receipt": duty.receipt,
        "receipt_hash": duty.receipt_hash,
        "how": duty.how,
        "waiver_proposed_by": duty.waiver_by,
        "waiver_reason": duty.waiver_reason,
        "waived_by": duty.waived_by,
    }


def of_batch(batch: Batch, by_state: dict[str, int], by_channel: dict[str, int]) -> View:
    return {
        "batch": batch.id,
        "incident": batch.scope.subject,
        "drill": batch.scope.drill,
        "template": batch.template,
        "assessment_version": batch.assessment_version,
        "people": batch.people,
        "state": "settled" if batch.settled_at else "sending",
        "by_state": by_state,
        "by_channel": by_channel,
        "started_at": batch.started_at,
        "settled_at": batch.settled_at,
    }


def of_disclosure(disclosure: Disclosure, known: Incident, disclosures: Disclosures) -> View:
    latest = disclosure.latest
    return {
        "disclosure": disclosure.id,
        "incident": disclosure.scope.subject,
        "drill": disclosure.scope.drill,
        "state": disclosure.state,
        "version": latest.version,
        "edition": latest.document.edition,
        "assessment_version": latest.document.assessment_version,
        "text": latest.sha256,
        "texts": {
            language: [block.model_dump() for block in blocks] for language, blocks in latest.document.texts.items()
        },
        "findings": [finding.model_dump() for finding in disclosures.findings(known, latest)],
        "approvals": [
            {"role": approval.role, "person": approval.person, "text": approval.sha256, "at": approval.at}
            for approval in latest.approvals
        ],
        "contact_desk_checked_at": latest.desk_checked[1] if latest.desk_checked else None,
        "issued_at": latest.issued_at,
        "retracted_at": disclosure.retracted_at,
        "url": disclosures.url(disclosure.id),
        "editions": [
            {"version": item.version, "edition": item.document.edition, "issued_at": item.issued_at}
            for item in disclosure.editions
        ],
    }
