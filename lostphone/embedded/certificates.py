"""Certificates of a guarded broker: a CA of its own, and the broker's, by which clients know it.

The CA's key is thrown away once it has signed: nobody can make a second broker that clients trust.
"""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from lostphone.embedded.ports import LOOPBACK
from lostphone.private_file import replace_private

LIFE: Final = timedelta(days=365)
RENEWED_BEFORE: Final = timedelta(days=30)
_BACK: Final = timedelta(days=30)
"""How far the clock may be set back after they were made: nobody would connect to a broker of the future."""
CA_FILE: Final = "ca.pem"
BROKER_FILE: Final = "broker.pem"


def kept_certificates(folder: Path, hosts: Iterable[str] = ()) -> tuple[Path, Path]:
    """`broker.pem` and `ca.pem` in this folder, made anew when one is missing or ends within 30 days."""
    broker, ca = folder / BROKER_FILE, folder / CA_FILE
    if not (broker.exists() and ca.exists()) or _ends(ca) < datetime.now(UTC) + RENEWED_BEFORE:
        make_certificates(folder, hosts)
    return broker, ca


def make_certificates(folder: Path, hosts: Iterable[str] = ()) -> None:
    """`ca.pem`, and `broker.pem`: key, certificate and CA, for `hosts`, localhost and 127.0.0.1."""
    folder.mkdir(parents=True, exist_ok=True)
    ca_key, broker_key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca_name = _name("Lostphone Kafka CA")
    signed_ca = (
        _certificate(ca_name, ca_key, ca_name, ca_key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), True)
        .add_extension(_usage(certificates=True), True)
        .sign(ca_key, hashes.SHA256())
    )
    names = [*(x509.DNSName(host) for host in (*hosts, "localhost")), x509.IPAddress(ip_address(LOOPBACK))]
    broker = (
        _certificate(_name("broker"), broker_key, ca_name, ca_key)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), True)
        .add_extension(_usage(certificates=False), True)
        .add_extension(x509.SubjectAlternativeName(names), False)
        # The controller's listener asks its clients, which are brokers, for a certificate too.
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]), False)
        .sign(ca_key, hashes.SHA256())
    )
    key = broker_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    chain = broker.public_bytes(Encoding.PEM) + signed_ca.public_bytes(Encoding.PEM)
    replace_private(folder / BROKER_FILE, key + chain)
    replace_private(folder / CA_FILE, signed_ca.public_bytes(Encoding.PEM))


def _certificate(
    name: x509.Name, key: ec.EllipticCurvePrivateKey, issuer: x509.Name, issuer_key: ec.EllipticCurvePrivateKey
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key())
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACK)
        .not_valid_after(now + LIFE)
        # RFC 5280 wants both, and Python 3.13 refuses a chain without them.
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
        .add_extension(authority, False)
    )


def _usage(*, certificates: bool) -> x509.KeyUsage:
    """What the key may sign: certificates, or the handshake of a connection."""
    return x509.KeyUsage(
        digital_signature=not certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=certificates,
        crl_sign=certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _ends(certificate: Path) -> datetime:
    return x509.load_pem_x509_certificate(certificate.read_bytes()).not_valid_after_utc
