"""An installation on one machine: its data directory, ports, passwords and keys, made once and kept.

installation = Installation.open(data_dir)      # makes what is missing, changes nothing that is there

data_dir/
  installation.json       ports and passwords                    0600
  keys/                   private keys, one folder per service   0700, files 0600
  keys/kafka/             of a guarded broker: certificates, and how each principal signs in
  event-keys.json         public keys of the events
  approvers.json          public keys of those who may sign a wipe
  logs/ run/ kafka/ postgres/ sandbox/
"""

import base64
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, Literal

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from pydantic import BaseModel, ConfigDict, Field

from lostphone.embedded import EmbeddedError
from lostphone.embedded.ports import Claims
from lostphone.key_files import mldsa_key, private_folder, private_key, secret
from lostphone.log_keys import LogKeys
from lostphone.private_file import replace_private
from lostphone.screen import CouldNotError, what
from lostphone.sources import VARIABLES, Part, Source
from lostphone.status import INSTALLATION, PublicKey
from services.audit.tlog import WitnessKey
from shared.events.contracts.acls import OPERATOR, SIEM
from shared.events.signing import key_id
from shared.vault.keys import VaultKeys

type Service = Literal["reporter", "mdm_actions", "notifier", "audit"]
SERVICES: Final[tuple[Service, ...]] = ("reporter", "mdm_actions", "notifier", "audit")
SANDBOX_PARTS: Final = ("identity", "carrier", "entra", "mail", "smtp", "line", "alerts", "phones")
WITNESS = "witness"
"""A process of its own: it must not die, or be tricked, with the rest of the sandbox."""
WITNESS_NAME = "witness.example/sandbox"
WITNESS_KEYS = ("ed25519.pem", "mldsa44.pem")
INTEGRATORS: Final = ("example",)
"""The integrators that a new installation knows."""
OUTSIDERS: Final = ("admin", OPERATOR, SIEM, *(f"integrator-{name}" for name in INTEGRATORS))
"""Who signs in to a guarded broker with a file of its own: whoever made it, and all that are not services."""
PRINCIPALS: Final = ("broker", *SERVICES, *OUTSIDERS)
"""Everybody who can sign in to a guarded broker from its first start."""

_OWN: Final[Mapping[Part, Source]] = {"kafka": Source.EMBEDDED, "postgres": Source.EMBEDDED}
_OUR_POLICY = "# Written by lostphone up. Remove this line to keep what you change, such as witnesses of your own."
_LISTENERS = (*SERVICES, *SANDBOX_PARTS, WITNESS)
_PRIVATE_FOLDERS = ("run", "processes", "kafka", "nanomdm", "sandbox", "log")
_PASSWORDS = (
    *(*SERVICES, "postgres", "nanomdm", "nanomdm_api", "nanomdm_webhook", "oidc_client"),
    *(f"kafka_{principal}" for principal in PRINCIPALS),
)


class _Kept(BaseModel):
    """The content of installation.json."""

    model_config = ConfigDict(extra="forbid")

    version: int = 1
    secure: bool = False
    sources: dict[Part, Source] = Field(default_factory=lambda: dict(_OWN))
    ports: dict[str, int] = Field(default_factory=dict)
    passwords: dict[str, str] = Field(default_factory=dict)
    log: int = 1


