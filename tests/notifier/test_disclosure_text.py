"""What may be published: numbers equal the assessment, claims equal their proof."""

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.notifier.domain import document, filing, lint, notice, wording
from services.notifier.domain.case import Case
from services.notifier.domain.document import Details, Document, NotAssessedError, Told
from services.notifier.domain.wording import LANGUAGES, Language
from shared.events.mdm_actions import SessionsRevoked
from shared.events.reporter import DeviceRecovered, PreventionActionRecorded
from tests.notifier.cases import (
    BIG,
    COMMAND,
    DETAILS,
    INCIDENT,
    LOCKED,
    POLICE,
    SENT,
    STOPPED,
    WIPED,
    after,
    assessed,
    case_of,
    lost,
)

AS_OF = after(120)
ERASED = case_of(lost(), LOCKED, SENT, WIPED, STOPPED, POLICE, assessed(**BIG))
WAITING = case_of(lost(), LOCKED, SENT, POLICE, assessed(**BIG | {"wipe_proof": "P2"}))


def _details(**changes: Any) -> Details:
    return Details.model_validate(DETAILS | changes)


def _write(case: Case, details: Details | None = None, told: Told | None = None) -> Document:
    return document.write(case, details or _details(), told or Told(), number=1, as_of=AS_OF)


def _codes(case: Case, details: Details | None = None, told: Told | None = None) -> set[str]:
    details = details or _details()
    written = _write(case, details, told)
    checked = (details.issuer.desk.sha256, AS_OF)
    return {found.code for found in lint.findings(written, case, details, told or Told(), desk_checked=checked)}


def _text(case: Case) -> str:
    return "\n".join(line for blocks in _write(case).texts.values() for block in blocks for line in block.lines)


@pytest.mark.parametrize("case", [ERASED, WAITING, case_of(lost(cause="theft"), assessed())])
@pytest.mark.parametrize(
    "told",
    [Told(), Told(people_told=1237, filed_at=AS_OF), Told(people_told=1240, everybody=True, filed_at=AS_OF)],
)
def test_what_is_made_from_the_facts_may_be_issued(case: Case, told: Told) -> None:
    assert _codes(case, told=told) == set()


@pytest.mark.parametrize(
    ("told", "ja", "en"),
    [
        (Told(), "準備しています", "being prepared"),
        (Told(people_told=1), "一部に個別のご連絡を行いました", "Some of the people concerned have been contacted"),
        (Told(people_told=1240, everybody=True), "方への個別のご連絡を行いました", "The people concerned have been"),
    ],
)
def test_it_says_that_the_people_were_told_when_all_of_them_were(told: Told, ja: str, en: str) -> None:
    texts = _write(ERASED, told=told).texts
    for language, words in (("ja", ja), ("en", en)):
        (response,) = [block.lines for block in texts[language] if block.name == "response"]
        assert words in response[0]


def test_both_languages_have_the_same_fourteen_blocks() -> None:
    written = _write(ERASED)
    names = [[block.name for block in written.texts[language]] for language in LANGUAGES]
    assert names[0] == names[1]
    assert len(names[0]) == 14


def test_what_happened_in_one_minute_is_told_in_the_order_in_which_one_thing_follows_another() -> None:
    # The identity provider's clock knows no parts of a second: it ended the sessions "before" the report.
    reported = after(20) + timedelta(seconds=7, milliseconds=877)
    ended = SessionsRevoked(command=COMMAND, provider="entra", effective_at=reported.replace(microsecond=0))
    told = [words.en for _, words in wording.course(case_of(lost(reported_at=reported), ended, LOCKED))]
    assert told[1:3] == ["It was reported within the company.", "Sign-in sessions were ended."]


def test_a_wipe_that_was_only_sent_never_reads_as_wiped() -> None:
    text = _text(WAITING)
    assert "遠隔消去の指示を送信済みですが" in text
    assert "The remote erase instruction is waiting" in text
    assert "実行されました。" not in text.replace("遠隔ロックが実行されました。", "")
    assert "erase was executed" not in text


@pytest.mark.parametrize(
    ("language", "line"),
    [
        ("ja", "端末のデータはすべて遠隔で消去しました。"),
        ("ja", "遠隔消去は完了しております。"),
        ("ja", "端末を初期化済みです。"),
        ("en", "The phone has been remotely wiped."),
        ("en", "We erased the phone."),
        ("en", "The remote erase was completed."),
    ],
)
def test_an_edit_that_claims_a_wipe_blocks_issue_until_the_phone_said_so(language: str, line: str) -> None:
    details = _details(edits={language: {"protection": [line]}})
    assert "claim_without_proof_erased" in _codes(WAITING, details)
    assert "claim_without_proof_erased" not in _codes(ERASED, details)


