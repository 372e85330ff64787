"""Carriers whose lines no interface can stop: a person calls their desk or uses their portal.

The change becomes a manual task; it counts as done when one person gave the carrier's reference or other evidence,
and another confirmed it.
"""

from services.mdm_actions.providers import HandOver, LineAction, LineReading

_DESKS = {
    "docomo": ("0120-524-360 (24時間)", "0120-524-360 (24 h)"),
    "kddi": ("お客さまセンター (24時間)", "its 24 h desk"),
    "softbank": ("紛失・盗難受付 (24時間)", "its 24 h loss desk"),
}
"""docomo.ne.jp/service/lock/about; the others publish numbers by kind of contract."""

_WORDS = {
    "suspend": ("利用中断(回線停止)", "suspend the line"),
    "deactivate": ("利用中断(回線停止)", "suspend the line"),
    "activate": ("利用再開", "resume the line"),
}


class Desk:
    """The desk of one carrier."""

    def __init__(self, carrier: str) -> None:
        self._carrier = carrier

    async def probe(self) -> None:
        return None

    async def change(self, sim_id: str, action: LineAction) -> HandOver:
        desk_ja, desk_en = _DESKS.get(self._carrier, ("窓口", "its desk"))
        what_ja, what_en = _WORDS[action]
        return HandOver(
            {
                "ja": f"{self._carrier} {desk_ja} に連絡し、{what_ja}を依頼してください。受付番号を必ず控えてください。"
                "二段階認証のコードは紛失した電話に届くため、Web ではログインできないことがあります。",
                "en": f"Call {self._carrier} at {desk_en} and have them {what_en}. Write down the reception number. "
                "Web login may fail: its second factor goes to the lost phone.",
            }
        )

    async def read_back(self, sim_id: str) -> LineReading | None:
        return None
