"""What people read when a rule says no: what is the matter, and what can be done."""

from typing import Any

from fastapi import Request
from pydantic import ValidationError

from services.reporter.domain.incident import RefusedError
from shared.web import Problem, Refusals, forms

_REFUSALS = Refusals(
    {
        "answers_missing": (
            422,
            "あと少しです。「誰が持っていたか」「どの電話か」「折り返しの連絡先」の3つだけ教えてください。",
            "Almost done: please tell us who held the phone, which phone it was, and how to call you back.",
        ),
        "callback_is_the_lost_phone": (
            422,
            "折り返し先が失くした電話の番号になっています。別の連絡先（同僚の電話やメールなど）を教えてください。",
            "The call-back number is the lost phone itself. Please give another way to reach you.",
        ),
        "organisation_unknown": (404, "この会社の届け出先が見つかりません。", "This organisation is not known here."),
        "idempotency_key_reused": (
            422,
            "前に送られたものと内容が違います。別の届け出とするなら、もう一度送ってください（APIでは別のIdempotency-Keyで）。",
            (
                "This was sent before with other content. To make it another report, send it again "
                "(programs: with another Idempotency-Key)."
            ),
        ),
        "receipt_unknown": (
            404,
            "この受付コードは見つかりません。もう一度確かめてください。",
            "There is no report with this code. Please check it once more.",
        ),
        "report_unknown": (404, "この届け出は見つかりません。", "There is no such report in this incident."),
        "incident_ended": (
            409,
            "この案件は終了しています。続ける場合は再開してください。",
            "This incident has ended. Reopen it to go on.",
        ),
        "incident_open": (409, "この案件は進行中です。", "This incident is open already."),
        "report_not_verified": (
            409,
            "緊急フォームからの届け出はまだ本人確認が済んでいません。先に確認してください。",
            "The emergency report is not verified yet. Verify it first.",
        ),
        "already_verified": (409, "確認はすでに済んでいます。", "This report is verified already."),
        "too_many_amendments": (409, "変更の上限に達しました。", "This report was changed too often."),
        "too_many_records": (409, "記録の上限に達しました。", "There are too many records of this kind."),
        "too_many_assessments": (409, "評価版の上限に達しました。", "There are too many assessment versions."),
        "too_many_proposals": (409, "消去提案の上限に達しました。", "There are too many wipe proposals."),
        "device_unknown": (
            409,
            "端末がまだ特定されていません。先に端末を登録してください。",
            "The phone is not identified yet. Name it in the triage first.",
        ),
        "device_in_other_incident": (
            409,
            "この端末には進行中の別の案件があります。",
            "Another open incident is about this phone.",
        ),
        "phone_not_found": (
            422,
            "入力された番号の端末は台帳にありません。",
            "No single phone in the inventory answers to this.",
        ),
        "personal_device": (
            409,
            "個人所有の電話は全体消去できません。",
            "A personal phone is never fully wiped.",
        ),
        "statement_differs": (
            409,
            "署名された内容が現在の案件と一致しません。もう一度作成してください。",
            "What was signed does not match the incident as it stands. Ask for the statement again.",
        ),
        "nonce_already_used": (409, "この署名は使用済みです。", "This statement was used already."),
        "proposal_already_waiting": (
            409,
            "承認待ちの消去提案があります。",
            "A proposal to wipe is waiting for approval already.",
        ),
        "wipe_already_open": (409, "消去の指示がすでに出ています。", "An order to wipe is open already."),
        "proposal_unknown": (404, "この消去提案は見つかりません。", "There is no such proposal."),
        "proposal_ended": (409, "この消去提案は終了しています。", "This proposal is over."),
        "proposal_lapsed": (
            409,
            "承認の期限（24時間）が過ぎました。もう一度提案してください。",
            "The 24 hours for approval are over. Propose again.",
        ),
        "proposal_stale": (
            409,
            "提案の後に状況が変わりました。もう一度提案してください。",
            "The case changed since the proposal. Propose again.",
        ),
        "same_person_signed_twice": (
            409,
            "消去には異なる2人の署名が必要です。",
            "A wipe needs two different people.",
        ),
        "sign_in_needed": (401, "サインインが必要です。", "Sign-in is needed."),
        "not_recovered": (409, "端末はまだ回収されていません。", "The phone is not back yet."),
        "already_recovered": (409, "端末は回収済みです。", "The phone is back already."),
        "already_written_off": (409, "すでに除却済みです。", "The phone is written off already."),
        "identity_not_checked": (
            409,
            "回収の記録には、製造番号などで同じ端末だと確かめることが必要です。",
            "Before it is recorded as back, check by its number that it is the right phone.",
        ),
        "line_already_suspended": (
            409,
            "回線はすでに停止または停止手続き中です。",
            "The line is stopped, or being stopped.",
        ),
        "line_not_suspended": (409, "回線は停止されていません。", "The line is not suspended."),
        "line_before_wipe": (
            409,
            "消去の前に回線を止めると、ロックや消去が届かなくなります。それでも止める場合は、承知の上であることを示してください（acknowledge）。",
            (
                "Stopping the line now cuts the way to lock, locate and wipe. If it must be, say that you accept this "
                "(acknowledge)."
            ),
        ),
        "exemption_not_shown": (
            409,
            "高度な保護による除外には、暗号化・紛失時のロック・鍵の管理が示されている必要があります。",
            "The exemption for strong protection needs encryption, lock at the loss and key management to be shown.",
        ),
        "exemption_not_signed": (
            409,
            "この版には高度な保護による除外の署名がありません。",
            "Nobody has signed the exemption for strong protection with this version.",
        ),
        "exemption_same_person": (
            409,
            "除外の署名には異なる二人が必要です。",
            "The exemption takes two different people.",
        ),
        "assessment_outdated": (
            409,
            "評価の版が新しくなったか、事実が変わりました。最新の評価を確認してください。",
            "There is a newer assessment, or facts have changed since. Read the newest one.",
        ),
        "not_ready_to_close": (
            409,
            "まだ終了できません。残っている項目があります。",
            "This cannot be closed yet; something is left to do.",
        ),
        "not_ready_to_cancel": (
            409,
            "取り消す前に、義務と消去指示を一つずつ終わらせてください。",
            "End the open duties and the armed wipe one by one before cancelling.",
        ),
    }
)


def problem(refused: RefusedError) -> Problem:
    """The refusal as an answer to a request."""
    return _REFUSALS(refused.code, **refused.facts)


def said(request: Request, refused: RefusedError | ValidationError) -> tuple[dict[str, Any], int]:
    """Why a form was not taken, for the page that shows it again, and the status of that answer."""
    return forms.said(request, problem(refused) if isinstance(refused, RefusedError) else refused)
