"""Cases that the tests of this room share. They are of today, because services and databases that run have a clock of
their own: a duty of a day long ago would be overdue. Where a test writes out a date, it gives the moments itself."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from services.notifier.domain.case import Case
from services.notifier.domain.facts import facts_of
from services.notifier.domain.rules import decide
from services.notifier.rulebook import Rulebook
from shared.events.mdm_actions import CarrierSuspended, DeviceLocked, WipeConfirmed, WipeSent
from shared.events.notifier import DutyOpened
from shared.events.reporter import DeviceLost, LeakAssessed, PoliceReportFiled

INCIDENT = "0192f0c1-0000-7000-8000-000000000001"
DIGEST = "Hq0yqvY3mXkz1h2Z3b4C5d6E7f8G9h0I1j2K3l4M5n6"
OFFICER = "person-5f0c7a2e9b1d4c3f8e6a7b9c0d1e2f3a"
SECOND = "person-9a8b7c6d5e4f30211203f4e5d6c7b8a9"
NOTICED = datetime.now(UTC).replace(second=0, microsecond=0) - timedelta(hours=2)
"""When the phone was missed: no deadline of a duty has passed, and nothing of the case lies ahead."""
RULES = Path(__file__).parents[2] / "rules" / "duties"
BOOK = Rulebook(RULES)

PROTECTED: dict[str, Any] = {
    "encrypted": "yes",
    "key_apart": "yes",
    "remote_erase_ready": "yes",
    "attempts_limited": "yes",
    "locked_at_loss": "yes",
}
UNPROTECTED = PROTECTED | {"encrypted": "no"}


def after(minutes: int) -> datetime:
    """That long after the phone was missed."""
    return NOTICED + timedelta(minutes=minutes)


def lost(**changes: Any) -> DeviceLost:
    facts: dict[str, Any] = {
        "callback": DIGEST,
        "noticed_at": NOTICED,
        "cause": "left_behind",
        "intoxication": "yes",
        "malicious_intent": "no",
        "place": "taxi",
        "passcode_set": "yes",
        "passcode_attached": "no",
        "door": "signed_in",
        "reported_as": "proxy",
        "reported_at": after(20),
    }
    return DeviceLost.model_validate(facts | changes)


def assessed(**changes: Any) -> LeakAssessed:
    """80 people on an unprotected phone: a leak, but no category."""
    facts: dict[str, Any] = {
        "version": 1,
        "leak": "suspected",
        "left_organisation": "yes",
        "people": 80,
        "people_certain": True,
        "records": 95,
        "counting": "address_book_export",
        "data_items": ["contacts", "mail"],
        "special_care": "no",
        "property_damage": "no",
        "wrongful_purpose": "no",
        "my_number": "no",
        "entrusted": "no",
        "residency": ["JP"],
        "protection": UNPROTECTED,
        "encryption_level": "E0",
        "lock_proof": "P0",
        "wipe_proof": "P0",
        "misuse_seen": "no",
        "known_at": NOTICED,
        "assessed_at": after(90),
    }
    return LeakAssessed.model_validate(facts | changes)


def case_of(*payloads: Any) -> Case:
    case = Case()
    for payload in payloads:
        case = case.hear(payload)
    return case


def duties(
    case: Case, standing: dict[str, DutyOpened] | None = None, organisation: str = "acme-kk"
) -> list[DutyOpened]:
    assert case.known_at is not None
    return decide(
        BOOK.of(organisation),
        INCIDENT,
        facts_of(case),
        known_at=case.known_at,
        reported_at=case.reported_at,
        assessment=case.assessment,
        only_report=case.assessment is None,
        standing=standing or {},
    )


def rules(found: list[DutyOpened]) -> set[str]:
    return {duty.rule for duty in found}


DESK: dict[str, Any] = {
    "name": {"ja": "アクメ株式会社 お客さま相談窓口", "en": "Acme customer contact desk"},
    "phone": "0120-000-000",
    "hours": {"ja": "平日9時から18時", "en": "weekdays 9:00 to 18:00 JST"},
    "mail": "desk@acme.example",
    "languages": ["ja", "en"],
}
DETAILS: dict[str, Any] = {
    "issuer": {
        "company": {"ja": "アクメ株式会社", "en": "Acme K.K."},
        "representative": {"ja": "代表取締役社長 山田 太郎", "en": "Taro Yamada, President"},
        "department": {"ja": "営業部", "en": "sales department"},
        "desk": DESK,
    },
    "prevention": [
        {
            "ja": "会食に業務用携帯電話を持参しないことを2026年12月20日までに規程で定めます。",
            "en": "A rule that no company phone is taken to dinners will be in force by 20 December 2026.",
        }
    ],
}
DEVICE = "0192f0c1-7d3e-7a11-9b52-3f6f1c2d4e5f"
COMMAND = "5e0a3c44-6f1b-5d7e-8c2a-1b9f0d3e4a55"
NONCE = "00112233445566778899aabbccddeeff"
HASH = "5cfdbd10dfab15c1cc5ee84f10b3f1db459218da4dff4957fdde3108ef405b34"
LOCKED = DeviceLocked.model_validate(
    {
        "device": DEVICE,
        "command": COMMAND,
        "mode": "lost_mode",
        "proof": "P3",
        "acknowledged_at": after(23),
    }
)
SENT = WipeSent.model_validate(
    {"device": DEVICE, "command": COMMAND, "nonce": NONCE, "proof": "P2", "sent_at": after(50)}
)
WIPED = WipeConfirmed.model_validate(
    {
        "device": DEVICE,
        "command": COMMAND,
        "nonce": NONCE,
        "proof": "P3",
        "confirmed_at": after(60),
        "evidence": HASH,
    }
)
STOPPED = CarrierSuspended.model_validate(
    {
        "line": COMMAND,
        "carrier": "soracom",
        "command": COMMAND,
        "action": "suspend",
        "trigger": "wipe_confirmed",
        "assurance": "api_readback",
        "effective_at": after(61),
    }
)
POLICE = PoliceReportFiled.model_validate(
    {
        "kind": "lost_property",
        "channel": "online",
        "filed_at": after(70),
        "reception_number": "R-20261125-0042",
    }
)
BIG: dict[str, Any] = {
    "people": 1240,
    "records": 1310,
    "encryption_level": "E2",
    "lock_proof": "P3",
    "wipe_proof": "P3",
}
"""The assessment of a phone that was locked and erased."""
