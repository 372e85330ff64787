"""What people read in a bundle, in Japanese and English: the page, made only from its entries, and the README."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Literal, Protocol
from zoneinfo import ZoneInfo

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from services.audit.clerk import Export
from services.audit.feeds.ocsf_text import neutral, neutral_page
from services.audit.reader import Published
from services.audit.story import Step, tell
from services.audit.tlog import Checkpoint, SignedNote
from shared.vault import Disclosure
from shared.web.pages import Translation, day, when, words_of

_PAGES = Path(__file__).parents[1] / "pages"
_ZONE = ZoneInfo("Asia/Tokyo")
_LANGUAGES: tuple[Literal["ja", "en"], ...] = ("ja", "en")


class Field(Protocol):
    """A field that was asked for."""

    @property
    def digest(self) -> str: ...
    @property
    def disclosure(self) -> str | None: ...
    @property
    def erased_by(self) -> tuple[int, ...]: ...


def timeline_page(
    export: Export, published: Published, rows: Iterable[Mapping[str, Any]], shown: Mapping[int, Sequence[Field]]
) -> str:
    """The page of a bundle. `rows` are the incident's entries out of the bundle's files."""
    story = tell(export.incident, export.organisation, export.size, rows)
    words = words_of(_PAGES / "words.yaml", _PAGES / "evidence.yaml")
    pages = Environment(
        loader=FileSystemLoader(_PAGES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    tongues = {lang: Translation(words, lang) for lang in _LANGUAGES}
    checkpoint = Checkpoint.parse(SignedNote.parse(published.note).text)
    page = pages.get_template("evidence.html").render(
        ja=tongues["ja"],
        en=tongues["en"],
        export=export,
        story=story,
        checkpoint=checkpoint,
        root=checkpoint.root.hex(),
        paper={
            "incident": css_string(export.incident),
            "title": css_string(f"{tongues['ja']('evidence_title')} · {export.organisation}"),
            "log": css_string(f"{checkpoint.origin} · {checkpoint.size}\n{checkpoint.root.hex()}"),
        },
        lines=[_line(pages, tongues, step, shown.get(step.seq, ())) for step in story.steps],
    )
    return neutral_page(page)


def css_string(text: str) -> Markup:
    """A string of CSS, whatever is in the text."""
    return Markup('"{}"').format("".join(one if one.isalnum() else f"\\{ord(one):x} " for one in text))


def _line(
    pages: Environment, tongues: Mapping[Literal["ja", "en"], Translation], step: Step, shown: Sequence[Field]
) -> dict[str, Any]:
    return {
        "step": step,
        "said_at": _exact(step.said_at),
        "recorded_at": _exact(step.recorded_at),
        "shown": [_field(field) for field in shown],
        **{lang: _told(pages, lang, tongue, step) for lang, tongue in tongues.items()},
    }


def _told(pages: Environment, lang: Literal["ja", "en"], tongue: Translation, step: Step) -> dict[str, Any]:
    module: Any = pages.get_template("telling.html").make_module(
        {"t": tongue, "when": partial(when, zone=_ZONE, lang=lang), "day": partial(day, lang=lang)}
    )
    names = [tongue(f"field.{name}") for name in step.unknown if tongue.has(f"field.{name}")]
    return {
        "told": module.told(step),
        "who": module.who(step),
        "authority": module.authority(step),
        "unknown": tongue("unknown_list", fields=tongue("separator").join(names)) if names else "",
    }


def _exact(moment: datetime | None) -> str:
    """With its milliseconds, in UTC and in the installation's zone."""
    if moment is None:
        return ""
    local = moment.astimezone(_ZONE)
    return f"{local.isoformat(sep=' ', timespec='milliseconds')} ({local.tzname()})"


def _field(field: Field) -> dict[str, Any]:
    opened = Disclosure.read(field.disclosure) if field.disclosure is not None else None
    # A form sends its line ends so: they are no character that hides.
    value = opened.value.replace("\r\n", "\n") if opened else None
    return {
        "digest": field.digest,
        "name": opened.name if opened else None,
        "value": value,
        "is_spelt": value is not None and neutral_page(value) != value,
        "erased_by": field.erased_by,
    }


