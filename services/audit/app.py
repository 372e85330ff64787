"""The composition root of the audit service."""

from services.audit.domain.leaf import LeafBuilder
from services.audit.feeds.feeder import Feeder
from services.audit.http import routes
from services.audit.publisher import Publisher
from services.audit.reader import LogReader
from services.audit.settings import Settings
from services.audit.timeline import CAUSE_TIMER, Causes, Timeline
from shared.messaging.kafka import Producer
from shared.service import Kit, Parts
from shared.web import create_app


async def build(kit: Kit[Settings]) -> Parts:
    """Puts the parts together. Raises `ValueError` or `OSError` when a key of the log cannot be read."""
    settings = kit.settings
    dsn = settings.postgres_dsn.get_secret_value()
    app = create_app(kit, title="timeline")
    routes(app, LogReader(kit.pool), kit.identity, settings.operator_organisation)
    publisher = Publisher(dsn, settings.log_origin, settings.log_keys(), kit.health)
    feeder = Feeder(dsn, Producer(settings.kafka(), "lostphone-audit-feeder"), kit.health)
    return Parts(
        sink=Timeline(LeafBuilder(settings.blinding_key())),
        app=app,
        timers={CAUSE_TIMER: Causes(kit.units).look},
        background=(publisher.run, feeder.run),
    )
