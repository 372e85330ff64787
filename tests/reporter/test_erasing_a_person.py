"""A person's words and numbers can be erased for good; a case that goes on holds them back, and says so."""

from typing import Any

from shared.events.mdm_actions import DeviceRetired
from tests.reporter.running import DESK, LEAD, PRIVACY, Reporter
from tests.stack.service import Someone

_REPORT = {"reported_as": "holder", "phone": "黒い電話", "callback": "0312345678", "circumstances": "忘年会の帰り"}


async def test_an_open_case_holds_the_data_and_an_ended_one_does_not(reporter: Reporter, acme: str, beta: str) -> None:
    holder = await reporter.someone(acme, sub="erased-holder")
    ref = (await holder.get("/v1/me"))["person"]
    incident = (await holder.post("/v1/reports", _REPORT))["incident"]
    privacy = await reporter.someone(acme, PRIVACY, LEAD, DESK)
    path = f"/v1/people/{ref}/erasure"
    await holder.post(path, {"ground": "request_of_the_person"}, expect=403)
    held = await privacy.post(path, {"ground": "request_of_the_person"})
    assert (held["on_hold"], held["fields"]) == (True, 0)
    assert (await privacy.get(f"/v1/incidents/{incident}"))["contact"]["circumstances"] == "忘年会の帰り"

    await privacy.post(f"/v1/incidents/{incident}/cancel", {"reason": "found_before_exposure"})
    stranger = await reporter.someone(beta, PRIVACY)
    assert (await stranger.post(path, {"ground": "request_of_the_person"}))["fields"] == 0
    erased = await privacy.post(path, {"ground": "request_of_the_person"})
    assert (erased["on_hold"], erased["fields"] > 0) == (False, True)
    case = await privacy.get(f"/v1/incidents/{incident}")
    assert set(case["contact"].values()) == {None}
    kinds = [(kind, data["on_hold"]) for kind, data in await reporter.told(f"org-{acme}")]
    assert kinds == [("personal-data-erased", True), ("personal-data-erased", False)]


async def test_what_the_desk_writes_about_a_case_is_held_and_erased_with_its_people(
    reporter: Reporter, acme: str
) -> None:
    holder = await reporter.someone(acme, sub="words-holder")
    desk = await reporter.someone(acme, DESK, LEAD, sub="words-desk")
    privacy = await reporter.someone(acme, PRIVACY, LEAD, DESK)
    incident = (await holder.post("/v1/reports", _REPORT))["incident"]
    await desk.post(f"/v1/incidents/{incident}/facility", {"facility": "taxi", "name": "目黒交通"})

    async def erase(sub: str) -> dict[str, Any]:
        person = (await privacy.post("/v1/people/search", {"employee_id": sub}))["person"]
        erased: dict[str, Any] = await privacy.post(f"/v1/people/{person}/erasure", {"ground": "left_the_company"})
        return erased

    assert (await erase("words-desk"))["fields"] == 0, "the desk leaves, and its open cases stay whole"
    (contact,) = (await privacy.get(f"/v1/incidents/{incident}"))["facilities"]
    asked = {"digests": [contact["name"]], "reason": "evidence"}
    assert (await privacy.post("/v1/disclosures", asked))[contact["name"]] is not None
    await privacy.post(f"/v1/incidents/{incident}/cancel", {"reason": "found_before_exposure"})
    assert (await erase("words-holder"))["fields"] > 0
    assert (await privacy.post("/v1/disclosures", asked))[contact["name"]] is None


async def test_a_name_is_erased_with_who_told_it_while_nobody_knows_whose_it_is(reporter: Reporter, acme: str) -> None:
    told = {
        "organisation": acme,
        "reported_as": "proxy",
        "holder_name": "佐藤 未来",
        "phone": "黒い電話",
        "callback": "0312345678",
    }
    await reporter.phone(acme)  # a company that is known here
    incident = (await reporter.nobody().post("/v1/emergency-reports", told))["incident"]
    privacy = await reporter.someone(acme, PRIVACY, LEAD, DESK)
    case = await privacy.get(f"/v1/incidents/{incident}")
    assert case["contact"]["holder_name"] == "佐藤 未来"
    await privacy.post(f"/v1/incidents/{incident}/cancel", {"reason": "found_before_exposure"})
    (report,) = case["reports"]
    await privacy.post(f"/v1/people/{report['person']}/erasure", {"ground": "request_of_the_person"})
    assert set((await privacy.get(f"/v1/incidents/{incident}"))["contact"].values()) == {None}


async def test_the_numbers_of_a_phone_that_left_the_inventory_go_with_its_last_holder(
    reporter: Reporter, acme: str
) -> None:
    privacy = await reporter.someone(acme, PRIVACY)
    person = (await privacy.post("/v1/people/search", {"employee_id": "had-a-phone"}))["person"]
    in_use = await reporter.phone(acme, holder=person)
    gone = await reporter.phone(acme, holder=person, ownership="personal")
    await reporter.hear(DeviceRetired(reason="employee_left"), f"device-{gone}", acme)
    erased = await privacy.post(f"/v1/people/{person}/erasure", {"ground": "request_of_the_person"})
    assert (erased["devices"], erased["fields"]) == ([gone], len(reporter.numbers[gone]))
    known = {phone: await _known(reporter, privacy, phone) for phone in (in_use, gone)}
    assert known == {in_use: len(reporter.numbers[in_use]), gone: 0}


async def _known(reporter: Reporter, privacy: Someone, phone: str) -> int:
    """How many of the phone's numbers can be opened."""
    facts = await reporter.kit.pool.fetchval("SELECT facts FROM device WHERE device = $1", phone)
    asked = {"digests": list(facts["identifiers"].values()), "reason": "evidence"}
    return sum(text is not None for text in (await privacy.post("/v1/disclosures", asked)).values())
