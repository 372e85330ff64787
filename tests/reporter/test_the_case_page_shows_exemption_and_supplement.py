"""What the case page says of an exemption with one signature and with two, and of a supplement that is owed."""

import pytest

from shared.events.notifier import DutyOpened
from tests.reporter.running import PRIVACY, Reporter
from tests.stack.service import Someone

_HTML = {"Accept": "text/html"}
_SHOWN = {"encrypted": "yes", "locked_at_loss": "yes", "key_apart": "yes", "exemption_signed_off": True}


async def _page(someone: Someone, incident: str, lang: str) -> str:
    headers = _HTML | {"Authorization": f"Bearer {someone.token}"}
    answer = await someone.http.get(f"/incidents/{incident}?lang={lang}", headers=headers)
    assert answer.status_code == 200, answer.text[:500]
    return answer.text


async def _reported(reporter: Reporter, organisation: str) -> str:
    await reporter.phone(organisation, number="09012345678")
    report = {"reported_as": "proxy", "holder_name": "鈴木 健", "phone": "09012345678", "callback": "0312345678"}
    return str((await (await reporter.someone(organisation)).post("/v1/reports", report))["incident"])


@pytest.mark.parametrize(
    ("lang", "one", "button", "both"),
    [
        ("ja", "別の人の署名があるまでは", "二人目の署名", "二人が認めました"),
        ("en", "Until another person signs too", "second signature", "Two people found"),
    ],
)
async def test_a_second_person_signs_the_exemption_on_the_page(  # noqa: PLR0917 - three words of one page
    reporter: Reporter, acme: str, lang: str, one: str, button: str, both: str
) -> None:
    incident = await _reported(reporter, acme)
    privacy, executive = await reporter.someone(acme, PRIVACY), await reporter.someone(acme, "executive")
    await privacy.post(f"/v1/incidents/{incident}/assessment", _SHOWN)
    own = await _page(privacy, incident, lang)
    assert one in own
    assert button not in own, "nobody seconds themselves"
    refused = await privacy.post(f"/v1/incidents/{incident}/assessment/exemption", {"version": 1}, expect=409)
    assert refused["code"] == "exemption_same_person"
    assert button in await _page(executive, incident, lang)
    headers = _HTML | {"Authorization": f"Bearer {executive.token}"}
    signed = await executive.http.post(f"/incidents/{incident}/exemption", data={"version": "1"}, headers=headers)
    assert signed.status_code == 303, signed.text[:500]
    assert both in await _page(privacy, incident, lang)
    told = [data for kind, data in await reporter.told(incident) if kind == "leak-assessed"]
    signatures = [{"signed_off_by", "seconded_by"} & set(version["protection"]) for version in told]
    assert signatures == [{"signed_off_by"}, {"signed_off_by", "seconded_by"}]


@pytest.mark.parametrize(("lang", "name"), [("ja", "確報の追完"), ("en", "Supplement to the final report to the PPC")])
async def test_a_supplement_is_named_apart_from_the_final_report(
    reporter: Reporter, acme: str, lang: str, name: str
) -> None:
    incident = await _reported(reporter, acme)
    facts = {"duty": incident, "rule": "JP-APPI-2", "rule_version": 1, "jurisdiction": "JP", "recipient": "ppc"}
    moments = {"provisional": False, "known_at": "2026-11-24T23:41:07+09:00"}
    owed = facts | moments | {"phase": "supplement", "reasons": ["people_changed"]}
    await reporter.hear(DutyOpened.model_validate(owed), incident, acme)
    assert name in await _page(await reporter.someone(acme, PRIVACY), incident, lang)
