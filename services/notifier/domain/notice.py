"""What the people concerned are told: a full mail, and a short LINE message that holds no detail of the incident."""

from dataclasses import dataclass
from datetime import datetime

from services.notifier.domain import wording
from services.notifier.domain.case import Case
from services.notifier.domain.document import ADVICE, Issuer, NotAssessedError, desk, information, title
from services.notifier.domain.wording import LANGUAGES, Language, Words

TEMPLATE = "jp-loss-v1"
"""Five items of the report, what we did, what to watch for, whom to ask (Enforcement Rules, Article 10)."""


@dataclass(frozen=True)
class Notice:
    """One notice as it leaves, the same for everybody of a batch but for its link."""

    subject: str
    mail: str
    line: str

    def linked(self, link: str) -> "Notice":
        """The notice with one person's own link."""
        return Notice(self.subject, self.mail.replace(_LINK, link), self.line.replace(_LINK, link))

    def sections(self, language: Language) -> list[tuple[str | None, list[str]]]:
        """The mail in one language, as headings and lines, for the page that its link opens: without that link."""
        text = dict(zip(LANGUAGES, self.mail.split(_BETWEEN, 1), strict=True))[language]
        return [_section(section.split("\n")) for section in text.split("\n\n") if _LINK not in section]


_LINK = "{link}"
_BETWEEN = "\n\n――――――――\n\n"
_HEADING = "■ "


def _section(lines: list[str]) -> tuple[str | None, list[str]]:
    if lines[0].startswith(_HEADING):
        return lines[0].removeprefix(_HEADING), lines[1:]
    return None, lines


def write(case: Case, issuer: Issuer, *, as_of: datetime) -> Notice:
    """The texts for one assessment. Raises NotAssessedError."""
    if case.assessment is None:
        raise NotAssessedError("the leak has not been assessed yet")
    what = title(case)
    parts = [_mail(case, issuer, as_of, language) for language in LANGUAGES]
    company = issuer.company
    line = "\n".join(
        [
            f"【{company.ja}】お客さまに関する大切なお知らせがあります。次のページをご確認ください。",
            f"{company.en}: we have an important notice for you. Please read this page.",
            _LINK,
            f"お問い合わせ / Contact: {issuer.desk.phone}",
        ]
    )
    return Notice(f"【{company.ja}】{what.ja} / {what.en}", _BETWEEN.join(parts), line)


def _mail(case: Case, issuer: Issuer, as_of: datetime, language: Language) -> str:
    sections = [
        (None, [_OPENING.of(language)]),
        (Words("概要", "What happened"), [_overview(case).of(language)]),
        (Words("対象となる情報", "Information affected"), [information(case)[0].of(language)]),
        (Words("原因", "Cause"), [(wording.cause(case) or wording.UNDER_INVESTIGATION).of(language)]),
        (Words("二次被害の有無", "Misuse"), [wording.misuse(case, as_of).of(language)]),
        (Words("当社の対応", "What we did"), [line.of(language) for line in _done(case)]),
        (Words("お願い", "What you can do"), [ADVICE.of(language)]),
        (Words("お問い合わせ窓口", "Contact desk"), desk(issuer.desk, language)),
        (Words("詳しくはこちら", "Read more"), [_LINK]),
        (None, [issuer.company.of(language), issuer.representative.of(language)]),
    ]
    return "\n\n".join(
        "\n".join([*([f"{_HEADING}{heading.of(language)}"] if heading else []), *lines]) for heading, lines in sections
    )


_OPENING = Words(
    "当社の業務用携帯電話に関して、お客さまの情報が含まれていた可能性があります。ご心配をおかけし、心よりお詫びいたします。",
    "A company phone of ours may have held information about you. We sincerely apologise.",
)


def _overview(case: Case) -> Words:
    what = wording.loss(case)
    at = case.noticed_at or case.reported_at
    ja = f"{wording.day(at, 'ja')}に" if at else ""
    en = f"On {wording.day(at, 'en')} we" if at else "We"
    return Words(
        f"{ja}業務用携帯電話の{what.ja}が分かりました。", f"{en} learned that a company phone had been {what.en}."
    )


def _done(case: Case) -> list[Words]:
    """What we did about the phone; nothing about its passcode, which would help whoever holds it."""
    done = [wording.lock(case), wording.wipe(case)]
    if case.line_stopped_at and not case.line_resumed_at:
        done.append(Words("回線を停止しました。", "The line was suspended."))
    if case.police:
        done.append(Words("警察に届け出ました。", "The police have been informed."))
    if case.recovered_at:
        done.append(Words("端末は回収しました。", "The device has been recovered."))
    return done
