"""The words of documents, in Japanese and English. What may be said about a phone follows its proof level."""

from datetime import date, datetime
from typing import Literal, NamedTuple
from zoneinfo import ZoneInfo

from services.notifier.domain.case import Case
from services.notifier.domain.facts import passcode_with_phone
from shared.events.payload import Answer, EncryptionLevel, ProofLevel, in_zone
from shared.events.reporter import Cause, DataItem, Place

type Language = Literal["ja", "en"]
LANGUAGES: tuple[Language, ...] = ("ja", "en")
_ZONE = ZoneInfo("Asia/Tokyo")
EXECUTED = frozenset({ProofLevel.P3, ProofLevel.P4})
"""From here on a lock or an erase may be said to have happened."""


class Words(NamedTuple):
    """One text in both languages."""

    ja: str
    en: str

    def of(self, language: Language) -> str:
        return self.ja if language == "ja" else self.en


UNDER_INVESTIGATION = Words("調査中", "Under investigation")

DATA_ITEMS: dict[DataItem, Words] = {
    DataItem.CONTACTS: Words("氏名・電話番号等の連絡先", "contacts (names, phone numbers and the like)"),
    DataItem.MAIL: Words("電子メール", "mail"),
    DataItem.CHAT: Words("チャット", "chat messages"),
    DataItem.CALL_LOG: Words("通話履歴", "call history"),
    DataItem.PHOTOS: Words("写真", "photographs"),
    DataItem.DOCUMENTS: Words("業務文書", "business documents"),
    DataItem.CUSTOMER_RECORDS: Words("顧客情報", "customer records"),
    DataItem.CREDENTIALS: Words("認証情報", "sign-in credentials"),
    DataItem.PAYMENT: Words("決済に関する情報", "payment information"),
    DataItem.HEALTH: Words("健康に関する情報", "health information"),
    DataItem.LOCATION: Words("位置情報", "location information"),
    DataItem.MY_NUMBER: Words("個人番号(マイナンバー)", "My Number"),
    DataItem.OTHER: Words("その他の情報", "other information"),
}

PLACES: dict[Place, Words] = {
    Place.TAXI: Words("タクシー", "taxi"),
    Place.TRAIN: Words("鉄道", "railway"),
    Place.BUS: Words("バス", "bus"),
    Place.AIRCRAFT: Words("航空機", "aircraft"),
    Place.RESTAURANT: Words("飲食店", "restaurant"),
    Place.SHOP: Words("店舗", "shop"),
    Place.HOTEL: Words("宿泊施設", "hotel"),
    Place.STREET: Words("路上", "street"),
    Place.OFFICE: Words("事業所内", "office"),
    Place.HOME: Words("自宅", "home"),
    Place.ABROAD: Words("海外", "abroad"),
    Place.OTHER: Words("その他の場所", "another place"),
}

CAUSES: dict[Cause, Words] = {
    Cause.LOST_WHILE_OUT: Words("外出中の紛失", "lost while out"),
    Cause.LEFT_BEHIND: Words("置き忘れ", "left behind"),
    Cause.THEFT: Words("盗難", "stolen"),
    Cause.INTOXICATION: Words("飲酒時の紛失", "lost while intoxicated"),
    Cause.ON_PREMISES_MISPLACED: Words("事業所内での所在不明", "misplaced on the premises"),
}


def moment(at: datetime, language: Language) -> str:
    """A time as documents write it, in Japan's zone."""
    local = in_zone(at, _ZONE)
    if language == "ja":
        return f"{local.year}年{local.month}月{local.day}日 {local.hour}時{local.minute:02}分"
    return f"{local.day} {local:%B} {local.year}, {local:%H:%M} JST"


def day(at: datetime, language: Language) -> str:
    """A date as documents write it, in Japan's zone."""
    return calendar_day(in_zone(at, _ZONE).date(), language)


def calendar_day(value: date, language: Language) -> str:
    """A date as documents write it."""
    return f"{value.year}年{value.month}月{value.day}日" if language == "ja" else f"{value.day} {value:%B} {value.year}"


def loss(case: Case) -> Words:
    """What happened to the phone, as one word."""
    return Words("盗難", "stolen") if case.cause is Cause.THEFT else Words("紛失", "lost")


def cause(case: Case) -> Words | None:
    """Why the phone is gone; None when it is not known."""
    return CAUSES.get(case.cause)


def items(case: Case) -> Words | None:
    """The kinds of data concerned; None when they are not known."""
    found = case.assessment.data_items if case.assessment else list(case.data_items)
    if not found:
        return None
    words = [DATA_ITEMS[item] for item in found]
    return Words("、".join(word.ja for word in words), ", ".join(word.en for word in words))


def count(number: int | None, certain: bool, unit: Words) -> Words:
    """How many, or that it is not known. An estimate says so."""
    if number is None:
        return UNDER_INVESTIGATION
    if certain:
        return Words(f"{number:,}{unit.ja}", f"{number:,} {unit.en}")
    return Words(f"{number:,}{unit.ja}(調査中の概数)", f"{number:,} {unit.en} (an estimate, under investigation)")


PEOPLE = Words("名", "people")
RECORDS = Words("件", "records")


def lower(one: ProofLevel, other: ProofLevel) -> ProofLevel:
    """What both can vouch for. A level that this version does not know vouches for nothing."""
    known = [level for level in (one, other) if level is not ProofLevel.OTHER]
    return min(known) if len(known) == 2 else ProofLevel.P0


def wipe_proof(case: Case) -> ProofLevel:
    """What may be claimed about the erase: no more than the assessment says and no more than was heard."""
    return lower(case.assessment.wipe_proof, case.wipe_proof) if case.assessment else case.wipe_proof


