"""The desk's pager: what Apprise posts is kept, and its link can be followed."""

import asyncio

import apprise

from tests.sandbox.conftest import Play


async def test_an_alert_of_apprise_is_kept_with_its_links_by_pager(play: Play) -> None:
    async with play("alerts") as played:
        address = played.addresses["alerts"].removeprefix("http://")
        for organisation in ("acme-kk", "beta-kk"):
            pager = apprise.Apprise()
            assert pager.add(f"json://{address}/desk/{organisation}")
            text = "携帯紛失 / Phone lost: http://127.0.0.1:9/alerts/abc?x=1 (ACME-0001)"
            assert await asyncio.to_thread(pager.notify, body=text, title="Lostphone")
        (alert,) = (
            await played.http.get(f"{played.addresses['alerts']}/_alerts", params={"pager": "desk/acme-kk"})
        ).json()
        assert alert["title"] == "Lostphone"
        assert alert["links"] == ["http://127.0.0.1:9/alerts/abc?x=1"]


async def test_a_pager_that_is_out_of_order_shows_nothing(play: Play) -> None:
    async with play("alerts") as played:
        await played.fault("alerts", kind="answer", status=503)
        answer = await played.http.post(f"{played.addresses['alerts']}/desk", json={"message": "m"})
        assert answer.status_code == 503
        assert (await played.http.get(f"{played.addresses['alerts']}/_alerts")).json() == []
        assert len(await played.journal("alerts")) == 1
