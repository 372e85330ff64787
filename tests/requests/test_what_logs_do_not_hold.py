"""Logs as services configure them hold no receipt code, no word that a person wrote, no variable of the code."""

import io
import logging
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import httpx2
import pytest
from fastapi import FastAPI
from pydantic import BaseModel, Field

from shared.telemetry.logs import configure_logs, redact_text
from shared.web.observed import Observed
from tests.requests.running import Service, service_at
from tests.stack.installed import Installed

_WORDS = {
    "organisation": "acme-kk",
    "reported_as": "holder",
    "holder_name": "秘密の名前",
    "phone": "秘密の電話",
    "callback": "03-9999-1234",
}


_ROW, _VARIABLE = "秘密の行", "変数の中身"
# Tracebacks quote the lines of the code, so that these stand in none of them.


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    stream = io.StringIO()
    configure_logs("requests", "DEBUG", stream)
    yield stream
    configure_logs("requests", "ERROR")


@pytest.fixture
async def door(installed: Installed, issuer: str, tmp_path: Path) -> AsyncIterator[Service]:
    async with service_at("reporter", installed, issuer, tmp_path, organisations=["acme-kk"]) as service:
        yield service


class _Strict(BaseModel):
    callback: int = Field(ge=1)


async def test_neither_codes_nor_words_whatever_becomes_of_the_request(door: Service, log: io.StringIO) -> None:
    @door.parts.app.get("/v1/broken/{code}")
    async def broken(code: str) -> None:
        variable = _VARIABLE
        _Strict.model_validate({"callback": f"{code} {variable}"})

    @door.parts.app.get("/v1/refused/{code}")
    async def refused(code: str) -> None:
        await door.kit.pool.execute("INSERT INTO incident (incident) VALUES ($1)", f"{_ROW} {code}")

    async with httpx2.AsyncClient(base_url=door.url) as http:
        told = await http.post("/v1/emergency-reports", json=_WORDS)
        code = told.json()["receipt_code"]
        for path in (f"/v1/receipts/{code}", f"/receipt?code={code}", f"/v1/receipts/{code}/nothing"):
            await http.get(path)
        await http.post(f"/v1/receipts/{code}/amend", json={"callback": "秘密の折り返し", "place": 3})
        await http.post("/v1/emergency-reports", json=_WORDS | {"phone": "秘密の電話" * 200})
        broken_off = b'{"holder_name": "\xe7\xa7\x98'
        for media in ("application/json", "text/plain", ""):
            answer = await http.post("/v1/emergency-reports", content=broken_off, headers={"Content-Type": media})
            assert 400 <= answer.status_code < 500, answer.text
        for path in (f"/v1/broken/{code}", f"/v1/refused/{code}"):
            answer = await http.get(path)
            assert answer.status_code == 500
            assert answer.json()["code"] == "internal_error"
            assert "Traceback" not in answer.text
    written = log.getvalue()
    assert written.count("request failed") == 2
    assert "/v1/broken/{code}" in written
    assert "ValidationError" in written
    for secret in (code, "秘密", "03-9999-1234", _VARIABLE):
        assert secret not in written, next(line for line in written.splitlines() if secret in line)


async def test_polls_of_phones_leave_no_line_and_a_forged_one_does(log: io.StringIO) -> None:
    app = FastAPI()
    app.add_api_route("/webhooks/mdm", lambda: "ok", methods=["POST"])
    app.add_middleware(Observed, form_action="")
    configure_logs("requests", "INFO", log)
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://mdm") as http:
        await http.post("/webhooks/mdm")
        assert log.getvalue() == ""
        await http.post("/webhooks/forged")
    assert '"status":404' in log.getvalue()


def test_what_error_messages_quote_is_left_out() -> None:
    with pytest.raises(ValueError, match="秘密") as refused:
        _Strict.model_validate({"callback": "秘密の値, input_type=fake"})
    assert "秘密" not in redact_text(str(refused.value))
    row = asyncpg.NotNullViolationError("null value in column")
    said = f"{row}\nDETAIL:  Failing row contains (秘密, 1).\nHINT: none"
    assert redact_text(said) == "null value in column\nDETAIL:[redacted]\nHINT: none"


def test_libraries_that_log_requests_are_quiet(log: io.StringIO) -> None:
    for name in ("httpx2", "httpcore2", "uvicorn.access"):
        logging.getLogger(name).info("GET /v1/receipts/SECRET")
    assert log.getvalue() == ""
