"""The pages for reporters: start, both doors, the receipt. They work without script."""

import secrets
import unicodedata
from collections.abc import Awaitable, Callable
from typing import Annotated, Any
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Depends, Request
from pydantic import ValidationError
from starlette.responses import RedirectResponse, Response

from services.reporter.devices import Device, devices_of_holder
from services.reporter.domain.incident import RefusedError
from services.reporter.domain.receipt import read as read_code
from services.reporter.domain.report import Answers, Report
from services.reporter.door import Doors, ReportAccepted, may
from services.reporter.refusals import said
from shared.events.reporter import Attached, Cause, DataItem, Place
from shared.web import Pages, Person, forms, language

CHOICES: dict[str, list[str]] = {
    "cause": [cause.value for cause in Cause if cause not in (Cause.UNKNOWN, Cause.OTHER)],
    "place": [place.value for place in Place if place is not Place.UNKNOWN],
    "attached": [item.value for item in Attached],
    "data_items": [item.value for item in DataItem],
    "answer": ["yes", "no", "unknown"],
}


class Screens:
    """Shows forms and what came of them."""

    def __init__(self, doors: Doors, pages: Pages, zone: ZoneInfo) -> None:
        self._doors = doors
        self._pages = pages
        self._zone = zone

    async def home(self, request: Request, person: Person | None) -> Response:
        """Where everybody starts."""
        sees = person is not None and may(person, "see")
        return self._pages.render(request, "home.html", sees_queue=sees)

    async def form(self, request: Request, person: Person | None, **more: Any) -> Response:
        """The form of one door, empty or with what was typed."""
        devices: list[Device] = []
        organisations: list[str] = []
        if person is not None:
            async with self._doors.units.begin() as unit:
                devices = await devices_of_holder(unit.connection, person.organisation, person.ref)
        else:
            organisations = await self._doors.organisations()
        context: dict[str, Any] = {
            "door": "signed_in" if person is not None else "emergency",
            "devices": devices,
            "organisations": organisations,
            "organisation": request.query_params.get("organisation", ""),
            "choices": CHOICES,
            "key": f"form-{secrets.token_hex(12)}",
            "typed": {},
            "error": None,
            "status_code": 200,
        }
        return self._pages.render(
            request, "report.html", at=f"{request.url.path}?{request.url.query}", **(context | more)
        )

    async def report(self, request: Request, person: Person | None) -> Response:
        """Take the form of one door; on to the receipt, or back to the form with what was typed."""
        form = await forms.given(request)
        key = _key(form.get("key"))
        try:
            report = _meant(forms.read(form, Report, self._zone, locale=language(request), drill=False))
            accepted: ReportAccepted
            if person is not None:
                accepted = await self._doors.signed_in(report, person, key)
            else:
                accepted = await self._doors.emergency(report, _named(form.get("organisation")), key)
        except (ValidationError, RefusedError) as refused:
            error, status = said(request, refused)
            again: dict[str, Any] = {"typed": forms.typed(form), "error": error, "status_code": status}
            if error["code"] != "idempotency_key_reused":
                again["key"] = key
            return await self.form(request, person, **again)
        return RedirectResponse(f"{_address(accepted.receipt_code)}&new=1", 303)

    async def receipt(self, request: Request, code: str, **more: Any) -> Response:
        """The receipt of a code, or the form to type one."""
        code = read_code(code) or code
        shown: dict[str, Any] = {
            "code": code,
            "error": None,
            "receipt": None,
            "new": "new" in request.query_params,
            "done": "done" in request.query_params,
            "typed": {},
        }
        status = 200
        if code:
            try:
                shown["receipt"] = await self._doors.receipt(code)
            except RefusedError as refused:
                shown["error"], status = said(request, refused)
        return self._pages.render(
            request,
            "receipt.html",
            status_code=more.pop("status_code", status),
            headers={"Referrer-Policy": "no-referrer", "Cache-Control": "no-store"},
            at=_address(code),
            **(shown | {"choices": CHOICES} | more),
        )

    async def change(self, request: Request, act: Callable[[str, Any], Awaitable[object]]) -> Response:
        """One act of the one who holds the receipt."""
        form = await forms.given(request)
        code = str(form.get("code") or "")
        try:
            await act(code, form)
        except (RefusedError, ValidationError) as refused:
            error, status = said(request, refused)
            return await self.receipt(request, code, typed=forms.typed(form), error=error, status_code=status)
        return RedirectResponse(f"{_address(code)}&done=1", 303)

    async def amend(self, code: str, form: Any) -> None:
        """More answers."""
        await self._doors.intake.amend(code, forms.read(form, Answers, self._zone))

    async def found(self, code: str, _form: Any) -> None:
        """The phone is back, says the reporter."""
        await self._doors.intake.found(code)


def _meant(report: Report) -> Report:
    """The phone that was meant: words typed, or speaking for somebody else, outweigh the own phone chosen beside it."""
    if report.phone is not None or report.reported_as == "proxy":
        return report.model_copy(update={"device": None})
    return report


def _address(code: str) -> str:
    return f"/receipt?{urlencode({'code': code})}"


def _named(value: object) -> str:
    """The company's short name as a phone's keyboard writes it: with a capital, a space after it, or in full width."""
    return unicodedata.normalize("NFKC", value).strip().lower() if isinstance(value, str) else ""


def _key(value: object) -> str | None:
    # The door stands open to everyone: a key of another shape is treated as none.
    return value if isinstance(value, str) and value.startswith("form-") and 16 <= len(value) <= 60 else None


def routes(screens: Screens, doors: Doors) -> APIRouter:
    """`/`, `/report`, `/emergency`, `/receipt`."""
    router = APIRouter(include_in_schema=False)
    someone = Annotated[Person | None, Depends(doors.identity.optional())]
    signed_in = Annotated[Person, Depends(doors.identity.require())]
    tried = [Depends(doors.receipt_limit)]

    @router.get("/")
    async def home(request: Request, person: someone) -> Response:
        return await screens.home(request, person)

    @router.get("/report")
    async def report_form(request: Request, person: signed_in) -> Response:
        return await screens.form(request, person)

    @router.post("/report")
    async def report(request: Request, person: signed_in) -> Response:
        return await screens.report(request, person)

    @router.get("/emergency", dependencies=[Depends(doors.page_limit)])
    async def emergency_form(request: Request) -> Response:
        return await screens.form(request, None)

    @router.post("/emergency", dependencies=[Depends(doors.emergency_limit)])
    async def emergency(request: Request) -> Response:
        return await screens.report(request, None)

    @router.get("/receipt", dependencies=tried)
    async def receipt(request: Request, person: someone, code: str = "") -> Response:
        return await screens.receipt(request, code[:60])

    @router.post("/receipt/amend", dependencies=tried)
    async def amend(request: Request) -> Response:
        return await screens.change(request, screens.amend)

    @router.post("/receipt/found", dependencies=tried)
    async def found(request: Request) -> Response:
        return await screens.change(request, screens.found)

    return router
