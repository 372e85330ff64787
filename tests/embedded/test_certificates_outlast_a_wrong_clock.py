"""A broker that was made while the clock was ahead is connected to when the clock has been set right."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from lostphone.embedded.certificates import LIFE, kept_certificates


def _trust(folder: Path, moment: datetime) -> None:
    broker, ca = kept_certificates(folder)
    certificate = x509.load_pem_x509_certificates(broker.read_bytes())[0]
    store = Store([x509.load_pem_x509_certificate(ca.read_bytes())])
    name = x509.DNSName("localhost")
    PolicyBuilder().store(store).time(moment).build_server_verifier(name).verify(certificate, [])


@pytest.mark.parametrize("back", [timedelta(0), timedelta(hours=9), timedelta(days=29)], ids=str)
def test_a_clock_that_is_set_back_keeps_nobody_from_the_broker(tmp_path: Path, back: timedelta) -> None:
    _trust(tmp_path, datetime.now(UTC) - back)


def test_certificates_end(tmp_path: Path) -> None:
    with pytest.raises(VerificationError):
        _trust(tmp_path, datetime.now(UTC) + LIFE + timedelta(minutes=1))
