"""A request names its host itself: no answer may send the reader to whatever it names."""

import re

import httpx2
import pytest

from tests.requests.running import SERVICES, World

_ELSEWHERE = "elsewhere.example"


@pytest.mark.parametrize("service", SERVICES)
async def test_a_slash_too_many_is_not_found_and_leads_nowhere(world: World, service: str) -> None:
    running = world.services[service]
    paths = sorted(path for path in running.parts.app.openapi()["paths"] if "{" not in path)
    assert paths
    for path in (*paths, "/sign-in", "/incidents", "/alerts", "/health/live", "/static", "/metrics"):
        slashed = f"{running.url}{path}/" if path != "/static" else f"{running.url}{path}"
        async with httpx2.AsyncClient(headers={"Host": _ELSEWHERE}) as http:
            answer = await http.get(slashed)
        assert answer.status_code == 404, path
        assert _ELSEWHERE not in str(answer.headers), path


@pytest.mark.parametrize("service", SERVICES)
async def test_a_path_that_reads_as_a_host_is_no_link_to_it(world: World, service: str) -> None:
    for path in (f"//{_ELSEWHERE}/", f"/\\{_ELSEWHERE}/"):
        answer = await world.http.get(f"{world.services[service].url}{path}", headers={"Accept": "text/html"})
        assert answer.status_code == 404
        links = re.findall(r'(?:href|action)="([^"]*)"', answer.text)
        assert links
        assert not [link for link in links if re.match(r"[/\\]{2}", link)]
