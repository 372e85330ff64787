"""What an order rests on, what earlier orders say, and the order itself."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from services.mdm_actions.domain.command import OPEN, Kind, State, command_id
from services.mdm_actions.domain.line import LineState
from services.mdm_actions.domain.protection import Posture
from services.mdm_actions.fleet import DEVICE, DEVICE_COLUMNS, Device, read_device
from services.mdm_actions.store import COMMAND_COLUMNS, SAME_WORLD, Case, Command, read_command
from shared.events.mdm_actions import SuspensionTrigger
from shared.events.wipe import WipeStatement
from shared.messaging import Unit
from shared.telemetry import current_traceparent

_VALIDITY = {
    # Sessions and lines are asked of a provider that is up in a day, or somebody has to look.
    Kind.REVOKE_SESSIONS: timedelta(hours=24),
    Kind.SUSPEND_LINE: timedelta(hours=24),
    Kind.RESUME_LINE: timedelta(hours=24),
    # A stolen phone may be switched on after months: it is locked then, unless its case took the lock back. Apple's
    # commands never expire; ten years stand for never.
    Kind.LOST_MODE: timedelta(days=3650),
    Kind.LOCK: timedelta(days=3650),
    Kind.UNLOCK: timedelta(days=3650),
}
_DEVICE_VALIDITY = timedelta(days=30)
"""A phone that is off obeys when it comes back."""

# A row for each order, or one without: phone and all else are the same in each.
_KNOWN = f"""
SELECT EXISTS (SELECT FROM incident WHERE incident = $4),
       EXISTS (SELECT FROM snapshot WHERE incident = $4 AND device = $1),
       (SELECT account FROM account WHERE organisation = $2 AND holder = coalesce($6, d.holder)),
       (SELECT facts FROM posture WHERE device = d.device AND observed_at <= $7 ORDER BY observed_at DESC LIMIT 1),
       {", ".join(f"d.{name}" for name in DEVICE_COLUMNS)}, {", ".join(f"c.{name}" for name in COMMAND_COLUMNS)}
FROM (SELECT) AS always
LEFT JOIN ({DEVICE} WHERE d.device = $1 AND d.organisation = $2) d ON true
LEFT JOIN (
    SELECT * FROM command WHERE incident = $4 OR (device = $1 AND {SAME_WORLD} AND state = ANY ($5))
) c ON true
ORDER BY c.place
"""  # noqa: S608 - our own names


@dataclass(frozen=True)
class Known:
    """What an order rests on, read at once."""

    heard: bool
    """The incident is on record."""
    device: Device | None
    holder: str | None
    account: str | None
    """Where the holder signs in."""
    posture: Posture | None
    """The newest observation of the phone from before the report."""
    snapshot_taken: bool
    orders: list[Command]
    """Everything ordered in this incident, and what its phone may still obey of others, oldest first."""

    def awaits(self, kind: Kind) -> bool:
        """Whether the phone may still obey an order of this kind."""
        return self.device is not None and any(
            order.open and order.kind is kind and order.device == self.device.device for order in self.orders
        )


async def read_known(unit: Unit, case: Case) -> Known:
    """What is known of the case's phone and holder now."""
    rows = await unit.connection.fetch(
        _KNOWN,
        case.device,
        case.organisation,
        case.drill,
        case.incident,
        [state.value for state in OPEN],
        case.holder,
        case.reported_at,
    )
    heard, snapshot_taken, account, facts, *found = rows[0]
    phone = dict(zip(DEVICE_COLUMNS, found, strict=False))
    device = read_device(phone) if phone["device"] is not None else None
    orders = [dict(zip(COMMAND_COLUMNS, tuple(row)[-len(COMMAND_COLUMNS) :], strict=True)) for row in rows]
    return Known(
        heard=heard,
        device=device,
        holder=holder_of(case, device),
        account=account,
        posture=Posture.model_validate(facts) if facts else None,
        snapshot_taken=snapshot_taken,
        orders=[read_command(order) for order in orders if order["command"] is not None],
    )


def holder_of(case: Case, device: Device | None) -> str | None:
    """Who held the phone: as the case says, or else the inventory."""
    return case.holder or (device.holder if device else None)


def new_order(
    case: Case,
    kind: Kind,
    earlier: list[Command],
    now: datetime,
    *,
    provider: str,
    target: str,
    cause: str | None,
    device: str | None = None,
    line: str | None = None,
    holder: str | None = None,
    statement: WipeStatement | None = None,
    trigger: SuspensionTrigger | None = None,
) -> Command:
    """`earlier`: what was ordered in this incident before."""
    return Command(
        command=_next_id(case, kind, device or holder or "", earlier),
        incident=case.incident,
        organisation=case.organisation,
        drill=case.drill,
        kind=kind,
        state=State.REQUESTED,
        provider=provider,
        target=target,
        device=device,
        line=line,
        holder=holder,
        statement=statement,
        trigger=trigger,
        reason=None,
        cause=cause,
        traceparent=current_traceparent(),
        ordered_at=now,
        expires_at=statement.valid_until if statement else now + _VALIDITY.get(kind, _DEVICE_VALIDITY),
        sent_at=None,
        ended_at=None,
        disarming_at=None,
    )


def _next_id(case: Case, kind: Kind, subject: str, earlier: list[Command]) -> str:
    """The id of the next command of this kind for this device or holder in this incident."""
    same = [
        order
        for order in earlier
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
