"""What keeps a text from being sent or published: numbers that differ, claims beyond their proof, missing people."""

import re
import unicodedata
from collections.abc import Iterable
from datetime import datetime

from pydantic import BaseModel, ConfigDict

from services.notifier.domain import wording
from services.notifier.domain.case import Case
from services.notifier.domain.document import Block, Desk, Details, Document, Told
from services.notifier.domain.wording import EXECUTED, Language, Words
from shared.events.payload import ProofLevel
from shared.events.reporter import Cause


class Finding(BaseModel):
    """One thing that is wrong, for the person who can mend it."""

    model_config = ConfigDict(frozen=True)

    code: str
    block: str | None = None
    language: Language | None = None
    ja: str
    en: str


def findings(
    document: Document, case: Case, details: Details, told: Told, *, desk_checked: tuple[str, datetime] | None
) -> list[Finding]:
    """Everything that blocks issue; empty when the document may go out.

    `desk_checked`: hash of the contact desk that was tried, and when.
    """
    found = [*_version(document, case), *protection_differs(case), *_people(details)]
    found += _desk(details.issuer.desk, desk_checked)
    for language, blocks in document.texts.items():
        found += claims(blocks, language, case, told)
        found += _cause_word(blocks, language, case)
        found += _dated(blocks, language)
        found += _counted(blocks, language, case)
        found += [
            _finding("block_empty", Words("本文がありません。", "The block is empty."), block.name, language)
            for block in blocks
            if not any(line.strip() for line in block.lines)
        ]
    return found


def protection_differs(case: Case) -> list[Finding]:
    """The assessment and what was heard have to agree on whether the phone was locked and erased."""
    if case.assessment is None:
        return []
    pairs: list[tuple[str, str, ProofLevel, ProofLevel]] = [
        ("遠隔ロック", "lock", case.assessment.lock_proof, case.lock_proof),
        ("遠隔消去", "erase", case.assessment.wipe_proof, case.wipe_proof),
    ]
    return [
        _finding(
            "protection_differs",
            Words(
                f"{ja}について、評価(第{case.assessment.version}版)は{assessed}、記録は{heard}です。評価を改めてください。",
                f"On the {en}, assessment {case.assessment.version} says {assessed} and the record says {heard}: "
                "assess again.",
            ),
            "protection",
        )
        for ja, en, assessed, heard in pairs
        if (assessed in EXECUTED) != (heard in EXECUTED)
    ]


_CLAIMS: dict[str, dict[Language, re.Pattern[str]]] = {
    "erased": {
        "ja": re.compile(
            r"(?:消去|初期化)(?:を|が|は)?(?:実行|実施|完了)?(?:しま|いたしま|致しま|され|済み|しており|し、)"
        ),
        "en": re.compile(
            r"\b(?:was|were|been|is|we|have|has|successfully|remotely)\s+(?!not\b)(?:\w+\s+)?(?:wiped|erased)\b"
            r"|\b(?:wipe|erase|erasure)\s+(?:was|has been|is)\s+(?!not\b)"
            r"(?:executed|completed?|done|confirmed|successful)",
            re.IGNORECASE,
        ),
    },
    "locked": {
        "ja": re.compile(r"ロック(?:を|が|は)?(?:実行|実施|完了)?(?:しま|いたしま|致しま|され|済み|しており|し、)"),
        "en": re.compile(
            r"\b(?:was|were|been|is|we|have|has|successfully|remotely)\s+(?!not\b)(?:\w+\s+)?locked\b"
            r"|\block\s+(?:was|has been|is)\s+(?!not\b)(?:executed|completed?|done|confirmed|successful)",
            re.IGNORECASE,
        ),
    },
    "line_stopped": {
        "ja": re.compile(r"回線(?:を|は|が)?.{0,6}停止(?:しま|いたしま|され|済み)"),
        "en": re.compile(r"\bline (?:was|has been|is) (?!not\b)(?:suspended|stopped)", re.IGNORECASE),
    },
    "police_informed": {
        "ja": re.compile(
            r"(?:警察.{0,12}(?:届け出|届出|提出)|(?:遺失届|被害届)を.{0,4}提出)(?:ま|しま|いたしま|済み|を行い)"
        ),
        "en": re.compile(
            r"\bpolice (?:was|were|has|have) (?!not\b)(?:been )?informed|\bfiled with the police", re.IGNORECASE
        ),
    },
    "regulator_informed": {
        "ja": re.compile(r"(?:監督機関|個人情報保護委員会).{0,8}報告(?:しま|いたしま|済み|を行い)"),
        "en": re.compile(r"\b(?:regulator|PPC) (?:was|has been) (?!not\b)(?:informed|notified)", re.IGNORECASE),
    },
    "people_told": {
        "ja": re.compile(r"個別.{0,10}(?:連絡|通知)(?:を)?(?:行いま|しま|いたしま|済み)"),
        "en": re.compile(r"\b(?:has|have) (?!not\b)been (?:contacted|notified|informed) individually", re.IGNORECASE),
    },
}


