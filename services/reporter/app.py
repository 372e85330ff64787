"""Composition root of the reporter: the only file that knows all parts."""

from pathlib import Path
from zoneinfo import ZoneInfo

from fastapi import FastAPI, Request
from starlette.responses import Response

from services.reporter import door, http
from services.reporter.acts import Acts
from services.reporter.cases import Cases
from services.reporter.domain.incident import RefusedError
from services.reporter.door import Doors
from services.reporter.handlers import handlers
from services.reporter.intake import Intake
from services.reporter.lookup import Lookup
from services.reporter.refusals import problem
from services.reporter.settings import Settings
from services.reporter.view import Views
from shared.messaging import Dispatch
from shared.service import Kit, Parts
from shared.vault.keys import VaultKeys
from shared.web import RateLimit, create_app
from shared.web.problem import answer

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
        emergency_limit=RateLimit(burst=settings.emergency_burst, per_minute=settings.emergency_per_minute),
        receipt_limit=RateLimit(burst=settings.receipt_burst, per_minute=settings.receipt_per_minute),
        report_limit=RateLimit(burst=20, per_minute=20),
    )
    desk = http.Desk(kit.identity, cases, Acts(cases, kit.vault, kit.people), views)
    return Parts(sink=Dispatch(handlers(lookup)), app=_app(kit, doors, desk))


def _app(kit: Kit[Settings], doors: Doors, desk: http.Desk) -> FastAPI:
    app = create_app(kit, title="reporter", max_body=256 * 1024)

    @app.exception_handler(RefusedError)
    async def on_refused(request: Request, error: RefusedError) -> Response:
        return answer(request, problem(error))

    app.include_router(door.routes(doors))
    app.include_router(http.routes(desk))
    app.include_router(http.about_me(kit.identity))
    return app
