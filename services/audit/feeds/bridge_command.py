"""`python -m services.audit bridge`: runs the syslog bridge. It needs Kafka and a receiver, nothing else of ours."""

import asyncio
import signal
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

import typer
from pydantic import SecretStr

from services.audit.feeds.bridge import GROUP, Bridge, Format
from services.audit.feeds.syslog import Destination, SyslogSender
from shared.messaging.kafka import KafkaConnection
from shared.telemetry import configure

_PORT = 6514
"""Of syslog over TLS (RFC 5425)."""


def bridge(
    *,
    to: Annotated[str, typer.Argument(help="The receiver, host or host:port; the port of syslog over TLS is 6514.")],
    form: Annotated[Format, typer.Option("--format", help="What a message holds.")] = "cef",
    ca_file: Annotated[
        Path | None, typer.Option(help="Whom the receiver's certificate is from; default the system's.")
    ] = None,
    certificate: Annotated[
        Path | None, typer.Option(help="Our certificate, PEM, where the receiver asks for one.")
    ] = None,
    key: Annotated[Path | None, typer.Option(help="Its private key, PEM.")] = None,
    group: Annotated[str, typer.Option(help="Consumer group in Kafka.")] = GROUP,
    kafka_bootstrap: Annotated[str, typer.Option(envvar="LOSTPHONE_KAFKA_BOOTSTRAP", help="Kafka.")] = "127.0.0.1:9092",
    kafka_security: Annotated[
        Literal["PLAINTEXT", "SASL_SSL"], typer.Option(envvar="LOSTPHONE_KAFKA_SECURITY")
    ] = "PLAINTEXT",
    kafka_username: Annotated[str | None, typer.Option(envvar="LOSTPHONE_KAFKA_USERNAME")] = None,
    kafka_password: Annotated[str | None, typer.Option(envvar="LOSTPHONE_KAFKA_PASSWORD")] = None,
    kafka_ca_file: Annotated[str | None, typer.Option(envvar="LOSTPHONE_KAFKA_CA_FILE")] = None,
) -> None:
    """Carry the SIEM feed to a syslog receiver over TLS, until SIGTERM or SIGINT."""
    configure("audit-bridge", log_level="INFO")
    try:
        host, port = _address(to)
        sender = SyslogSender(Destination(host, port, ca_file, certificate, key))
    except (OSError, ValueError) as error:
        raise typer.BadParameter(f"the receiver cannot be set up: {error}") from error
    password = SecretStr(kafka_password) if kafka_password else None
    connection = KafkaConnection(kafka_bootstrap, kafka_security, kafka_username, password, kafka_ca_file)
    asyncio.run(_until_stopped(Bridge(connection, sender, form, group=group)))


def _address(to: str) -> tuple[str, int]:
    """Host and port; an address of IPv6 stands in brackets where a port follows. Raises `ValueError`."""
    if to.count(":") > 1 and not to.startswith("["):
        return to, _PORT
    there = urlsplit(f"//{to}")
    if not there.hostname or there.netloc != to:
        raise ValueError(f"{to!r} is no host or host:port")
    there.hostname.encode("idna")
    return there.hostname, there.port or _PORT


async def _until_stopped(bridge: Bridge) -> None:
    work = asyncio.ensure_future(bridge.run())
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, work.cancel)
    try:
        await work
    except asyncio.CancelledError:
        return
