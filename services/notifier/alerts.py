"""Wakes people inside, and wakes more of them until somebody says that they have it."""

from datetime import timedelta

import structlog
import uuid_utils.compat as uuids

from services.notifier import store
from services.notifier.channels.pager import Pager
from services.notifier.domain import alert as rules
from services.notifier.store import Alert
from shared.events.notifier import AlertAcknowledged, AlertSent
from shared.messaging import Scope, Timer, Unit, Units

_ACTOR = "service/notifier"
_PROVIDER_PAUSE = timedelta(seconds=30)

_log = structlog.get_logger()


class Alerts:
    """Alerts of all organisations. In a drill they are recorded and go to nobody."""

    def __init__(self, units: Units, pager: Pager, *, public_url: str, again_after: timedelta) -> None:
        self._units = units
        self._pager = pager
        self._public_url = public_url.rstrip("/")
        self._again_after = again_after

    async def open(self, unit: Unit, scope: Scope, kind: str) -> str:
        """Have an alert sent once the unit commits; returns its id."""
        alert_id = str(uuids.uuid7())
        await store.open_alert(unit, alert_id, scope, kind)
        await unit.arm(scope.subject, f"alert:{alert_id}", unit.now)
        return alert_id

    async def on_timer(self, timer: Timer) -> None:
        """Send, or send again further up. A crash in between may send one twice; that wakes nobody wrongly."""
        alert_id = timer.name.partition(":")[2]
        alert = await store.alert(self._units.pool, alert_id)
        sent = alert is not None and not alert.ended and await self._send(alert)
        async with self._units.begin() as unit:
            await unit.lock(timer.subject)
            alert = await store.alert(unit.connection, alert_id)
            if alert is None or alert.ended:
                await unit.finish(timer)
            elif sent:
                await self._sent(unit, timer, alert)
            else:
                _log.error("alert_not_sent", alert=alert_id, kind=alert.kind, organisation=alert.scope.organisation)
                await unit.arm(timer.subject, timer.name, unit.now + _PROVIDER_PAUSE)

    async def _send(self, alert: Alert) -> bool:
        if alert.scope.drill:
            return True
        words = rules.KINDS[alert.kind].title
        link = f"{self._public_url}/alerts/{alert.id}"
        return await self._pager.send(
            alert.scope.organisation,
            rules.role(alert.kind, alert.attempt + 1),
            title=f"{words.ja} / {words.en}",
            text=f"{words.ja}\n{words.en}\n{alert.scope.subject}\n確認 / Acknowledge: {link}",
        )

    async def _sent(self, unit: Unit, timer: Timer, alert: Alert) -> None:
        attempt = alert.attempt + 1
        again = rules.again(alert.kind, self._again_after)
        await store.alert_sent(unit, alert.id, attempt, last=again is None)
        await unit.emit(
            AlertSent(
                alert=alert.id,
                kind=alert.kind,
                role=rules.role(alert.kind, attempt),
                channels=["drill" if alert.scope.drill else "desk"],
                attempt=attempt,
            ),
            alert.scope,
            actor=_ACTOR,
        )
        if again is None:
            await unit.finish(timer)
        else:
            await unit.arm(timer.subject, timer.name, unit.now + again)

    async def acknowledge(self, unit: Unit, alert: Alert, *, person: str, actor: str) -> Alert:
        """Somebody has it: no more is sent. Acknowledging again changes nothing."""
        if alert.acknowledged_by is None:
            await store.acknowledge(unit, alert.id, person)
            await unit.emit(
                AlertAcknowledged(alert=alert.id, kind=alert.kind, acknowledged_by=person, acknowledged_at=unit.now),
                alert.scope,
                actor=actor,
            )
            await unit.disarm(alert.scope.subject, f"alert:{alert.id}")
        return await store.alert(unit.connection, alert.id) or alert

    async def end(self, unit: Unit, subject: str) -> None:
        """The case is over: stop insisting."""
        for alert_id in await store.end_alerts(unit, subject):
            await unit.disarm(subject, f"alert:{alert_id}")
