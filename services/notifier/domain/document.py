"""The apology and notice: fourteen blocks in Japanese and English, made from one assessment and heard facts."""

import hashlib
import json
from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from services.notifier.domain import wording
from services.notifier.domain.case import Case
from services.notifier.domain.wording import LANGUAGES, Language, Words

_Line = Annotated[str, Field(min_length=1, max_length=2000)]
_EDITIONS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")
_NUMERALS = "一二三四五六七八九十"


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=True)


class Both(_Part):
    """One text that people gave in both languages."""

    ja: _Line
    en: _Line

    def of(self, language: Language) -> str:
        return self.ja if language == "ja" else self.en


class Desk(_Part):
    """Where people can ask. It has to answer before anything is published."""

    name: Both
    phone: Annotated[str, Field(pattern=r"^[0-9+() -]{6,30}$")]
    hours: Both
    mail: Annotated[str, Field(pattern=r"^[^@\s<>]{1,64}@[A-Za-z0-9.-]{1,190}$")]
    languages: Annotated[list[Annotated[str, Field(min_length=1, max_length=35)]], Field(max_length=10)] = ["ja"]

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()


class Issuer(_Part):
    """Who speaks, and who answers questions."""

    company: Both
    representative: Both = Field(description="Title and name of the one who apologises.")
    department: Both | None = None
    desk: Desk


BlockName = Literal[
    "date", "issuer", "title", "apology", "course", "information", "protection", "situation", "response", "cause",
    "prevention", "request", "desk", "closing",
]  # fmt: skip


class Details(_Part):
    """What people add to the facts."""

    issuer: Issuer
    prevention: Annotated[list[Both], Field(max_length=20)] = []
    advice: Annotated[list[Both], Field(max_length=20)] = []
    edits: dict[Language, dict[BlockName, Annotated[list[_Line], Field(max_length=40)]]] = Field(
        {}, description="Text in place of what was made; the checks hold for it all the same."
    )


class Told(_Part):
    """What the ledgers say at the moment of drafting."""

    people_told: int = 0
    everybody: bool = False
    """Whether these are all whom the assessment counts."""
    filed_at: datetime | None = None


class Block(_Part):
    """One block of the document in one language."""

    name: BlockName
    heading: str
    lines: list[str]


class Document(_Part):
    """One edition, in all languages."""

    edition: str
    assessment_version: int
    as_of: datetime
    texts: dict[Language, list[Block]]

    def canonical(self) -> bytes:
        """The bytes that are approved: JSON of the texts, sorted, without spaces."""
        texts = {language: [block.model_dump() for block in blocks] for language, blocks in self.texts.items()}
        body = {"assessment_version": self.assessment_version, "edition": self.edition, "texts": texts}
        return json.dumps(body, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.canonical()).hexdigest()


class NotAssessedError(ValueError):
    """Nothing can be written before the leak was assessed."""


def edition(version: int) -> str:
    """The word for the n-th edition, as events carry it."""
    return _EDITIONS[version - 1] if version <= len(_EDITIONS) else f"no_{version}"


def write(case: Case, details: Details, told: Told, *, number: int, as_of: datetime) -> Document:
    """The document of edition `number`. Raises NotAssessedError."""
    if case.assessment is None:
        raise NotAssessedError("the leak has not been assessed yet")
    texts: dict[Language, list[Block]] = {}
    for language in LANGUAGES:
        edits = details.edits.get(language, {})
        texts[language] = [
            Block(name=name, heading=_HEADINGS[name].of(language), lines=edits.get(name, lines))
            for name, lines in _lines(case, details, told, number, as_of, language).items()
        ]
    return Document(edition=edition(number), assessment_version=case.assessment.version, as_of=as_of, texts=texts)


_HEADINGS: dict[BlockName, Words] = {
    "date": Words("日付", "Date"),
    "issuer": Words("発表者", "Issued by"),
    "title": Words("件名", "Title"),
    "apology": Words("お詫び", "Apology"),
    "course": Words("経緯", "What happened"),
    "information": Words("対象となる情報", "Information affected"),
    "protection": Words("端末の保護状況", "Protection on the device"),
    "situation": Words("現在の状況", "Misuse status"),
    "response": Words("対応状況", "Our response"),
    "cause": Words("原因", "Cause"),
    "prevention": Words("再発防止策", "Prevention"),
    "request": Words("お願い", "What you can do"),
    "desk": Words("お問い合わせ窓口", "Contact desk"),
    "closing": Words("結び", "Closing"),
}


