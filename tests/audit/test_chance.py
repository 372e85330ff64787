"""Whatever happens to writers and records, the log stays whole, and every checkpoint continues the one before."""

import random
from dataclasses import replace

import pytest

from lostphone.verify import run
from services.audit.tlog import Checkpoint, SignedNote
from shared.events import Received, read
from tests.audit.conftest import LOG_KEYS, Bench, Files

_SUBJECTS = [f"0192f0c1-0000-7000-8000-00000000000{at}" for at in range(5)]
_KEYS = [key.verifier for key in LOG_KEYS]


def _any_record(chance: random.Random, bench: Bench, before: list[Received]) -> Received:
    subject = chance.choice(_SUBJECTS)
    kind = chance.choice(["event"] * 6 + ["closing", "again", "forged", "broken", "long"])
    if kind == "again" and before:
        return chance.choice(before)
    if kind == "broken":
        return Received(bench.writers.topic, 0, 0, 0, None, (("ce_id", b"\xff"),), chance.choice([None, b"", b"\n{"]))
    if kind == "closing":
        return bench.writers.record("IncidentClosed", subject)
    record = bench.writers.record(chance.choice(["DeviceLost", "DeviceLocked", "WipeSent"]), subject)
    if kind == "forged":
        return replace(record, value=b"{}")
    return replace(record, value=bytes(70_000)) if kind == "long" else record


async def _rolled_back(bench: Bench, records: list[Received]) -> None:
    class GivenUpError(Exception):
        pass

    async def begin() -> None:
        async with bench.units.begin() as unit:
            await bench.timeline.take(unit, [read(record, bench.keyring) for record in records])
            raise GivenUpError

    with pytest.raises(GivenUpError):
        await begin()


@pytest.mark.parametrize("seed", [20261124, 7])
async def test_a_log_written_through_rollbacks_replays_holes_and_two_writers_is_proved(bench: Bench, seed: int) -> None:
    chance = random.Random(seed)
    other = bench.new_writer()
    taken: list[Received] = []
    kept: list[bytes] = []
    while len(taken) < 700:
        partition = chance.randrange(4)
        skip = chance.choice([0, 0, 0, 0, 0, 2])
        records = [_any_record(chance, bench, taken) for _ in range(chance.choice([1, 1, 3, 40, 90]))]
        placed = bench.place(records[0], partition=partition, skip=skip) + bench.place(
            *records[1:], partition=partition
        )
        if chance.random() < 0.3:
            await _rolled_back(bench, placed)
        if chance.random() < 0.3 and taken:
            again = [record for record in taken[-50:] if record.partition == partition]
            await bench.take(again + placed, chance.choice([bench.timeline, other]))
        else:
            await bench.take(placed, chance.choice([bench.timeline, other]))
        taken += placed
        if chance.random() < 0.5 and await bench.publish():
            published = await bench.reader.newest()
            assert published is not None
            kept.append(published.note)
    await bench.publish()

    report = run(await Files.of(bench), _KEYS, earlier=kept, keyring=bench.keyring)
    assert report.exit_status == 0, report.document()
    # The tail behind a hole is recorded, too: every record that was taken is an entry.
    entries = await bench.entries()
    places = {(entry["stream_id"], entry["kafka_offset"]) for entry in entries if entry["kind"] not in ("gap", "seal")}
    assert len(places) == len({(record.partition, record.offset) for record in taken}) == len(taken)
    sizes = [Checkpoint.parse(SignedNote.parse(note).text).size for note in kept]
    assert sizes == sorted(set(sizes))
