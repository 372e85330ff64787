"""`lostphone verify` proves a whole log, and names the first entry of every trick that was played on it."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from typer.testing import CliRunner

from lostphone.screen import CouldNotError
from lostphone.verify import DirectorySource, Outcome, Report, app, run
from services.audit.domain.leaf import LeafBuilder, Link
from services.audit.evidence import verify as alone
from services.audit.reader import LogReader
from services.audit.tlog import Checkpoint, Edge, SignedNote, TilePath, leaf_hash, pack_bundle, unpack_bundle
from services.audit.tlog.tiles import paths_of
from shared.events import KeyRing
from tests.audit.conftest import BLINDING, LOG_KEYS, ORIGIN, as_audit, bench_on
from tests.audit.naive import naive_tile
from tests.stack.installed import copy_of

_ONE = "0192f0c1-0000-7000-8000-000000000001"
_TWO = "0192f0c1-0000-7000-8000-000000000002"
_KEYS = [key.verifier for key in LOG_KEYS]


@dataclass
class Copy:
    """A log in files, which can be played tricks on."""

    folder: Path
    leaves: list[bytes]
    earlier: bytes
    keyring: KeyRing

    def verify(self, **options: object) -> Report:
        return run(DirectorySource(self.folder), _KEYS, earlier=[self.earlier], keyring=self.keyring, **options)  # type: ignore[arg-type]

    def rebuild(self, leaves: list[bytes], *, sign: bool) -> None:
        """As somebody would who can write the tables, and, with `sign`, has the log's keys."""
        for file in sorted(self.folder.rglob("*")):
            if file.is_file() and "detached" not in file.parts and file.name != "checkpoint":
                file.unlink()
        hashes = [leaf_hash(leaf) for leaf in leaves]
        for path in paths_of(len(leaves)):
            data = (
                pack_bundle(leaves[path.index * 256 : path.index * 256 + path.width])
                if path.level is None
                else naive_tile(hashes, path.level, path.index, path.width)
            )
            self.write(str(path), data)
        if sign:
            edge, _ = Edge().append(hashes)
            checkpoint = Checkpoint(ORIGIN, len(leaves), edge.root())
            signatures = tuple(key.sign(checkpoint, 1) for key in LOG_KEYS)
            self.write("checkpoint", bytes(SignedNote(checkpoint.text(), signatures)))

    def write(self, path: str, data: bytes) -> None:
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)


@dataclass
class Original:
    """The files of a log that the service itself made."""

    files: dict[str, bytes]
    earlier: bytes
    keyring: KeyRing


async def _copied(reader: LogReader) -> dict[str, bytes]:
    published = await reader.newest()
    assert published is not None
    files = {"checkpoint": published.note}
    for path in paths_of(published.size):
        data = await reader.tile(path)
        assert data is not None
        files[str(path)] = data
    return files


@pytest.fixture(scope="module")
async def original(template: str, postgres: str, tmp_path_factory: pytest.TempPathFactory) -> Original:
    """Two incidents over two partitions, one of them closed; 300 entries, and a checkpoint from when it had 5."""
    async with copy_of(template, postgres) as dsn, bench_on(as_audit(dsn), tmp_path_factory.mktemp("keys")) as bench:
        writers = bench.writers
        await bench.record(*(writers.record("DeviceLocked", _ONE) for _ in range(3)))
        await bench.record(
            *(writers.record("DeviceLost", _TWO, organisation="other-kk") for _ in range(2)), partition=1
        )
        await bench.publish()
        earlier = await bench.reader.checkpoint(5)
        assert earlier is not None
        await bench.record(*(writers.record("DeviceLocked", _ONE) for _ in range(290)))
        await bench.record(writers.record("IncidentClosed", _ONE), writers.record("IncidentReopened", _ONE))
        await bench.record(*(writers.record("ReportVerified", _TWO) for _ in range(2)), partition=1)
        await bench.publish()
        return Original(await _copied(bench.reader), earlier.note, bench.keyring)


@pytest.fixture
def copy(original: Original, tmp_path: Path) -> Copy:
    copy = Copy(tmp_path / "copy", [], original.earlier, original.keyring)
    for path, data in original.files.items():
        copy.write(path, data)
        if path.startswith("tile/entries/"):
            copy.leaves += unpack_bundle(data)
    assert len(copy.leaves) == 300
    return copy


