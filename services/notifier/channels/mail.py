"""Mail by SMTP. There is no way to ask a server what became of a message, so a lost answer stays uncertain."""

import asyncio
from dataclasses import dataclass
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import formatdate
from typing import Literal

import aiosmtplib

from services.notifier.channels.message import Message, Outcome, Result, legible

_SECONDS = 10.0
"""Until a message is begun, and again until the server has taken it: a server that answers each step slowly gets no
more."""
_PERMANENT = 500
_REFUSALS = range(400, 600)
_CLOSING = 421
"""Service not available, closing transmission channel (RFC 5321, 4.2.3)."""


@dataclass(frozen=True)
class MailServer:
    """Where mail goes out."""

    host: str
    port: int
    security: Literal["none", "starttls", "tls"] = "starttls"
    username: str | None = None
    password: str | None = None


class Mail:
    """The mail channel of one organisation."""

    repeats_safely = False

    def __init__(self, server: MailServer, sender: str) -> None:
        self._server = server
        self._sender = sender

    async def probe(self) -> str | None:
        client = self._client()
        try:
            await client.connect()
            await client.quit()
        except (aiosmtplib.SMTPException, OSError) as error:
            return f"the mail server cannot be used: {_name(error)}"
        finally:
            client.close()
        return None

    def _client(self) -> aiosmtplib.SMTP:
        return aiosmtplib.SMTP(
            hostname=self._server.host,
            port=self._server.port,
            timeout=_SECONDS,
            use_tls=self._server.security == "tls",
            start_tls=self._server.security == "starttls",
            username=self._server.username,
            password=self._server.password,
        )

    async def send(self, message: Message) -> Result:
        client = self._client()
        try:
            try:
                async with asyncio.timeout(_SECONDS):
                    await client.connect()
                    await client.mail(self._sender)
                    await client.rcpt(message.to)
            except (aiosmtplib.SMTPException, OSError) as error:
                return _before(error)
            try:
                async with asyncio.timeout(_SECONDS):
                    answer = await client.data(self._written(message))
            except (aiosmtplib.SMTPException, OSError) as error:
                return _after(error)
            return Result(Outcome.ACCEPTED, provider_id=legible(answer.message))
        finally:
            client.close()

    def _written(self, message: Message) -> bytes:
        mail = EmailMessage(policy=SMTP)
        mail["From"] = self._sender
        mail["To"] = message.to
        # A header is one line; the company's name in it is whatever somebody sent.
        mail["Subject"] = " ".join(message.subject.splitlines())
        mail["Date"] = formatdate()
        mail["Message-ID"] = f"<{message.key}@{self._sender.rpartition('@')[2]}>"
        mail.set_content(message.text)
        return mail.as_bytes()


def _before(error: Exception) -> Result:
    """The message itself was not handed over yet."""
    if isinstance(error, aiosmtplib.SMTPRecipientRefused) and error.code >= _PERMANENT:
        return Result(Outcome.BOUNCED, reason=f"smtp_{error.code}")
    if isinstance(error, aiosmtplib.SMTPResponseException):
        again, away = error.code < _PERMANENT, error.code == _CLOSING
        return Result(Outcome.FAILED, reason=f"smtp_{error.code}", again=again, away=away)
    reason = f"before_data_{_name(error)}"
    return Result(Outcome.FAILED, reason=reason, again=True, away=isinstance(error, OSError))


def _after(error: Exception) -> Result:
    """The message may have been handed over. Only a refusal says that it was not taken: an answer that is none of SMTP
    says nothing, and a mail that is sent again reaches the person twice."""
    if isinstance(error, aiosmtplib.SMTPResponseException) and error.code in _REFUSALS:
        return Result(Outcome.FAILED, reason=f"smtp_{error.code}", again=error.code < _PERMANENT)
    return Result(Outcome.UNCERTAIN, reason=f"after_data_{_name(error)}")


def _name(error: Exception) -> str:
    return type(error).__name__.lower()[:40]
