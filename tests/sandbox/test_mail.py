"""The mail server: keeps every mail that it took, refuses whom it is told to, and can leave a sender in doubt."""

import asyncio
from email.message import EmailMessage
from pathlib import Path

import aiosmtplib
import pytest

from tests.sandbox.conftest import Play, Played


def _mail(to: str, text: str = "本文です。\n") -> EmailMessage:
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = "desk@acme.example", to, "紛失のお知らせ"
    mail["Message-ID"] = "<1@acme.example>"
    mail.set_content(text)
    return mail


async def _send(played: Played, to: str, timeout: float = 5) -> None:  # noqa: ASYNC109 - aiosmtplib's own
    port = int(played.addresses["smtp"].rsplit(":", 1)[1])
    await aiosmtplib.send(_mail(to), hostname="127.0.0.1", port=port, timeout=timeout)


async def _kept(played: Played, to: str) -> list[str]:
    mails = (await played.http.get(f"{played.addresses['mail']}/_messages", params={"to": to})).json()
    return [mail["id"] for mail in mails]


async def test_a_mail_is_kept_whole_and_its_body_stays_out_of_the_journal(play: Play, tmp_path: Path) -> None:
    async with play("mail", "smtp") as played:
        await _send(played, "kyaku@example.com")
        (identifier,) = await _kept(played, "kyaku@example.com")
        mail = (await played.http.get(f"{played.addresses['mail']}/_messages/{identifier}")).json()
        assert (mail["subject"], mail["plain"].strip()) == ("紛失のお知らせ", "本文です。")
        assert (tmp_path / "sandbox" / "mail" / "messages" / mail["file"]).read_bytes().count(b"Message-ID") == 1
        (entry,) = await played.journal("mail")
        assert (entry["method"], entry["path"], entry["answer"]["status"]) == ("DATA", "kyaku@example.com", 250)
        assert "本文" not in str(entry)


@pytest.mark.parametrize("code", [450, 550])
async def test_a_named_recipient_is_refused_until_it_is_lifted(play: Play, code: int) -> None:
    async with play("mail", "smtp") as played:
        url = f"{played.addresses['mail']}/_recipients"
        await played.http.post(url, json={"address": "Gone@example.com", "code": code})
        with pytest.raises(aiosmtplib.SMTPRecipientsRefused) as refused:
            await _send(played, "gone@example.com")
        assert refused.value.recipients[0].code == code
        await _send(played, "other@example.com")
        await played.http.post(url, json={"address": "gone@example.com", "code": 250})
        await _send(played, "gone@example.com")
        assert [entry["method"] for entry in await played.journal("mail")] == ["RCPT", "DATA", "DATA"]


@pytest.mark.parametrize(("kind", "kept"), [("drop", 0), ("lose_answer", 1)])
async def test_a_connection_that_breaks_after_the_data_leaves_the_sender_in_doubt(
    play: Play, kind: str, kept: int
) -> None:
    async with play("mail", "smtp") as played:
        await played.fault("mail", kind=kind, match="DATA doubt@example.com")
        with pytest.raises(aiosmtplib.SMTPServerDisconnected):
            await _send(played, "doubt@example.com")
        assert len(await _kept(played, "doubt@example.com")) == kept
        (entry,) = await played.journal("mail")
        assert (entry["fault"], entry["answer"]["status"]) == (kind, None)
        await _send(played, "doubt@example.com")
        assert len(await _kept(played, "doubt@example.com")) == kept + 1


async def test_a_server_can_say_later_after_the_data(play: Play) -> None:
    async with play("mail", "smtp") as played:
        await played.fault("mail", kind="answer", status=451, text="4.3.0 try later")
        with pytest.raises(aiosmtplib.SMTPDataError) as refused:
            await _send(played, "kyaku@example.com")
        assert refused.value.code == 451
        assert await _kept(played, "kyaku@example.com") == []


async def test_a_slow_server_outlasts_an_impatient_sender(play: Play) -> None:
    async with play("mail", "smtp") as played:
        await played.fault("mail", kind="slow", seconds=0.6)
        with pytest.raises((aiosmtplib.SMTPException, TimeoutError, asyncio.TimeoutError)):
            await _send(played, "kyaku@example.com", timeout=0.2)


async def test_mails_are_there_after_a_restart(play: Play) -> None:
    async with play("mail", "smtp") as played:
        await _send(played, "kyaku@example.com")
    async with play("mail", "smtp") as played:
        assert len(await _kept(played, "kyaku@example.com")) == 1
        assert len(await played.journal("mail")) == 1
