"""What the company in the story says to people outside, and the people whom it tells."""

import csv
import io
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

ISSUER = {
    "company": {"ja": "株式会社アクメ", "en": "Acme K.K."},
    "representative": {"ja": "代表取締役社長 伊藤 薫", "en": "Kaoru Ito, President and Representative Director"},
    "department": {"ja": "営業部", "en": "sales department"},
    "desk": {
        "name": {"ja": "アクメ お客様相談窓口", "en": "Acme contact desk"},
        "phone": "0120-000-000",
        "hours": {"ja": "毎日 9:00-20:00", "en": "every day 9:00-20:00"},
        "mail": "contact@acme.example",
        "languages": ["ja", "en"],
    },
}
"""Who speaks, and who answers questions. The number is given to nobody."""

PREVENTION = (
    ("no_company_phone_at_social_events", "rule"),
    ("automatic_erase_after_ten_attempts", "device_setting"),
    ("desk_locates_and_suspends_at_night", "managed_service"),
)
"""Measure and kind: a rule, a device setting, and a managed service."""

_TOKYO = ZoneInfo("Asia/Tokyo")
_EVERY_ON_LINE = 20
"""One person in so many is told on LINE; the sandbox has friends of the company there too."""


def due() -> date:
    """The day by which measures are in place: four weeks from now in Japan."""
    return (datetime.now(_TOKYO) + timedelta(weeks=4)).date()


def details() -> dict[str, Any]:
    """What the apology says beyond the facts of the case."""
    day = due()
    ja, en = f"{day.year}年{day.month}月{day.day}日", f"{day.day} {day:%B %Y}"
    return {
        "issuer": ISSUER,
        "prevention": [
            {
                "ja": f"懇親会等へは業務用携帯電話を持参しない規程とし、{ja}までに全社へ周知します。",
                "en": f"Company phones no longer go to social events; everyone is told by {en}.",
            },
            {
                "ja": f"パスコードの掲示・携行を禁止し、端末の自動消去設定を{ja}までに全台へ適用します。",
                "en": f"Passcodes are never written down; automatic erase is set on every phone by {en}.",
            },
        ],
        "advice": [
            {
                "ja": "当社社員を名乗る不審な電話やメールにはお答えにならず、下記窓口へご連絡ください。",
                "en": "Please do not answer suspicious calls or mails in our name; tell the desk below.",
            }
        ],
    }


def principals_csv(people: int) -> str:
    """The people in the lost phone's address book; nobody of them exists."""
    out = io.StringIO()
    rows = csv.writer(out)
    rows.writerow(["name", "mail", "line_user_id"])
    for number in range(1, people + 1):
        on_line = number % _EVERY_ON_LINE == 0
        rows.writerow(
            [
                f"取引先 {number:04d} 様",
                "" if on_line else f"customer{number:04d}@customers.example",
                f"U{number:032x}" if on_line else "",
            ]
        )
    return out.getvalue()
