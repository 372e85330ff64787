"""A provider that answers with nonsense: nobody is told twice, and nobody else's outcome is lost with it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import uuid4

import pytest

from services.notifier.channels.line import Line
from services.notifier.channels.mail import Mail, MailServer
from services.notifier.channels.message import Message, Outcome
from tests.notifier.cases import BIG, DETAILS, LOCKED, SENT, WIPED, assessed, lost
from tests.notifier.running import LINE_TOKEN, Outside, notifier_at
from tests.notifier.test_channels import LINE_USER
from tests.stack.installed import Installed


def _message(to: str = "hanako@example.jp") -> Message:
    return Message(key=str(uuid4()), to=to, subject="件名", text="本文")


@asynccontextmanager
async def mail_server(answer: bytes, *, to_data: bytes = b"354 go on\r\n") -> AsyncIterator[tuple[int, list[bytes]]]:
    """One that says this of each mail, or refuses to be given one; its port, and the mails that it was given."""
    given: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 ready\r\n")
        while line := await reader.readline():
            said = b"250 ok\r\n"
            if line.startswith(b"DATA"):
                said = to_data
                if to_data.startswith(b"354"):
                    writer.write(to_data)
                    given.append(await reader.readuntil(b"\r\n.\r\n"))
                    said = answer
            writer.write(said)
            await writer.drain()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1], given


@asynccontextmanager
async def answering(body: bytes) -> AsyncIterator[str]:
    """An HTTP server that gives this to everybody, with 200; its address."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
        writer.write(head % len(body) + body)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


@pytest.mark.parametrize(
    "answer",
    [b"HTTP/1.1 502 Bad Gateway\r\n", b"251 forwarded\r\n", b"999 what\r\n", b"250 " + b"x" * 40_000 + b"\r\n"],
    ids=["no SMTP", "another success", "no such code", "endless"],
)
async def test_a_mail_that_was_handed_over_is_uncertain_unless_the_server_refuses_it(answer: bytes) -> None:
    async with mail_server(answer) as (port, given):
        result = await Mail(MailServer("127.0.0.1", port, "none"), "a@acme.example").send(_message())
    assert (result.outcome, result.again) == (Outcome.UNCERTAIN, False)
    assert len(given) == 1


@pytest.mark.parametrize(("answer", "again"), [(b"451 later\r\n", True), (b"554 no\r\n", False)])
async def test_a_mail_that_the_server_refuses_when_it_has_it_has_failed(answer: bytes, again: bool) -> None:
    for server in (mail_server(answer), mail_server(b"", to_data=answer)):
        async with server as (port, _):
            result = await Mail(MailServer("127.0.0.1", port, "none"), "a@acme.example").send(_message())
        assert (result.outcome, result.again) == (Outcome.FAILED, again)


@pytest.mark.parametrize("words", ["受け付けました".encode("shift_jis"), b"kept as\0 7", b"kept \xff"])
async def test_words_in_any_code_are_kept_as_far_as_a_database_takes_them(words: bytes) -> None:
    async with mail_server(b"250 " + words + b"\r\n") as (port, _):
        result = await Mail(MailServer("127.0.0.1", port, "none"), "a@acme.example").send(_message())
    assert result.outcome is Outcome.ACCEPTED
    assert result.provider_id
    assert b"\0" not in result.provider_id.encode()


@pytest.mark.parametrize(
    "body",
    [b"<html>maintenance</html>", b"[]", b"{}", b"null", b'{"sentMessages": []}', b'{"sentMessages": 1}', b"\xff\xfe"],
    ids=repr,
)
async def test_an_answer_of_line_that_is_none_is_uncertain_and_asked_for_again(body: bytes) -> None:
    async with answering(body) as url:
        line = Line(url, LINE_TOKEN)
        result = await line.send(_message(LINE_USER))
        await line.close()
    assert (result.outcome, result.again) == (Outcome.UNCERTAIN, True)


async def test_whatever_goes_wrong_with_one_message_leaves_the_others_their_outcomes(
    installation: Installed, outside: Outside, acme: str, incident: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    send = Mail.send

    async def send_all_but_one(self: Mail, message: Message) -> object:
        if message.to.startswith("p3@"):
            raise RuntimeError("a mistake of ours")
        return await send(self, message)

    monkeypatch.setattr(Mail, "send", send_all_but_one)
    rows = "".join(f"Person {n},p{n}@example.jp\n" for n in range(6))
    async with notifier_at(installation, outside, acme) as notifier:
        facts = assessed(**BIG | {"people": 6})
        await notifier.hear(incident, lost(cause="theft"), LOCKED, SENT, WIPED, facts)
        privacy = await notifier.someone("privacy")
        csv = f"name,mail\n{rows}".encode()
        path = f"/v1/incidents/{incident}"
        await privacy.ask("POST", f"{path}/principals", 200, content=csv, headers={"Content-Type": "text/csv"})
        order = {"template": "jp-loss-v1", "assessment_version": 1, "issuer": DETAILS["issuer"]}
        await privacy.post(f"{path}/notices", order, expect=202)
        (settled,) = await notifier.heard_of(incident, "notices-settled")
    assert settled["by_state"] == {"accepted": 5, "uncertain": 1}
    assert len(await outside.mails()) == 5
