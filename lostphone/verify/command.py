"""The command line of `lostphone verify`."""

import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from lostphone import status
from lostphone.screen import CouldNotError, Sentence, progress, result, what
from lostphone.verify.bundle import check_bundle, draw_bundle, is_bundle
from lostphone.verify.report import Outcome, Report, plain
from lostphone.verify.source import DirectorySource, HttpSource, SavingSource, Source
from lostphone.verify.verification import run
from services.audit.evidence import verify as verify_file
from services.audit.tlog import Policy, VerifierKey
from shared.events import KeyRing

app = typer.Typer(add_completion=False)

_WORDS = {
    "signature": ("署名", "signature"),
    "quorum": ("証人の署名", "cosignatures of the witnesses"),
    "leaves": ("項目のハッシュ", "hashes of the entries"),
    "root": ("ルート", "root"),
    "chains": ("案件ごとの連鎖", "chains of the incidents"),
    "seals": ("封印", "seals"),
    "partitions": ("Kafka の連続性", "continuity of Kafka"),
    "detached": ("別置きの内容", "detached parts"),
    "index": ("案件の索引", "indexes of the incidents"),
    "consistency": ("以前のチェックポイント", "earlier checkpoints"),
    "restore": ("継続元のログ", "the log before this one"),
    "keys": ("鍵の交代", "changes of keys"),
    "erasures": ("消去と保全", "erasures and holds"),
    "events": ("イベントの署名", "signatures of the events"),
}
_FINDINGS = {
    "sequence_gap": ("発信元の番号が飛んでいます", "a source's numbers have a hole before"),
    "sequence_step_back": ("発信元の番号が戻っています", "a source's numbers step back at"),
    "keys_changed_outside_the_policy": ("知らない鍵どうしの交代です", "keys that you do not know follow one another"),
    "outside_though_it_verifies": ("確認できるイベントが連鎖の外にあります", "it verifies, and stands in no chain"),
}
_MOST_FINDINGS = 20
_OUTCOMES = {
    Outcome.PROVED: ("✓", "証明できました", "proved"),
    Outcome.DISPROVED: ("✗", "一致しません", "DISPROVED"),
    Outcome.NOT_DECIDABLE: ("?", "判断できません", "not decidable"),
}


@app.command()
def verify(
    *,
    log: Annotated[
        str | None,
        typer.Argument(
            help="ログのアドレス、フォルダー、証拠の束 · Address or directory (default the running one), or a bundle."
        ),
    ] = None,
    vkey: Annotated[
        list[str] | None,
        typer.Option(help="信頼するログの検証鍵 · Verifier key of the log that you trust; repeatable."),
    ] = None,
    url: Annotated[
        str | None, typer.Option(help="ログのアドレス · The log's address, in place of the argument.")
    ] = None,
    token: Annotated[
        str | None,
        typer.Option("--token", "--bearer", envvar="LOSTPHONE_TOKEN", help="監査担当のトークン · An auditor's token."),
    ] = None,
    earlier: Annotated[
        list[Path] | None, typer.Option(help="以前のチェックポイント · A checkpoint kept from before; repeatable.")
    ] = None,
    proof: Annotated[
        list[str] | None,
        typer.Option(help="大きさ=ファイル · SIZE=FILE: for a bundle, a consistency proof from an earlier checkpoint."),
    ] = None,
    event_keys: Annotated[
        Path | None,
        typer.Option(help="サービスの公開鍵 · Public keys of the services: checks every event's signature."),
    ] = None,
    policy: Annotated[
        Path | None,
        typer.Option(help="信頼する鍵と証人の方針ファイル · Your policy file: keys of the log, witnesses, quorum."),
    ] = None,
    tsa_root: Annotated[
        list[Path] | None, typer.Option(help="時刻認証局の証明書（PEM）· Certificate of an authority that you trust.")
    ] = None,
    save: Annotated[Path | None, typer.Option(help="読んだものの写し · Keep a copy of all that is read here.")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="データの場所 · Data directory of the running one.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON で出力 · Print JSON for programs.")] = False,
) -> int:
    """記録が改ざんされていないことを検証 · Prove that the timeline is whole and unchanged.

    Exit status: 0 proved, 1 disproved, 2 not decidable.
    """
    log = log or url
    if log is not None and is_bundle(Path(log)):
        said = check_bundle(
            Path(log),
            policy,
            vkey or [],
            earlier=earlier or [],
            proofs=proof or [],
            tsa_roots=tsa_root or [],
            keyring=_ring(event_keys, None),
        )
        result(said.document(), as_json, lambda out: draw_bundle(out, said))
        return verify_file.EXIT[said.outcome]
    running = status.read(status.data_directory(data_dir))
    if running is not None and log not in (None, running.log.url):
        running = None
    if log is None and running is None:
        raise CouldNotError(
            "動作中の環境がありません。ログのアドレスと --vkey を指定してください。",
            "Nothing is running here. Name the log's address and --vkey.",
        )
    log = log or (running.log.url if running else "")
    trusted = _policy(policy)
    keys = _keys(vkey or ([running.log.vkey] if running and trusted is None else []))
    keys += [key for key in (trusted.logs if trusted else ()) if key not in keys]
    if not keys:
        raise CouldNotError(
            "信頼する検証鍵（--vkey）か方針（--policy）が必要です。ログ自身からは受け取りません。",
            "Give the verifier key that you trust with --vkey, or a --policy; it is never taken from the log itself.",
        )
    ring = _ring(event_keys, running)
    bearer = token or (running.log.bearer if running else None)
    try:
        kept = [file.read_bytes() for file in earlier or []]
    except OSError as error:
        raise CouldNotError(f"読めません: {what(error)}", f"Cannot be read: {what(error)}") from error
    is_address = log.startswith(("http://", "https://"))
    with HttpSource(log, bearer) if is_address else nullcontext(DirectorySource(Path(log))) as place:
        source: Source = SavingSource(place, save) if save is not None else place
        report = run(source, keys, policy=trusted, earlier=kept, keyring=ring, progress=_say)
    result(report.document(), as_json, lambda out: draw(out, report))
    return report.exit_status


