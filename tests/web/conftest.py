"""An application with a few routes, and the company's identity provider on loopback."""

import base64
import hashlib
import re
import secrets
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import httpx2
import oidc_provider_mock
import pytest
from fastapi import Depends, FastAPI, Form, Request
from pydantic import BaseModel, Field
from starlette.responses import HTMLResponse

from shared.telemetry import Gauges, Health, ProviderCalls
from shared.vault import People, VaultKeys
from shared.web import Identity, Pages, Person, Problem, Role, create_app

BASE = "http://reporter.test"
CLIENT_ID = "lostphone"


@dataclass
class Settings:
    links: dict[str, str] = field(default_factory=dict)


@dataclass
class Kit:
    identity: Identity
    health: Health
    gauges: Gauges = field(default_factory=Gauges)
    providers: ProviderCalls = field(init=False)
    settings: Settings = field(default_factory=Settings)

    def __post_init__(self) -> None:
        self.providers = ProviderCalls(self.health)


class Report(BaseModel):
    place: str = Field(min_length=1, max_length=10)
    people: int = Field(0, ge=0)


USERS = [
    oidc_provider_mock.User(
        sub="e1",
        claims={"name": "山田 <太郎>", "locale": "ja", "organisation": "acme", "roles": ["employee", "clown"]},
    ),
    oidc_provider_mock.User(
        sub="d1",
        claims={"name": "Desk", "locale": "en", "organisation": "acme", "roles": ["employee", "security_desk"]},
    ),
    oidc_provider_mock.User(
        sub="e1-globex", claims={"name": "X", "locale": "en", "organisation": "globex", "roles": ["employee"]}
    ),
    oidc_provider_mock.User(sub="nobody", claims={"name": "No organisation", "roles": ["operator"]}),
]


@pytest.fixture(scope="session")
def issuer() -> Iterator[str]:
    with oidc_provider_mock.run_server_in_thread(user_claims=USERS) as server:
        yield f"http://127.0.0.1:{server.server_port}"


@pytest.fixture
async def http() -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient() as client:
        yield client


@pytest.fixture
def people() -> People:
    return People(VaultKeys.generate())


@pytest.fixture
def identity(issuer: str, http: httpx2.AsyncClient, people: People) -> Identity:
    return Identity(
        issuer=issuer,
        client_id=CLIENT_ID,
        client_secret="s3cret/with+signs",  # noqa: S106 - the provider takes any
        public_url=BASE,
        session_key=secrets.token_bytes(32),
        people=people,
        http=http,
    )


@pytest.fixture
def kit(identity: Identity) -> Kit:
    return Kit(identity, Health())


@pytest.fixture
def request_seconds() -> float:
    """How long an answer may take. A test of what takes too long says less."""
    return 60.0


@pytest.fixture
def app(kit: Kit, tmp_path: Path, request_seconds: float) -> FastAPI:
    pages = _pages(tmp_path)
    app = create_app(
        kit, title="reporter", max_body=10_000, request_seconds=request_seconds, slower={"/imports/.+": 60}
    )

    @app.get("/me")
    async def me(person: Annotated[Person, Depends(kit.identity.require())]) -> dict[str, Any]:
        return {"ref": person.ref, "organisation": person.organisation, "roles": sorted(person.roles)}

    @app.get("/desk")
    async def desk(person: Annotated[Person, Depends(kit.identity.require(Role.DESK, Role.LEAD))]) -> str:
        return person.actor(Role.DESK)

    @app.post("/desk")
    async def act(person: Annotated[Person, Depends(kit.identity.require(Role.DESK))]) -> str:
        return person.actor(Role.DESK)

    @app.get("/anyone")
    async def anyone(person: Annotated[Person | None, Depends(kit.identity.optional())]) -> str:
        return person.ref if person else "nobody"

    _add_forms(app, kit.identity, pages)
    _add_troubles(app)
    return app


def _add_forms(app: FastAPI, identity: Identity, pages: Pages) -> None:
    @app.get("/form")
    async def form(request: Request, person: Annotated[Person | None, Depends(identity.optional())]) -> HTMLResponse:
        return pages.render(request, "form.html", typed="<script>alert(1)</script>", known=person is not None)

    @app.post("/form")
    async def send(place: Annotated[str, Form()]) -> str:
        return place

    @app.post("/report")
    async def report(report: Report) -> Report:
        return report

    @app.post("/imports/mdm")
    @app.post("/webhooks/mdm")
    async def webhook(request: Request) -> int:
        return len(await request.body())


def _add_troubles(app: FastAPI) -> None:
    @app.get("/cases/{code}")
    async def case(code: str) -> str:
        if code == "bug":
            raise RuntimeError("secret detail")
        if code == "slow":
            import asyncio

            await asyncio.sleep(300)
        raise Problem(409, "already_closed", ja="この件は終了しています。", en="This case is closed.", case=code)


@pytest.fixture
async def client(app: FastAPI) -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url=BASE) as client:
        yield client


def _pages(folder: Path) -> Pages:
    (folder / "form.html").write_text(
        '{% extends "shell.html" %}{% block title %}{{ t("form_title") }}{% endblock %}{% block main %}'
        '<h1>{{ t("form_title") }}</h1><p>{{ t("typed", what=typed) }}</p>'
        '<form method="post" action="/form">{{ csrf() }}<label>{{ t("place") }} <input name="place"></label>'
        "<button>OK</button></form>{% endblock %}"
    )
    (folder / "words.yaml").write_text(
        'form_title: {ja: "届け出", en: "Report"}\n'
        'typed: {ja: "入力: {what}", en: "Typed: {what} & more"}\n'
        'place: {ja: "場所", en: "Place"}\n'
    )
    return Pages(folder, folder / "words.yaml")


async def token(http: httpx2.AsyncClient, issuer: str, sub: str, *, client_id: str = CLIENT_ID) -> str:
    """An ID token, as a script of the company gets it."""
    verifier = secrets.token_urlsafe(32)
    challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
    query = {
        "client_id": client_id,
        "response_type": "code",
        "redirect_uri": "http://localhost/callback",
        "scope": "openid profile",
        "code_challenge": challenge,
        "code_challenge_method": "S256",
    }
    answer = await http.post(f"{issuer}/oauth2/authorize", params=query, data={"sub": sub})
    found = re.search("code=([^&]+)", answer.headers["location"])
    assert found
    form = {
        "grant_type": "authorization_code",
        "code": found[1],
        "redirect_uri": "http://localhost/callback",
        "code_verifier": verifier,
    }
    answer = await http.post(f"{issuer}/oauth2/token", data=form, auth=(client_id, "any"))
    return str(answer.json()["id_token"])


async def sign_in(
    client: httpx2.AsyncClient, http: httpx2.AsyncClient, sub: str, *, to: str = "/me"
) -> httpx2.Response:
    """What a browser does; the answer is where the service sends it in the end."""
    begun = await client.get("/sign-in", params={"next": to})
    at_provider = await http.post(begun.headers["location"], data={"sub": sub})
    return await client.get(at_provider.headers["location"])
