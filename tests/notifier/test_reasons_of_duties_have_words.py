"""Whatever a rule gives as its reason, the pages of duties and of the timeline say in words."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from services.notifier.domain.alert import KINDS
from services.notifier.domain.filing import Stated
from services.notifier.domain.fulfilment import WAYS
from services.notifier.domain.rules import (
    AllOf,
    AnyOf,
    ChangedSinceFiled,
    Condition,
    MyNumberPeopleOver,
    Not,
    PeopleOver,
    Resident,
    RulePack,
)
from services.notifier.duties import ENDED_IN_ERROR
from tests.notifier.cases import RULES

_SERVICES = Path(__file__).parents[2] / "services"
_PAGES = ("notifier", "audit")


def _reasons(condition: Condition) -> Iterator[str]:  # noqa: C901 - one per kind of condition
    match condition:
        case str():
            yield from (condition, f"{condition}_unknown")
        case AllOf():
            for part in condition.all:
                yield from _reasons(part)
        case AnyOf():
            for part in condition.any:
                yield from _reasons(part)
        case Not():
            yield from _reasons(condition.condition)
        case PeopleOver():
            yield from (f"more_than_{condition.people_over}_people", "people_unknown", "people_uncertain")
        case MyNumberPeopleOver():
            limit = condition.my_number_people_over
            yield from (f"more_than_{limit}_my_number_people", "my_number_people_unknown", "my_number_people_uncertain")
        case Resident():
            yield from (f"resident_{condition.resident.lower()}", "residency_unknown")
        case ChangedSinceFiled():
            yield from (f"{name}_changed" for name in Stated.model_fields)


@pytest.mark.parametrize(("service", "prefix"), [("notifier", "reason_"), ("audit", "code.")])
@pytest.mark.parametrize("file", sorted(RULES.glob("*.yaml")), ids=lambda file: file.stem)
def test_each_reason_of_a_rule_has_words(file: Path, service: str, prefix: str) -> None:
    words = yaml.safe_load((_SERVICES / service / "pages" / "words.yaml").read_text())
    pack = RulePack.model_validate(yaml.safe_load(file.read_text()))
    said = {reason for rule in pack.rules for reason in _reasons(rule.trigger)}
    said |= {"exemption_not_satisfied", "exemption_undetermined", ENDED_IN_ERROR}
    assert sorted(reason for reason in said if f"{prefix}{reason}" not in words) == []


def test_the_timeline_says_each_alert_and_each_end_of_a_duty_in_words() -> None:
    words = {service: yaml.safe_load((_SERVICES / service / "pages" / "words.yaml").read_text()) for service in _PAGES}
    said = set(KINDS) | {how for ways in WAYS.values() for how in ways}
    said |= {name.removeprefix("met_") for name in words["notifier"] if name.startswith("met_")}
    packs = (yaml.safe_load(file.read_text()) for file in RULES.glob("*.yaml"))
    said |= {word for pack in packs for rule in pack["rules"] for word in (rule["recipient"], rule["phase"])}
    assert sorted(code for code in said if f"code.{code}" not in words["audit"]) == []
