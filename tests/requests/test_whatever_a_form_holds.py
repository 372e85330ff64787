"""Whatever browsers, or people in their place, send as a form: an answer in words, never a 5xx, on every page."""

import asyncio
import gc
import os
import re
import warnings
from typing import Any

import httpx2
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.requests.running import World
from tests.requests.story import Known

_WANTED = os.environ.get("LOSTPHONE_FUZZ_EXAMPLES")
_EXAMPLES = int(_WANTED or 6)
_HTML = {"Accept": "text/html"}
_ACTS = (
    "verify", "triage", "amend", "steps", "suspend-line", "resume-line", "police", "facility", "assessment",
    "recovered", "written-off", "prevention", "close", "reopen", "cancel", "no-such-act",
)  # fmt: skip
_NAMES = (
    "reported_as", "holder_name", "phone", "callback", "device", "organisation", "key", "code", "noticed_at",
    "last_seen_from", "cause", "place", "place_detail", "passcode_set", "attached", "data_items", "circumstances",
    "reason", "method", "report", "severity", "holder_id", "known_at", "step", "acknowledge", "kind", "channel",
    "filed_at", "reception_number", "facility", "name", "outcome", "reference", "leak", "people", "people_certain",
    "residency", "final", "from_whom", "identity_checked", "measure", "owner_id", "due", "receipt",
    "issuer", "issuer.company.ja", "issuer.desk.phone", "issuer.desk.languages[]", "issuer.desk.name.ja.x",
    "prevention.ja", "advice.en", "edits.ja", "edits.ja.closing", "edits.en.no_such_block", "assessment_version",
    "text", "file", "a.b.c", ".", "[]",
)  # fmt: skip
_WORDS = (
    "holder", "proxy", "yes", "no", "unknown", "true", "on", "2", "-1", "999999999999999999999", "0x10", "1e5",
    "2026-11-24T10:00", "2026-02-31T10:00", "9999-12-31T23:59", "0001-01-01T00:00", "2026-11-24", "1700000000",
    "left_behind", "taxi", "mail", "high", "call_back", "desk_judgement", "lock", "online", "lost_property", "rule",
    "suspected", "090-1234-5678", "+81 90 1234 5678", "a\0b", "{{ 7*7 }}", "%s%n", "<script>", "' OR 1=1 --",
    "x" * 5000, "９０", "\u202e", "acme-kk",
)  # fmt: skip
_values = st.one_of(st.sampled_from(_WORDS), st.text(max_size=60), st.integers().map(str))
_fields = st.lists(
    st.tuples(st.one_of(st.sampled_from(_NAMES), st.text(min_size=1, max_size=20)), _values), max_size=14
)


def _try(url: str, paths: list[str], headers: dict[str, str], hidden: dict[str, str]) -> None:
    """Send forms to each path as a browser would. Run in a thread: the service is in this process's loop."""
    with httpx2.Client(base_url=url, headers=_HTML | headers, timeout=60) as browser:
        if hidden:
            page = browser.get("/emergency")
            found = re.search(r'name="csrf_token" value="([^"]+)"', page.text)
            assert found
            hidden = hidden | {"csrf_token": found[1]}
        for path in paths:
            _try_path(browser, path, hidden)


