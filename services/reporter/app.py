"""Composition root of the reporter: the only file that knows all parts."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import cast
from zoneinfo import ZoneInfo

from fastapi import FastAPI, Request
from starlette.responses import Response

from services.reporter import desk_screens, door, http, screens, store
from services.reporter.acts import Acts
from services.reporter.after_restore import AfterRestore
from services.reporter.cases import Cases
from services.reporter.desk_screens import DeskScreens
from services.reporter.disclosing import Disclosing
from services.reporter.domain.incident import RefusedError
from services.reporter.door import Doors
from services.reporter.erasure import Erasure
from services.reporter.handlers import handlers
from services.reporter.intake import Intake
from services.reporter.lookup import Lookup
from services.reporter.refusals import problem
from services.reporter.screens import Screens
from services.reporter.settings import Settings
from services.reporter.view import Views
from shared.messaging import Dispatch
from shared.service import Kit, Parts
from shared.telemetry import metrics
from shared.vault.keys import VaultKeys
from shared.web import Budget, Pages, Problem, RateLimit, create_app

PAGES = Path(__file__).parent / "pages"


async def build(kit: Kit[Settings]) -> Parts:
    """The reporter from its kit."""
    settings = kit.settings
    lookup = Lookup.from_file(settings.vault_key_file, kit.vault)
    receipt_key = VaultKeys.read(settings.vault_key_file).derive("reporter.receipt.v1")
    intake = Intake(kit.units, kit.vault, kit.people, lookup, receipt_key)
    cases = Cases(kit.units, intake, lookup, lambda organisation: settings.approvals_needed.get(organisation, 1))
    zone = ZoneInfo(settings.zone)
    views = Views(kit.units, kit.vault, settings.links, settings.public_url, zone)
    doors = Doors(
        settings=settings,
        identity=kit.identity,
        units=kit.units,
        intake=intake,
        views=views,
        emergency_limit=RateLimit(
            burst=settings.emergency_burst,
            per_minute=settings.emergency_per_minute,
            overall=Budget(settings.emergency_overall_burst, settings.emergency_overall_per_minute),
        ),
        page_limit=RateLimit(burst=120, per_minute=120),
        receipt_limit=RateLimit(burst=settings.receipt_burst, per_minute=settings.receipt_per_minute),
        report_limit=RateLimit(burst=20, per_minute=20),
    )
    kit.gauges.ask(metrics.APPROVALS_PENDING.labels("wipe"), lambda: store.count_approvals_pending(kit.pool))
    desk = http.Desk(kit.identity, cases, Acts(cases, kit.vault, kit.people), views)
    app = _app(kit, doors, desk)
    pages = Pages(PAGES, PAGES / "words.yaml", zone=zone)
    app.include_router(screens.routes(Screens(doors, pages, zone), doors))
    app.include_router(desk_screens.routes(DeskScreens(desk, pages, zone), desk))
    after_restore = await AfterRestore.load(kit.pool, kit.vault, kit.people)
    return Parts(sink=Dispatch(handlers(lookup, after_restore), patient=True), app=app)


def _app(kit: Kit[Settings], doors: Doors, desk: http.Desk) -> FastAPI:
    app = create_app(kit, title="reporter", max_body=256 * 1024)
    # Where the shared sign-in page sends whoever lost the phone that they sign in with.
    app.state.links = {**kit.settings.links, "emergency": "/emergency"}

    @app.exception_handler(RefusedError)
    async def on_refused(request: Request, error: RefusedError) -> Response:
        # As any other problem of a request: details for programs, a page for a browser.
        respond = cast("Callable[..., Awaitable[Response]]", app.exception_handlers[Problem])
        return await respond(request, problem(error))

    app.include_router(door.routes(doors))
    app.include_router(http.routes(desk))
    app.include_router(
        http.people(kit.identity, Erasure(kit.units, kit.vault, kit.people), Disclosing(kit.units, kit.vault))
    )
    return app
