"""Ready text for the lost-property report, in both languages: what the police match on (domain reference, 7)."""

from collections.abc import Mapping
from zoneinfo import ZoneInfo

from shared.events.mdm_actions import DeviceFacts
from shared.events.reporter import Cause, LossFacts

_NOT_KNOWN = {"ja": "不明", "en": "not known"}
_LABELS = {
    "thing": {"ja": "品名", "en": "Object"},
    "model": {"ja": "機種", "en": "Model"},
    "colour": {"ja": "色", "en": "Colour"},
    "marks": {"ja": "特徴", "en": "Marks"},
    "imei": {"ja": "IMEI", "en": "IMEI"},
    "serial": {"ja": "製造番号", "en": "Serial number"},
    "phone_number": {"ja": "電話番号", "en": "Phone number"},
    "when": {"ja": "なくした日時", "en": "When"},
    "where": {"ja": "なくした場所", "en": "Where"},
}
_PLACES = {
    "taxi": {"ja": "タクシー車内", "en": "in a taxi"},
    "train": {"ja": "電車内・駅", "en": "on a train or at a station"},
    "bus": {"ja": "バス車内", "en": "on a bus"},
    "aircraft": {"ja": "航空機内・空港", "en": "on an aircraft or at an airport"},
    "restaurant": {"ja": "飲食店", "en": "in a restaurant"},
    "shop": {"ja": "店舗", "en": "in a shop"},
    "hotel": {"ja": "ホテル", "en": "in a hotel"},
    "street": {"ja": "路上", "en": "in the street"},
    "office": {"ja": "会社内", "en": "in the office"},
    "home": {"ja": "自宅", "en": "at home"},
    "abroad": {"ja": "国外", "en": "abroad"},
}
_COLOURS = {
    "black": "黒",
    "white": "白",
    "silver": "銀色",
    "gold": "金色",
    "blue": "青",
    "red": "赤",
    "green": "緑",
    "pink": "ピンク",
    "purple": "紫",
    "yellow": "黄",
    "gray": "灰色",
    "grey": "灰色",
}


def police_text(
    facts: LossFacts, device: DeviceFacts | None, values: Mapping[str, str], zone: ZoneInfo
) -> dict[str, str]:
    """The text in Japanese and English. `values`: what the vault gave of imei, serial, marks, number and place."""
    local = facts.model_copy(
        update={
            name: moment.astimezone(zone)
            for name in ("noticed_at", "last_seen_from", "last_seen_to")
            if (moment := getattr(facts, name)) is not None
        }
    )
    return {language: _text(local, device, values, language) for language in ("ja", "en")}


def _text(facts: LossFacts, device: DeviceFacts | None, values: Mapping[str, str], language: str) -> str:
    colour = device.colour if device is not None else None
    if colour is not None and language == "ja":
        colour = _COLOURS.get(colour.lower(), colour)
    known = {
        "thing": {"ja": "携帯電話（会社所有）", "en": "mobile phone (company property)"}[language],
        "model": device.model if device is not None else None,
        "colour": colour,
        **{name: values.get(name) for name in ("marks", "imei", "serial", "phone_number")},
        "when": _when(facts, language),
        "where": _where(facts, values, language),
    }
    lines = [f"{_LABELS[name][language]}: {value or _NOT_KNOWN[language]}" for name, value in known.items()]
    if facts.cause is Cause.THEFT:
        lines.append({"ja": "盗難の疑いがあります（被害届）。", "en": "Theft is suspected (crime report)."}[language])
    return "\n".join(lines)


def _when(facts: LossFacts, language: str) -> str | None:
    start, end = facts.last_seen_from, facts.last_seen_to or facts.noticed_at
    if start is None and end is None:
        return None
    first, last = (f"{moment:%Y-%m-%d %H:%M}" if moment is not None else None for moment in (start, end))
    if first is None:
        return {"ja": f"{last} までに気づく", "en": f"noticed by {last}"}[language]
    return {"ja": f"{first} から {last or '不明'} の間", "en": f"between {first} and {last or 'not known'}"}[language]


def _where(facts: LossFacts, values: Mapping[str, str], language: str) -> str | None:
    place = _PLACES.get(facts.place.value, {}).get(language)
    detail = values.get("place_detail")
    return " ".join(part for part in (place, detail) if part) or None
