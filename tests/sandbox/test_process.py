"""`python -m sandbox`: one ready line, an end on SIGTERM, and a sentence when it cannot start."""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx2
import pytest

from sandbox.companies import companies, fleet, inventory
from sandbox.config import VARIABLE, Config, ConfigError
from services.mdm_actions.domain.inventory import read

_ROOT = Path(__file__).parents[2]
_ALL = ["identity", "carrier", "entra", "mail", "smtp", "line", "alerts", "phones"]


def _start(folder: Path, config: dict[str, Any] | None, *words: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(_ROOT)}
    environment.pop("LOSTPHONE_SANDBOX_CONFIG", None)
    if config is not None:
        (folder / "config.json").write_text(json.dumps(config))
        environment["LOSTPHONE_SANDBOX_CONFIG"] = str(folder / "config.json")
    return subprocess.Popen(
        [sys.executable, "-m", "sandbox", *words],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _config(folder: Path, **more: Any) -> dict[str, Any]:
    return {
        "data_dir": str(folder / "data"),
        "ports": dict.fromkeys(_ALL, 0),
        "nanomdm": {"url": "http://127.0.0.1:9"},
        "ca": {"cert": str(folder / "ca.pem"), "key": str(folder / "ca.key")},
        "notify": str(folder / "ready.json"),
        **more,
    }


def test_every_part_answers_once_the_ready_line_is_out_and_sigterm_ends_it_well(tmp_path: Path) -> None:
    with _start(tmp_path, _config(tmp_path)) as process:
        assert process.stdout is not None
        ready = json.loads(process.stdout.readline())
        assert set(ready["parts"]) == set(_ALL)
        assert json.loads((tmp_path / "ready.json").read_text()) == ready
        for part, address in ready["parts"].items():
            if part != "smtp":
                answer = httpx2.get(f"{address}/health/ready")
                assert answer.json() == {"part": part, "ready": True}
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=60)
        assert (process.returncode, errors) == (0, "")
    assert (tmp_path / "ca.pem").exists()
    assert (tmp_path / "ca.key").stat().st_mode & 0o077 == 0


def test_a_port_that_is_taken_is_named_without_a_traceback(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with _start(tmp_path, _config(tmp_path, ports={"carrier": port})) as process:
            _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (2, f"carrier: port {port} is taken\n")


def test_without_a_configuration_it_says_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    with pytest.raises(ConfigError, match=VARIABLE):
        Config.from_environment()


@pytest.mark.parametrize(
    ("more", "word"),
    [
        ({"ports": {"telex": 0}}, "telex"),
        ({"nanomdm": None}, "nanomdm"),
        ({"ports": {"mail": 0}}, "smtp"),
        ({"extra": 1}, "extra"),
    ],
)
def test_a_configuration_that_cannot_be_used_is_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: dict[str, Any], word: str
) -> None:
    file = tmp_path / "config.json"
    file.write_text(json.dumps(_config(tmp_path, **more)))
    monkeypatch.setenv(VARIABLE, str(file))
    with pytest.raises(ConfigError, match=word):
        Config.from_environment()


def test_the_fleet_is_printed_as_a_file(tmp_path: Path) -> None:
    with _start(tmp_path, None, "inventory", "beta-kk") as process:
        text, _ = process.communicate(timeout=60)
    assert (process.returncode, text) == (0, inventory("beta-kk"))


@pytest.mark.parametrize("organisation", ["acme-kk", "beta-kk"])
def test_that_file_is_one_which_the_inventory_import_reads(organisation: str) -> None:
    sheet = read(inventory(organisation))
    assert sheet.bad == []
    assert [row.udid for row in sheet.rows] == [phone.udid for phone in fleet()[organisation]]
    people = {person.sub: person.account for person in companies().organisations[organisation].people}
    assert all(row.holder_account == people[row.holder or ""] for row in sheet.rows)


def test_an_unknown_organisation_has_no_fleet(tmp_path: Path) -> None:
    with _start(tmp_path, None, "inventory", "nobody-kk") as process:
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 2
        assert "nobody-kk" in errors
