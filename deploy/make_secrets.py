"""Make every key, certificate and password of docker-compose.yml: `python deploy/make_secrets.py deploy/secrets`.

What is there is kept. The folder is closed to others; its files are readable, as each container has a user of its own.
"""

import base64
import sys
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from lostphone.embedded.kafka import scram
from lostphone.embedded.kafka_properties import as_text, scram_login
from lostphone.installation import SERVICES, Installation

LIFE = timedelta(days=365)
KAFKA_USERS = ("broker", "admin", *SERVICES)


def main(folder: Path) -> None:
    """Fill the folder."""
    installation = Installation.open(folder / "installation")
    passwords = installation.passwords
    if not (folder / "broker.pem").exists():
        make_certificates(folder)
    # The database password of a service is another one than its Kafka password: one may leak without the other.
    kafka = {user: base64.urlsafe_b64encode(_derive(passwords["postgres"], user)).decode() for user in KAFKA_USERS}
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
    folder.chmod(0o700)
    for path in folder.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)


def make_certificates(folder: Path) -> None:
    """`ca.pem`, and `broker.pem`: key, certificate and CA, for the names by which the broker is reached."""
    folder.mkdir(parents=True, exist_ok=True)
    ca_key, broker_key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca_name = _name("Lostphone Kafka CA")
    ca = _certificate(ca_name, ca_key, ca_name).add_extension(x509.BasicConstraints(ca=True, path_length=0), True)
    signed_ca = ca.sign(ca_key, hashes.SHA256())
    names = [x509.DNSName("kafka"), x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1"))]
    broker = (
        _certificate(_name("broker"), broker_key, ca_name)
        .add_extension(x509.SubjectAlternativeName(names), False)
        # The controller's listener asks its clients, which are brokers, for a certificate too.
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]), False)
        .sign(ca_key, hashes.SHA256())
    )
    key = broker_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    chain = broker.public_bytes(Encoding.PEM) + signed_ca.public_bytes(Encoding.PEM)
    _write(folder / "broker.pem", (key + chain).decode())
    _write(folder / "ca.pem", signed_ca.public_bytes(Encoding.PEM).decode())


def _certificate(name: x509.Name, key: ec.EllipticCurvePrivateKey, issuer: x509.Name) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + LIFE)
    )


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _derive(secret: str, user: str) -> bytes:
    mac = hashes.Hash(hashes.SHA256())
    mac.update(f"lostphone-kafka-password\0{secret}\0{user}".encode())
    return mac.finalize()[:24]


def _write(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.write_text(text)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python deploy/make_secrets.py FOLDER")
    main(Path(sys.argv[1]))
