"""Make every key, certificate and password of docker-compose.yml: `python deploy/make_secrets.py deploy/secrets`.

What is there is kept. The folder is closed to others; its files are readable, as each container has a user of its own.
"""

import sys
from pathlib import Path

from lostphone.embedded.certificates import kept_certificates
from lostphone.embedded.kafka import scram
from lostphone.embedded.kafka_properties import as_text, scram_login
from lostphone.installation import OUTSIDERS, PRINCIPALS, SERVICES, Installation
from lostphone.kafka_access import write_client_files


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
    clients = folder / "clients"
    clients.mkdir(exist_ok=True)
    for principal in OUTSIDERS:
        write_client_files(clients, principal, kafka[principal], (folder / "ca.pem").absolute())
    folder.chmod(0o700)
    for path in folder.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)


def _write(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.write_text(text)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python deploy/make_secrets.py FOLDER")
    main(Path(sys.argv[1]))
