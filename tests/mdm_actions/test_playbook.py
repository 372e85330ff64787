"""What the playbook plans for one lost phone, and when the line may go."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from services.mdm_actions.domain import line
from services.mdm_actions.domain.command import Kind
from services.mdm_actions.domain.line import Hold, IncidentState, LineCase, LineState
from services.mdm_actions.domain.playbook import Playbook, Step, Target, plan
from shared.events.mdm_actions import SuspensionTrigger
from shared.events.payload import Answer, Ownership

_FILE = Path(__file__).parents[2] / "rules" / "playbooks" / "default.yaml"
_COMPANY = Target(ownership=Ownership.COMPANY, supervised=Answer.YES, managed=True, account=True, line=True)


@pytest.fixture
def document() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(_FILE.read_text())
    return loaded


@pytest.fixture
def playbook(document: dict[str, Any]) -> Playbook:
    return Playbook.model_validate(document)


def _kinds(
    playbook: Playbook, target: Target, *, verified: bool = True
) -> dict[Step, tuple[str, str | None, Kind | None]]:
    return {step.step: (step.state, step.reason, step.kind) for step in plan(playbook, target, verified=verified)}


def test_reversible_steps_start_now_and_wipe_and_line_wait(playbook: Playbook) -> None:
    assert _kinds(playbook, _COMPANY) == {
        Step.REVOKE_SESSIONS: ("now", None, Kind.REVOKE_SESSIONS),
        Step.LOCK: ("now", None, Kind.LOST_MODE),
        Step.LOCATE: ("now", None, Kind.LOCATE),
        Step.WIPE: ("waiting", "two_signatures", Kind.WIPE),
        Step.SUSPEND_LINE: ("waiting", "after_wipe", Kind.SUSPEND_LINE),
    }


def test_an_emergency_report_starts_nothing_before_it_is_verified(playbook: Playbook) -> None:
    assert all(state != "now" for state, _, _ in _kinds(playbook, _COMPANY, verified=False).values())


@pytest.mark.parametrize("ownership", [Ownership.PERSONAL, Ownership.OTHER, None])
def test_only_a_phone_known_to_be_the_companys_can_be_wiped(playbook: Playbook, ownership: Ownership | None) -> None:
    steps = _kinds(playbook, _COMPANY.model_copy(update={"ownership": ownership}))
    assert steps[Step.WIPE] == ("not_supported", "personal_device", None)


def test_a_personal_phone_is_locked_without_lost_mode_and_never_located(playbook: Playbook) -> None:
    steps = _kinds(playbook, _COMPANY.model_copy(update={"ownership": Ownership.PERSONAL}))
    assert steps[Step.LOCK][2] is Kind.LOCK
    assert steps[Step.LOCATE][0] == "not_supported"


def test_a_phone_that_is_not_in_the_inventory_gets_a_plan_that_says_so(playbook: Playbook) -> None:
    assert {state for state, _, _ in _kinds(playbook, Target()).values()} == {"not_supported"}


def test_a_playbook_cannot_put_the_line_first(document: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="keep the order"):
        Playbook.model_validate(document | {"steps": ["suspend_line", "lock", "wipe"]})


_OPEN = LineCase(IncidentState.OPEN, verified=True, line=LineState.ACTIVE)


@pytest.mark.parametrize(
    "trigger", [trigger for trigger in SuspensionTrigger if trigger is not SuspensionTrigger.OTHER]
)
def test_each_known_trigger_stops_an_active_line(trigger: SuspensionTrigger) -> None:
    assert line.suspend(_OPEN, trigger) is trigger


@pytest.mark.parametrize("state", [IncidentState.RECOVERED, IncidentState.CANCELLED])
def test_the_line_of_a_phone_that_is_back_stays_open(state: IncidentState) -> None:
    case = LineCase(state, verified=True, line=LineState.ACTIVE)
    assert line.suspend(case, SuspensionTrigger.TIMER) == Hold("phone_is_back")


def test_a_line_is_stopped_once() -> None:
    for state in (LineState.SUSPENDING, LineState.SUSPENDED):
        case = LineCase(IncidentState.OPEN, verified=True, line=state)
        assert line.suspend(case, SuspensionTrigger.TIMER) == Hold("already_suspended")


def test_waiting_does_not_stop_the_line_of_an_unverified_report_but_a_named_person_does() -> None:
    case = LineCase(IncidentState.OPEN, verified=False, line=LineState.ACTIVE)
    assert line.suspend(case, SuspensionTrigger.TIMER) == Hold("report_not_verified")
    assert line.suspend(case, SuspensionTrigger.NAMED_OVERRIDE) is SuspensionTrigger.NAMED_OVERRIDE
