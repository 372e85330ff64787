"""Composition root of the notifier: the only file that knows all parts."""

from datetime import timedelta
from pathlib import Path

from services.notifier import figures, http, site
from services.notifier.alerts import Alerts
from services.notifier.channels.mail import MailServer
from services.notifier.channels.outlets import Outlets
from services.notifier.channels.pager import Pager
from services.notifier.desk import Desk
from services.notifier.disclosures import Disclosures
from services.notifier.duties import Duties
from services.notifier.handlers import Handlers
from services.notifier.notices import Notices
from services.notifier.rulebook import Rulebook
from services.notifier.settings import Settings
from shared.service import Kit, Parts
from shared.telemetry import ProviderCalls
from shared.web import Pages, create_app

PAGES = Path(__file__).parent / "pages"
_MAX_LIST = 8 * 1024 * 1024
"""A list of people concerned, in bytes."""


async def build(kit: Kit[Settings]) -> Parts:
    """The notifier from its kit."""
    settings = kit.settings
    rulebook = Rulebook(settings.rules_dir / "duties", settings.rule_packs)
    alerts = Alerts(
        kit.units,
        Pager(settings.alert_urls, kit.providers),
        public_url=settings.public_url,
        again_after=timedelta(minutes=settings.alert_again_minutes),
    )
    duties = Duties(kit.units, rulebook, alerts)
    outlets = _outlets(settings, kit.providers)
    outlets.watch()
    kit.on_close.push_async_callback(outlets.close)
    notices = Notices(kit.units, kit.vault, kit.people, outlets, duties, public_url=settings.public_url)
    disclosures = Disclosures(duties, public_url=settings.public_url)
    handlers = Handlers(kit.units, duties, alerts)
    desk = Desk(kit.identity, kit.units, rulebook, alerts, duties, notices, disclosures)
    figures.watch(kit.gauges, kit.pool)
    app = create_app(kit, title="notifier", larger={r"/v1/incidents/[^/]+/principals": _MAX_LIST})
    app.include_router(http.routes(desk))
    app.include_router(site.routes(desk, Pages(PAGES, PAGES / "words.yaml")))
    return Parts(
        sink=handlers.sink(),
        app=app,
        timers={
            "alert": alerts.on_timer,
            "assess": handlers.on_assess_timer,
            "duty_soft": duties.on_timer,
            "duty_last_call": duties.on_timer,
            "duty_due": duties.on_timer,
            "notices": notices.on_timer,
        },
        # A mail that is broken off may have been sent or not, and is never sent again.
        unbroken=("notices",),
        calendar=("duty_soft", "duty_last_call", "duty_due"),
    )


def _outlets(settings: Settings, calls: ProviderCalls) -> Outlets:
    server = None
    if settings.smtp_host:
        password = settings.smtp_password.get_secret_value() if settings.smtp_password else None
        server = MailServer(
            settings.smtp_host, settings.smtp_port, settings.smtp_security, settings.smtp_username, password
        )
    return Outlets(
        mail_server=server,
        senders=settings.mail_senders,
        line_url=settings.line_url,
        line_tokens={name: token.get_secret_value() for name, token in settings.line_channel_tokens.items()},
        calls=calls,
    )
