"""Signs a wipe statement on this machine: what is shown is exactly what is signed."""

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from rich.console import Console
from rich.table import Table

from lostphone.approvers import key_id
from lostphone.screen import Sentence
from shared.events.wipe import StatementSignature, Step, WipeStatement, sign

_LABELS = {
    "organisation": Sentence("組織", "organisation"),
    "incident": Sentence("案件", "incident"),
    "device": Sentence("端末", "device"),
    "ownership": Sentence("所有", "ownership"),
    "action": Sentence("操作(すべて消去)", "action (everything on it)"),
    "drill": Sentence("訓練", "drill"),
    "decision_version": Sentence("判断の版", "decision version"),
    "accept_by": Sentence("承認期限", "to be approved by"),
    "valid_until": Sentence("有効期限", "valid until"),
    "nonce": Sentence("識別番号", "nonce"),
}


def show(out: Console, statement: WipeStatement) -> None:
    """Every field of the statement, and the bytes that are signed."""
    table = Table(show_header=False, box=None, pad_edge=False)
    for name, value in statement.model_dump(mode="json").items():
        table.add_row(str(_LABELS[name]), str(value))
    out.print(table)
    out.print(str(Sentence("署名される内容:", "What is signed:")))
    out.print(statement.canonical().decode(), markup=False, soft_wrap=True)


def sign_statement(step: Step, statement: WipeStatement, key: Ed25519PrivateKey) -> StatementSignature:
    """One person's signature, under the name of the key."""
    return sign(step, statement, key_id(key.public_key()), key)
