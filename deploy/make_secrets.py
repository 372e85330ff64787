"""Make every key, certificate and password of docker-compose.yml: `python deploy/make_secrets.py deploy/secrets`.

LOG_ORIGIN, as for the compose file, names the log. `log-policy.txt` is made once and then yours to change.
What is there is kept. The folder is closed to others; its files are readable, as each container has a user of its own.
"""

import json
import os
import sys
from pathlib import Path

from lostphone.embedded.certificates import kept_certificates
from lostphone.embedded.kafka import scram
from lostphone.embedded.kafka_properties import as_text, scram_login
from lostphone.installation import (
    OUTSIDERS,
    PRINCIPALS,
    SERVICES,
    WITNESS_KEYS,
    WITNESS_NAME,
    Installation,
)
from lostphone.kafka_access import write_client_files
from lostphone.log_keys import LOG_ORIGIN


def main(folder: Path) -> None:
    """Fill the folder."""
    installation = Installation.open(folder / "installation")
    passwords = installation.passwords
    kept_certificates(folder, ["kafka"])
    kafka = {principal: installation.kafka_password(principal) for principal in PRINCIPALS}
    _write(folder / "broker.properties", as_text(scram_login(kafka["broker"])))
    _write(folder / "kafka-users", "".join(f"{scram(user, word)}\n" for user, word in kafka.items()))
    _write(folder / "postgres-password", passwords["postgres"])
    if not installation.approvers_file.exists():
        _write(installation.approvers_file, "{}\n")
    for service in SERVICES:
        _write(
            folder / f"{service}.env",
            f"LOSTPHONE_KAFKA_USERNAME={service}\n"
            f"LOSTPHONE_KAFKA_PASSWORD={kafka[service]}\n"
            f"LOSTPHONE_POSTGRES_DSN=postgresql://{service}:{passwords[service]}@postgres:5432/lostphone\n",
        )
    _write(
        folder / "prepare.env",
        "LOSTPHONE_KAFKA_USERNAME=admin\n"
        f"LOSTPHONE_KAFKA_PASSWORD={kafka['admin']}\n"
        f"LOSTPHONE_POSTGRES_DSN=postgresql://lostphone:{passwords['postgres']}@postgres:5432/postgres\n"
        + "".join(f"LOSTPHONE_PASSWORD_{service.upper()}={passwords[service]}\n" for service in SERVICES),
    )
    _witness(folder, installation, os.environ.get("LOG_ORIGIN", LOG_ORIGIN))
    clients = folder / "clients"
    clients.mkdir(exist_ok=True)
    for principal in OUTSIDERS:
        write_client_files(clients, principal, kafka[principal], (folder / "ca.pem").absolute())
    folder.chmod(0o700)
    for path in folder.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)


def _witness(folder: Path, installation: Installation, origin: str) -> None:
    """What the witness watches, and the policy that asks for it; addresses are those between the containers."""
    config = {
        "data_dir": "/var/lib/lostphone",
        "host": "0.0.0.0",  # noqa: S104 - in a container of its own, on a network of its own
        "port": 8080,
        "played": False,
        "name": WITNESS_NAME,
        "keys": [f"/run/secrets/{name}" for name in WITNESS_KEYS],
        "logs": installation.log_keys.vkeys(origin),
    }
    _write(folder / "witness.json", json.dumps(config, indent=2) + "\n")
    if not (folder / "log-policy.txt").exists():
        log_url = os.environ.get("AUDIT_URL", "http://localhost:8084")
        _write(folder / "log-policy.txt", installation.log_policy(log_url, "http://witness:8080", origin))


def _write(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.write_text(text)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python deploy/make_secrets.py FOLDER")
    main(Path(sys.argv[1]))
