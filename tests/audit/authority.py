"""A timestamping authority on loopback: openssl, with certificates made for the test."""

import asyncio
import datetime
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sandbox.playing import served

_CONFIG = """
[tsa]
default_tsa = here
[here]
serial = {folder}/serial
crypto_device = builtin
signer_cert = {folder}/tsa.pem
signer_key = {folder}/tsa.key
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = {digests}
clock_precision_digits = 3
ordering = yes
tsa_name = no
ess_cert_id_alg = sha256
"""


def _certificates(folder: Path, issuer: str) -> None:
    now = datetime.datetime.now(datetime.UTC)
    keys = {name: ec.generate_private_key(ec.SECP256R1()) for name in ("root", "web", "tsa")}
    names = {name: x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"test {name}")]) for name in keys}
    issuers = {"root": "root", "web": "root", "tsa": issuer}
    for name, by in issuers.items():
        builder = (
            x509.CertificateBuilder()
            .subject_name(names[name])
            .issuer_name(names[by])
            .public_key(keys[name].public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=30))
            .add_extension(x509.BasicConstraints(ca=name == "root", path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(keys[name].public_key()), critical=False)
        )
        if name == "tsa":
            usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.TIME_STAMPING])
            builder = builder.add_extension(usage, critical=True)
        certificate = builder.sign(keys[by], hashes.SHA256())
        (folder / f"{name}.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
        pem = keys[name].private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        (folder / f"{name}.key").write_bytes(pem)


def _prepare(folder: Path, issuer: str, digests: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    _certificates(folder, issuer)
    (folder / "serial").write_text("01\n")
    sent = f"certs = {folder}/{issuer}.pem\n" if issuer != "root" else ""
    (folder / "openssl.cnf").write_text(_CONFIG.format(folder=folder, digests=digests) + sent)


@asynccontextmanager
async def authority(folder: Path, issuer: str = "root", digests: str = "sha256") -> AsyncIterator[tuple[str, Path]]:
    """Its address, and the certificate that it is trusted by. `issuer`: of its own certificate; `web` has one of the
    root that may issue none. `digests`: what it certifies; it refuses all others."""
    _prepare(folder, issuer, digests)

    async def stamp(request: Request) -> Response:
        (folder / "query").write_bytes(await request.body())
        command = ("openssl", "ts", "-reply", "-config", folder / "openssl.cnf", "-queryfile", folder / "query")
        done = await asyncio.create_subprocess_exec(
            *map(str, command), "-out", str(folder / "answer"), stderr=asyncio.subprocess.PIPE
        )
        _, said = await done.communicate()
        if done.returncode:
            return Response(said, 500)
        return Response((folder / "answer").read_bytes(), media_type="application/timestamp-reply")

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/"
        async with served(Starlette(routes=[Route("/", stamp, methods=["POST"])]), taken):
            yield url, folder / "root.pem"
