"""Alerts to people inside: what is worth one, whom it wakes, and when it wakes more people."""

from dataclasses import dataclass
from datetime import timedelta

from services.notifier.domain.wording import Words

ESCALATION = ("security_desk", "incident_lead", "executive")
"""Who is woken next when nobody answers."""


@dataclass(frozen=True)
class Kind:
    """One kind of alert. `insists`: it is sent again, and further up, until somebody acknowledges."""

    role: str
    title: Words
    insists: bool = False


KINDS: dict[str, Kind] = {
    "device_lost": Kind("security_desk", Words("携帯電話の紛失報告", "A phone was reported lost"), insists=True),
    "report_not_verified": Kind(
        "security_desk", Words("本人確認待ちの紛失報告", "An emergency report waits for verification"), insists=True
    ),
    "lock_failed": Kind("security_desk", Words("遠隔ロックの失敗", "The lock failed")),
    "wipe_failed": Kind("security_desk", Words("遠隔消去の失敗", "The wipe failed"), insists=True),
    "wipe_expired": Kind("security_desk", Words("遠隔消去の期限切れ", "The wipe expired"), insists=True),
    "session_revocation_failed": Kind(
        "security_desk", Words("認証の無効化の失敗", "Sign-in sessions could not be ended"), insists=True
    ),
    "carrier_suspension_failed": Kind(
        "security_desk", Words("回線停止の失敗", "The line could not be stopped"), insists=True
    ),
    "misuse_suspected": Kind("security_desk", Words("不正利用の疑い", "Signs of misuse"), insists=True),
    "manual_task_opened": Kind("security_desk", Words("手作業の依頼", "A task has to be done by hand"), insists=True),
    "command_rejected": Kind("incident_lead", Words("命令の拒否", "An order was refused"), insists=True),
    "breaker_opened": Kind("incident_lead", Words("消去の停止装置が作動", "The wipe breaker opened"), insists=True),
    "device_recovered": Kind("privacy_officer", Words("端末の回収・再評価", "The phone is back: assess again")),
    "assessment_missing": Kind(
        "privacy_officer", Words("漏えい評価の遅れ", "The leak has not been assessed"), insists=True
    ),
    "duty_due_soon": Kind("privacy_officer", Words("報告・通知の期限が近づいています", "A duty is due soon")),
    "duty_last_call": Kind("privacy_officer", Words("期限前の最終の連絡", "Last call before a duty's deadline")),
    "duty_again": Kind(
        "privacy_officer",
        Words(
            "終えた報告・通知の義務が再び生じました（追完を含む）",
            "A duty is owed again, or a report has to be supplemented",
        ),
    ),
    "duty_overdue": Kind("privacy_officer", Words("報告・通知の期限超過", "A duty is overdue"), insists=True),
}


def role(kind: str, attempt: int) -> str:
    """Whom attempt number `attempt` (from 1) wakes: the first in charge, then one rung higher each time."""
    first = KINDS[kind].role
    ladder = (first, *(other for other in ESCALATION if other != first))
    return ladder[min(attempt, len(ladder)) - 1]


def again(kind: str, every: timedelta) -> timedelta | None:
    """How long to wait for an acknowledgement; None for an alert that is sent once."""
    return every if KINDS[kind].insists else None
