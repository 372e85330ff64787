"""The nine items of the report to the regulator, ready to copy into its web form. Nothing here files anything."""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict

from services.notifier.domain import wording
from services.notifier.domain.case import Case, Prevention
from services.notifier.domain.document import information
from services.notifier.domain.facts import YES, facts_of
from services.notifier.domain.wording import LANGUAGES, Language, Words
from shared.events.payload import Answer
from shared.events.reporter import Cause, DataItem


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


class Stated(BaseModel):
    """What a report says that weighs, and that may turn out otherwise after it was filed. What was unknown then and is
    known now is otherwise too; an estimate whose number stands is not."""

    model_config = ConfigDict(frozen=True)

    people: int | None
    my_number_people: int | None
    data_items: frozenset[DataItem]
    cause: Cause
    special_care: bool
    property_damage: bool
    wrongful_purpose: bool
    my_number: bool
    misuse_seen: bool

    def changes(self, now: "Stated") -> tuple[str, ...]:
        """What is otherwise now, as reasons for a supplement."""
        return tuple(f"{name}_changed" for name in Stated.model_fields if getattr(self, name) != getattr(now, name))


def stated(case: Case) -> Stated:
    """What a report would say now."""
    facts, assessed = facts_of(case), case.assessment
    return Stated(
        people=facts.people,
        my_number_people=facts.my_number_people,
        data_items=frozenset(assessed.data_items if assessed else case.data_items),
        cause=case.cause,
        special_care=facts.special_care is YES,
        property_damage=facts.property_damage is YES,
        wrongful_purpose=facts.wrongful_purpose is YES,
        my_number=facts.my_number is YES,
        misuse_seen=bool(assessed and assessed.misuse_seen is YES),
    )


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


_MEASURES = {
    "no_company_phone_at_drinking_events": Words(
        "飲酒の席に会社の電話を持ち込まない", "No company phone at drinking events"
    ),
    "leave_check": Words("降車・退店時の確認", "Check on leaving a vehicle or shop"),
    "carry_strap": Words("ストラップで携行", "Carry it on a strap"),
    "lockable_storage": Words("施錠できる保管場所", "Lockable storage"),
    "no_passcode_notes": Words("暗証番号を書いて持ち歩かない", "No written passcodes with the phone"),
    "stronger_passcode": Words("暗証番号の強化", "Stronger passcode"),
    "separation_alert": Words("置き忘れ通知を有効にする", "Separation alert"),
    "auto_erase": Words("試行回数超過で自動消去", "Erase after failed attempts"),
    "shorter_contact_retention": Words("電話帳の保存を減らす", "Keep fewer contacts on the phone"),
    "managed_loss_desk": Words("24時間の紛失窓口", "24-hour loss desk"),
    "yearly_drill": Words("年1回の訓練", "Yearly drill"),
    "no_company_phone_at_social_events": Words("懇親会に会社の電話を持ち込まない", "No company phone at social events"),
    "automatic_erase_after_ten_attempts": Words("10回の誤入力で自動消去", "Erase after ten failed attempts"),
    "desk_locates_and_suspends_at_night": Words(
        "夜間も窓口が位置確認と回線停止を行う", "A desk that locates and suspends at night"
    ),
}
_STATES = {
    "planned": Words("予定", "planned"),
    "in_progress": Words("実施中", "in progress"),
    "done": Words("実施済み", "done"),
}


def _prevention(case: Case) -> list[Words]:
    return [_measure(item) for item in case.prevention]


def _measure(item: Prevention) -> Words:
    what, state = (
        known.get(code) or Words(code.replace("_", " "), code.replace("_", " "))
        for known, code in ((_MEASURES, item.measure), (_STATES, item.state))
    )
    due = {language: wording.calendar_day(item.due, language) for language in LANGUAGES} if item.due else None
    return Words(
        f"{what.ja}（{state.ja}{f'、期限 {due["ja"]}' if due else ''}）",
        f"{what.en} ({state.en}{f', due {due["en"]}' if due else ''})",
    )


def _other(case: Case) -> list[Words]:
    numbers = [report.number for report in case.police if report.number]
    police = [Words(f"警察の受理番号等: {number}", f"Police reference: {number}") for number in numbers]
    return [wording.storage(case), wording.lock(case), wording.wipe(case), *police]
