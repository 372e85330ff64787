"""The composition root: the only file that knows all parts of this service."""

from datetime import timedelta

import asyncpg
from pydantic import SecretStr

from services.mdm_actions import breaker, http, webhooks
from services.mdm_actions.approvers import ApproversFile
from services.mdm_actions.carriers.soracom import Soracom
from services.mdm_actions.commands import Commands
from services.mdm_actions.containment import Containment
from services.mdm_actions.handlers import Handlers
from services.mdm_actions.identity.entra import Entra
from services.mdm_actions.inventory import Inventory
from services.mdm_actions.mdm.nanomdm import NanoMDM
from services.mdm_actions.outside import Outside, Providers
from services.mdm_actions.playbooks import read_folder
from services.mdm_actions.providers import Carrier, IdentityProvider, MobileDeviceManagement
from services.mdm_actions.settings import Settings
from services.mdm_actions.settlement import Settlement
from shared.events import LOG_TOPIC
from shared.messaging.log_end import LogEnd
from shared.postgres import keep
from shared.service import Kit, Parts
from shared.telemetry import metrics
from shared.web import create_app

_IMPORT_SECONDS = 300.0
"""A first import of a large fleet puts every identifier into the vault."""


async def build(kit: Kit[Settings], *, log_topic: str = LOG_TOPIC) -> Parts:
    """Raises `ApproversFileError` or `PlaybookError` when a file that decides about phones cannot be trusted."""
    settings = kit.settings
    approvers = ApproversFile(settings.approvers_file)
    approvers.load()
    outside = Outside(await _providers(kit), kit.providers)
    outside.watch()
    containment = Containment(outside.providers)
    settlement = Settlement(containment, kit.vault)
    commands = Commands(
        kit.units,
        outside,
        containment,
        settlement,
        LogEnd(settings.kafka(), log_topic),
        watch_first=timedelta(seconds=settings.watch_first_seconds),
        watch_most=timedelta(seconds=settings.watch_most_seconds),
    )
    handlers = Handlers(containment, read_folder(settings.rules_dir / "playbooks"), approvers)

    app = create_app(
        kit,
        title="mdm_actions",
        larger={http.IMPORT_PATH: http.MAX_IMPORT_BYTES},
        slower={http.IMPORT_PATH: _IMPORT_SECONDS},
    )
    inventory = Inventory(kit.units, kit.vault, kit.people)
    app.include_router(http.router(kit.units, kit.identity, settlement, inventory))
    if settings.nanomdm_webhook_key:
        key = settings.nanomdm_webhook_key.get_secret_value()
        app.include_router(webhooks.router(kit.units, settlement, key))
    kit.gauges.ask(metrics.BREAKERS_OPEN, lambda: breaker.count_open(kit.pool))
    return Parts(sink=handlers.dispatch(), app=app, timers=commands.timers())


async def _providers(kit: Kit[Settings]) -> Providers:
    settings = kit.settings
    mdm: dict[str, MobileDeviceManagement] = {}
    carriers: dict[str, Carrier] = {}
    identity: dict[str, IdentityProvider] = {}
    if settings.nanomdm_url:
        # No connection is opened before it is needed: NanoMDM may start later, or be away.
        database = asyncpg.create_pool(
            _given(settings.nanomdm_dsn), min_size=0, max_size=4, command_timeout=10, timeout=5, reset=keep
        )
        await database
        kit.on_close.push_async_callback(database.close)
        mdm["nanomdm"] = NanoMDM(kit.http, settings.nanomdm_url, _given(settings.nanomdm_api_key), database)
    if settings.soracom_auth_key_id:
        keys = settings.soracom_auth_key_id, _given(settings.soracom_auth_key)
        carriers["soracom"] = Soracom(kit.http, settings.soracom_url, *keys)
    if settings.entra_client_id:
        for organisation, tenant in settings.entra_tenants.items():
            identity[organisation] = Entra(
                kit.http,
                settings.entra_login_url,
                settings.entra_graph_url,
                tenant=tenant,
                client_id=settings.entra_client_id,
                client_secret=_given(settings.entra_client_secret),
            )
    return Providers(mdm, carriers, identity)


def _given(value: SecretStr | None) -> str:
    """`Settings` makes sure that a provider is configured whole or not at all."""
    if value is None:
        raise ValueError("a provider is configured in part")
    return value.get_secret_value()
