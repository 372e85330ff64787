"""One person ends a duty only in the way in which it is fulfilled; two may waive it, on what both have seen."""

from typing import Any

import pytest

from tests.notifier.cases import BIG, after, assessed, lost
from tests.notifier.running import Notifier


async def _duty(notifier: Notifier, incident: str, rule: str) -> dict[str, Any]:
    privacy = await notifier.someone("privacy")
    found = (await privacy.get(f"/v1/incidents/{incident}/duties"))["duties"]
    duty: dict[str, Any] = next(duty for duty in found if duty["rule"] == rule)
    return duty


@pytest.mark.parametrize(
    ("rule", "how"),
    [
        ("JP-APPI-1", "told_by_post_or_phone"),
        ("JP-APPI-3", "all_principals_told"),
        ("JP-APPI-P", "published_in_place"),
        ("JP-POLICE-1", "police_report_filed"),
    ],
)
async def test_no_duty_is_met_in_a_way_that_is_not_its_own(
    notifier: Notifier, incident: str, rule: str, how: str
) -> None:
    await notifier.hear(incident, lost(), assessed(**BIG, entrusted="yes"))
    path = f"/v1/duties/{(await _duty(notifier, incident, rule))['duty']}/meet"
    refused = await (await notifier.someone("privacy")).post(path, {"how": how}, expect=409)
    assert refused["code"] == "duty_not_met_like_this"
    assert (await _duty(notifier, incident, rule))["state"] == "open"


@pytest.mark.parametrize("rule", ["JP-APPI-3", "JP-APPI-P", "JP-POLICE-1"])
async def test_a_receipt_ends_no_duty_towards_somebody_who_gives_none(
    notifier: Notifier, incident: str, rule: str
) -> None:
    await notifier.hear(incident, lost(), assessed(**BIG, entrusted="yes"))
    path = f"/v1/duties/{(await _duty(notifier, incident, rule))['duty']}/file"
    refused = await (await notifier.someone("privacy")).post(path, {"receipt": "PPC-1"}, expect=409)
    assert refused["code"] == "duty_takes_no_receipt"


async def test_a_waiver_is_proposed_anew_when_a_ground_has_come_up_that_its_proposer_did_not_see(
    notifier: Notifier, incident: str
) -> None:
    await notifier.hear(incident, lost(), assessed(**BIG))
    path = f"/v1/duties/{(await _duty(notifier, incident, 'JP-APPI-1'))['duty']}/waive"
    privacy, executive = await notifier.someone("privacy"), await notifier.someone("executive")
    await privacy.post(path, {"reason": "requirements_not_met"})
    await notifier.hear(incident, assessed(**BIG | {"people": 1241}, version=2, known_at=after(40)))
    assert (await _duty(notifier, incident, "JP-APPI-1"))["waiver_proposed_by"], "a number that weighs nothing"
    await notifier.hear(incident, assessed(**BIG, version=3, special_care="yes", known_at=after(50)))
    assert (await _duty(notifier, incident, "JP-APPI-1"))["waiver_proposed_by"] is None
    assert (await executive.post(path, {"reason": "requirements_not_met"}))["state"] == "open"
    assert (await privacy.post(path, {"reason": "requirements_not_met"}))["state"] == "waived"
