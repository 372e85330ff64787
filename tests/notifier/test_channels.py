"""One suite for every channel: what each says about the fate of a message, against the sandbox."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from uuid import uuid4

import pytest

from services.notifier.channels.drill import Drill
from services.notifier.channels.line import Line
from services.notifier.channels.mail import Mail, MailServer
from services.notifier.channels.message import Channel, Message, Outcome
from tests.notifier.running import LINE_TOKEN, Outside
from tests.stack.service import free_port

LINE_USER = "U" + "0123456789abcdef" * 2


@dataclass
class Outlet:
    """A channel under test, someone to reach, and how the world is bent."""

    channel: Channel
    part: str
    to: str
    refusal: dict[str, object]
    arrived: Callable[[], Awaitable[int]]


@pytest.fixture(params=["mail", "line"])
async def outlet(request: pytest.FixtureRequest, outside: Outside) -> object:
    if request.param == "mail":
        port = int(outside.addresses["smtp"].rpartition(":")[2])
        mail = Mail(MailServer("127.0.0.1", port, "none"), "notice@acme.example")

        async def mails() -> int:
            return len(await outside.mails())

        to = "hanako@example.jp"
        yield Outlet(mail, "mail", to, {"address": to, "code": 550}, mails)
        return
    line = Line(outside.addresses["line"], LINE_TOKEN)

    async def pushes() -> int:
        return len(await outside.pushes())

    yield Outlet(line, "line", LINE_USER, {"to": LINE_USER, "status": 400, "message": "Failed to send"}, pushes)
    await line.close()


def _message(outlet: Outlet) -> Message:
    return Message(key=str(uuid4()), to=outlet.to, subject="件名", text="本文")


async def test_a_message_that_the_provider_took_is_accepted_with_its_id(outlet: Outlet) -> None:
    result = await outlet.channel.send(_message(outlet))
    assert result.outcome is Outcome.ACCEPTED
    assert result.provider_id
    assert await outlet.arrived() == 1


@pytest.mark.parametrize("end_of_line", ["\n", "\r\n", "\u2028"], ids=["lf", "crlf", "u2028"])
async def test_a_subject_of_two_lines_arrives_as_one_and_names_nobody_else(outside: Outside, end_of_line: str) -> None:
    mail = Mail(MailServer("127.0.0.1", int(outside.addresses["smtp"].rpartition(":")[2]), "none"), "a@acme.example")
    subject = f"アクメ{end_of_line}Bcc: jiro@example.jp"
    result = await mail.send(Message(key=str(uuid4()), to="hanako@example.jp", subject=subject, text="本文"))
    assert result.outcome is Outcome.ACCEPTED
    (arrived,) = await outside.mails()
    assert arrived["headers"]["Subject"] == "アクメ Bcc: jiro@example.jp"
    assert "Bcc" not in arrived["headers"]


async def test_a_person_whom_the_provider_refuses_is_bounced_and_not_tried_again(
    outlet: Outlet, outside: Outside
) -> None:
    await outside.refuse(outlet.part, outlet.refusal)
    result = await outlet.channel.send(_message(outlet))
    assert (result.outcome, result.again) == (Outcome.BOUNCED, False)
    assert await outlet.arrived() == 0


async def test_a_provider_that_says_later_has_failed_and_may_be_tried_again(outlet: Outlet, outside: Outside) -> None:
    await outside.fault(outlet.part, kind="answer", status=451 if outlet.part == "mail" else 429, text="later")
    result = await outlet.channel.send(_message(outlet))
    assert (result.outcome, result.again) == (Outcome.FAILED, True)


async def test_after_an_error_of_line_itself_nobody_knows_whether_it_delivered(outside: Outside) -> None:
    line = Line(outside.addresses["line"], LINE_TOKEN)
    await outside.fault("line", kind="answer", status=500, text="out of order")
    result = await line.send(Message(key=str(uuid4()), to=LINE_USER, subject="s", text="t"))
    assert (result.outcome, result.again) == (Outcome.UNCERTAIN, True)
    await line.close()


async def test_a_lost_answer_is_uncertain_and_repeated_only_where_that_is_harmless(
    outlet: Outlet, outside: Outside
) -> None:
    await outside.fault(outlet.part, kind="lose_answer")
    message = _message(outlet)
    result = await outlet.channel.send(message)
    assert result.outcome is Outcome.UNCERTAIN
    assert result.again is outlet.channel.repeats_safely
    assert await outlet.arrived() == 1
    if result.again:
        assert (await outlet.channel.send(message)).outcome is Outcome.ACCEPTED
        assert await outlet.arrived() == 1


async def test_a_probe_reaches_nobody_and_says_when_nothing_can_be_sent(outlet: Outlet, outside: Outside) -> None:
    assert await outlet.channel.probe() is None
    assert await outlet.arrived() == 0
    away = Mail(MailServer("127.0.0.1", free_port(), "none"), "x@acme.example")
    assert "cannot be used" in str(await away.probe())
    assert "cannot be reached" in str(await Line(f"http://127.0.0.1:{free_port()}", LINE_TOKEN).probe())
    assert await Line(outside.addresses["line"], "another-token").probe() == "LINE refuses the channel access token"


async def test_a_mail_server_that_is_not_there_has_failed_before_anything_left() -> None:
    mail = Mail(MailServer("127.0.0.1", free_port(), "none"), "notice@acme.example")
    result = await mail.send(Message(key=str(uuid4()), to="a@example.jp", subject="s", text="t"))
    assert (result.outcome, result.again, result.away) == (Outcome.FAILED, True, True)


async def test_a_mail_server_without_encryption_is_refused_when_encryption_is_asked_for(outside: Outside) -> None:
    port = int(outside.addresses["smtp"].rpartition(":")[2])
    mail = Mail(MailServer("127.0.0.1", port, "starttls"), "notice@acme.example")
    result = await mail.send(Message(key=str(uuid4()), to="a@example.jp", subject="s", text="t"))
    assert result.outcome is Outcome.FAILED
    assert await outside.mails() == []


async def test_a_wrong_line_token_fails_for_good(outside: Outside) -> None:
    line = Line(outside.addresses["line"], "wrong")
    result = await line.send(Message(key=str(uuid4()), to=LINE_USER, subject="s", text="t"))
    await line.close()
    assert (result.outcome, result.reason, result.again) == (Outcome.FAILED, "line_401", False)


async def test_a_drill_channel_accepts_and_reaches_nobody(outside: Outside) -> None:
    result = await Drill().send(Message(key=str(uuid4()), to=LINE_USER, subject="s", text="t"))
    assert result.outcome is Outcome.ACCEPTED
    assert await outside.journal("line") == await outside.journal("mail") == []


def test_a_message_does_not_show_its_address_when_printed() -> None:
    assert "hanako" not in repr(Message(key="k", to="hanako@example.jp", subject="s", text="t"))
