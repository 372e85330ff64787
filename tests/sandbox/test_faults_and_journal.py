"""Every part misbehaves when asked, for as many calls as asked, and writes down what reached it."""

import asyncio
import time
from pathlib import Path

import httpx2
import orjson
import pytest

from sandbox.journal import Journal
from tests.sandbox.conftest import Play


async def test_a_fault_is_shown_for_so_many_calls_and_to_the_matching_ones_only(play: Play) -> None:
    async with play("alerts") as played:
        url = played.addresses["alerts"]
        await played.fault("alerts", kind="answer", status=502, calls=2, match="POST /desk")
        answers = [(await played.http.post(f"{url}{path}", json={"message": "m"})).status_code
                   for path in ("/other", "/desk", "/desk", "/desk")]  # fmt: skip
        assert answers == [200, 502, 502, 200]
        assert [entry.get("fault") for entry in await played.journal("alerts")] == [None, "answer", "answer", None]


@pytest.mark.parametrize(("kind", "obeyed"), [("drop", 0), ("lose_answer", 1)])
async def test_a_closed_connection_is_an_error_to_the_caller_and_a_line_in_the_journal(
    play: Play, kind: str, obeyed: int
) -> None:
    async with play("alerts") as played:
        await played.fault("alerts", kind=kind)
        with pytest.raises(httpx2.RemoteProtocolError):
            await played.http.post(f"{played.addresses['alerts']}/desk", json={"message": "m"})
        (entry,) = await played.journal("alerts")
        assert entry["fault"] == kind
        assert (entry["answer"]["status"] is not None) == bool(obeyed)


async def test_a_slow_part_obeys_after_its_time(play: Play) -> None:
    async with play("alerts") as played:
        await played.fault("alerts", kind="slow", seconds=0.2)
        begun = time.monotonic()
        answer = await played.http.post(f"{played.addresses['alerts']}/desk", json={"message": "m"})
        assert answer.status_code == 200
        assert time.monotonic() - begun >= 0.2


async def test_faults_can_be_seen_and_forgotten_and_a_wrong_one_is_explained(play: Play) -> None:
    async with play("alerts") as played:
        url = f"{played.addresses['alerts']}/_faults"
        await played.fault("alerts", kind="drop", calls=3)
        assert [fault["calls"] for fault in (await played.http.get(url)).json()] == [3]
        assert (await played.http.delete(url)).json() == []
        wrong = await played.http.post(url, json={"kind": "explode"})
        assert wrong.status_code == 400
        assert "kind" in wrong.json()["message"]


async def test_controls_are_not_in_the_journal_and_a_reader_can_go_on_where_it_stopped(play: Play) -> None:
    async with play("alerts") as played:
        url = played.addresses["alerts"]
        await asyncio.gather(*(played.http.post(f"{url}/desk", json={"message": str(n)}) for n in range(5)))
        assert [entry["sequence"] for entry in await played.journal("alerts")] == [1, 2, 3, 4, 5]
        later = (await played.http.get(f"{url}/_journal", params={"after": 3})).json()["entries"]
        assert [entry["sequence"] for entry in later] == [4, 5]


async def test_an_oversized_body_is_refused(play: Play) -> None:
    async with play("alerts") as played:
        answer = await played.http.post(f"{played.addresses['alerts']}/desk", content=b"x" * 4_100_000)
        assert answer.status_code == 413


def test_a_line_that_was_cut_off_is_no_entry_and_the_journal_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    journal = Journal(path)
    journal.write("GET", "/a", body=None, answer={"status": 200, "body": None})
    journal.close()
    with path.open("ab") as file:
        file.write(b'{"sequence": 2, "ti')
    journal = Journal(path)
    journal.write("GET", "/b", body=None, answer={"status": 200, "body": None})
    journal.close()
    lines = [orjson.loads(line) for line in path.read_bytes().splitlines()]
    assert [(line["sequence"], line["path"]) for line in lines] == [(1, "/a"), (2, "/b")]
