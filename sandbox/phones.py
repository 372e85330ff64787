"""All simulated phones: each polls NanoMDM by itself while it is online; a test controls them over HTTP."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Annotated, Any
from uuid import uuid4

import httpx2
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from sandbox import certificates, kept
from sandbox.companies import Position, fleet
from sandbox.config import Authority
from sandbox.iphone import Behaviour, Done, Heard, IPhone, MdmError, State
from sandbox.part import Part, read

_REACH_SECONDS = 10.0


class NewPhone(BaseModel):
    """A phone to make and enrol."""

    model_config = ConfigDict(extra="forbid")

    udid: Annotated[str, Field(pattern=r"^[A-Za-z0-9-]{1,80}$", default_factory=lambda: str(uuid4()).upper())]
    serial: str = Field(min_length=1, max_length=40)
    model: str = "iPhone 16"
    supervised: bool = True
    position: Position | None = None
    online: bool = True
    behaviour: Behaviour = Behaviour()


class Phones:
    """The phones of fleet.yaml and those that a test added."""

    def __init__(self, part: Part, url: str, ca: Authority, *, poll_seconds: float, with_fleet: bool) -> None:
        self._part = part
        self._url = url
        self._poll_seconds = poll_seconds
        self._with_fleet = with_fleet
        self._authority = certificates.authority(ca.cert, ca.key)
        self._stranger = certificates.issue("stranger", certificates.foreign())
        self._phones: dict[str, IPhone] = {}
        self._nudges: dict[str, asyncio.Event] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        part.running = self._alive()

    def application(self) -> ASGIApp:
        routes = [
            Route("/phones", self._add, methods=["POST"]),
            Route("/phones", self._list, methods=["GET"]),
            Route("/phones/{udid}", self._show, methods=["GET"]),
            Route("/phones/{udid}/behaviour", self._behave, methods=["PUT", "POST"]),
            Route("/phones/{udid}/position", self._move, methods=["PUT", "POST"]),
            Route("/phones/{udid}/{order}", self._order, methods=["POST"]),
        ]
        return self._part.application(routes)

    @asynccontextmanager
    async def _alive(self) -> AsyncIterator[None]:
        async with httpx2.AsyncClient(timeout=_REACH_SECONDS) as http:
            self._http = http
            for path in sorted(self._part.folder.glob("*.phone.json")):
                self._start(State.model_validate_json(path.read_bytes()))
            for phone in (phone for phones in fleet().values() for phone in phones) if self._with_fleet else ():
                if phone.udid not in self._phones:
                    facts = phone.model_dump(include={"udid", "serial", "model", "position"})
                    self._start(State(**facts))
            try:
                yield
            finally:
                for task in self._tasks:
                    task.cancel()
                await asyncio.gather(*self._tasks, return_exceptions=True)

    def _start(self, state: State) -> IPhone:
        pem = self._part.folder / f"{state.udid}.pem"
        if not pem.exists():
            kept.write(pem, certificates.issue(state.serial, self._authority).pem())
        phone = IPhone(state, certificates.read(pem.read_bytes()), self._http, self._url, self._hear(state))
        self._phones[state.udid] = phone
        self._nudges[state.udid] = asyncio.Event()
        self._keep(phone)
        task = asyncio.create_task(self._live(phone), name=f"phone {state.serial}")
        self._tasks.add(task)
        return phone

    def _hear(self, state: State) -> Heard:
        def hear(done: Done, command: dict[str, Any], result: dict[str, Any]) -> None:
            kept.keep(self._file(state.udid), state)
            self._part.journal.write(
                "COMMAND",
                f"/phones/{state.udid}/{done.request_type}",
                body={"CommandUUID": done.command, **command},
                answer={"status": done.status, "body": result},
            )

        return hear

    async def _live(self, phone: IPhone) -> None:
        nudge = self._nudges[phone.state.udid]
        while True:
            await self._talk(phone)
            with suppress(TimeoutError):
                await asyncio.wait_for(nudge.wait(), self._poll_seconds)
            nudge.clear()

    async def _talk(self, phone: IPhone) -> None:
        if not phone.state.online or phone.state.erased:
            return
        # Whatever goes wrong on the way is the network's or the server's; a phone tries again.
        with suppress(httpx2.HTTPError, MdmError):
            if not phone.state.enrolled:
                await phone.enrol()
                self._keep(phone)
            if await phone.poll():
                self._keep(phone)

    async def _add(self, request: Request) -> Response:
        wanted = await read(request, NewPhone)
        if wanted.udid in self._phones:
            raise HTTPException(409, f"there is a phone {wanted.udid}")
        phone = self._start(State(**wanted.model_dump()))
        await self._talk(phone)
        return JSONResponse(phone.state.model_dump(mode="json"), 201)

    async def _list(self, _: Request) -> Response:
        return JSONResponse(
            [phone.state.model_dump(mode="json", exclude={"history"}) for phone in self._phones.values()]
        )

    async def _show(self, request: Request) -> Response:
        return JSONResponse(self._phone(request).state.model_dump(mode="json"))

    async def _behave(self, request: Request) -> Response:
        phone = self._phone(request)
        phone.state.behaviour = await read(request, Behaviour)
        return await self._changed(phone)

    async def _move(self, request: Request) -> Response:
        phone = self._phone(request)
        phone.state.position = await read(request, Position) if await request.body() else None
        return await self._changed(phone)

    async def _order(self, request: Request) -> Response:
        phone, state = self._phone(request), self._phone(request).state
        match request.path_params["order"]:
            case "offline":
                state.online = False
            case "online":
                state.online = True
            case "enrol":
                # An erased phone comes back with a key of its own making and without a memory of lost mode.
                pem = self._part.folder / f"{state.udid}.pem"
                phone.holder = certificates.issue(state.serial, self._authority)
                kept.write(pem, phone.holder.pem())
                state.erased, state.enrolled, state.lost_mode, state.message = False, False, False, None
                await self._talk(phone)
            case "leave":
                await phone.leave()
                state.online = False
            case order:
                raise HTTPException(404, f"a phone cannot be told to {order}")
        return await self._changed(phone)

    async def _changed(self, phone: IPhone) -> Response:
        # What is true for the next conversation must not be overtaken by the one under way.
        await phone.pause()
        udid = phone.state.udid
        if phone.state.behaviour.foreign_certificate:
            phone.holder = self._stranger
        elif phone.holder is self._stranger:
            phone.holder = certificates.read((self._part.folder / f"{udid}.pem").read_bytes())
        self._keep(phone)
        self._nudges[udid].set()
        return JSONResponse(phone.state.model_dump(mode="json"))

    def _phone(self, request: Request) -> IPhone:
        phone = self._phones.get(request.path_params["udid"])
        if phone is None:
            raise HTTPException(404, f"there is no phone {request.path_params['udid']}")
        return phone

    def _keep(self, phone: IPhone) -> None:
        kept.keep(self._file(phone.state.udid), phone.state)

    def _file(self, udid: str) -> Path:
        return self._part.folder / f"{udid}.phone.json"
