"""The story: an employee left a phone in a taxi after a company party.

Every step is what a person or a phone does through the same doors as in real life: HTTP as the signed-in person,
`lostphone approve` on the signer's machine, the phone's own protocol, the desk's pager. The story then waits for the
events that this causes, and never makes one itself.
"""

import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import httpx2

from lostphone.client import Client
from lostphone.demo import cast, texts
from lostphone.demo.cast import Cast
from lostphone.demo.screen import Screen
from lostphone.demo.texts import principals_csv
from lostphone.demo.watch import Progress, Watch
from lostphone.screen import CouldNotError
from sandbox.companies import fleet, inventory

PEOPLE = 1240
_RECORDS = 1310
_TOKYO = ZoneInfo("Asia/Tokyo")
_NOTICED_BEFORE = timedelta(minutes=20)


@dataclass
class Told:
    """What the ending needs to know about the story."""

    incident: str = ""
    receipt_url: str = ""
    receipt_code: str = ""
    noticed_at: datetime = field(default_factory=lambda: datetime.now(_TOKYO))
    disclosure_url: str = ""


@dataclass
class Story:
    """One run. `play` tells it from beginning to end and raises `CouldNotError` at the first thing that is not so."""

    cast: Cast
    watch: Watch
    screen: Screen
    told: Told = field(default_factory=Told)

    def play(self) -> Told:
        """All chapters."""
        self._inventory()
        self._report()
        self._contain()
        self._wipe()
        self._police_and_taxi()
        self._assess()
        self._file()
        self._tell()
        self._publish()
        self._close()
        return self.told

    def _inventory(self) -> None:
        self.screen.chapter("0. 備え", "0. Before anything happens")
        self.screen.say(
            "アクメ社は業務用携帯を台帳に登録し、MDM で管理しています。",
            "Acme keeps its company phones in the inventory and manages them through an MDM server.",
        )
        changes = self._to("mdm_actions", cast.OPERATOR).post_text(
            "/v1/inventory/import", inventory(cast.ORGANISATION), "text/csv", apply="true"
        )
        if changes["added"]:
            with self.screen.waiting("台帳が伝わるのを待っています…", "Waiting for the inventory to be known …"):
                self._until_known(len(changes["added"]))
        self._phone_as_new()

    def _report(self) -> None:
        self.screen.chapter("1. 23:40 同僚の携帯から", "1. 23:40, on a colleague's phone")
        self.screen.say(
            "懇親会の帰り、佐藤さんはタクシーに業務用携帯を置き忘れました。気づいて20分、隣の鈴木さんの携帯から届け出ます。",
            "After the party Sato left the phone in a taxi. Twenty minutes on, it is reported on Suzuki's phone.",
        )
        now = datetime.now(_TOKYO)
        self.told.noticed_at = now - _NOTICED_BEFORE
        answer = self._to("reporter", cast.COLLEAGUE).post(
            "/v1/reports",
            {
                "reported_as": "proxy",
                "holder_name": "佐藤 未来",
                "phone": cast.DEVICE_TAG,
                "callback": "080-5555-0142 (鈴木)",
                "noticed_at": self.told.noticed_at.isoformat(timespec="seconds"),
                "cause": "left_behind",
                "intoxication": "yes",
                "malicious_intent": "unknown",
                "place": "taxi",
                "place_detail": "六本木から目黒まで、黒いタクシー",
                "circumstances": "懇親会の帰りにタクシーの後部座席に置き忘れた。",
                "passcode_set": "yes",
                "passcode_attached": "yes",
                "attached": ["passcode_note"],
                "data_items": ["contacts", "mail"],
                "locale": "ja",
            },
        )
        self.told.incident = answer["incident"]
        self.told.receipt_url = answer["receipt_url"]
        self.told.receipt_code = answer["receipt_code"]
        self.watch.subject = answer["incident"]
        self._wait("DeviceLost", "届け出の記録", "the report on the log")
        alert = self._wait("AlertSent", "当番への連絡", "the desk's pager")
        self.screen.say("当番の田中さんが呼び出しに応答します。", "Tanaka at the desk acknowledges the alert.")
        self._to("notifier", cast.DESK).post(f"/v1/alerts/{alert['alert']}/acknowledge", {})
        self._wait("AlertAcknowledged", "応答の記録", "the acknowledgement")

    def _contain(self) -> None:
        self.screen.chapter("2. すぐ戻せる措置から", "2. Reversible steps first")
        self._wait("SessionsRevoked", "サインインの取り消し", "sessions revoked, read back from Entra ID")
        self._wait("DeviceLocked", "端末自身のロック応答", "the phone's own word that it is in lost mode")
        self._wait("DeviceLocated", "位置", "a position")
        self._phone("offline")
        self.screen.say(
            "その直後、携帯は圏外になりました。ケースにはパスコードのメモが挟まっています。",
            "Then the phone drops off the network. A note with its passcode is in the case.",
        )
        self._desk().post(
            f"{self._case}/triage", {"cause": "left_behind", "severity": "high", "holder_id": cast.HOLDER}
        )
        self._wait("IncidentTriaged", "整理", "triage")

    def _wipe(self) -> None:
        self.screen.chapter("3. 消去には二人の署名", "3. A wipe needs two signatures")
        self.screen.say(
            "田中さんが消去を提案し、自分の鍵で署名します。森さんが内容を確かめ、別の鍵で署名します。",
            "Tanaka proposes the wipe and signs with her key. Mori reads it and signs with another.",
        )
        self._approve(cast.DESK, "--as", "propose", "--reason", "no_contact_and_passcode_note")
        self._wait("WipeProposed", "提案", "the proposal")
        self._approve(cast.APPROVER)
        self._wait("WipeRequested", "二人目の署名", "the second signature")
        self._wait("WipeSent", "指示の送信", "the command queued at NanoMDM")
        self.screen.say(
            "まだ「消去済み」とは言えません。携帯は圏外です。やがて電源が入り、回線につながります。",
            "Nobody may call this wiped yet: the phone is offline. Then it comes back.",
        )
        self._phone("online")
        self._wait("WipeConfirmed", "端末からの消去応答", "the phone's own word that it is erased")
        self.screen.say(
            "ここで初めて回線を止め、止まったことを読み返します。", "Only now the line is suspended, and read back."
        )
        self._wait("CarrierSuspended", "回線停止の確認", "the line read back as suspended")

    def _police_and_taxi(self) -> None:
        self.screen.chapter("4. 警察とタクシー会社", "4. Police and taxi company")
        self._desk().post(
            f"{self._case}/police",
            {
                "kind": "lost_property",
                "channel": "online",
                "prefecture": "tokyo",
                "reception_number": "R-20261125-0042",
            },
        )
        self._wait("PoliceReportFiled", "遺失届", "the lost-property report")
        self._desk().post(
            f"{self._case}/facility",
            {"facility": "taxi", "name": "目黒交通", "outcome": "contacted", "reference": "TX-118"},
        )
        self._wait("FacilityContacted", "タクシー会社への連絡", "the taxi company")

    def _assess(self) -> None:
        self.screen.chapter("5. 漏えいの評価と義務", "5. Was data leaked, and whose")
        self.screen.say(
            "電話帳に1,240人。暗号化はされていますが、パスコードのメモがあったため免除にはなりません。",
            "1,240 people in the address book. It is encrypted, but the passcode was in the case: no exemption.",
        )
        self._privacy().post(
            f"{self._case}/assessment",
            {
                "leak": "suspected",
                "left_organisation": "yes",
                "people": PEOPLE,
                "people_certain": True,
                "records": _RECORDS,
                "counting": "address_book_export",
                "data_items": ["contacts", "mail"],
                "special_care": "no",
                "property_damage": "no",
                "wrongful_purpose": "no",
                "my_number": "no",
                "entrusted": "no",
                "key_apart": "no",
                "locked_at_loss": "yes",
                "misuse_seen": "no",
            },
        )
        self._wait("LeakAssessed", "評価", "the assessment")
        for rule in ("JP-APPI-1", "JP-APPI-2", "JP-APPI-3"):
            self._wait("DutyOpened", f"義務 {rule}", f"duty {rule}", rule=rule)

    def _file(self) -> None:
        self.screen.chapter("6. 個人情報保護委員会", "6. The regulator")
        self.screen.say(
            "加藤さんが報告書の素案を確かめて提出し、受付番号を控えます。",
            "Kato files from the prepared pack and stores the receipt. Lostphone files nothing by itself.",
        )
        self._file_duty("JP-APPI-1", "PPC-2026-118842")

    def _tell(self) -> None:
        self.screen.chapter("7. 本人への通知", "7. The people concerned are told")
        self.screen.say(
            f"{PEOPLE:,}人へ、メールと LINE で知らせます。LINE の本文に案件の詳細は書きません。",
            f"{PEOPLE:,} people are told by mail and LINE. A LINE message never carries the details.",
        )
        privacy = self._to("notifier", cast.PRIVACY)
        privacy.post_text(f"{self._case}/principals", principals_csv(PEOPLE), "text/csv")
        privacy.post(
            f"{self._case}/notices", {"template": "jp-loss-v1", "assessment_version": 1, "issuer": texts.ISSUER}
        )
        self._wait("NoticesSent", "通知の送信", "the notices to go out", within=180, progress=self._told_so_far)
        self._wait("NoticesSettled", "全員の結果", "an outcome for everybody")

    def _told_so_far(self) -> dict[str, int]:
        """People by what became of their notice: on a slow machine it takes minutes to tell them all."""
        (batch,) = self._to("notifier", cast.PRIVACY).get(f"{self._case}/notices")["batches"]
        by_state: dict[str, int] = batch["by_state"]
        return by_state

    def _publish(self) -> None:
        self.screen.chapter("8. お詫びの公表", "8. The apology is published")
        pr = self._to("notifier", cast.PR)
        drafted = pr.post(f"{self._case}/disclosures", texts.details())
        disclosure = f"/v1/disclosures/{drafted['disclosure']}"
        self._wait("DisclosureDrafted", "素案", "the draft")
        self.screen.say(
            "個人情報保護管理者の加藤さんと、役員の伊藤さんが、同じ文面を承認します。",
            "Kato (privacy officer) and Ito (executive) approve exactly the same text.",
        )
        for sub in (cast.PRIVACY, cast.EXECUTIVE):
            self._to("notifier", sub).post(f"{disclosure}/approve", {"text": drafted["text"]})
        self._wait("DisclosureApproved", "二人の承認", "both approvals")
        self.screen.say(
            "窓口が実際に応答することを確かめてから、公表します。",
            "It is issued only after the contact desk was called and answered.",
        )
        pr.post(f"{disclosure}/contact-desk-check", {})
        issued = pr.post(f"{disclosure}/issue", {})
        self.told.disclosure_url = issued["url"]
        self._wait("DisclosureIssued", "公表", "the public page")

    def _close(self) -> None:
        self.screen.chapter("9. 再発防止と終結", "9. Prevention, and the end")
        self._file_duty("JP-APPI-2", "PPC-2026-118842-F")
        desk = self._desk()
        for measure, kind in texts.PREVENTION:
            desk.post(
                f"{self._case}/prevention",
                {"measure": measure, "kind": kind, "due": texts.due().isoformat(), "owner_id": cast.PRIVACY},
            )
            self._wait("PreventionActionRecorded", "再発防止策", "the measure", measure=measure)
        self._until_duties_end()
        self._to("reporter", cast.APPROVER).post(f"{self._case}/close", {"outcome": "wiped_not_recovered"})
        self._wait("IncidentClosed", "終結", "the end of the case")

    def _until_duties_end(self) -> None:
        """The case may close once the reporter, too, has heard that every duty ended."""
        with self.screen.waiting("すべての義務の終わりを待っています…", "Waiting for every duty to end …"):
            self.watch.until(lambda: not self._open_duties() and self._heard_duties_end(), "DutyMet")

    def _heard_duties_end(self) -> bool:
        return bool(self._desk().get(self._case)["open_duties"] == 0)

    def _open_duties(self) -> set[str]:
        opened = {data["duty"] for data in self.watch.all("DutyOpened")}
        ended = {data["duty"] for name in ("DutyFiled", "DutyMet", "DutyWaived") for data in self.watch.all(name)}
        return opened - ended

    # -- small steps ---------------------------------------------------------------------------------------------

    @property
    def _case(self) -> str:
        return f"/v1/incidents/{self.told.incident}"

    def _to(self, service: str, sub: str) -> Client:
        return self.cast.to(service, sub)

    def _desk(self) -> Client:
        return self._to("reporter", cast.DESK)

    def _privacy(self) -> Client:
        return self._to("reporter", cast.PRIVACY)

    def _wait(
        self, name: str, ja: str, en: str, *, within: float = 60, progress: Progress = lambda: None, **fields: Any
    ) -> dict[str, Any]:
        def fits(data: dict[str, Any]) -> bool:
            return all(data.get(key) == value for key, value in fields.items())

        with self.screen.waiting(f"{ja}を待っています…", f"Waiting for {en} …"):
            return self.watch.wait(name, within=within, test=fits, progress=progress)

    def _until_known(self, devices: int) -> None:
        """Until the reporter has heard of the phones; its own metrics say so."""
        known = re.compile(
            r'^lostphone_events_processed_total{type="lostphone\.device-registered\.v1"} ([0-9.]+)', re.MULTILINE
        )

        def heard() -> bool:
            found = known.search(httpx2.get(f"{self.cast.status.http['reporter']}/metrics", timeout=10).text)
            return found is not None and float(found[1]) >= devices

        self.watch.until(heard, "DeviceRegistered")

    def _phone_as_new(self) -> None:
        """After an earlier run the phone was erased and its line stopped: it is enrolled anew and the line resumed.

        Raises `CouldNotError` when a case about the phone is still open.
        """
        desk = self._desk()
        for case in desk.get("/v1/incidents", state="all")["incidents"]:
            if case["asset_tag"] != cast.DEVICE_TAG:
                continue
            if case["status"] not in ("closed", "cancelled"):
                raise CouldNotError(
                    f"{cast.DEVICE_TAG} の案件 {case['incident']} が未終結です(途中で止めた実演など)。"
                    "画面で終結か取消しをするか、lostphone down と lostphone up --detach --fresh"
                    "(データをすべて消します)のあとでもう一度どうぞ。",
                    f"Case {case['incident']} about {cast.DEVICE_TAG} is open, as after a demo that was broken off. "
                    "Close or cancel it on its page, or play again after lostphone down and "
                    "lostphone up --detach --fresh, which removes all data.",
                )
            if desk.get(f"/v1/incidents/{case['incident']}")["tracks"]["line"]["state"] == "suspended":
                desk.post(f"/v1/incidents/{case['incident']}/line/resume", {"reason": "phone_set_up_again"})
                self.watch.subject = case["incident"]
                self._wait("CarrierResumed", "回線の再開", "the line to be resumed")
        if self.cast.sandbox("phones", "GET", f"/phones/{self._sandbox_phone().udid}").json()["erased"]:
            self._phone("enrol")
        self._phone("online")

    def _phone(self, what: str) -> None:
        self.cast.sandbox("phones", "POST", f"/phones/{self._sandbox_phone().udid}/{what}")

    def _sandbox_phone(self) -> Any:
        (phone,) = [phone for phone in fleet()[cast.ORGANISATION] if phone.asset_tag == cast.DEVICE_TAG]
        return phone

    def _approve(self, sub: str, *options: str) -> None:
        command = [
            "approve",
            self.told.incident,
            "--key",
            str(self.cast.key_file(sub)),
            "--who",
            sub,
            "--yes",
            *options,
        ]
        done = self._command(command)
        if done.returncode != 0:
            raise CouldNotError(f"署名できませんでした: {done.stderr}", f"lostphone approve failed: {done.stderr}")

    def _command(self, arguments: Sequence[str]) -> "subprocess.CompletedProcess[str]":
        directory = str(self.cast.installation.data_dir)
        return subprocess.run(
            [sys.executable, "-m", "lostphone", *arguments, "--data-dir", directory],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    def _file_duty(self, rule: str, receipt: str) -> None:
        duty = self.watch.wait("DutyOpened", test=lambda data: data["rule"] == rule)
        self._to("notifier", cast.PRIVACY).post(
            f"/v1/duties/{duty['duty']}/file",
            {"receipt": receipt, "filed_at": datetime.now(UTC).isoformat(timespec="seconds")},
        )
        self._wait("DutyFiled", "受付番号の記録", "the receipt", rule=rule)