@pytest.mark.parametrize(
    ("language", "block", "line", "code"),
    [
        ("ja", "response", "回線を停止しました。", "claim_without_proof_line_stopped"),
        ("en", "response", "The line has been suspended.", "claim_without_proof_line_stopped"),
        ("ja", "response", "警察に届け出ました。", "claim_without_proof_police_informed"),
        ("en", "response", "The police have been informed.", "claim_without_proof_police_informed"),
        ("ja", "response", "個人情報保護委員会に報告しました。", "claim_without_proof_regulator_informed"),
        ("en", "response", "The regulator was informed.", "claim_without_proof_regulator_informed"),
        ("ja", "response", "個別のご連絡を行いました。", "claim_without_proof_people_told"),
        ("ja", "protection", "遠隔ロックを実施しました。", "claim_without_proof_locked"),
        ("ja", "situation", "不正利用は確認されていません。", "as_of_missing"),
        ("en", "situation", "No misuse has been found.", "as_of_missing"),
        ("ja", "title", "業務用携帯電話の盗難に関するお知らせ", "cause_word_differs"),
        ("ja", "information", "対象は８１名です。", "numbers_differ"),
        ("en", "course", "Data of 1,240 people was on it.", "numbers_differ"),
        ("en", "information", "Some people are concerned.", "number_missing"),
        ("en", "closing", " ", "block_empty"),
    ],
)
def test_an_edit_beyond_the_record_blocks_issue(language: str, block: str, line: str, code: str) -> None:
    bare = case_of(lost(), assessed())
    edits = {language: {block: [line]}}
    if line.strip():
        assert code in _codes(bare, _details(edits=edits))
    else:
        written = _write(bare).model_copy(update={"texts": {"ja": _blank(_write(bare), block)}})
        found = lint.findings(written, bare, _details(), Told(), desk_checked=None)
        assert code in {finding.code for finding in found}


def _blank(written: Document, name: str) -> list[document.Block]:
    return [block if block.name != name else block.model_copy(update={"lines": [" "]}) for block in written.texts["ja"]]


def test_a_theft_that_reads_as_a_loss_blocks_issue() -> None:
    stolen = case_of(lost(cause="theft"), assessed())
    details = _details(edits={"ja": {"title": ["業務用携帯電話の紛失に関するお詫びとお知らせ"]}})
    assert "cause_word_differs" in _codes(stolen, details)


def test_a_newer_assessment_blocks_the_text_made_from_the_older_one() -> None:
    written = _write(ERASED)
    newer = ERASED.hear(assessed(**BIG | {"version": 2, "people": 1241}))
    details = _details()
    found = lint.findings(written, newer, details, Told(), desk_checked=(details.issuer.desk.sha256, AS_OF))
    assert {"assessment_superseded", "numbers_differ"} <= {finding.code for finding in found}


def test_an_assessment_that_claims_a_wipe_nobody_heard_of_blocks_issue() -> None:
    claimed = case_of(lost(), LOCKED, SENT, assessed(**BIG))
    assert "protection_differs" in _codes(claimed)
    assert "erase was executed" not in _text(claimed)


def test_a_contact_desk_that_nobody_tried_blocks_issue_and_so_does_a_changed_one() -> None:
    details = _details()
    written = _write(ERASED, details)
    for checked in (None, ("0" * 64, AS_OF)):
        found = lint.findings(written, ERASED, details, Told(), desk_checked=checked)
        assert [finding.code for finding in found] == ["contact_desk_not_checked"]


def test_the_representative_has_to_be_named() -> None:
    issuer = DETAILS["issuer"] | {"representative": DETAILS["issuer"]["company"]}
    assert "representative_missing" in _codes(ERASED, _details(issuer=issuer))


def test_a_passcode_that_lay_with_the_phone_is_neither_told_nor_turned_into_comfort() -> None:
    text = _text(case_of(lost(passcode_attached="yes"), LOCKED, SENT, WIPED, assessed(**BIG)))
    assert "パスコード" not in text
    assert "passcode" not in text
    assert "we cannot show that this protection held" in text


def test_the_hash_is_of_the_text_and_of_nothing_else() -> None:
    assert _write(ERASED).sha256 == _write(ERASED).sha256
    assert _write(ERASED).sha256 != _write(WAITING).sha256


def test_nothing_is_written_before_the_leak_was_assessed() -> None:
    with pytest.raises(NotAssessedError):
        _write(case_of(lost()))