def test_a_whole_log_is_proved(copy: Copy) -> None:
    report = copy.verify()
    assert [check for check in report.checks if check.outcome is not Outcome.PROVED] == []
    assert [check.name for check in report.checks] == [
        "signature", "leaves", "root", "chains", "seals", "partitions", "detached", "index", "consistency", "events"
    ]  # fmt: skip
    assert (report.exit_status, report.size, report.subjects) == (0, 300, 2)
    assert report.kinds == {"event": 299, "seal": 1}
    assert report.partitions == {"lostphone.log.v1-0": 295, "lostphone.log.v1-1": 4}
    assert len(report.keys) == 2
    assert report.document()["outcome"] == "proved"


def _disproved(report: Report, check: str, seq: int | None) -> None:
    assert report.exit_status == 1, report.document()
    first = report.first_offence
    assert first is not None
    assert (first.check, first.seq) == (check, seq), report.document()["offences"][:3]


def test_a_byte_changed_in_an_entry_is_found_there(copy: Copy) -> None:
    for seq in (0, 137, 255, 256, 299):
        leaves = list(copy.leaves)
        leaves[seq] = leaves[seq][:-3] + bytes([leaves[seq][-3] ^ 1]) + leaves[seq][-2:]
        index = seq // 256
        width = min(256, 300 - index * 256)
        bundle = pack_bundle(leaves[index * 256 : index * 256 + width])
        original = (copy.folder / str(TilePath(None, index, width))).read_bytes()
        copy.write(str(TilePath(None, index, width)), bundle)
        _disproved(copy.verify(), "leaves", seq)
        copy.write(str(TilePath(None, index, width)), original)
    assert copy.verify().exit_status == 0


@pytest.mark.parametrize("sign", [False, True], ids=["without the keys", "with the keys"])
@pytest.mark.parametrize(
    ("trick", "seq_with_keys"),
    [
        (lambda leaves: [*leaves[:100], leaves[100].replace(b"P3", b"P4"), *leaves[101:]], 100),
        (lambda leaves: leaves[:100] + leaves[101:], 100),
        (lambda leaves: [*leaves[:100], leaves[101], leaves[100], *leaves[102:]], 100),
        (lambda leaves: [*leaves[:100], leaves[99], *leaves[100:]], 100),
        (lambda leaves: [leaves[0].replace(b"P3", b"P4"), *leaves[1:]], 0),
    ],
    ids=["edit", "cut", "swap", "insert", "edit the first"],
)
def test_a_log_that_was_built_again_around_a_trick_is_disproved(
    copy: Copy, trick: Callable[[list[bytes]], list[bytes]], seq_with_keys: int, *, sign: bool
) -> None:
    copy.rebuild(trick(copy.leaves), sign=sign)
    report = copy.verify()
    assert report.exit_status == 1
    outcomes = {check.name: check.outcome for check in report.checks}
    if sign:
        assert outcomes["root"] is Outcome.PROVED
    else:
        assert outcomes["root"] is not Outcome.PROVED
    first = report.first_offence
    assert first is not None
    assert first.seq in (seq_with_keys, seq_with_keys + 1)


def _chained_again(leaves: list[bytes]) -> list[bytes]:
    """Chains mended after the fact, as somebody with the blinding key could."""
    heads: dict[str, bytes] = {}
    mended = []
    for leaf in leaves:
        first, _, rest = leaf.partition(b"\n")
        header = json.loads(first)
        if "i" in header:
            header["prev"] = heads[header["i"]].hex() if header["i"] in heads else None
            leaf = json.dumps(header, sort_keys=True, separators=(",", ":")).encode() + b"\n" + rest  # noqa: PLW2901
            heads[header["i"]] = leaf_hash(leaf)
        mended.append(leaf)
    return mended


def test_a_perfect_forgery_with_every_key_of_the_log_meets_the_checkpoint_that_somebody_kept(copy: Copy) -> None:
    """The services' keys are not the log's: without them the forged event is found as well."""
    forged = _chained_again([copy.leaves[0].replace(b"P3", b"P4"), *copy.leaves[1:]])
    copy.rebuild(forged, sign=True)
    report = copy.verify()
    outcomes = {check.name: check.outcome for check in report.checks}
    assert outcomes.pop("consistency") is Outcome.DISPROVED
    assert outcomes.pop("events") is Outcome.DISPROVED
    assert set(outcomes.values()) == {Outcome.PROVED}
    assert run(DirectorySource(copy.folder), _KEYS).exit_status == 0


def test_a_cut_tail_is_seen_by_whoever_kept_a_checkpoint(copy: Copy) -> None:
    newest = (copy.folder / "checkpoint").read_bytes()
    copy.rebuild(copy.leaves[:250], sign=True)
    report = run(DirectorySource(copy.folder), _KEYS, earlier=[newest])
    _disproved(report, "consistency", 250)
    assert run(DirectorySource(copy.folder), _KEYS, earlier=[copy.earlier]).exit_status == 0


