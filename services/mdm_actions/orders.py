"""What an order rests on, and what earlier orders say."""

from dataclasses import dataclass

from services.mdm_actions.domain.command import Kind, State, command_id
from services.mdm_actions.domain.line import LineState
from services.mdm_actions.fleet import Device
from services.mdm_actions.store import Case, Command


@dataclass(frozen=True)
class Known:
    """What an order rests on, read once: phone, holder, where the holder signs in, and the orders before it."""

    device: Device | None
    holder: str | None
    account: str | None
    orders: list[Command]


def holder_of(case: Case, device: Device | None) -> str | None:
    """Who held the phone: as the case says, or else the inventory."""
    return case.holder or (device.holder if device else None)


def next_id(case: Case, kind: Kind, subject: str, orders: list[Command]) -> str:
    """The id of the next command of this kind for this device or holder in this incident."""
    same = [
        order
        for order in orders
        if order.incident == case.incident
        and order.kind is kind
        and (order.device or order.line or order.holder) == subject
    ]
    return str(command_id(case.incident, subject, kind, len(same) + 1))


def line_state(orders: list[Command]) -> LineState:
    """How a line stands after these orders, oldest first."""
    state = LineState.ACTIVE
    for order in orders:
        stops = order.kind is Kind.SUSPEND_LINE
        if order.open:
            state = LineState.SUSPENDING if stops else LineState.RESUMING
        elif order.state is State.SUCCEEDED:
            state = LineState.SUSPENDED if stops else LineState.ACTIVE
    return state
