"""What a service said once stands in its chain once, however often and in whatever wrapping somebody sends it again:
whoever can write to Kafka holds no service's key, and makes no case longer."""

import base64
from collections.abc import Callable
from dataclasses import replace

import orjson
import pytest

from lostphone.verify import run
from shared.events import Received, read
from tests.audit.conftest import LOG_KEYS, Bench, Files

_ONE = "0192f0c1-0000-7000-8000-000000000001"

type Wrapping = Callable[[Received], Received]


def _other_order(record: Received) -> Received:
    return replace(record, headers=record.headers[::-1])


def _other_base64(record: Received) -> Received:
    """The last two digits of 64 bytes in base64 hold four bits that are none of them."""
    headers = dict(record.headers)
    signature = headers["ce_signature"] or b""
    spelt = signature[:-3] + bytes([signature[-3] + 1]) + signature[-2:]
    assert base64.b64decode(spelt, validate=True) == base64.b64decode(signature)
    return replace(record, headers=tuple((headers | {"ce_signature": spelt}).items()))


def _structured(record: Received) -> Received:
    told = {name.removeprefix("ce_"): (data or b"").decode() for name, data in record.headers if name != "content-type"}
    document = {**told, "datacontenttype": "text/anything", "data": orjson.loads(record.value or b"")}
    headers = (("content-type", b"application/cloudevents+json"),)
    return replace(record, headers=headers, value=orjson.dumps(document))


@pytest.mark.parametrize("wrapping", [_other_order, _other_base64, _structured])
@pytest.mark.parametrize("together", [True, False], ids=["in one batch", "later"])
async def test_an_event_in_another_wrapping_is_a_duplicate_and_closes_no_case_again(
    bench: Bench, wrapping: Wrapping, together: bool
) -> None:
    writers = bench.writers
    said = [writers.record(name, _ONE) for name in ("DeviceLost", "IncidentClosed", "IncidentReopened")]
    replayed = wrapping(said[1])
    assert not hasattr(read(replayed, bench.keyring), "reason")
    for batch in [[*said, replayed]] if together else [said, [replayed]]:
        await bench.record(*batch)
    kinds = [entry["kind"] for entry in await bench.entries()]
    assert kinds == ["event", "event", "seal", "event", "duplicate"]
    assert [row["topic"] for row in await bench.outbox()] == ["lostphone.timeline-sealed.v1"]
    await bench.publish()
    report = run(await Files.of(bench), [LOG_KEYS[0].verifier], keyring=bench.keyring)
    assert (report.exit_status, report.findings) == (0, [])


async def test_what_a_service_said_before_it_contradicted_itself_is_a_duplicate_too(bench: Bench) -> None:
    writers = bench.writers
    first = writers.envelope("DeviceLost", _ONE)
    lost = writers.sign("DeviceLost", first)
    other = writers.sign("IncidentCancelled", replace(first, type="lostphone.incident-cancelled.v1", sequence=2))
    await bench.record(lost, other)
    await bench.record(lost, other, lost)
    assert [entry["kind"] for entry in await bench.entries()] == ["event", "event", *["duplicate"] * 3]


@pytest.mark.parametrize(
    "types",
    [
        [b"application/cloudevents+json; a=\xff"],
        [b"application/cloudevents+json; a=" + b"a" * 167 + "あ".encode()],
        [None, b"application/cloudevents+json"],
    ],
    ids=["not UTF-8", "a letter across the end of what an entry keeps", "none before it"],
)
async def test_no_content_type_lets_an_entry_say_another_thing_than_its_record(
    bench: Bench, types: list[bytes | None]
) -> None:
    """An entry keeps the beginning of the first content type, as text. Who reads the log must read what was taken."""
    lost = bench.writers.record("DeviceLost", _ONE)
    replayed = replace(_structured(lost), headers=tuple(("content-type", data) for data in types))
    await bench.record(lost, replayed)
    assert [entry["kind"] for entry in await bench.entries()] == ["event", "unparsed"]
    await bench.publish()
    report = run(await Files.of(bench), [LOG_KEYS[0].verifier], keyring=bench.keyring)
    assert (report.exit_status, report.findings) == (0, [])