def claims(blocks: Iterable[Block], language: Language, case: Case, told: Told) -> list[Finding]:
    """Sentences that say something happened of which nothing was heard."""
    true = {
        "erased": wording.wipe_proof(case) in EXECUTED,
        "locked": wording.lock_proof(case) in EXECUTED,
        "line_stopped": case.line_stopped_at is not None,
        "police_informed": bool(case.police),
        "regulator_informed": told.filed_at is not None,
        "people_told": told.people_told > 0,
    }
    return [
        _finding(
            f"claim_without_proof_{name}",
            Words(
                "証拠が示す以上のことが書かれています。記録の段階に合わせてください。",
                "The text claims more than its proof. Write what the record shows.",
            ),
            block.name,
            language,
        )
        for block in blocks
        for name, patterns in _CLAIMS.items()
        if not true[name] and patterns[language].search(_plain(block.lines))
    ]


_NUMBER = r"(\d[\d,]*)\s*"
_COUNTED: dict[Language, dict[str, re.Pattern[str]]] = {
    "ja": {"people": re.compile(_NUMBER + r"(?:名|人)"), "records": re.compile(_NUMBER + r"件")},
    "en": {
        "people": re.compile(_NUMBER + r"(?:people|persons?|customers?|individuals)\b", re.IGNORECASE),
        "records": re.compile(_NUMBER + r"(?:records?|entries)\b", re.IGNORECASE),
    },
}


def _counted(blocks: Iterable[Block], language: Language, case: Case) -> list[Finding]:
    assert case.assessment is not None  # noqa: S101 - a document is written from an assessment
    wanted = {"people": case.assessment.people, "records": case.assessment.records}
    found = []
    for what, pattern in _COUNTED[language].items():
        stated = {
            (block.name, int(number.replace(",", "")))
            for block in blocks
            for number in pattern.findall(_plain(block.lines))
        }
        found += [
            _finding(
                "numbers_differ",
                Words(
                    f"本文の数{number:,}は評価(第{case.assessment.version}版)の数と違います。",
                    f"The text says {number:,} {what}; assessment {case.assessment.version} says "
                    f"{'unknown' if wanted[what] is None else format(wanted[what], ',')}.",
                ),
                name,
                language,
            )
            for name, number in sorted(stated)
            if number != wanted[what]
        ]
        if what == "people" and wanted[what] is not None and ("information", wanted[what]) not in stated:
            words = Words("対象となる方の数が書かれていません。", "The number of people concerned is missing.")
            found.append(_finding("number_missing", words, "information", language))
    return found


def _version(document: Document, case: Case) -> list[Finding]:
    current = case.assessment.version if case.assessment else None
    if document.assessment_version == current:
        return []
    words = Words(
        f"評価は第{current}版になっています。この文書は第{document.assessment_version}版に基づいています。",
        f"The assessment is now version {current}; this text was made from version {document.assessment_version}.",
    )
    return [_finding("assessment_superseded", words)]


def _people(details: Details) -> list[Finding]:
    issuer = details.issuer
    same = issuer.representative.ja == issuer.company.ja or issuer.representative.en == issuer.company.en
    words = Words("代表者の役職と氏名を書いてください。", "Name the representative, with the title.")
    return [_finding("representative_missing", words, "issuer")] if same else []


def _desk(desk: Desk, checked: tuple[str, datetime] | None) -> list[Finding]:
    if checked is not None and checked[0] == desk.sha256:
        return []
    words = Words(
        "お問い合わせ窓口につながることを確かめ、記録してください。",
        "Try the contact desk and record that it answers.",
    )
    return [_finding("contact_desk_not_checked", words, "desk")]


def _cause_word(blocks: list[Block], language: Language, case: Case) -> list[Finding]:
    theft = re.compile("盗" if language == "ja" else r"\b(?:stolen|theft|thief)\b", re.IGNORECASE)
    by_name = {block.name: _plain(block.lines) for block in blocks}
    stolen = case.cause is Cause.THEFT
    words = Words(
        "紛失か盗難かが記録された原因と合いません。", "Loss or theft: the word does not fit the recorded cause."
    )
    wrong = ["title"] if stolen and not theft.search(by_name["title"]) else []
    if not stolen:
        wrong = [name for name in ("title", "apology", "cause") if theft.search(by_name[name])]
    return [_finding("cause_word_differs", words, name, language) for name in wrong]


def _dated(blocks: list[Block], language: Language) -> list[Finding]:
    text = _plain(next(block.lines for block in blocks if block.name == "situation"))
    if ("時点" in text) if language == "ja" else ("as of" in text.lower()):
        return []
    words = Words("いつの時点の状況かを書いてください。", "Say as of when this is so.")
    return [_finding("as_of_missing", words, "situation", language)]


def _plain(lines: Iterable[str]) -> str:
    return unicodedata.normalize("NFKC", "\n".join(lines))


def _finding(code: str, words: Words, block: str | None = None, language: Language | None = None) -> Finding:
    return Finding(code=code, block=block, language=language, ja=words.ja, en=words.en)
