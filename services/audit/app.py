"""The composition root of the audit service."""

from services.audit import figures
from services.audit.added import Added
from services.audit.clerk import Clerk
from services.audit.domain.leaf import LeafBuilder
from services.audit.evidence.desk import EvidenceDesk
from services.audit.feeds.feeder import Feeder
from services.audit.guard import Guard
from services.audit.hourly import Hourly
from services.audit.http import evidence_routes, policy_route, routes
from services.audit.kept import Kept
from services.audit.publisher import Publisher
from services.audit.reader import LogReader
from services.audit.settings import Settings
from services.audit.streams import stream_routes
from services.audit.timeline import CAUSE_TIMER, Causes, Timeline
from services.audit.tlog import Policy
from services.audit.witnesses import Witnesses
from shared.messaging.kafka import Producer
from shared.service import Kit, Parts
from shared.web import create_app


async def build(kit: Kit[Settings]) -> Parts:
    """Puts the parts together. Raises `ValueError` or `OSError` when a key of the log cannot be read."""
    settings = kit.settings
    dsn = settings.postgres_dsn.get_secret_value()
    ocsf = settings.ocsf_version
    keys, policy, reader = settings.log_keys(), settings.log_policy(), LogReader(kit.pool)
    parsed = Policy.parse(policy)
    witnesses = Witnesses(parsed, kit.http)
    # What was published last before a change of keys bears the old one, which the policy still names.
    known = dict.fromkeys([*(key.verifier for key in keys), *parsed.logs])
    guard = Guard(settings.log_origin, list(known), settings.log_state_dir, witnesses)
    await guard.look()
    builder = LeafBuilder(settings.blinding_key())
    added = Added("publisher", "feeder")
    timeline = Timeline(builder, guard, added, ocsf)
    clerk = Clerk(kit.units, timeline, builder)
    desk = EvidenceDesk(reader, clerk, keys[0], policy)
    figures.watch(kit.gauges, kit.pool)
    app = create_app(kit, title="timeline")
    routes(app, reader, kit.identity, settings.operator_organisation)
    evidence_routes(app, reader, kit.identity, desk, settings.operator_organisation)
    policy_route(app, policy)
    stream_routes(app, reader, kit.identity, settings.operator_organisation, settings.kafka())
    publisher = Publisher(
        dsn,
        settings.log_origin,
        keys,
        kit.health,
        witnesses=witnesses,
        guard=guard,
        units=kit.units,
        added=added,
        ocsf=ocsf,
    )
    kept = Kept(settings.log_state_dir)
    hourly = Hourly(dsn, clerk, reader, settings.timestamps(kit.http), kept, kit.health)
    feeder = Feeder(
        dsn,
        settings.log_origin,
        Producer(settings.kafka(), "lostphone-audit-feeder"),
        kit.health,
        added=added,
        ocsf=ocsf,
    )
    return Parts(
        sink=timeline,
        app=app,
        timers={CAUSE_TIMER: Causes(kit.units, ocsf).look},
        background=(publisher.run, feeder.run, hourly.run),
    )