def _try_path(browser: httpx2.Client, path: str, hidden: dict[str, str]) -> None:
    @settings(
        max_examples=_EXAMPLES,
        deadline=None,
        derandomize=_WANTED is None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(fields=_fields, multipart=st.booleans(), lang=st.sampled_from(["ja", "en"]))
    def attempt(fields: list[tuple[str, str]], multipart: bool, lang: str) -> None:
        data: dict[str, Any] = dict(hidden)
        for name, value in fields:
            data[name] = [*data[name], value] if isinstance(data.get(name), list) else [value]
        sent: dict[str, Any] = {"data": data}
        if multipart:
            sent["files"] = {"picture": ("a.png", b"\x89PNG", "image/png")} if len(fields) > 10 else None
        answer = browser.post(f"{path}?lang={lang}", **sent)
        assert answer.status_code < 500, f"{path} {data!r}: {answer.status_code} {answer.text[:500]}"
        if answer.status_code >= 400:
            assert answer.headers["content-type"].startswith("text/html"), answer.headers
            assert f'<html lang="{lang}"' in answer.text
            assert 'role="alert"' in answer.text
            assert "{{" not in re.sub(r"\{\{ 7\*7 \}\}", "", answer.text)

    attempt()


@pytest.mark.timeout(3600 if _WANTED else 120)
async def test_the_open_door_and_the_receipt(world: World, known: Known) -> None:
    hidden = {"code": known.ids["code"][0], "organisation": world.organisation}
    paths = ["/emergency", "/receipt/amend", "/receipt/found"]
    await asyncio.to_thread(_try, world.services["reporter"].url, paths, {}, hidden)


@pytest.mark.timeout(3600 if _WANTED else 120)
async def test_the_signed_in_door_and_every_form_of_the_case(world: World, known: Known) -> None:
    headers = await world.headers("everything")
    incident = known.ids["incident"][0]
    paths = ["/report", *(f"/incidents/{incident}/{act}" for act in _ACTS)]
    paths += [f"/incidents/{incident}/wipe/{'0' * 32}/{act}" for act in ("decline", "withdraw")]
    await asyncio.to_thread(_try, world.services["reporter"].url, paths, headers, {})


@pytest.mark.timeout(3600 if _WANTED else 120)
async def test_alerts_and_duties(world: World, known: Known) -> None:
    headers = await world.headers("everything")
    duty = known.ids["duty"][0]
    paths = [f"/alerts/{known.ids['alert'][0]}", f"/duties/{duty}/file", f"/duties/{duty}/waive"]
    await asyncio.to_thread(_try, world.services["notifier"].url, paths, headers, {})


@pytest.mark.timeout(3600 if _WANTED else 120)
async def test_notices_and_disclosures(world: World, known: Known) -> None:
    headers = await world.headers("everything")
    case = f"/incidents/{known.ids['incident'][0]}"
    draft = f"{case}/disclosures/{known.ids['disclosure'][0]}"
    steps = ("revise", "approve", "check", "issue", "retract", "no-such-step")
    paths = [f"{case}/notices", f"{case}/notices/people", f"{case}/disclosures", *(f"{draft}/{step}" for step in steps)]
    await asyncio.to_thread(_try, world.services["notifier"].url, paths, headers, {})


async def test_a_file_beside_text_that_cannot_be_kept_is_not_left_open(world: World, known: Known) -> None:
    url = f"{world.services['notifier'].url}/incidents/{known.ids['incident'][0]}/notices/people"
    headers = _HTML | await world.headers("everything")
    files = {"file": ("people.csv", b"name\n", "text/csv")}
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", ResourceWarning)
        answer = await world.http.post(url, data={"assessment": "\0"}, files=files, headers=headers)
        gc.collect()
    assert answer.status_code == 422
    assert [str(warning.message) for warning in told] == []


async def test_a_list_is_not_kept_when_one_of_it_cannot_be(world: World, known: Known) -> None:
    url = f"{world.services['notifier'].url}/incidents/{known.ids['incident'][0]}/disclosures"
    form = {"issuer.desk.languages[]": ["e\0n", "ja"]}
    answer = await world.http.post(url, data=form, headers=_HTML | await world.headers("everything"))
    assert answer.status_code == 422
    assert "使えない文字があります" in answer.text


@pytest.mark.parametrize(("lang", "name", "why"), [("ja", "どこで", "選択肢"), ("en", "Where?", "must be one of")])
async def test_a_form_says_which_field_and_why_in_the_readers_language(
    world: World, known: Known, lang: str, name: str, why: str
) -> None:
    headers = _HTML | await world.headers("employee") | {"Accept-Language": lang}
    form = {"reported_as": "holder", "phone": "黒い電話", "callback": "03-1234-5678", "passcode_set": "perhaps"}
    form |= {"place_detail": "x" * 300}
    url = f"{world.services['reporter'].url}/report?lang={lang}"
    answer = await world.http.post(url, data=form, headers=headers)
    assert answer.status_code == 422
    assert ("画面ロック" if lang == "ja" else "Was there a passcode?") in answer.text
    assert why in answer.text
    assert ("200文字以内" if lang == "ja" else "at most 200 characters") in answer.text
    assert name in answer.text  # the form is there again, with what was typed
    assert "黒い電話" in answer.text
