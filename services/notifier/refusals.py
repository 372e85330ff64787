"""What people read when the notifier says no: what is the matter, and what can be done."""

from services.notifier.domain.principals import MAX_ROWS
from shared.web import Refusals

problem = Refusals(
    {
        "alert_unknown": (404, "この通報は見つかりません。", "There is no such alert."),
        "duty_unknown": (404, "この義務は見つかりません。", "There is no such duty."),
        "organisation_missing": (
            404,
            "どの会社のお知らせか、アドレスから分かりません。会社が案内するアドレスを、そのまま開いてください。",
            "The address does not say whose notices these are. Open it exactly as the company gives it.",
        ),
        "disclosure_unknown": (404, "この公表文は見つかりません。", "There is no such disclosure."),
        "notice_unknown": (404, "このお知らせは見つかりません。", "There is no such notice."),
        "batch_unknown": (404, "この送信は見つかりません。", "There is no such batch."),
        "duty_ended": (409, "この義務はすでに終わっています。", "This duty has ended already."),
        "duty_takes_no_receipt": (
            409,
            "この義務は当局への提出で果たすものではありません。",
            "This duty is not fulfilled by a filing with an authority.",
        ),
        "duty_not_met_like_this": (
            409,
            "この義務はその方法では果たせません。当局への報告は受付番号を記録し、警察への届出は案件の画面で記録してください。",
            "This duty is not fulfilled in that way. Store a receipt, or record a police report with the case.",
        ),
        "duty_open": (409, "この義務はまだ終わっていません。", "This duty has not ended."),
        "same_person": (409, "別の人が行ってください。", "This takes another person."),
        "other_reason": (
            409,
            "最初の人と違う理由が書かれています。同じ理由で確認してください。",
            "The first person gave another reason. Confirm with the same one.",
        ),
        "file_not_utf8": (
            422,
            "ファイルの文字コードがUTF-8ではありません。Excelでは「CSV UTF-8（コンマ区切り）」で保存してください。",
            "The file is not UTF-8. In Excel, save it as “CSV UTF-8 (comma delimited)”.",
        ),
        "file_not_csv": (422, "ファイルをCSVとして読み取れません。", "The file cannot be read as CSV."),
        "file_columns_differ": (
            422,
            "ファイルの1行目は、列の名前 name, mail, line_user_id にしてください（nameと、宛先のどちらか一つは必須）。",
            "The first line of the file must name the columns name, mail, line_user_id: name and one way at least.",
        ),
        "file_too_long": (
            422,
            f"ファイルは{MAX_ROWS}行までにしてください。",
            f"The file takes at most {MAX_ROWS} rows.",
        ),
        "rows_unusable": (
            422,
            "使えない行があります。直してから、もう一度送ってください。何も登録していません。",
            "Some rows cannot be used. Mend them and send the file again; nothing was stored.",
        ),
        "not_assessed": (
            409,
            "漏えいの評価がまだありません。先に評価してください。",
            "The leak has not been assessed yet. Assess it first.",
        ),
        "assessment_superseded": (
            409,
            "評価の版が変わりました。最新の版で作り直してください。",
            "The assessment has a newer version. Start again from that one.",
        ),
        "template_unknown": (422, "このひな形はありません。", "There is no such template."),
        "nobody_to_tell": (
            409,
            "通知する相手がいません。全員に送信済みか、宛先がありません。",
            "There is nobody to tell: everybody was told, or there are no addresses.",
        ),
        "text_differs": (
            409,
            "承認しようとした文面は最新ではありません。もう一度読んでください。",
            "This is not the latest text. Read it again.",
        ),
        "findings": (
            409,
            "文面に直すべき点があります。",
            "The text cannot go out like this.",
        ),
        "languages_differ": (
            422,
            "日本語と英語の行数が違います。一行に一文ずつ、同じ数だけ書いてください。",
            "The Japanese and the English have different numbers of lines. Write one sentence a line, as many in both.",
        ),
        "already_approved": (409, "この役割の承認は済んでいます。", "This role has approved already."),
        "not_approved": (
            409,
            "個人情報保護管理者と役員の承認が必要です。",
            "The privacy officer and an executive have to approve first.",
        ),
        "already_issued": (
            409,
            "この版は公表済みです。変える場合は次の版を作ってください。",
            "This edition is public. Revise to make the next one.",
        ),
        "not_issued": (409, "まだ公表されていません。", "Nothing is public yet."),
        "retracted": (409, "この公表は撤回されています。", "This disclosure was retracted."),
    }
)
