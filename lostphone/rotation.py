"""New keys and passwords for a running installation, without losing an event."""

import json
import os
import secrets
import signal
import time
from pathlib import Path
from typing import Final

import httpx2
from confluent_kafka import KafkaException
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AdminClient,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from lostphone import running
from lostphone.embedded.kafka import SCRAM_ITERATIONS
from lostphone.installation import SERVICES, Installation, published
from lostphone.kafka_access import running_connection, write_client_files
from lostphone.private_file import replace_private
from lostphone.screen import CouldNotError
from lostphone.sources import Source
from lostphone.topics import BrokerError
from shared.events.signing import key_id

_BACK_WITHIN: Final = 90.0
_LOOK_EVERY: Final = 0.1


def rotate_event_key(data_dir: Path, service: str) -> tuple[str, str]:
    """Give a service a new key to sign events with; the ids of the old and the new one. The public key is published
    first, and the old one stays: what it signed is verified for ever. Raises `CouldNotError`."""
    running.required(data_dir)
    installation = Installation.read(data_dir)
    keys = json.loads(installation.event_keys_file.read_text())
    file = installation.key_file(service, "event-signing.pem")
    before = next(reversed([name for name, entry in keys.items() if entry["service"] == service]))
    key = Ed25519PrivateKey.generate()
    replace_private(
        installation.event_keys_file, json.dumps({**keys, **published(service, key)}, indent=2).encode() + b"\n"
    )
    replace_private(file, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    restart(data_dir, service)
    return before, key_id(service, key.public_key())


def rotate_kafka_password(data_dir: Path, principal: str) -> None:
    """Give a principal a new password, or its first one. A service is started again with it; for others the client
    files are written. Raises `CouldNotError` and `BrokerError`."""
    status = running.required(data_dir)
    if status.kafka.ca_file is None:
        raise CouldNotError(
            "この環境の Kafka には認証がありません(up --secure)。",
            "The broker of this installation knows no passwords; up --secure makes one that does.",
        )
    if principal == "broker":
        raise CouldNotError(
            "broker 自身のパスワードは変えられません。docs/security.md を見てください。",
            "The broker's own password cannot be changed while it runs; see docs/security.md.",
        )
    if principal == "admin" and status.sources.get("kafka") is Source.ENVIRONMENT:
        raise CouldNotError(
            "この Kafka の管理者は環境変数が示す利用者です。Kafka を運用する人が変えます。",
            "The admin of this broker is the user whom the environment names; whoever runs the broker changes it.",
        )
    password = secrets.token_urlsafe(24)
    installation = Installation.read(data_dir)
    # Kept before the broker is told: when that fails, doing it again mends it.
    installation.keep_password(f"kafka_{principal}", password)
    tell_broker(AdminClient(running_connection(status.kafka, "admin")), principal, password)
    if principal in SERVICES:
        restart(data_dir, principal)
    else:
        write_client_files(installation.kafka_folder, principal, password, Path(status.kafka.ca_file))


def tell_broker(admin: AdminClient, principal: str, password: str) -> None:
    """Make the principal, or set its password. Raises `BrokerError`."""
    how = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, SCRAM_ITERATIONS)
    told = admin.alter_user_scram_credentials([UserScramCredentialUpsertion(principal, how, password.encode())])
    try:
        told[principal].result(timeout=30)
    except KafkaException as error:
        raise BrokerError(f"the password of {principal} could not be set: {error.args[0].str()}") from error


def restart(data_dir: Path, service: str) -> None:
    """End a service in order and wait until the supervisor has it back, ready. Raises `CouldNotError`."""
    before = running.required(data_dir)
    pid = before.processes[service].pid
    if pid is not None:
        os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + _BACK_WITHIN
    while not _is_back(data_dir, service, pid):
        if time.monotonic() > deadline:
            raise CouldNotError(
                f"{service} が {_BACK_WITHIN:.0f} 秒以内に戻りません。",
                f"{service} is not back after {_BACK_WITHIN:.0f} seconds; see {data_dir}/processes/{service}.log.",
            )
        time.sleep(_LOOK_EVERY)


def _is_back(data_dir: Path, service: str, pid: int | None) -> bool:
    status = running.running(data_dir)
    if status is None or status.processes[service].pid in (None, pid):
        return False
    try:
        return httpx2.get(f"{status.http[service]}/health/ready?exclude=providers", timeout=3).is_success
    except httpx2.HTTPError:
        return False
