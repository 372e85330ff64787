"""The nine items of the report to the regulator, ready to copy into its web form. Nothing here files anything."""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict

from services.notifier.domain import wording
from services.notifier.domain.case import Case
from services.notifier.domain.document import information
from services.notifier.domain.wording import LANGUAGES, Language, Words
from shared.events.payload import Answer


class Item(BaseModel):
    """One item of the report (Enforcement Rules, Article 8(1))."""

    model_config = ConfigDict(frozen=True)

    number: int
    title: dict[Language, str]
    state: Literal["known", "under_investigation"]
    text: dict[Language, str]


class Pack(BaseModel):
    """What a person copies into the regulator's form."""

    model_config = ConfigDict(frozen=True)

    incident: str
    assessment_version: int | None
    as_of: datetime
    notice: dict[Language, str]
    items: list[Item]

    @property
    def complete(self) -> bool:
        """Whether a final report could be made of it."""
        return all(item.state == "known" for item in self.items)


class Ledgers(BaseModel):
    """What was told and published so far."""

    model_config = ConfigDict(frozen=True)

    people: int = 0
    by_state: dict[str, int] = {}
    published_at: datetime | None = None
    published_url: str | None = None


_NOTICE = Words(
    "この資料は報告フォームへの転記用です。Lostphone は当局への提出を行いません。提出後、受付番号を登録してください。",
    "Copy these items into the authority's form. Lostphone does not file: file, then store the receipt number here.",
)


def pack(case: Case, incident: str, ledgers: Ledgers, *, as_of: datetime) -> Pack:
    """The nine items from what is known now; each unknown one says that it is under investigation."""
    assessed = case.assessment
    counted = information(case)
    contents: list[tuple[Words, list[Words]]] = [
        (Words("概要", "Overview"), _overview(case)),
        (Words("個人データの項目", "Data items"), [counted[0]] if wording.items(case) else []),
        (Words("本人の数", "Number of people"), counted[1:] if assessed and assessed.people is not None else []),
        (Words("原因", "Cause"), [word] if (word := wording.cause(case)) else []),
        (
            Words("二次被害又はそのおそれの有無", "Secondary damage"),
            [wording.misuse(case, as_of)] if assessed and assessed.misuse_seen in (Answer.YES, Answer.NO) else [],
        ),
        (Words("本人への対応の実施状況", "Response to the people concerned"), _told(ledgers)),
        (Words("公表の実施状況", "Publication"), _published(ledgers)),
        (Words("再発防止のための措置", "Prevention"), _prevention(case)),
        (Words("その他参考となる事項", "Other matters"), _other(case)),
    ]
    return Pack(
        incident=incident,
        assessment_version=assessed.version if assessed else None,
        as_of=as_of,
        notice=_both(_NOTICE),
        items=[_item(number, title, lines) for number, (title, lines) in enumerate(contents, 1)],
    )


def _item(number: int, title: Words, lines: list[Words]) -> Item:
    shown = lines or [wording.UNDER_INVESTIGATION]
    text: dict[Language, str] = {language: "\n".join(line.of(language) for line in shown) for language in LANGUAGES}
    return Item(number=number, title=_both(title), state="known" if lines else "under_investigation", text=text)


def _both(words: Words) -> dict[Language, str]:
    return {"ja": words.ja, "en": words.en}


def _overview(case: Case) -> list[Words]:
    what = wording.loss(case)
    head = Words(f"業務用携帯電話の{what.ja}", f"A company phone was {what.en}.")
    times = [
        Words(f"{wording.moment(at, 'ja')} {words.ja}", f"{wording.moment(at, 'en')} {words.en}")
        for at, words in wording.course(case)
    ]
    return [head, *times] if times else []


def _told(ledgers: Ledgers) -> list[Words]:
    if not ledgers.people:
        return [Words("個別の通知は未実施です。", "Individual notices have not been sent.")]
    accepted = ledgers.by_state.get("accepted", 0)
    return [
        Words(
            f"通知対象{ledgers.people:,}名、配信事業者の受付{accepted:,}名",
            f"{ledgers.people:,} people to be told; accepted by the providers for {accepted:,}",
        )
    ]


def _published(ledgers: Ledgers) -> list[Words]:
    if ledgers.published_at is None:
        return [Words("公表は未実施です。", "Nothing has been published.")]
    at, url = ledgers.published_at, ledgers.published_url or ""
    return [
        Words(
            f"{wording.moment(at, 'ja')}にウェブで公表 {url}".strip(),
            f"Published on the web at {wording.moment(at, 'en')} {url}".strip(),
        )
    ]


def _prevention(case: Case) -> list[Words]:
    return [
        Words(
            f"{item.measure}({item.state}{f'、期限 {item.due}' if item.due else ''})",
            f"{item.measure} ({item.state}{f', due {item.due}' if item.due else ''})",
        )
        for item in case.prevention
    ]


def _other(case: Case) -> list[Words]:
    numbers = [report.number for report in case.police if report.number]
    police = [Words(f"警察の受理番号等: {number}", f"Police reference: {number}") for number in numbers]
    return [wording.storage(case), wording.lock(case), wording.wipe(case), *police]
