"""A lock, erase or stopped line of a phone that was named by mistake stands in no document about the lost one."""

from datetime import timedelta
from typing import Any

from services.notifier.domain import wording
from services.notifier.domain.case import Case
from shared.events.mdm_actions import SessionsRevoked
from shared.events.payload import ProofLevel
from shared.events.reporter import LossReportAmended
from tests.notifier.cases import COMMAND, DEVICE, LOCKED, NOTICED, OFFICER, SENT, STOPPED, WIPED, after, case_of, lost

_LOST = "0192f0c1-7d3e-7a11-9b52-3f6f1c2d4e60"
_HOLDER = "person-9a8b7c6d5e4f30211203f4e5d6c7b8a9"
_LINE_STOPPED = STOPPED.model_copy(update={"device": DEVICE})
_ENDED = SessionsRevoked.model_validate({"provider": "entra", "command": COMMAND, "effective_at": after(23)})


def _amended(changed: str, **facts: Any) -> LossReportAmended:
    told = lost(device=DEVICE).model_dump(include=set(LossReportAmended.model_fields))
    return LossReportAmended.model_validate(
        told | facts | {"changed": [changed], "known_at": NOTICED + timedelta(hours=1)}
    )


def _course(case: Case) -> list[str]:
    return [words.en for _, words in wording.course(case)]


def test_what_was_done_to_the_wrong_phone_is_not_said_of_the_lost_one() -> None:
    wrong = case_of(lost(device=DEVICE), LOCKED, SENT, WIPED, STOPPED)
    assert wording.wipe_proof(wrong) is ProofLevel.P3
    case = wrong.hear(_amended("device", device=_LOST))
    assert (wording.lock_proof(case), wording.wipe_proof(case)) == (ProofLevel.P0, ProofLevel.P0)
    assert _course(case) == ["The employee noticed that it was gone.", "It was reported within the company."]


def test_what_is_heard_late_of_the_wrong_phone_is_not_said_either() -> None:
    case = case_of(lost(device=DEVICE), _amended("device", device=_LOST))
    assert case_of(lost(device=DEVICE), _amended("device", device=_LOST), LOCKED, SENT, WIPED, _LINE_STOPPED) == case
    on_the_lost_one = LOCKED.model_copy(update={"device": _LOST})
    assert wording.lock_proof(case.hear(on_the_lost_one)) is ProofLevel.P3


def test_sessions_that_ended_were_those_of_the_holder_of_then() -> None:
    case = case_of(lost(device=DEVICE), _ENDED)
    assert "Sign-in sessions were ended." in _course(case)
    assert "Sign-in sessions were ended." not in _course(case.hear(_amended("holder", device=DEVICE, holder=_HOLDER)))


def test_a_detail_that_is_told_later_takes_nothing_back() -> None:
    case = case_of(lost(device=DEVICE), LOCKED, SENT, WIPED, STOPPED, _ENDED)
    assert _course(case.hear(_amended("place", device=DEVICE, place="train"))) == _course(case)


def test_sessions_that_are_said_to_be_another_holders_are_not_said_to_be_this_ones() -> None:
    of_this_one = _ENDED.model_copy(update={"holder": _HOLDER})
    named = case_of(lost(device=DEVICE), of_this_one, _amended("holder", device=DEVICE, holder=_HOLDER))
    assert "Sign-in sessions were ended." in _course(named)
    of_another = _ENDED.model_copy(update={"holder": OFFICER})
    late = case_of(lost(device=DEVICE, holder=_HOLDER), of_another)
    assert "Sign-in sessions were ended." not in _course(late)