@dataclass(frozen=True)
class Installation:
    """Everything about an installation that is chosen once."""

    data_dir: Path
    ports: Mapping[str, int]
    passwords: Mapping[str, str]
    secure: bool = False
    """Whether the broker is guarded: TLS, names and ACLs."""
    sources: Mapping[Part, Source] = field(default_factory=lambda: _OWN)
    """Who runs the broker and the database."""
    log: int = 1
    """Which of its logs goes on: another one is begun where one was closed."""

    @classmethod
    def open(
        cls,
        data_dir: Path,
        *,
        secure: bool = False,
        sources: Mapping[Part, Source] | None = None,
        claims: Claims | None = None,
    ) -> "Installation":
        """The installation in this directory; what is missing of it is made. `secure` guards a new one's broker; one
        that is guarded stays so, unless somebody else runs it. `sources` says who runs broker and database; None stands
        for both of its own.

        Who starts it hands in `claims`, which hold its ports; one that another program took meanwhile is chosen anew.
        Raises `CouldNotError`, also when a broker that was made open should become a guarded one, or when the data of
        the installation lie with another broker or database than the chosen ones.
        """
        try:
            data_dir.mkdir(parents=True, exist_ok=True)
            # PostgreSQL may run under another account, which must pass through to its own folder and see nothing else.
            data_dir.chmod(0o711)
            file = data_dir / INSTALLATION
            if not file.exists() and any(path for path in data_dir.iterdir() if path.name != "run"):
                raise CouldNotError(
                    f"{data_dir} には別のファイルがあります。空の場所を --data-dir で指定してください。",
                    f"{data_dir} holds files that are not an installation's. Name an empty place with --data-dir.",
                )
            kept = _Kept.model_validate_json(file.read_bytes()) if file.exists() else _Kept()
            kept.ports = _settle_ports(kept.ports, claims)
            made = {name: secrets.token_urlsafe(24) for name in _PASSWORDS}
            kept.passwords = {**made, **kept.passwords}
            kept.sources = _settle_sources(data_dir, kept.sources, {**_OWN, **(sources or {})}, new=not file.exists())
            if kept.sources["kafka"] is Source.ENVIRONMENT:
                kept.secure = secure
            else:
                kept.secure = kept.secure or _may_guard(data_dir, secure)
            replace_private(file, kept.model_dump_json(indent=2).encode() + b"\n")
            installation = cls(data_dir, kept.ports, kept.passwords, kept.secure, kept.sources, kept.log)
            installation._make_keys()
            installation._write_policy()
            for name in _PRIVATE_FOLDERS:
                private_folder(data_dir / name)
        except (OSError, ValueError, EmbeddedError) as error:
            raise CouldNotError(
                f"{data_dir} を準備できません: {what(error)}", f"{data_dir} cannot be prepared: {what(error)}"
            ) from error
        return installation

    @classmethod
    def read(cls, data_dir: Path) -> "Installation":
        """The installation as it was made, running or not. Raises `CouldNotError` when there is none."""
        try:
            kept = _Kept.model_validate_json((data_dir / INSTALLATION).read_bytes())
        except (OSError, ValueError) as error:
            raise CouldNotError(
                f"{data_dir} に環境がありません。lostphone up で作ります。",
                f"There is no installation in {data_dir}. lostphone up makes one.",
            ) from error
        return cls(data_dir, kept.ports, kept.passwords, kept.secure, kept.sources, kept.log)

    def keep_password(self, name: str, password: str) -> "Installation":
        """The installation with another password; what runs still has the old one."""
        return _keep(replace(self, passwords={**self.passwords, name: password}))

    def next_log(self) -> "Installation":
        """The installation with another log, of an origin and keys of its own; the one before it is closed."""
        _keep(replace(self, log=self.log + 1))
        return Installation.open(self.data_dir, secure=self.secure, sources=self.sources)

    def kafka_password(self, principal: str) -> str:
        """With which this principal signs in to a guarded broker."""
        return self.passwords[f"kafka_{principal}"]

    @property
    def kafka_folder(self) -> Path:
        """Certificates of a guarded broker, and how those who are not services sign in."""
        return self.data_dir / "keys" / "kafka"

    @property
    def event_keys_file(self) -> Path:
        return self.data_dir / "event-keys.json"

    @property
    def approvers_file(self) -> Path:
        return self.data_dir / "approvers.json"

    @property
    def vault_key_file(self) -> Path:
        """Wraps the keys of people, and makes the references to them; every service that opens values holds it."""
        return self.data_dir / "keys" / "vault" / "vault-keys.json"

    @property
    def sign_in_key_file(self) -> Path:
        """Seals the cookie of who is signed in; on one machine all services share it, so that one sign-in is enough."""
        return self.data_dir / "keys" / "sign-in" / "session.key"

    @property
    def log_policy_file(self) -> Path:
        """Keys of the log and its witness (c2sp.org/tlog-policy)."""
        return self.data_dir / "log-policy.txt"

    @property
    def log_state_dir(self) -> Path:
        """What the log has published, outside its database."""
        return self.data_dir / "log"

    @property
    def log_keys(self) -> LogKeys:
        """Of the log that goes on."""
        return self._keys_of(self.log)

    @property
    def log_origin(self) -> str:
        return self.log_keys.origin

    @property
    def closed_log_origin(self) -> str | None:
        """Of the log that was closed last."""
        return self._keys_of(self.log - 1).origin if self.log > 1 else None

    @property
    def owner(self) -> str:
        """Whose the databases are, whichever log goes on and with which keys: a verifier key that the first one had
        first."""
        first = self._keys_of(1)
        past = first.past_vkeys()
        return past[-len(first.files)] if past else first.vkeys()[0]

    def closed_log_vkeys(self) -> list[str]:
        """Of the logs before it, the last one first, with all keys that they had."""
        return [vkey for log in range(self.log - 1, 0, -1) for vkey in self._keys_of(log).all_vkeys()]

    def _keys_of(self, log: int) -> LogKeys:
        return LogKeys(self.data_dir / "keys" / "audit", log)

    def log_policy(self, log_url: str, witness_url: str, origin: str | None = None) -> str:
        """Keys of the log, those that it had, those of the logs that were closed before it, and of its witness, which
        counts by either of its keys: not every reader can check the second."""
        lines = [f"log {vkey} {log_url}" for vkey in self.log_keys.vkeys(origin)]
        lines += [f"log {vkey}" for vkey in (*self.log_keys.past_vkeys(), *self.closed_log_vkeys())]
        for name in WITNESS_KEYS:
            key = load_pem_private_key(self.key_file(WITNESS, name).read_bytes(), password=None)
            if not isinstance(key, Ed25519PrivateKey | MLDSA44PrivateKey):
                raise ValueError(f"{name} of the witness is not a key of a witness")  # noqa: TRY004 - the file is at fault
            vkey = WitnessKey(WITNESS_NAME, key).verifier
            lines.append(f"witness {name.partition('.')[0]} {vkey} {witness_url}")
        members = " ".join(name.partition(".")[0] for name in WITNESS_KEYS)
        # Some readers take no word of the format itself, such as "witness", for a name.
        return "\n".join([*lines, f"group witnesses any {members}", "quorum witnesses"]) + "\n"

    @property
    def has_own_policy(self) -> bool:
        """Whether somebody made the policy their own."""
        return self.log_policy_file.exists() and not self.log_policy_file.read_text().startswith(_OUR_POLICY)

    def key_file(self, holder: str, name: str) -> Path:
        """A private key or secret of one holder: a service, `nanomdm`, or a person of the sandbox."""
        return self.data_dir / "keys" / holder / name

    def event_keys(self) -> dict[str, PublicKey]:
        """The public keys of the events, by key id."""
        return {name: PublicKey(**entry) for name, entry in json.loads(self.event_keys_file.read_text()).items()}

    def url(self, listener: str) -> str:
        """The base address of a service or of a part of the sandbox."""
        return f"{'smtp' if listener == 'smtp' else 'http'}://127.0.0.1:{self.ports[listener]}"

    def _make_keys(self) -> None:
        private_folder(self.data_dir / "keys")
        public = json.loads(self.event_keys_file.read_text()) if self.event_keys_file.exists() else {}
        for service in SERVICES:
            key = private_key(self.key_file(service, "event-signing.pem"))
            public |= published(service, key)
            secret(self.key_file(service, "session.key"))
        replace_private(self.event_keys_file, json.dumps(public, indent=2).encode() + b"\n")
        secret(self.sign_in_key_file)
        self.log_keys.make()
        secret(self.key_file("audit", "blinding.key"))
        private_key(self.key_file(WITNESS, WITNESS_KEYS[0]))
        mldsa_key(self.key_file(WITNESS, WITNESS_KEYS[1]))
        if not self.vault_key_file.exists():
            private_folder(self.vault_key_file.parent)
            VaultKeys.generate().write(self.vault_key_file)

    def _write_policy(self) -> None:
        """A policy that somebody made their own is left as it is."""
        if self.has_own_policy:
            return
        policy = f"{_OUR_POLICY}\n{self.log_policy(self.url('audit'), self.url(WITNESS))}"
        replace_private(self.log_policy_file, policy.encode())


