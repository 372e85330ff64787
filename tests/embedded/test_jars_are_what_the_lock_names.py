"""Kafka's jars come in by their hashes: a wrong one is refused, whatever repository served it."""

import threading
import tomllib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from jgo.env import compute_spec_hash

from lostphone.embedded import EmbeddedError, jars


class Tampered(BaseHTTPRequestHandler):
    """A repository that answers everything, with the wrong content and a fitting checksum."""

    def do_GET(self) -> None:
        import hashlib

        body = b"PK\x03\x04 not what was locked"
        if self.path.endswith(".sha1"):
            body = hashlib.sha1(body, usedforsecurity=False).hexdigest().encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def tampered() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Tampered)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_jar_with_another_hash_is_refused_and_not_installed(
    tampered: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOSTPHONE_TOOLS", str(tmp_path))
    monkeypatch.setenv("LOSTPHONE_MAVEN_REPOSITORY", tampered)
    with pytest.raises(EmbeddedError, match=r"does not have the hash that jgo\.lock\.toml names"):
        jars.install()
    assert list((tmp_path / "kafka").glob("*.jar")) == []


def test_a_repository_that_does_not_answer_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOSTPHONE_TOOLS", str(tmp_path))
    monkeypatch.setenv("LOSTPHONE_MAVEN_REPOSITORY", "http://127.0.0.1:1")
    with pytest.raises(EmbeddedError, match=r"Could not download .*\.jar .*check the network"):
        jars.install()


def test_missing_jars_are_named_with_what_mends_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOSTPHONE_TOOLS", str(tmp_path))
    with pytest.raises(EmbeddedError, match=r"47 of Kafka's 47 jars are missing .*make install"):
        jars.class_path()


def test_the_lock_fits_its_specification_and_holds_hashes_but_no_addresses() -> None:
    text = jars.LOCK.read_text()
    assert "://" not in text
    assert tomllib.loads(text)["metadata"]["spec_hash"] == compute_spec_hash(jars.SPEC)
    assert all(len(jar.sha256) == 64 for jar in jars.locked_jars())
    assert "kafka_2.13-4.3.1.jar" in {jar.file_name for jar in jars.locked_jars()}
