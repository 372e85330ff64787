"""Pages: two languages, escaping, no scripts or styles inside, moments for people."""

from datetime import UTC, date, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from markupsafe import escape

from shared.web.language import accepted
from shared.web.pages import Pages, Translation, day, when
from tests.web.conftest import Kit, sign_in

TOKYO = ZoneInfo("Asia/Tokyo")


async def test_japanese_is_the_default_and_lang_switches_and_is_remembered(client: httpx2.AsyncClient) -> None:
    page = await client.get("/form")
    assert '<html lang="ja">' in page.text
    assert "<h1>届け出</h1>" in page.text
    assert 'href="/form?lang=en"' in page.text
    page = await client.get("/form?lang=en&keep=1")
    assert '<html lang="en">' in page.text
    assert 'href="/form?keep=1&amp;lang=ja"' in page.text
    assert '<html lang="en">' in (await client.get("/form")).text
    assert '<html lang="ja">' in (await client.get("/form?lang=ja")).text
    assert '<html lang="ja">' in (await client.get("/form?lang=xx", headers={"Accept-Language": "fr"})).text


async def test_the_answer_to_a_form_leads_to_no_address_that_takes_forms_alone(client: httpx2.AsyncClient) -> None:
    page = await client.post("/nowhere", headers={"Accept": "text/html"})
    assert page.status_code == 404
    assert "hreflang" not in page.text
    assert 'hreflang="en"' in (await client.get("/nowhere", headers={"Accept": "text/html"})).text


async def test_the_name_of_the_product_leads_to_where_reports_are_made(client: httpx2.AsyncClient, kit: Kit) -> None:
    kit.settings.links["reporter"] = "http://reporter.test"
    assert '<a class="product" href="http://reporter.test/">' in (await client.get("/form")).text


async def test_a_signed_in_person_gets_their_own_language_and_name_escaped(
    client: httpx2.AsyncClient, http: httpx2.AsyncClient
) -> None:
    await sign_in(client, http, "d1")
    assert '<html lang="en">' in (await client.get("/form")).text
    client.cookies.clear()
    await sign_in(client, http, "e1")
    page = (await client.get("/form", headers={"Accept-Language": "en"})).text
    assert '<html lang="ja">' in page
    assert "山田 &lt;太郎&gt;" in page


async def test_values_are_escaped_and_nothing_runs_inside_the_page(client: httpx2.AsyncClient) -> None:
    page = await client.get("/form?lang=en")
    assert "<script>" not in page.text
    assert "Typed: &lt;script&gt;alert(1)&lt;/script&gt; &amp; more" in page.text
    assert "style=" not in page.text
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert page.headers["cache-control"] == "no-store"
    assert page.headers["referrer-policy"] == "same-origin"


async def test_the_desk_is_led_to_the_other_services_and_an_employee_is_not(
    client: httpx2.AsyncClient, http: httpx2.AsyncClient, kit: Kit
) -> None:
    kit.settings.links["notifier"] = "http://notifier.test"
    await sign_in(client, http, "d1")
    page = (await client.get("/form")).text
    assert 'href="http://notifier.test/duties"' in page
    assert 'href="/incidents"' in page
    client.cookies.clear()
    await sign_in(client, http, "e1")
    assert "/duties" not in (await client.get("/form")).text


async def test_who_cannot_sign_in_is_shown_the_emergency_form(client: httpx2.AsyncClient, kit: Kit) -> None:
    kit.settings.links["reporter"] = "http://reporter.test"
    page = await client.get("/desk", headers={"Accept": "text/html"})
    assert 'href="http://reporter.test/emergency"' in page.text


async def test_the_sheet_is_served_and_brings_nothing_from_elsewhere(client: httpx2.AsyncClient) -> None:
    sheet = await client.get("/static/lostphone.css")
    assert sheet.status_code == 200
    assert sheet.headers["content-type"].startswith("text/css")
    assert sheet.headers["cache-control"] == "no-cache"
    again = await client.get("/static/lostphone.css", headers={"If-None-Match": sheet.headers["etag"]})
    assert again.status_code == 304
    assert "url(" not in sheet.text
    assert "@import" not in sheet.text
    assert "http" not in sheet.text


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("", "ja"),
        ("fr", "ja"),
        ("en", "en"),
        ("en-US,en;q=0.9", "en"),
        ("ja;q=0.8, en;q=0.9", "en"),
        ("en;q=0.5,ja", "ja"),
        ("en;q=0", "ja"),
        ("en;q=nonsense", "ja"),
        ("ja,en", "ja"),
        ("*", "ja"),
        ("ja;q=0, *", "en"),
        ("*;q=0.5, ja;q=0.1", "en"),
        ("fr, *;q=0.1", "ja"),
        ("*;q=0", "ja"),
    ],
)
def test_accept_language(header: str, expected: str) -> None:
    assert accepted(header) == expected


@given(st.text(max_size=300))
def test_any_accept_language_gives_a_language(header: str) -> None:
    assert accepted(header) in ("ja", "en")


@given(st.text(max_size=100))
def test_words_escape_every_value(value: str) -> None:
    say = Translation({"k": {"ja": "値 <{v}> & {v}", "en": "x"}}, "ja")
    assert str(say("k", v=value)) == f"値 &lt;{escape(value)}&gt; &amp; {escape(value)}"


def test_words_in_one_language_only_are_refused(tmp_path: Path) -> None:
    (tmp_path / "words.yaml").write_text('greeting: {ja: "こんにちは"}\n')
    with pytest.raises(ValueError, match="'greeting' needs exactly ja and en"):
        Pages(tmp_path, tmp_path / "words.yaml")


def test_a_key_without_words_is_named() -> None:
    with pytest.raises(LookupError, match="missing_key"):
        Translation({}, "ja")("missing_key")


def test_moments_and_days_are_written_for_people() -> None:
    moment = datetime(2026, 11, 24, 14, 40, tzinfo=UTC)
    assert "2026年11月24日（火）23:40 JST" in when(moment, zone=TOKYO, lang="ja")
    assert "Tue 24 Nov 2026, 23:40 JST" in when(moment, zone=TOKYO, lang="en")
    assert 'datetime="2026-11-24T23:40:00+09:00"' in when(moment, zone=TOKYO, lang="ja")
    assert "2026年11月27日（金）" in day(date(2026, 11, 27), lang="ja")
    assert when(None, zone=TOKYO, lang="ja") == "–"
    # No such day in Japan: as it stands.
    assert "1年1月1日（月）00:00" in when(datetime.fromisoformat("0001-01-01T00:00:00+14:00"), zone=TOKYO, lang="ja")
    assert "9999, 20:00 UTC" in when(datetime(9999, 12, 31, 20, tzinfo=UTC), zone=TOKYO, lang="en")
