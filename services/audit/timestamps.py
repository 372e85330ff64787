"""RFC 3161 timestamps over published checkpoints: a third party's word for when they existed."""

import asyncio

import httpx2
from cryptography import x509
from rfc3161_client import (
    HashAlgorithm,
    TimestampRequestBuilder,
    VerificationError,
    VerifierBuilder,
    decode_timestamp_response,
)
from rfc3161_client.tsp import PKIStatus

from services.audit.feeds.ocsf_text import neutral
from shared.web.answers import beginning

_TIMEOUT_SECONDS = 15.0
MAX_RESPONSE_BYTES = 64 * 1024
_MAX_WORDS = 200


class TimestampError(Exception):
    """The authority did not answer with a timestamp that verifies."""


class Timestamps:
    """One authority, and the certificates that it must lead to."""

    def __init__(self, url: str, roots: bytes, http: httpx2.AsyncClient) -> None:
        """Raises `ValueError` when `roots` (PEM) holds no certificate."""
        self._url = url
        self._roots = x509.load_pem_x509_certificates(roots)
        self._http = http

    async def stamp(self, note: bytes) -> bytes:
        """The authority's verified response over the SHA-256 of a note. Raises `TimestampError`, also in an outage."""
        request = TimestampRequestBuilder().data(note).hash_algorithm(HashAlgorithm.SHA256).build()
        try:
            async with (
                # In all: an authority that gives a byte now and then would keep the hourly index waiting as well.
                asyncio.timeout(_TIMEOUT_SECONDS),
                self._http.stream(
                    "POST",
                    self._url,
                    content=request.as_bytes(),
                    headers={"Content-Type": "application/timestamp-query"},
                    timeout=_TIMEOUT_SECONDS,
                ) as answer,
            ):
                response = await beginning(answer, MAX_RESPONSE_BYTES)
        except (httpx2.HTTPError, TimeoutError) as error:
            raise TimestampError(f"the timestamping authority cannot be reached: {type(error).__name__}") from error
        if answer.status_code != httpx2.codes.OK or len(response) > MAX_RESPONSE_BYTES:
            raise TimestampError(f"the timestamping authority answered HTTP {answer.status_code}")
        _is_granted(response)
        builder = VerifierBuilder.from_request(request)
        for root in self._roots:
            builder = builder.add_root_certificate(root)
        try:
            builder.build().verify_message(decode_timestamp_response(response), note)
        except (VerificationError, ValueError) as error:
            raise TimestampError(f"the timestamp does not verify: {error}") from error
        return response


def _is_granted(response: bytes) -> None:
    """Raises `TimestampError` with what the authority says, when it says that it gives no timestamp."""
    try:
        answer = decode_timestamp_response(response)
        status = PKIStatus(answer.status)
    except ValueError as error:
        raise TimestampError(f"the timestamping authority's answer is none: {error}") from error
    if status > PKIStatus.GRANTED_WITH_MODS:
        said = neutral("".join(f": {text}" for text in answer.status_string[:1]), limit=_MAX_WORDS)
        raise TimestampError(
            f"the timestamping authority refused: status {status}, {status.name.lower().replace('_', ' ')}{said}. "
            "Where it goes on so, ask whoever runs it, or name another in LOSTPHONE_TSA_URL"
        )
