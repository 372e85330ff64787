"""Events in: the inventory, everything that other services do in a case, and after a restore what was said itself."""

from collections.abc import Mapping

from services.reporter import store
from services.reporter.after_restore import AfterRestore
from services.reporter.devices import retire_device
from services.reporter.domain import tracks
from services.reporter.domain.incident import Decision
from services.reporter.lookup import SERVICE, Lookup
from shared.events import Event
from shared.events.mdm_actions import DeviceChanged, DeviceFacts, DeviceRegistered, DeviceRetired
from shared.events.payload import Payload
from shared.messaging import Handler, Unit


def handlers(lookup: Lookup, after_restore: AfterRestore) -> Mapping[type[Payload], Handler]:
    """What this service listens to."""

    async def on_device(unit: Unit, facts: DeviceFacts, event: Event) -> None:
        device = event.envelope.subject.removeprefix("device-")
        await lookup.index(unit, device, event.envelope.organisation, facts)

    async def on_case_event(unit: Unit, payload: Payload, event: Event) -> None:
        """Something happened in a case. What is about no case of ours is left alone."""
        envelope = event.envelope
        incident = await store.current(unit, envelope.subject, envelope.organisation)
        if incident is None:
            return
        store.heard(unit, incident.id, envelope, payload)
        decision = tracks.hear(incident, payload, envelope.time)
        if await after_restore.waits_for(unit, incident.id):
            decision = Decision(decision.incident)
        await store.record(unit, decision, actor=SERVICE, cause=envelope.id)

    return {
        DeviceRegistered: on_device,
        DeviceChanged: on_device,
        DeviceRetired: on_device_retired,
        **dict.fromkeys(tracks.HEARD, on_case_event),
        **after_restore.handlers,
    }


async def on_device_retired(unit: Unit, _: DeviceRetired, event: Event) -> None:
    """The phone is no longer found by its numbers."""
    device = event.envelope.subject.removeprefix("device-")
    await retire_device(unit, device, event.envelope.organisation)