def _lines(  # noqa: PLR0917 - the six things a text depends on
    case: Case, details: Details, told: Told, number: int, as_of: datetime, language: Language
) -> dict[BlockName, list[str]]:
    issuer = details.issuer

    def say(*words: Words) -> list[str]:
        return [word.of(language) for word in words]

    return {
        "date": [wording.day(as_of, language), _edition(number).of(language)],
        "issuer": [issuer.company.of(language), issuer.representative.of(language)],
        "title": say(title(case)),
        "apology": say(_apology(case, issuer)),
        "course": [f"{wording.moment(at, language)} {words.of(language)}" for at, words in wording.course(case)],
        "information": say(*information(case)),
        "protection": say(wording.storage(case), wording.lock(case), wording.wipe(case)),
        "situation": say(wording.misuse(case, as_of)),
        "response": say(*_response(case, told)),
        "cause": say(wording.cause(case) or wording.UNDER_INVESTIGATION),
        "prevention": [item.of(language) for item in details.prevention] or say(wording.UNDER_INVESTIGATION),
        "request": [item.of(language) for item in details.advice] or say(ADVICE),
        "desk": desk(issuer.desk, language),
        "closing": say(Words("重ねて深くお詫び申し上げます。", "We apologise again, sincerely.")),
    }


ADVICE = Words(
    "当社や関係者を名乗る不審な電話・メール・メッセージにはお答えにならず、下記窓口までお知らせください。",
    "Please do not answer suspicious calls, mail or messages in our name, and tell the contact desk below.",
)


def title(case: Case) -> Words:
    """The title; its word for what happened is the cause's."""
    what = wording.loss(case)
    return Words(
        f"業務用携帯電話の{what.ja}に関するお詫びとお知らせ", f"Apology and notice about a {what.en} company phone"
    )


def information(case: Case) -> list[Words]:
    """Items, people, records: exactly as assessed."""
    assessment = case.assessment
    certain = assessment.people_certain if assessment else False
    found = wording.items(case) or wording.UNDER_INVESTIGATION
    people = wording.count(assessment.people if assessment else None, certain, wording.PEOPLE)
    records = wording.count(assessment.records if assessment else None, certain, wording.RECORDS)
    return [
        Words(f"項目: {found.ja}", f"Items: {found.en}"),
        Words(f"対象となる方の数: {people.ja}", f"People concerned: {people.en}"),
        Words(f"データの数: {records.ja}", f"Records: {records.en}"),
    ]


def desk(where: Desk, language: Language) -> list[str]:
    """How to reach the contact desk."""
    if language == "ja":
        return [where.name.ja, f"電話 {where.phone}(受付時間 {where.hours.ja})", f"メール {where.mail}"]
    return [where.name.en, f"Phone {where.phone} ({where.hours.en})", f"Mail {where.mail}"]


def _edition(number: int) -> Words:
    numeral = _NUMERALS[number - 1] if number <= len(_NUMERALS) else str(number)
    return Words(f"第{numeral}報", f"Edition {number}")


def _apology(case: Case, issuer: Issuer) -> Words:
    what = wording.loss(case)
    who_ja = f"{issuer.department.ja}の従業員" if issuer.department else "従業員"
    who_en = f"our {issuer.department.en}" if issuer.department else "an employee of ours"
    happened = "盗まれた" if what.ja == "盗難" else "紛失した"
    return Words(
        f"このたび、{who_ja}が使用する業務用携帯電話を{happened}ことが分かりました。"
        "関係する皆さまにご心配をおかけしておりますことを、心よりお詫びいたします。",
        f"We regret to report that a company phone used by {who_en} was {what.en}. We apologise to everyone concerned.",
    )


def _notices(told: Told) -> Words:
    if told.everybody:
        return Words(
            "対象となる方への個別のご連絡を行いました。", "The people concerned have been contacted individually."
        )
    if told.people_told:
        return Words(
            "対象となる方の一部に個別のご連絡を行いました。ほかの方へのご連絡は、まだ終わっていません。",
            "Some of the people concerned have been contacted individually. For the others this is not complete yet.",
        )
    return Words("対象となる方への個別のご連絡を準備しています。", "Individual notices are being prepared.")


def _response(case: Case, told: Told) -> list[Words]:
    """Only what has been done; what is to come says so."""
    lines = [_notices(told)]
    if case.police:
        lines.append(Words("警察に届け出ました。", "The police have been informed."))
    if case.line_stopped_at and not case.line_resumed_at:
        at = case.line_stopped_at
        lines.append(
            Words(
                f"{wording.moment(at, 'ja')}に回線を停止しました。",
                f"The line was suspended at {wording.moment(at, 'en')}.",
            )
        )
    if told.filed_at:
        lines.append(
            Words(
                f"{wording.day(told.filed_at, 'ja')}に監督機関へ報告しました。",
                f"The regulator was informed on {wording.day(told.filed_at, 'en')}.",
            )
        )
    return lines