def lock_proof(case: Case) -> ProofLevel:
    """The same for the lock."""
    return lower(case.assessment.lock_proof, case.lock_proof) if case.assessment else case.lock_proof


def wipe(case: Case) -> Words:
    """The sentence about the erase."""
    return _performed(wipe_proof(case), case.wiped_at, Words("遠隔消去", "erase"))


def lock(case: Case) -> Words:
    """The sentence about the lock."""
    return _performed(lock_proof(case), case.locked_at, Words("遠隔ロック", "lock"))


def _performed(proof: ProofLevel, at: datetime | None, what: Words) -> Words:
    at_ja = f"{moment(at, 'ja')}に" if at else ""
    at_en = f" at {moment(at, 'en')}" if at else ""
    match proof:
        case ProofLevel.P4:
            return Words(
                f"{at_ja}{what.ja}が完了し、その後端末の通信がないことを確認しています。",
                f"The remote {what.en} was completed{at_en} and verified.",
            )
        case ProofLevel.P3:
            return Words(
                f"{at_ja}{what.ja}が実行されました。",
                f"The remote {what.en} was executed{at_en}.",
            )
        case ProofLevel.P2:
            return Words(
                f"{what.ja}の指示を送信済みですが、端末が通信しておらず、応答を待っています。",
                f"The remote {what.en} instruction is waiting; the device has not connected since.",
            )
        case ProofLevel.P1:
            return Words(
                f"{what.ja}の指示を送信しました。端末が応じたことは確認できていません。",
                f"We issued a remote {what.en} instruction. The device has not confirmed it.",
            )
        case _:
            return Words(f"{what.ja}は行えていません。", f"A remote {what.en} could not be performed.")


def storage(case: Case) -> Words:
    """The sentence about encryption. Nothing comforting is said when the protection may not have held."""
    level = case.assessment.encryption_level if case.assessment else EncryptionLevel.E0
    if level not in (EncryptionLevel.E1, EncryptionLevel.E2):
        return Words(
            "端末の暗号化の状態は確認できていません。", "We cannot show that the storage of the device was encrypted."
        )
    if passcode_with_phone(case) is not Answer.NO:
        return Words(
            "紛失前の記録では端末の記憶領域は暗号化されていましたが、この保護が働いたことは確認できていません。",
            "Records from before the loss show encrypted storage, but we cannot show that this protection held.",
        )
    if level is EncryptionLevel.E2:
        return Words(
            "紛失前の記録では、端末の記憶領域は暗号化され、パスコードと入力回数の制限が設定されていました。",
            "Records from before the loss show that the storage was encrypted and protected by a passcode "
            "with a limit on attempts.",
        )
    return Words(
        "紛失前の記録では、端末の記憶領域は暗号化され、パスコードが設定されていました。",
        "Records from before the loss show that the storage was encrypted and protected by a passcode.",
    )


def misuse(case: Case, as_of: datetime) -> Words:
    """Whether misuse has been seen, always with its date."""
    seen = case.assessment.misuse_seen if case.assessment else Answer.UNKNOWN
    ja, en = f"{moment(as_of, 'ja')}時点で、", f"As of {moment(as_of, 'en')}, "
    match seen:
        case Answer.NO:
            return Words(f"{ja}不正利用は確認されていません。", f"{en}no misuse has been found.")
        case Answer.YES:
            return Words(f"{ja}不正利用の疑いが確認されています。", f"{en}signs of misuse have been found.")
        case _:
            return Words(f"{ja}不正利用の有無は調査中です。", f"{en}whether there was misuse is under investigation.")


def course(case: Case) -> list[tuple[datetime, Words]]:
    """What happened when: only what was heard, in order of time. Times are said to the minute, and some providers
    know theirs to the second only: what falls into one minute keeps the order in which one thing follows another."""
    facts = [
        (
            case.noticed_at,
            Words("従業員が業務用携帯電話がないことに気付きました。", "The employee noticed that it was gone."),
        ),
        (case.reported_at, Words("社内窓口に報告がありました。", "It was reported within the company.")),
        (case.sessions_ended_at, Words("社内システムの認証を無効にしました。", "Sign-in sessions were ended.")),
        (
            case.locked_at if lock_proof(case) in EXECUTED else None,
            Words("遠隔ロックが実行されました。", "The remote lock was executed."),
        ),
        (case.wipe_sent_at, Words("遠隔消去の指示を送信しました。", "A remote erase instruction was issued.")),
        (
            case.wiped_at if wipe_proof(case) in EXECUTED else None,
            Words("遠隔消去が実行されました。", "The remote erase was executed."),
        ),
        (case.line_stopped_at, Words("回線を停止しました。", "The line was suspended.")),
        *((report.filed_at, _police(report.kind)) for report in case.police),
        *((contact.contacted_at, _asked(contact.facility)) for contact in case.facilities),
        (case.recovered_at, Words("端末を回収しました。", "The device was recovered.")),
    ]
    return sorted(((at, words) for at, words in facts if at is not None), key=_minute)


def _minute(fact: tuple[datetime, Words]) -> datetime:
    return fact[0].replace(second=0, microsecond=0)


def _police(kind: str) -> Words:
    if kind == "crime":
        return Words("警察に被害届を提出しました。", "A crime report was filed with the police.")
    return Words("警察に遺失届を提出しました。", "A lost-property report was filed with the police.")


def _asked(place: Place) -> Words:
    words = PLACES.get(place, PLACES[Place.OTHER])
    return Words(f"関係先({words.ja})に問い合わせました。", f"The operator concerned was asked ({words.en}).")
