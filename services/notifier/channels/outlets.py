"""Which channel speaks for which organisation; in a drill, none that reaches anybody."""

from collections.abc import Mapping

import structlog

from services.notifier.channels.drill import Drill
from services.notifier.channels.line import Line
from services.notifier.channels.mail import Mail, MailServer
from services.notifier.channels.message import Channel, Message, Outcome, Result
from shared.telemetry import ProviderAwayError, ProviderCalls

_log = structlog.get_logger()


class Outlets:
    """Makes channels when they are first needed, and closes them."""

    def __init__(
        self,
        *,
        mail_server: MailServer | None,
        senders: Mapping[str, str],
        line_url: str,
        line_tokens: Mapping[str, str],
        calls: ProviderCalls,
    ) -> None:
        self._mail_server = mail_server
        self._senders = senders
        self._line_url = line_url
        self._line_tokens = line_tokens
        self._lines: dict[str, Line] = {}
        self._drill = Drill()
        self._calls = calls

    def watch(self) -> None:
        """Have the providers probed while nothing is sent by them."""
        if self._mail_server:
            self._calls.watch("mail", Mail(self._mail_server, "").probe)
        for organisation in self._line_tokens:
            self._calls.watch("line", self._line(organisation).probe, organisation)

    async def send(self, name: str, organisation: str, message: Message, *, drill: bool) -> Result:
        """Send by this channel."""
        channel = self.channel(name, organisation, drill=drill)
        if channel is None:
            return Result(Outcome.FAILED, reason="channel_not_configured")
        if drill:
            return await channel.send(message)
        try:
            # One mail server is everybody's; each organisation has its own account at LINE.
            with self._calls.to(name, "send", organisation if name == "line" else None) as call:
                result = await _sent(channel, message)
                if result.away or result.outcome is Outcome.UNCERTAIN:
                    call.away(f"{name} cannot be used: {result.reason}")
                return result
        except ProviderAwayError:
            return Result(Outcome.FAILED, reason=f"{name}_away", again=True, away=True)

    def names(self, organisation: str) -> list[str]:
        """The channels that this organisation has, the preferred one first."""
        mail = ["mail"] if self._mail_server and self._sender(organisation) else []
        return mail + (["line"] if organisation in self._line_tokens else [])

    def channel(self, name: str, organisation: str, *, drill: bool) -> Channel | None:
        """The channel, or None when the organisation has none of this name."""
        if drill:
            return self._drill
        sender = self._sender(organisation)
        if name == "mail" and self._mail_server and sender:
            return Mail(self._mail_server, sender)
        if name == "line" and organisation in self._line_tokens:
            return self._line(organisation)
        return None

    def _line(self, organisation: str) -> Line:
        if organisation not in self._lines:
            self._lines[organisation] = Line(self._line_url, self._line_tokens[organisation])
        return self._lines[organisation]

    def _sender(self, organisation: str) -> str | None:
        return self._senders.get(organisation) or self._senders.get("*")

    async def close(self) -> None:
        for line in self._lines.values():
            await line.close()


async def _sent(channel: Channel, message: Message) -> Result:
    try:
        return await channel.send(message)
    except Exception as error:  # noqa: BLE001 - it must not take the outcomes of all others of its batch along
        # Its words may hold an address.
        _log.error("message_not_settled", message=message.key, error=type(error).__name__)
        return Result(Outcome.UNCERTAIN, reason="unexpected_error", again=channel.repeats_safely)
