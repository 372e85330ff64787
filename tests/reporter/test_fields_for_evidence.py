"""A privacy officer opens single fields for evidence, as texts that an outsider checks against the log; nobody else."""

from shared.vault import Disclosure
from tests.reporter.running import DESK, LEAD, PRIVACY, Reporter

_REPORT = {"reported_as": "holder", "phone": "黒い電話", "callback": "0312345678", "circumstances": "忘年会の帰り"}
_ASKED = "/v1/disclosures"


async def test_a_field_is_opened_for_the_officer_of_its_organisation(reporter: Reporter, acme: str, beta: str) -> None:
    holder = await reporter.someone(acme, sub="shown-holder")
    incident = (await holder.post("/v1/reports", _REPORT))["incident"]
    (data,) = [data for kind, data in await reporter.told(incident) if kind == "device-lost"]
    order = {"digests": [data["circumstances"]], "reason": "court_order"}
    desk = await reporter.someone(acme, DESK, LEAD)
    await desk.post(_ASKED, order, expect=403)
    await holder.post(_ASKED, order, expect=403)
    stranger = await reporter.someone(beta, PRIVACY)
    assert await stranger.post(_ASKED, order) == {data["circumstances"]: None}
    privacy = await reporter.someone(acme, PRIVACY)
    opened = await privacy.post(_ASKED, order)
    disclosure = Disclosure.read(opened[data["circumstances"]])
    assert (disclosure.digest, disclosure.name, disclosure.value) == (
        data["circumstances"],
        "circumstances",
        "忘年会の帰り",
    )