def _say(done: int, of: int) -> None:
    if of > 10_000 and sys.stderr.isatty() and done % 25_600 == 0:
        progress(f"{of} 件中 {done} 件", f"{done} of {of} entries")


def _keys(vkeys: list[str]) -> list[VerifierKey]:
    try:
        return [VerifierKey.of_log(line) for vkey in vkeys for line in vkey.split()]
    except ValueError as error:
        raise CouldNotError(f"検証鍵を読めません: {error}", f"A verifier key cannot be read: {error}") from error


def _policy(file: Path | None) -> Policy | None:
    if file is None:
        return None
    try:
        # Names and comments may be in any encoding.
        return Policy.parse(file.read_text(encoding="utf-8", errors="surrogateescape"))
    except (OSError, ValueError) as error:
        raise CouldNotError(f"方針を読めません: {what(error)}", f"The policy cannot be read: {what(error)}") from error


def _ring(file: Path | None, running: status.Status | None) -> KeyRing | None:
    if file is None:
        if running is None:
            return None
        file = Path(running.data_dir) / "event-keys.json"
    try:
        return KeyRing(file)
    except (OSError, ValueError, KeyError) as error:
        raise CouldNotError(
            f"公開鍵を読めません: {what(error)}", f"The public keys cannot be read: {what(error)}"
        ) from error


def draw(out: Console, report: Report) -> None:
    """For people."""
    if report.size is not None:
        out.print(plain(f"{report.origin} · {report.size}"), markup=False)
    for check in report.checks:
        sign, ja, en = _OUTCOMES[check.outcome]
        name = Sentence(*_WORDS[check.name])
        out.print(f"{sign} {name}: {Sentence(ja, en)}. {plain(check.detail)}", markup=False)
    first = report.first_offence
    if first is not None:
        said = Sentence(f"最初の不一致: {first.reason.ja}", f"First offence: {first.reason.en}")
        out.print(plain(said), markup=False)
    for finding in report.findings[:_MOST_FINDINGS]:
        facts = ", ".join(f"{name}={value}" for name, value in finding.items() if name not in ("finding", "seq"))
        out.print(f"! {Sentence(*_FINDINGS[finding['finding']])} · {finding['seq']} · {plain(facts)}", markup=False)
    if (more := len(report.findings) - _MOST_FINDINGS) > 0:
        out.print(str(Sentence(f"! ほか {more} 件", f"! {more} more")), markup=False)
    _, ja, en = _OUTCOMES[report.outcome]
    out.print(str(Sentence(f"結果: {ja}", f"Result: {en}")), markup=False)
