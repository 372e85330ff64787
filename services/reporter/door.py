"""The two doors and the receipts, over HTTP."""

from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Path
from pydantic import BaseModel

from services.reporter.devices import organisations
from services.reporter.domain.desk import MAY
from services.reporter.domain.incident import RefusedError
from services.reporter.domain.report import Answers, Report
from services.reporter.intake import ANONYMOUS, Accepted, Intake, Speaker
from services.reporter.settings import Organisation, Settings
from services.reporter.view import Views
from shared.events.reporter import Door
from shared.messaging import Units
from shared.web import Identity, Person, Problem, RateLimit, Role, role_needed, too_many

type IdempotencyKey = Annotated[str | None, Header(min_length=16, max_length=100, pattern=r"^[A-Za-z0-9._-]+$")]

type Code = Annotated[str, Path(min_length=1, max_length=60)]


class EmergencyReport(Report):
    """A report without sign-in names the company it is about."""

    organisation: Organisation


class ReportAccepted(BaseModel):
    """201: the report is kept. The code is shown once; it opens the receipt."""

    incident: str
    receipt_code: str
    receipt_url: str


@dataclass(frozen=True)
class Doors:
    """What both the API and the pages need to take reports in."""

    settings: Settings
    identity: Identity
    units: Units
    intake: Intake
    views: Views
    emergency_limit: RateLimit
    page_limit: RateLimit
    receipt_limit: RateLimit
    report_limit: RateLimit

    async def signed_in(self, report: Report, person: Person, key: str | None) -> ReportAccepted:
        """Accept a report of a signed-in person. A drill is for those who may call one."""
        if report.drill and not may(person, "drill"):
            raise role_needed(roles_for("drill"))
        wait = self.report_limit.take(person.ref)
        if wait > 0:
            raise too_many(wait)
        # Whoever reports does it as an employee, whatever else they are.
        speaker = Speaker(Door.SIGNED_IN, person.organisation, f"{person.ref}/{Role.EMPLOYEE}", person)
        return self._answer(await self.intake.accept(report, speaker, key))

    async def emergency(self, report: Report, organisation: str, key: str | None) -> ReportAccepted:
        """Accept a report without sign-in, for an organisation that is known here."""
        if organisation not in await self.organisations():
            raise RefusedError("organisation_unknown", field="organisation")
        if report.drill or report.device is not None:
            raise Problem(
                422,
                "sign_in_needed_for_field",
                ja="この項目はサインインした届け出でのみ使えます。",
                en="drill and device need the signed-in door.",
            )
        return self._answer(await self.intake.accept(report, Speaker(Door.EMERGENCY, organisation, ANONYMOUS), key))

    async def organisations(self) -> list[str]:
        """Organisations whose people can report without sign-in."""
        async with self.units.begin() as unit:
            return sorted({*self.settings.organisations, *await organisations(unit.connection)})

    async def receipt(self, code: str) -> dict[str, Any]:
        """What the receipt shows. Raises `RefusedError` for a code that is none."""
        async with self.units.begin() as unit:
            told = await self.intake.receipt(unit, code)
        return await self.views.receipt(told)

    def _answer(self, accepted: Accepted) -> ReportAccepted:
        base = self.settings.public_url.rstrip("/")
        return ReportAccepted(
            incident=accepted.incident,
            receipt_code=accepted.code,
            receipt_url=f"{base}/receipt?code={accepted.code}",
        )


def roles_for(act: str) -> tuple[Role, ...]:
    """The roles that allow this act."""
    return tuple(Role(role) for role in MAY[act])


def may(person: Person, act: str) -> bool:
    """Whether one of the person's roles allows this act."""
    return not person.roles.isdisjoint(roles_for(act))


def routes(doors: Doors) -> APIRouter:
    """`/v1/reports`, `/v1/emergency-reports`, `/v1/receipts/…`."""
    router = APIRouter(prefix="/v1", tags=["reports"])

    @router.post("/reports", status_code=201)
    async def report(
        report: Report,
        person: Annotated[Person, Depends(doors.identity.require())],
        idempotency_key: IdempotencyKey = None,
    ) -> ReportAccepted:
        return await doors.signed_in(report, person, idempotency_key)

    @router.post("/emergency-reports", status_code=201, dependencies=[Depends(doors.emergency_limit)])
    async def emergency_report(report: EmergencyReport, idempotency_key: IdempotencyKey = None) -> ReportAccepted:
        plain = Report.model_validate(report.model_dump(exclude={"organisation"}))
        return await doors.emergency(plain, report.organisation, idempotency_key)

    @router.get("/receipts/{code}", dependencies=[Depends(doors.receipt_limit)])
    async def receipt(code: Code) -> dict[str, Any]:
        return await doors.receipt(code)

    @router.post("/receipts/{code}/amend", dependencies=[Depends(doors.receipt_limit)])
    async def amend(code: Code, answers: Answers) -> dict[str, Any]:
        await doors.intake.amend(code, answers)
        return await doors.receipt(code)

    @router.post("/receipts/{code}/found", dependencies=[Depends(doors.receipt_limit)])
    async def found(code: Code) -> dict[str, Any]:
        await doors.intake.found(code)
        return await doors.receipt(code)

    return router
