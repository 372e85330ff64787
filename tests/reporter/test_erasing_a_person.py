"""A person's words and numbers can be erased for good; a case that goes on holds them back, and says so."""

from tests.reporter.running import DESK, LEAD, PRIVACY, Reporter

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
