"""What the case page and the timeline say about why a step was not done, or not yet, is said in words."""

import plistlib
from datetime import UTC, datetime
from itertools import product
from pathlib import Path

import pytest
import yaml

from services.mdm_actions.domain.playbook import Playbook, Target, plan
from services.mdm_actions.mdm.nanomdm import read_report
from shared.events.payload import Answer, Ownership

_SERVICES = Path(__file__).parents[2] / "services"
_PLAYBOOK = Path(__file__).parents[2] / "rules" / "playbooks" / "default.yaml"
PAGES = pytest.mark.parametrize(("service", "prefix"), [("reporter", "reason"), ("audit", "code")])


def without_words(service: str, prefix: str, reasons: set[str]) -> list[str]:
    words = yaml.safe_load((_SERVICES / service / "pages" / "words.yaml").read_text())
    return sorted(reason for reason in reasons if f"{prefix}.{reason}" not in words)


@PAGES
def test_each_reason_of_a_plan(service: str, prefix: str) -> None:
    playbook = Playbook.model_validate(yaml.safe_load(_PLAYBOOK.read_text()))
    targets = [
        Target(ownership=owner, supervised=supervised, managed=managed, account=known, line=known)
        for owner, supervised, managed, known in product([*Ownership, None], Answer, [True, False], [True, False])
    ]
    steps = [
        step for target in targets for verified in (True, False) for step in plan(playbook, target, verified=verified)
    ]
    assert without_words(service, prefix, {step.reason for step in steps if step.reason}) == []


@PAGES
def test_each_reason_that_a_phone_gives(service: str, prefix: str) -> None:
    chains = [plistlib.dumps({"ErrorChain": [{"ErrorCode": code}]}) for code in (12021, 12067, 12068, 12069, 12078)]
    reports = [("NotNow", b""), ("CommandFormatError", b""), ("Error", b""), *(("Error", chain) for chain in chains)]
    reports.append(("Acknowledged", plistlib.dumps({"MessageResult": "NoPasscodeSet"})))
    outcomes = [read_report(status, raw, datetime.now(UTC)) for status, raw in reports]
    assert without_words(service, prefix, {outcome.reason for outcome in outcomes if outcome.reason}) == []