def test_a_closing_without_its_seal_is_disproved(copy: Copy) -> None:
    at = next(seq for seq, leaf in enumerate(copy.leaves) if b'"k":"seal"' in leaf)
    copy.rebuild(copy.leaves[:at], sign=True)
    _disproved(run(DirectorySource(copy.folder), _KEYS), "seals", at - 1)
    seal = LeafBuilder(BLINDING).seal(Link(_TWO, 2, leaf_hash(copy.leaves[4])))
    copy.rebuild([*copy.leaves[:5], seal.data], sign=True)
    _disproved(run(DirectorySource(copy.folder), _KEYS), "seals", 5)


def test_a_hole_in_the_partition_that_no_entry_accounts_for_is_disproved(copy: Copy) -> None:
    kept = [leaf for leaf in copy.leaves if b'"p":1' not in leaf or b'"o":0' in leaf or b'"o":3' in leaf]
    copy.rebuild(kept, sign=True)
    report = run(DirectorySource(copy.folder), _KEYS)
    assert "partitions" in {offence.check for offence in report.offences}


def test_a_checkpoint_that_the_reader_does_not_trust_ends_the_verification(copy: Copy) -> None:
    checkpoint = copy.folder / "checkpoint"
    original = checkpoint.read_bytes()
    stranger = type(_KEYS[0])(ORIGIN, 1, bytes(32))
    assert run(DirectorySource(copy.folder), [stranger]).exit_status == 1
    assert run(DirectorySource(copy.folder), [type(_KEYS[0])("other.example", *_rest(_KEYS[0]))]).exit_status == 1
    for at in range(0, original.index("— ".encode()), 7):
        checkpoint.write_bytes(original[:at] + bytes([original[at] ^ 1]) + original[at + 1 :])
        _disproved(copy.verify(), "signature", None)


def _rest(key: object) -> tuple[int, bytes]:
    return key.type, key.public  # type: ignore[attr-defined]


def test_what_cannot_be_read_is_not_decidable_rather_than_disproved(copy: Copy, tmp_path: Path) -> None:
    assert run(DirectorySource(tmp_path / "nothing"), _KEYS).exit_status == 2
    (copy.folder / str(TilePath(None, 1, 44))).unlink()
    report = copy.verify()
    assert report.exit_status == 2
    assert {check.outcome for check in report.checks if check.name != "signature"} == {Outcome.NOT_DECIDABLE}


def test_any_damage_to_any_file_is_noticed(copy: Copy) -> None:
    given = alone.Options(alone.policy_of([str(key) for key in _KEYS]))
    for file in sorted(copy.folder.rglob("*")):
        if not file.is_file():
            continue
        original = file.read_bytes()
        for at in (0, len(original) // 2, len(original) - 1):
            file.write_bytes(original[:at] + bytes([original[at] ^ 0x20]) + original[at + 1 :])
            assert copy.verify().exit_status != 0, (file, at)
            assert alone.check_log(str(copy.folder), given).outcome != "proved", (file, at)
        file.write_bytes(original)
    assert alone.check_log(str(copy.folder), given).outcome == "proved"


def test_the_command_says_so_by_its_exit_status_and_in_json(copy: Copy, tmp_path: Path) -> None:
    (tmp_path / "kept").write_bytes(copy.earlier)
    options = [str(copy.folder), "--data-dir", str(tmp_path / "none"), "--earlier", str(tmp_path / "kept"), "--json"]
    vkeys = [part for key in _KEYS for part in ("--vkey", str(key))]
    saved = tmp_path / "saved"

    def verify(*more: str) -> tuple[int, dict[str, object]]:
        result = CliRunner().invoke(app, [*options, *more], standalone_mode=False)
        return result.return_value, json.loads(result.stdout)

    status, document = verify(*vkeys, "--save", str(saved))
    assert (status, document["outcome"], document["size"]) == (0, "proved", 300)
    assert run(DirectorySource(saved), _KEYS).exit_status == 0
    copy.rebuild([copy.leaves[0].replace(b"P3", b"P4"), *copy.leaves[1:]], sign=True)
    status, document = verify(*vkeys)
    assert status == 1
    assert document["first_offence"] is not None
    with pytest.raises(CouldNotError, match="--vkey"):
        CliRunner().invoke(app, options, standalone_mode=False, catch_exceptions=False)
