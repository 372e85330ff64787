"""One model of a command for every vendor: its kinds, its states, and how a state moves when something is heard.

Providers answer twice, late and out of order. `advance` says what is true after hearing one more word, so that
whoever hears it - webhook, reconciler, read-back - gets the same answer whatever the order.
"""

from collections.abc import Mapping
from enum import StrEnum
from uuid import UUID, uuid5

from shared.events.payload import ProofLevel

_NAMESPACE = UUID("6f1d3b52-9a40-5c7e-8f0b-2a6c4d7e9b10")


class Kind(StrEnum):
    """What is asked of a device, a line or an identity provider."""

    REVOKE_SESSIONS = "revoke_sessions"
    LOST_MODE = "lost_mode"
    LOCK = "lock"
    LOCATE = "locate"
    PLAY_SOUND = "play_sound"
    WIPE = "wipe"
    UNLOCK = "unlock"
    SUSPEND_LINE = "suspend_line"
    RESUME_LINE = "resume_line"


DEVICE_KINDS = frozenset({Kind.LOST_MODE, Kind.LOCK, Kind.LOCATE, Kind.PLAY_SOUND, Kind.WIPE, Kind.UNLOCK})
LINE_KINDS = frozenset({Kind.SUSPEND_LINE, Kind.RESUME_LINE})


class State(StrEnum):
    """Where a command stands."""

    REQUESTED = "requested"
    """Decided and stored; nothing was sent."""
    AWAITING_APPROVAL = "awaiting_approval"
    """A person at the vendor, or a manual task, has to act."""
    QUEUED = "queued"
    """The provider has it; the device has not answered."""
    DEFERRED = "deferred"
    """The device saw it and cannot obey now."""
    SUCCEEDED = "succeeded"
    """The device, or a second look, says that it was done."""
    FAILED = "failed"
    """Provider or device refused."""
    EXPIRED = "expired"
    """Not done within its validity."""
    CANCELLED = "cancelled"
    """Withdrawn before the device obeyed."""
    SUPERSEDED = "superseded"
    """Dropped by another action, such as a new enrolment."""


OPEN = frozenset({State.REQUESTED, State.AWAITING_APPROVAL, State.QUEUED, State.DEFERRED})
ENDED = frozenset(State) - OPEN

_FROM_OPEN = frozenset({State.AWAITING_APPROVAL, State.QUEUED, State.DEFERRED}) | ENDED
_ALLOWED: Mapping[State, frozenset[State]] = {
    State.REQUESTED: _FROM_OPEN,
    State.AWAITING_APPROVAL: _FROM_OPEN - {State.AWAITING_APPROVAL},
    State.QUEUED: _FROM_OPEN - {State.QUEUED, State.AWAITING_APPROVAL},
    # NotNow, then an answer; "queued" heard afterwards is old news.
    State.DEFERRED: ENDED,
    # What a device did cannot be taken back by any later word.
    State.SUCCEEDED: frozenset(),
    # Everything below was somebody's conclusion. The device's own "done" beats a conclusion.
    State.FAILED: frozenset({State.SUCCEEDED}),
    State.EXPIRED: frozenset({State.SUCCEEDED}),
    State.CANCELLED: frozenset({State.SUCCEEDED}),
    State.SUPERSEDED: frozenset({State.SUCCEEDED}),
}


def advance(now: State, heard: State) -> State:
    """The state after hearing `heard`; `now` itself when that is a repeat or old news."""
    return heard if heard in _ALLOWED[now] else now


def command_id(incident: str, target: str, kind: Kind, attempt: int) -> UUID:
    """The same order always has the same id, so that sending it again cannot make a second one."""
    return uuid5(_NAMESPACE, f"{incident}/{target}/{kind}/{attempt}")


def proof(state: State, *, sent: bool) -> ProofLevel:
    """What may be claimed about a lock or wipe that stands like this. `sent`: it left us."""
    match state:
        case State.SUCCEEDED:
            return ProofLevel.P3
        case State.QUEUED | State.DEFERRED | State.AWAITING_APPROVAL:
            return ProofLevel.P2
        case State.REQUESTED | State.EXPIRED | State.CANCELLED | State.SUPERSEDED if sent:
            return ProofLevel.P1
        case _:
            return ProofLevel.P0
