"""A command's state after hearing things twice, late and out of order."""

from itertools import permutations

import pytest

from services.mdm_actions.domain.command import ENDED, Kind, State, advance, command_id, proof
from shared.events.payload import ProofLevel


def _hear(*words: State) -> State:
    state = State.REQUESTED
    for word in words:
        state = advance(state, word)
    return state


@pytest.mark.parametrize("words", list(permutations([State.QUEUED, State.DEFERRED, State.SUCCEEDED])))
def test_the_order_of_results_does_not_change_the_outcome(words: tuple[State, ...]) -> None:
    assert _hear(*words) is State.SUCCEEDED


@pytest.mark.parametrize("state", list(State))
def test_the_same_result_twice_changes_nothing(state: State) -> None:
    assert advance(state, state) is state


@pytest.mark.parametrize("word", list(State))
def test_nothing_takes_back_what_the_device_did(word: State) -> None:
    assert advance(State.SUCCEEDED, word) is State.SUCCEEDED


@pytest.mark.parametrize("conclusion", sorted(ENDED - {State.SUCCEEDED}))
def test_the_devices_own_word_beats_a_conclusion_drawn_without_it(conclusion: State) -> None:
    assert advance(conclusion, State.SUCCEEDED) is State.SUCCEEDED


def test_an_ended_command_is_not_opened_again_by_old_news() -> None:
    for ended in ENDED:
        for old in (State.REQUESTED, State.QUEUED, State.DEFERRED, State.AWAITING_APPROVAL):
            assert advance(ended, old) is ended


def test_the_same_order_has_the_same_id_and_another_attempt_has_another() -> None:
    first = command_id("incident", "device", Kind.LOCATE, 1)
    assert first == command_id("incident", "device", Kind.LOCATE, 1)
    assert first.version == 5
    others = {
        command_id("incident", "device", Kind.LOCATE, 2),
        command_id("incident", "device", Kind.WIPE, 1),
        command_id("incident", "other", Kind.LOCATE, 1),
        command_id("other", "device", Kind.LOCATE, 1),
    }
    assert len(others | {first}) == 5


@pytest.mark.parametrize(
    ("state", "sent", "level"),
    [
        (State.REQUESTED, False, ProofLevel.P0),
        (State.REQUESTED, True, ProofLevel.P1),
        (State.QUEUED, True, ProofLevel.P2),
        (State.DEFERRED, True, ProofLevel.P2),
        (State.SUCCEEDED, True, ProofLevel.P3),
        (State.FAILED, True, ProofLevel.P0),
        (State.EXPIRED, True, ProofLevel.P1),
    ],
)
def test_a_claim_never_goes_beyond_its_proof(state: State, sent: bool, level: ProofLevel) -> None:
    assert proof(state, sent=sent) is level
