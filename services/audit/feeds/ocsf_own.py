"""Events that audit writes itself go to the SIEM in the same transaction as to their own topic."""

from services.audit.feeds.ocsf import ocsf_of_own
from services.audit.feeds.ocsf_versions import OcsfVersion
from shared.events import Envelope, find
from shared.events.payload import Payload
from shared.messaging.unit import Scope, Unit

_OUTBOX = "INSERT INTO outbox (event_id, topic, key, headers, value) VALUES ($1, $2, $3, $4, $5)"


async def tell(
    unit: Unit,
    payload: Payload,
    scope: Scope,
    *,
    actor: str,
    ocsf: OcsfVersion,
    cause: str | None = None,
    seal: bytes | None = None,
) -> str:
    """Emit the event, and its OCSF record of this version with it; the event's id. `seal`: the leaf hash of the seal
    that is told. Raises what `Unit.emit` raises."""
    event_id = await unit.emit(payload, scope, actor=actor, cause=cause)
    entry = find(payload.event_type)
    if entry is None:
        raise AssertionError("emit knows the type")
    envelope = Envelope(
        id=event_id,
        source=entry.source,
        type=entry.type,
        subject=scope.subject,
        time=unit.now,
        sequence=0,
        organisation=scope.organisation,
        actor=actor,
        drill=scope.drill,
        causationid=cause,
    )
    record = ocsf_of_own(envelope, payload.write(), ocsf, seal=seal)
    headers = [[name, (data or b"").decode()] for name, data in record.headers]
    await unit.connection.execute(_OUTBOX, f"{event_id}/ocsf", record.topic, scope.subject, headers, record.value)
    return event_id
