"""The file of approver keys: whose signature counts for which organisation's wipes. Only this service reads it.

    desk-1:
      person: person-5f0c7a2e9b1d4c3f8e6a7b9c0d1e2f3a
      organisation: acme-kk
      public_key: <32 bytes, base64>
      may: [propose, approve]

YAML or JSON. It is looked at again for every order, so that a key that is taken out stops counting at once.
"""

import base64
import binascii
import re
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from services.mdm_actions.domain.wipe import Approver, Approvers

_KEY_ID = re.compile(r"^[A-Za-z0-9._-]{1,64}$")
_MAX_BYTES = 1_000_000


class ApproversFileError(Exception):
    """The file cannot be trusted as it is; the message says where. No wipe counts until it is mended."""


class ApproversFile:
    """The keys as they stand in the file now."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read_at: tuple[int, int] | None = None
        self._approvers: Approvers = {}

    def load(self) -> Approvers:
        """The keys by id. Raises `ApproversFileError`."""
        try:
            stat = self._path.stat()
            if self._read_at != (stat.st_mtime_ns, stat.st_size):
                if stat.st_size > _MAX_BYTES:
                    raise ApproversFileError(f"{self._path}: larger than {_MAX_BYTES} bytes")
                self._approvers = read(self._path.read_text(), str(self._path))
                self._read_at = (stat.st_mtime_ns, stat.st_size)
        except (OSError, UnicodeDecodeError) as error:
            raise ApproversFileError(f"{self._path}: cannot be read: {error}") from error
        return self._approvers


def read(text: str, name: str) -> Approvers:
    """Decode the file's text; `name` stands in messages. Raises `ApproversFileError`."""
    try:
        document = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError) as error:
        raise ApproversFileError(f"{name}: neither YAML nor JSON: {_one_line(error)}") from error
    if not isinstance(document, dict):
        raise ApproversFileError(f"{name}: must map key ids to approvers")
    approvers = {_key_id(name, keyid): _approver(name, keyid, entry) for keyid, entry in document.items()}
    _one_person_each(name, approvers)
    return approvers


def _key_id(name: str, keyid: object) -> str:
    if not isinstance(keyid, str) or not _KEY_ID.match(keyid):
        raise ApproversFileError(f"{name}: {str(keyid)[:80]!r} is not a key id (letters, digits, . _ -, at most 64)")
    return keyid


def _approver(name: str, keyid: object, entry: Any) -> Approver:
    if not isinstance(entry, dict):
        raise ApproversFileError(f"{name}: {keyid}: needs person, organisation and public_key")
    try:
        public_key = base64.b64decode(str(entry.get("public_key", "")), validate=True)
        return Approver.model_validate(entry | {"public_key": public_key})
    except (binascii.Error, ValueError) as error:
        if isinstance(error, ValidationError):
            problem = error.errors()[0]
            where = ".".join(str(part) for part in problem["loc"]) or "entry"
            raise ApproversFileError(f"{name}: {keyid}: {where}: {problem['msg']}") from error
        raise ApproversFileError(f"{name}: {keyid}: public_key: not base64") from error


def _one_person_each(name: str, approvers: Approvers) -> None:
    """One key in two people's names would let one of them be both."""
    owners: dict[bytes, str] = {}
    for keyid, approver in approvers.items():
        if owners.setdefault(approver.public_key, approver.person) != approver.person:
            raise ApproversFileError(f"{name}: {keyid}: this public key stands under another person as well")


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
