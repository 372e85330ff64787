"""`approve` and `keygen`: a person signs a wipe on this machine, with a key that never leaves it."""

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import ValidationError
from rich.console import Console

from lostphone.approvers import PassphraseError, entry, key_id, make_key, read_key
from lostphone.client import Client, connect
from lostphone.commands.options import AsJson, DataDir, Token, Url, Who
from lostphone.screen import CouldNotError, SaidNoError, Sentence, progress, result
from lostphone.signing import show, sign_statement
from lostphone.status import data_directory
from shared.events.wipe import Step, WipeStatement

Passphrase = Annotated[
    str | None,
    typer.Option(
        envvar="LOSTPHONE_PASSPHRASE", help="鍵のパスフレーズ(なければ尋ねる)· Of the key.", show_default=False
    ),
]


class Act(StrEnum):
    """Which of the two signatures."""

    PROPOSE = "propose"
    APPROVE = "approve"


def approve(
    *,
    incident: Annotated[str, typer.Argument(help="案件 · Incident id.")],
    key: Annotated[
        Path | None, typer.Option("--key", help="Ed25519 秘密鍵(PEM)。署名に必要 · Private key, PEM, to sign with.")
    ] = None,
    act: Annotated[
        Act, typer.Option("--as", help="最初の署名は propose · The first signature is propose.")
    ] = Act.APPROVE,
    reason: Annotated[str | None, typer.Option(help="理由コード · Reason code, for propose and --decline.")] = None,
    decline: Annotated[bool, typer.Option("--decline", help="承認しない · Say no.")] = False,
    nonce: Annotated[
        str | None, typer.Option(help="提案の識別番号 · Which proposal; default the one that waits.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="確認しない · Sign without asking.")] = False,
    passphrase: Passphrase = None,
    data_dir: DataDir = None,
    url: Url = None,
    token: Token = None,
    who: Who = None,
    as_json: AsJson = False,
) -> None:
    """消去に署名する · Sign the wipe of a phone, as the one who proposes or as another who approves."""
    # Before the service is asked: without a key there is nothing to ask it for.
    signer = _signer(key, passphrase, act, decline)
    role = "security_desk" if act is Act.PROPOSE else "approver"
    client = connect("reporter", data_dir=data_directory(data_dir), url=url, token=token, who=who, role=role)
    wipe = f"/v1/incidents/{incident}/wipe"
    if act is Act.APPROVE:
        proposal = f"{wipe}/proposals/{nonce or _waiting(client, incident)}"
    if signer is None:
        answer = client.post(f"{proposal}/decline", {"reason": reason or "declined"})
        said = Sentence("承認しませんでした。", "Declined.")
    elif act is Act.PROPOSE:
        statement = _statement(client.get(f"{wipe}/statement"))
        signature = _sign(Step.PROPOSE, statement, incident, signer, yes)
        body = {
            "statement": statement.model_dump(mode="json"),
            "signature": signature,
            "reason": reason or "data_at_risk",
        }
        answer = client.post(f"{wipe}/proposals", body)
        said = Sentence("提案しました。もう一人の承認が必要です。", "Proposed. Another person must approve.")
    else:
        statement = _statement(client.get(proposal))
        signature = _sign(Step.APPROVE, statement, incident, signer, yes)
        answer = client.post(f"{proposal}/approvals", {"signature": signature})
        said = Sentence("承認しました。", "Approved.")
    result(answer, as_json, lambda out: out.print(str(said)))


def keygen(
    *,
    key: Annotated[Path, typer.Option("--key", help="作る Ed25519 秘密鍵(PEM)· The private key to make, PEM.")],
    organisation: Annotated[str, typer.Option(help="組織 · Organisation.")],
    person: Annotated[
        str, typer.Option(help="その人の参照(person-…)· The person's reference, as the reporter's /v1/me says it.")
    ],
    may: Annotated[list[Act], typer.Option(help="できること · What the key may sign.")] = [Act.PROPOSE, Act.APPROVE],  # noqa: B006 - typer copies it
    passphrase: Passphrase = None,
    as_json: AsJson = False,
) -> None:
    """署名の鍵を作る · Make a key for signing wipes, and print its line for the approvers' file."""
    made = make_key(key, passphrase)
    line = entry(made.public_key(), person=person, organisation=organisation, may=[act.value for act in may])
    progress(
        f"{key} に秘密鍵を書きました。この端末から出さないでください。",
        f"Wrote the private key to {key}. Keep it on this machine.",
    )
    result(line, as_json, lambda out: out.print(json.dumps(line), markup=False, soft_wrap=True))


def _statement(answer: Any) -> WipeStatement:
    try:
        return WipeStatement.model_validate(answer["statement"])
    except (KeyError, TypeError, ValidationError) as error:
        raise CouldNotError(
            "サービスの返した内容が消去の同意文ではありません。署名しません。",
            "What the service gave is not a wipe statement. Nothing is signed.",
        ) from error


def _sign(step: Step, statement: WipeStatement, incident: str, key: Ed25519PrivateKey, yes: bool) -> dict[str, Any]:
    if statement.incident != incident:
        raise CouldNotError(
            f"同意文は別の案件({statement.incident})のものです。署名しません。",
            f"The statement is about another incident ({statement.incident}). Nothing is signed.",
        )
    show(Console(stderr=True, highlight=False), statement)
    if not yes and not typer.confirm(
        str(Sentence(f"鍵 {key_id(key.public_key())} で署名しますか?", f"Sign with key {key_id(key.public_key())}?")),
        err=True,
    ):
        raise SaidNoError("署名しませんでした。", "Nothing was signed.")
    return sign_statement(step, statement, key).model_dump(mode="json")


def _signer(key: Path | None, passphrase: str | None, act: Act, decline: bool) -> Ed25519PrivateKey | None:
    """With whose key the wipe is signed; None when it is declined, which nobody signs."""
    if decline and act is Act.PROPOSE:
        raise CouldNotError(
            "--decline は提案への返事です。--as propose とは使えません。",
            "--decline answers a proposal: it does not go with --as propose.",
        )
    if decline:
        return None
    if key is None:
        raise CouldNotError("署名には --key が必要です。", "Name the key to sign with: --key FILE.")
    return _open(key, passphrase)


def _open(path: Path, passphrase: str | None) -> Ed25519PrivateKey:
    try:
        return read_key(path, passphrase)
    except PassphraseError:
        if passphrase is not None:
            raise CouldNotError("パスフレーズが違います。", "The passphrase is not the key's.") from None
    asked = typer.prompt(str(Sentence(f"{path} のパスフレーズ", f"Passphrase of {path}")), hide_input=True, err=True)
    return _open(path, asked)


def _waiting(client: Client, incident: str) -> str:
    """The nonce of the proposal that waits for a signature."""
    proposals = client.get(f"/v1/incidents/{incident}")["proposals"]
    waiting = [proposal for proposal in proposals if proposal["awaits_approval"]]
    if not waiting:
        raise SaidNoError("承認を待つ消去の提案はありません。", "No proposal to wipe waits for approval.")
    nonce: str = waiting[-1]["nonce"]
    return nonce