def readme(export: Export) -> str:
    """What the bundle proves, in words, and how to check it without us."""
    entries = export.row.n if export.row else 0
    incident, organisation = neutral(export.incident), neutral(export.organisation)
    return f"""\
この束について

案件 {incident}（組織 {organisation}）について記録された全 {entries} 件と、その証明です。

  * 各項目（entries/）は、署名済みの追記専用ログ（checkpoint）に含まれています（proofs/）。
  * ログの索引によれば、ログが {export.size} 件だった時点で、この案件の記録はちょうど {entries} 件です（index/）。
    索引は、ログの鍵を持つ者の発言です。ログ全体を検証する人は索引を作り直すため、偽りがあれば見つかります：
    verify.py log <ログの写し> --vkey <鍵> --earlier checkpoint（この束の checkpoint）
  * 以前のチェックポイントをお持ちなら、それ以後に過去が書き換えられていないことも確かめられます
    （previous/、consistency/）。
  * 開示された項目（disclosures/）は、記録時に固定された値そのものです。開示されていない項目は分かりません。

証明しないこと：記録されたサービスの発言が真実であること。この束だけでは、索引が偽りでないこと。第三者の時刻証明（timestamps/）がない限り、時計の正しさ。

確かめ方（Python 3.11 以降だけで動き、通信しません）：

  1. 検証鍵または方針ファイルを、この束を渡した人とは別のところから入手します。
     束の policy.txt は参考です。これだけでは、誰が署名したかの証明になりません。
  2. python3 -I -S verify.py bundle evidence.zip --policy 入手した方針ファイル
     以前のチェックポイントがあれば --earlier ファイル を付けます。
  3. 終了コード：0 証明済み、1 不一致（最初の項目を示します）、2 判断不能。

同梱の verify.py を信用しない場合は、別に入手した同じプログラム、または RFC 6962 と c2sp.org の形式を読む
他の道具をお使いください。timeline.html は entries/ だけから作った、人が読むための書面です。検証の対象ではないため、
verify.py が項目そのものから出力する一覧（timeline）と見比べてください。


About this bundle

All {entries} entries recorded about the incident {incident} of {organisation}, and their proofs.

  * Each entry (entries/) stands in a signed, append-only log (checkpoint), proved in proofs/.
  * By the log's index, this incident had exactly {entries} entries when the log had {export.size} (index/). The index
    is the word of whoever holds the log's key. Whoever checks the whole log makes it again, and finds a false one:
    verify.py log <copy of the log> --vkey <key> --earlier checkpoint (the one in this bundle)
  * With a checkpoint that you kept from before, you see that the past was not rewritten since
    (previous/, consistency/).
  * A field that is shown (disclosures/) is the very value that was committed to when the entry was recorded. What is
    not shown stays unknown.

It does not prove that what a service said is true, nor, by itself, that the index is, nor, without a third party's
timestamp (timestamps/), that a clock was right.

How to check it (Python 3.11 or newer and nothing else; no network):

  1. Get a verifier key or policy file from somebody else than whoever gave you this bundle. The policy.txt in it is
     for reference: by itself it proves nothing about who signed.
  2. python3 -I -S verify.py bundle evidence.zip --policy your-policy.txt
     Add --earlier FILE for each checkpoint that you kept.
  3. Exit status: 0 proved, 1 disproved (the first entry is named), 2 not decidable.

If you do not trust the enclosed verify.py, use the same program from elsewhere, or any other that reads RFC 6962 and
the formats of c2sp.org. timeline.html is made from entries/ alone, for people to read. No check covers it: compare it
with the list (timeline) that verify.py prints of the entries themselves.

Files

  MANIFEST.json, MANIFEST.note   hash of every other file, signed by the log's key
  checkpoint                     the signed and cosigned state of the log
  entries/<seq>.leaf             exact bytes of each entry; <seq>.detached what was too long for it
  proofs/<seq>.tlog-proof        inclusion of the entry (c2sp.org/tlog-proof)
  index/rows.json                row of the incident in the index of all chains, with its proof
  gaps.json                      offsets of the entries in their Kafka partitions, and the gaps between
  previous/, consistency/        earlier checkpoints, and proofs that the log continues them
  disclosures/                   fields that were opened; erased ones with the entry of their erasure
  timestamps/                    RFC 3161 responses over checkpoints
  keys/                          changes of the log's keys
"""
