"""A bundle of evidence, checked by the same program that lies in it; here it runs from our own copy."""

import re
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from lostphone.screen import CouldNotError, Sentence, what
from lostphone.verify.entries import MALFORMED, Entries
from lostphone.verify.report import plain
from services.audit.domain.leaf import Kind, open_leaf
from services.audit.evidence import verify
from shared.events import KeyRing

_LEAF = re.compile(r"entries/(0|[1-9][0-9]{0,15})\.leaf", re.ASCII)

_SIGNS = {
    verify.PROVED: ("✓", "証明できました", "proved"),
    verify.DISPROVED: ("✗", "一致しません", "DISPROVED"),
    verify.UNDECIDED: ("?", "判断できません", "not decidable"),
    verify.UNCHECKED: ("–", "検査していません", "not checked"),
}
_NAMES = {
    "manifest": ("目録", "manifest"),
    "policy": ("方針", "policy"),
    "signature": ("ログの署名", "signature of the log"),
    "quorum": ("証人の署名", "cosignatures of the witnesses"),
    "leaves": ("項目", "entries"),
    "inclusion": ("ログへの包含", "inclusion in the log"),
    "chain": ("案件の連鎖", "chain of the incident"),
    "index": ("欠けのないこと", "completeness"),
    "seal": ("封印", "seal"),
    "export": ("引き渡しの記録", "export"),
    "consistency": ("以前のチェックポイント", "earlier checkpoints"),
    "partitions": ("Kafka の連続性", "continuity of Kafka"),
    "disclosures": ("開示項目", "fields shown"),
    "erasures": ("消去", "erasures"),
    "timestamps": ("第三者の時刻証明", "timestamps"),
    "keys": ("鍵の交代", "changes of keys"),
    "events": ("イベントの署名", "signatures of the events"),
}


def is_bundle(place: Path) -> bool:
    """Whether this is a bundle, an archive or a folder into which one was unpacked, rather than a log."""
    return place.is_file() or (place / "MANIFEST.json").is_file()


def check_bundle(
    place: Path,
    policy: Path | None,
    vkeys: Sequence[str],
    *,
    earlier: Sequence[Path] = (),
    proofs: Sequence[str] = (),
    tsa_roots: Sequence[Path] = (),
    keyring: KeyRing | None = None,
) -> verify.Report:
    """By the reader's policy or keys, and with `keyring` the signature of every event. Raises `CouldNotError` when what
    the reader gives cannot be read."""
    try:
        trusted = None
        if policy is not None:
            trusted = verify.policy_in(policy)
            trusted.logs += [verify.Key.of_log(vkey) for vkey in vkeys]
        elif vkeys:
            trusted = verify.policy_of(vkeys)
        options = verify.Options(
            trusted,
            earlier=[file.read_bytes() for file in earlier],
            proofs=verify.proofs_of(proofs),
            tsa_roots=[file.read_bytes() for file in tsa_roots],
        )
        report = verify.check_bundle(place, options)
        files = verify.unpack(place) if keyring is not None and report.facts else {}
    except (OSError, ValueError, verify.BadError, verify.UnreadableError) as error:
        raise CouldNotError(f"読めません: {what(error)}", f"Cannot be read: {what(error)}") from error
    if keyring is not None and files:
        _check_events(report, files, keyring)
    return report


def _check_events(report: verify.Report, files: dict[str, bytes], keyring: KeyRing) -> None:
    """That the services said these events: whoever holds the keys of the log alone can have made them up."""
    entries = Entries(str(report.facts.get("origin")), keyring, files.__getitem__)
    for name in sorted(files):
        if (match := _LEAF.fullmatch(name)) is None:
            continue
        seq = int(match[1])
        try:
            opened = open_leaf(files[name], files.get(f"entries/{seq}.detached"))
            if opened.kind is Kind.EVENT:
                entries.judge(seq, opened, keyring)
        except MALFORMED:
            report.offend("events", "it is not an event", seq)
    report.order.append("events")
    for offence in entries.offences:
        report.offend(offence.check, offence.reason.en, offence.seq)
    report.conclude("events", f"{entries.events_checked} verify by their writers' keys")


def draw_bundle(out: Console, report: verify.Report) -> None:
    """For people."""
    for one in report.checks:
        sign, ja, en = _SIGNS[str(one["outcome"])]
        name = Sentence(*_NAMES[str(one["name"])])
        out.print(f"{sign} {name}: {Sentence(ja, en)}. {plain(one['detail'])}", markup=False)
    for entry in report.facts.get("timeline", ()):
        facts = " · ".join(str(entry[name]) for name in ("seq", "at", "says", "by") if entry[name] is not None)
        out.print(plain(facts), markup=False)
    for finding in report.findings:
        facts = ", ".join(f"{name}={value}" for name, value in finding.items())
        out.print(plain(f"! {facts}"), markup=False)
    _, ja, en = _SIGNS[report.outcome]
    out.print(str(Sentence(f"結果: {ja}", f"Result: {en}")), markup=False)
