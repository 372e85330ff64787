"""The mail server of the outside: takes mail by SMTP, keeps it as .eml files, refuses recipients on request.

Its journal has who, whom, subject, size and digest, and never a body. Faults match `DATA <recipient>`.
"""

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

from aiosmtpd.smtp import SMTP, Envelope, Session
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from sandbox import kept
from sandbox.faults import Fault
from sandbox.part import Part, read

_MOST_BYTES = 20_000_000


class Refusal(BaseModel):
    """How RCPT TO for one address is answered from now on; 250 lifts it."""

    address: str
    code: int = Field(ge=250, le=599)
    text: str = Field("5.1.1 mailbox unavailable", max_length=200)


class Kept(BaseModel):
    """One mail as it was taken."""

    id: str
    time: str
    sender: str
    recipients: list[str]
    subject: str
    message_id: str
    bytes: int
    sha256: str
    file: str


class Index(BaseModel):
    """All mails, oldest first."""

    messages: list[Kept] = []


class Mail:
    """The SMTP server, and the HTTP side where a test reads what arrived."""

    def __init__(self, part: Part, smtp_port: int) -> None:
        self._part = part
        self._port = smtp_port
        self._folder = part.folder / "messages"
        self._folder.mkdir(exist_ok=True)
        self._index_path = part.folder / "index.json"
        self._index = kept.load(self._index_path, Index)
        self._refusals: dict[str, Refusal] = {}
        part.running = self._listening()

    def application(self) -> ASGIApp:
        routes = [
            Route("/_recipients", self._refuse, methods=["POST"]),
            Route("/_messages", self._list, methods=["GET"]),
            Route("/_messages/{id}", self._open, methods=["GET"]),
        ]
        return self._part.application(routes)

    @asynccontextmanager
    async def _listening(self) -> AsyncIterator[None]:
        server = await asyncio.get_running_loop().create_server(self._session, "127.0.0.1", self._port)
        try:
            yield
        finally:
            server.close()

    def _session(self) -> SMTP:
        return SMTP(self, enable_SMTPUTF8=True, data_size_limit=_MOST_BYTES, ident="Lostphone sandbox")

    async def handle_RCPT(  # noqa: N802 the name is aiosmtpd's
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        """Take or refuse one recipient."""
        refusal = self._refusals.get(address.lower())
        if refusal is not None:
            reply = f"{refusal.code} {refusal.text}"
            self._part.journal.write("RCPT", address, body=None, answer={"status": refusal.code, "body": reply})
            return reply
        envelope.rcpt_tos.append(address)
        envelope.rcpt_options.extend(options)
        return "250 OK"

    async def handle_DATA(  # noqa: N802 the name is aiosmtpd's
        self, server: SMTP, _session: Session, envelope: Envelope
    ) -> str:
        """Take one mail, or fail as asked."""
        recipients = [str(address) for address in envelope.rcpt_tos]
        fault = next((found for to in recipients if (found := self._part.faults.take(f"DATA {to}"))), None)
        if fault is not None and fault.kind == "slow":
            await asyncio.sleep(fault.seconds)
        content = envelope.content if isinstance(envelope.content, bytes) else str(envelope.content).encode()
        facts = _facts(str(envelope.mail_from), recipients, content)
        reply = self._reply(fault, facts, content)
        lost = fault is not None and fault.kind in ("drop", "lose_answer")
        status = None if lost else int(reply[:3])
        self._part.journal.write(
            "DATA",
            ",".join(recipients),
            fault=fault.kind if fault else None,
            body=facts.model_dump(exclude={"recipients"}),
            answer={"status": status, "body": None if lost else reply},
        )
        if lost and isinstance(server.transport, asyncio.WriteTransport):
            # The sender does not learn whether the mail was taken.
            server.transport.abort()
        return reply

    def _reply(self, fault: Fault | None, facts: Kept, content: bytes) -> str:
        if fault is not None and fault.kind == "answer":
            return f"{fault.status} {fault.text}"
        if fault is not None and fault.kind == "drop":
            return "421 closing"
        path = self._folder / facts.file
        kept.write(path, content)
        self._index.messages.append(facts)
        kept.keep(self._index_path, self._index)
        return f"250 2.0.0 kept as {facts.id}"

    async def _refuse(self, request: Request) -> Response:
        refusal = await read(request, Refusal)
        self._refusals.pop(refusal.address.lower(), None)
        if refusal.code != 250:
            self._refusals[refusal.address.lower()] = refusal
        return JSONResponse(refusal.model_dump())

    async def _list(self, request: Request) -> Response:
        to = request.query_params.get("to")
        return JSONResponse([mail.model_dump() for mail in self._index.messages if to is None or to in mail.recipients])

    async def _open(self, request: Request) -> Response:
        for mail in self._index.messages:
            if mail.id == request.path_params["id"]:
                return JSONResponse(mail.model_dump() | _parts(self._folder / mail.file))
        raise HTTPException(404, "no such mail")


def _facts(sender: str, recipients: list[str], content: bytes) -> Kept:
    message = message_from_bytes(content, policy=policy.default)
    now, digest = time.time_ns(), hashlib.sha256(content).hexdigest()
    identifier = f"{now}-{digest[:8]}"
    return Kept(
        id=identifier,
        time=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now / 1e9)),
        sender=sender,
        recipients=recipients,
        subject=str(message.get("Subject", "")),
        message_id=str(message.get("Message-ID", "")),
        bytes=len(content),
        sha256=digest,
        file=f"{identifier}.eml",
    )


def _parts(path: Path) -> dict[str, Any]:
    message = message_from_bytes(path.read_bytes(), _class=EmailMessage, policy=policy.default)
    return {
        "headers": {name: str(value) for name, value in message.items()},
        **{
            kind: body.get_content() if (body := message.get_body((kind,))) is not None else None
            for kind in ("plain", "html")
        },
    }