assessments = st.fixed_dictionaries(
    {
        "people": st.none() | st.integers(0, 2_000_000),
        "people_certain": st.booleans(),
        "records": st.none() | st.integers(0, 2_000_000),
        "misuse_seen": st.sampled_from(["yes", "no", "unknown"]),
        "encryption_level": st.sampled_from(["E0", "E1", "E2"]),
        "data_items": st.lists(st.sampled_from(["contacts", "mail", "payment", "other"]), max_size=3, unique=True),
    }
)
heard = st.lists(st.sampled_from([SENT, STOPPED, POLICE]), unique=True)
reports = st.fixed_dictionaries(
    {
        "cause": st.sampled_from(["left_behind", "theft", "unknown", "intoxication", "lost_while_out"]),
        "passcode_attached": st.sampled_from(["yes", "no", "unknown"]),
        "noticed_at": st.none() | st.integers(-600_000, 600_000).map(after),
    }
)


@given(reports, assessments, heard, st.booleans())
def test_no_text_made_from_facts_ever_fails_its_own_checks(
    report: dict[str, Any], facts: dict[str, Any], events: list[Any], done: bool
) -> None:
    acknowledged = [LOCKED, WIPED] if done else []
    proofs = {"lock_proof": "P3", "wipe_proof": "P3"} if done else {}
    case = case_of(lost(**report), *events, *acknowledged, assessed(**facts | proofs))
    assert _codes(case, told=Told(people_told=3 if done else 0, everybody=done)) == set()


@given(st.permutations([SENT, WIPED]))
def test_hearing_sent_after_confirmed_takes_nothing_back(order: list[Any]) -> None:
    case = case_of(lost(), *order)
    assert case.wipe_proof == "P3"
    assert wording.wipe(case).en.startswith("The remote erase was executed")


def test_the_line_message_holds_no_detail_of_the_incident() -> None:
    written = notice.write(ERASED, _details().issuer, as_of=AS_OF).linked("https://notice.example/n/abc")
    for detail in ("携帯", "紛失", "phone", "lost", "1,240", "消去", "連絡先"):
        assert detail not in written.line
    assert "https://notice.example/n/abc" in written.line


def test_the_mail_holds_the_five_items_and_the_desk_but_nothing_that_helps_a_finder() -> None:
    written = notice.write(ERASED, _details().issuer, as_of=AS_OF).linked("https://notice.example/n/abc")
    for part in ("概要", "対象となる情報", "原因", "二次被害の有無", "時点で", "0120-000-000", "As of", "山田 太郎"):
        assert part in written.mail
    for part in ("パスコード", "passcode", "1,240", "タクシー", "taxi", "{link}"):
        assert part not in written.mail


@pytest.mark.parametrize(("language", "own", "other"), [("ja", "概要", "What happened"), ("en", "Misuse", "二次被害")])
def test_the_page_of_a_notice_has_it_in_one_language_and_does_not_lead_to_itself(
    language: Language, own: str, other: str
) -> None:
    written = notice.write(ERASED, _details().issuer, as_of=AS_OF)
    sections = written.sections(language)
    headings = [heading for heading, _ in sections if heading]
    assert own in headings
    assert other not in headings
    assert all(any(line.strip() for line in lines) for _, lines in sections)
    assert "{link}" not in str(sections)


def test_the_filing_pack_has_nine_items_and_says_what_is_not_known() -> None:
    pack = filing.pack(case_of(lost(), assessed(people=None)), "i", filing.Ledgers(), as_of=AS_OF)
    assert [item.number for item in pack.items] == list(range(1, 10))
    unknown = {item.number for item in pack.items if item.state == "under_investigation"}
    assert unknown == {3, 8}
    assert all(item.text["ja"] == "調査中" for item in pack.items if item.number in unknown)
    assert not pack.complete
    assert "提出を行いません" in pack.notice["ja"]
    assert "does not file" in pack.notice["en"]


def test_the_filing_pack_writes_the_date_of_a_measure_as_it_writes_every_other_date() -> None:
    measure = PreventionActionRecorded.model_validate(
        {"action": INCIDENT, "measure": "yearly_drill", "kind": "rule", "due": "2026-12-28"}
    )
    text = filing.pack(case_of(lost(), measure), "i", filing.Ledgers(), as_of=AS_OF).items[7].text
    assert "期限 2026年12月28日" in text["ja"]
    assert "due 28 December 2026" in text["en"]


def test_the_filing_pack_states_the_numbers_of_the_assessment() -> None:
    pack = filing.pack(ERASED, "i", filing.Ledgers(), as_of=AS_OF + timedelta(hours=1))
    assert "1,240名" in pack.items[2].text["ja"]
    assert "1,310 records" in pack.items[2].text["en"]
    assert pack.assessment_version == 1


def test_a_notice_about_a_phone_that_is_back_says_so() -> None:
    back = DeviceRecovered.model_validate(
        {"recovered_at": AS_OF, "from_whom": "police", "identity_checked": "yes", "viewed": "unknown"}
    )
    before, written = (notice.write(case, _details().issuer, as_of=AS_OF).mail for case in (ERASED, ERASED.hear(back)))
    for sentence in ("端末は回収しました。", "The device has been recovered."):
        assert sentence not in before
        assert sentence in written
