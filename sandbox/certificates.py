"""Certificates of the simulated phones: an authority of the sandbox's own, and one certificate per phone under it."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.hazmat.primitives.serialization.pkcs7 import PKCS7Options, PKCS7SignatureBuilder
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from sandbox import kept

_LIFE = timedelta(days=5 * 365)


class Holder:
    """A private key and its certificate."""

    def __init__(self, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> None:
        self.key = key
        self.certificate = certificate

    def pem(self) -> bytes:
        """Both, private key first."""
        return self.key_pem() + self.certificate_pem()

    def key_pem(self) -> bytes:
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    def certificate_pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)

    def sign(self, content: bytes) -> bytes:
        """A detached CMS signature in DER, as `Mdm-Signature` carries it."""
        builder = PKCS7SignatureBuilder().set_data(content).add_signer(self.certificate, self.key, hashes.SHA256())
        return builder.sign(Encoding.DER, [PKCS7Options.DetachedSignature, PKCS7Options.Binary])


def read(pem: bytes) -> Holder:
    """The holder whose `pem` this is."""
    key = load_pem_private_key(pem, None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise TypeError("the sandbox makes elliptic-curve keys only")
    return Holder(key, x509.load_pem_x509_certificate(pem))


def authority(cert: Path, key: Path) -> Holder:
    """The authority in these files, made when they are absent. NanoMDM's `-ca` takes the certificate's file."""
    if not key.exists() or not cert.exists():
        made = _issue("Lostphone sandbox device authority", None)
        kept.write(key, made.key_pem())
        kept.write(cert, made.certificate_pem())
    return read(key.read_bytes() + cert.read_bytes())


def foreign() -> Holder:
    """An authority that nobody trusts."""
    return _issue("Somebody else's authority", None)


def issue(name: str, issuer: Holder) -> Holder:
    """A phone's key and certificate."""
    return _issue(name, issuer)


def _issue(name: str, issuer: Holder | None) -> Holder:
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + _LIFE)
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
    )
    if issuer:
        # NanoMDM refuses a device certificate without this usage.
        usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])
        builder = builder.add_extension(usage, critical=False)
    return Holder(key, builder.sign(issuer.key if issuer else key, hashes.SHA256()))