def _keep(installation: Installation) -> Installation:
    kept = _Kept(
        secure=installation.secure,
        sources=dict(installation.sources),
        ports=dict(installation.ports),
        passwords=dict(installation.passwords),
        log=installation.log,
    )
    replace_private(installation.data_dir / INSTALLATION, kept.model_dump_json(indent=2).encode() + b"\n")
    return installation


def _may_guard(data_dir: Path, secure: bool) -> bool:
    if secure and (data_dir / "kafka" / "data" / "meta.properties").exists():
        raise CouldNotError(
            f"{data_dir} の Kafka は --secure なしで作られています。"
            "--fresh(データを消します)を付けるか、別の --data-dir を指定してください。",
            f"The broker in {data_dir} was made without --secure, and knows no users. Add --fresh, which removes its "
            "data, or name another --data-dir.",
        )
    return secure


def _settle_sources(
    data_dir: Path, kept: Mapping[Part, Source], chosen: Mapping[Part, Source], *, new: bool
) -> dict[Part, Source]:
    """Who runs broker and database from now on. Starting on empty ones would look as if all data were lost."""
    for part, source in chosen.items():
        variable = VARIABLES[part, False]
        if not new and kept[part] is Source.ENVIRONMENT and source is Source.EMBEDDED:
            raise CouldNotError(
                f"{data_dir} のデータは {variable} で指定された {part} にあります。もう一度指定してください。",
                f"The data of {data_dir} lie with the {part} that {variable} named. Name it again.",
            )
        if source is Source.ENVIRONMENT and (data_dir / part / "data").exists():
            raise CouldNotError(
                f"{data_dir} のデータは自身の {part} にあります。"
                f"{variable} を外すか、別の --data-dir を指定してください。",
                f"The data of {data_dir} lie with a {part} of its own. Unset {variable}, or name another --data-dir.",
            )
    return dict(chosen)


def published(service: str, key: Ed25519PrivateKey) -> dict[str, dict[str, str]]:
    """A key's entry in event-keys.json."""
    public = key.public_key()
    encoded = base64.b64encode(public.public_bytes_raw()).decode()
    return {key_id(service, public): {"service": service, "public_key": encoded}}


def _settle_ports(kept: Mapping[str, int], claims: Claims | None) -> dict[str, int]:
    if claims is None and kept.keys() >= set(_LISTENERS):
        return dict(kept)
    return (claims or Claims()).settle(kept, _LISTENERS)
