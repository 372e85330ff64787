"""Whoever signed in at one service of an installation on one machine is known to the others."""

import httpx2

from tests.requests.running import World


async def test_a_sign_in_at_the_reporter_counts_at_the_notifier(world: World) -> None:
    reporter, notifier = world.services["reporter"].url, world.services["notifier"].url
    async with httpx2.AsyncClient(headers={"Accept": "text/html"}) as browser:
        assert (await browser.get(f"{notifier}/duties")).status_code == 401
        begun = await browser.get(f"{reporter}/sign-in", params={"next": "/incidents"})
        at_provider = await world.http.post(begun.headers["location"], data={"sub": "acme-tanaka"})
        back = await browser.get(at_provider.headers["location"])
        assert (back.status_code, back.headers["location"]) == (303, "/incidents")
        page = await browser.get(f"{notifier}/duties")
        assert page.status_code == 200
        assert "田中" in page.text
