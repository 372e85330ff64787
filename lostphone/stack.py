"""The whole installation on one machine: which parts there are, in which order they start, and what each is told.

Every service gets an environment of its own: its database role, its signing key, the secrets of the vendors it calls,
and nothing of the others'.
"""

import asyncio
import json
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from confluent_kafka.admin import AdminClient

import lostphone
from lostphone import acls, database, status, topics
from lostphone.approvers import make_sandbox_approvers
from lostphone.embedded import Child, EmbeddedError, EmbeddedKafka, EmbeddedNanoMDM, EmbeddedPostgres
from lostphone.embedded.certificates import CA_FILE, kept_certificates
from lostphone.embedded.kafka_properties import SCRAM, Plaintext, SaslSsl, Security
from lostphone.embedded.nanomdm import Secrets, schema_file
from lostphone.embedded.ports import Claims
from lostphone.environment import NANOMDM_WEBHOOK, Facts, NanoMDMFacts, service_environment
from lostphone.identity import token
from lostphone.installation import (
    INTEGRATORS,
    OUTSIDERS,
    PRINCIPALS,
    SANDBOX_PARTS,
    SERVICES,
    WITNESS,
    WITNESS_KEYS,
    WITNESS_NAME,
    Installation,
    Service,
)
from lostphone.kafka_access import SASL_SSL, Guard, write_client_files
from lostphone.named import Named, NamedKafka, NamedPostgres
from lostphone.private_file import replace_private
from lostphone.process import Embedded, Part, Program
from lostphone.rotation import tell_broker
from lostphone.screen import CouldNotError
from lostphone.supervisor import Stage
from sandbox.certificates import authority

AUDITOR: Final = "acme-auditor"
_BEARER_LIFE_SECONDS = 30 * 24 * 3600
_ROOT = Path(lostphone.__file__).parent.parent
_READY = "/health/ready?exclude=providers"
"""A vendor that is away keeps nobody from starting."""
_ON_THE_WAY: Final = ("reporter", "mdm_actions")
_YIELDS: Final = 10
"""The lock goes before everything else: when the processors are full, what is not on its way yields."""
_HTTP_PARTS = [part for part in SANDBOX_PARTS if part != "smtp"]


def open_installation(
    data_dir: Path, named: Named, *, secure: bool = False, claims: Claims | None = None
) -> Installation:
    """The installation in this directory, on what the environment names; `claims` as in `Installation.open`. Raises
    `CouldNotError`."""
    guarded = named.kafka.guard is not None if named.kafka is not None else secure
    if secure and not guarded:
        raise CouldNotError(
            "--secure は自身の Kafka を守るものです。"
            "指定された Kafka には LOSTPHONE_KAFKA_SECURITY=SASL_SSL を使います。",
            "--secure guards a broker of the installation's own. One signs in to a named one with "
            "LOSTPHONE_KAFKA_SECURITY=SASL_SSL.",
        )
    return Installation.open(data_dir, secure=guarded, sources=named.sources, claims=claims)


class LocalStack:
    """Kafka, PostgreSQL, NanoMDM, the sandbox and the four services of one installation."""

    def __init__(
        self, installation: Installation, named: Named | None = None, settled: Callable[[], None] = lambda: None
    ) -> None:
        """`named`: broker and database that somebody else runs. `settled` is called once every part has its port."""
        self._installation = installation
        data = installation.data_dir
        named = named or Named()
        self._kafka = named.kafka or EmbeddedKafka(data / "kafka", _security(installation))
        self._postgres = named.postgres or EmbeddedPostgres(
            data / "postgres", password=installation.passwords["postgres"]
        )
        self._programs = data / "processes"
        self._nanomdm = _NanoMDM(data / "nanomdm", self._make_nanomdm)
        self._bearer = ""
        self._settled = settled

    @property
    def installation(self) -> Installation:
        return self._installation

    def superuser_dsn(self, name: str) -> str:
        """The server's superuser; the address of an embedded one is known once it was started."""
        if isinstance(self._postgres, NamedPostgres):
            return self._postgres.superuser_dsn(name)
        return _with_password(self._postgres.dsn(name), self._installation.passwords["postgres"])

    def stages(self) -> Sequence[Stage]:
        return [
            self._ground(),
            Stage(
                [],
                self.prepare,
                ("トピックとデータベースの準備ができました", "Topics and databases are as they should be"),
            ),
            Stage([self._nanomdm], said=("NanoMDM が動いています", "NanoMDM runs")),
            Stage(
                [self._sandbox_part(), self._witness()],
                self._after_sandbox,
                ("サンドボックスが動いています", "The sandbox runs"),
            ),
            Stage(
                [self._service(name) for name in SERVICES],
                said=("4 つのサービスが動いています", "The four services run"),
            ),
        ]

    def _ground(self) -> Stage:
        """Broker and database: those of its own are started, those that the environment names must answer."""
        own: list[Part] = []
        named: list[NamedKafka | NamedPostgres] = []
        for name, part in (("kafka", self._kafka), ("postgres", self._postgres)):
            if isinstance(part, NamedKafka | NamedPostgres):
                named.append(part)
            else:
                own.append(Embedded(name, part.child, part.start, part.stop))

        def require() -> None:
            for part in named:
                part.require()

        outside = " · ".join(str(part) for part in named)
        return Stage(
            own,
            require,
            (
                f"Kafka と PostgreSQL が動いています{f'(環境変数の指定: {outside})' if named else ''}",
                f"Kafka and PostgreSQL run{f'; named by the environment: {outside}' if named else ''}",
            ),
        )

    def announce(self, parts: Iterable[Part]) -> None:
        installation = self._installation
        processes = {part.name: status.Process(pid=part.child.pid) for part in parts}
        said = status.Status(
            data_dir=str(installation.data_dir),
            kafka=self._kafka_status(),
            postgres={name: status.Database(dsn=self._dsn(name)) for name in SERVICES},
            http={name: installation.url(name) for name in SERVICES},
            sandbox={part: installation.url(part) for part in (*SANDBOX_PARTS, WITNESS)},
            events=status.Events(keys=installation.event_keys()),
            sources=dict(installation.sources),
            log=status.Log(
                url=installation.url("audit"),
                origin=installation.log_origin,
                vkey=installation.log_keys.vkeys()[0],
                bearer=self._bearer,
            ),
            processes={"supervisor": status.Process(pid=os.getpid()), **processes},
        )
        status.write(installation.data_dir, said)

    def _guard(self) -> Guard | None:
        if isinstance(self._kafka, NamedKafka):
            return self._kafka.guard
        security = self._kafka.security
        return None if isinstance(security, Plaintext) else Guard(security.truststore, "admin", security.users["admin"])

    def _kafka_status(self) -> status.Kafka:
        if self._guard() is None:
            return status.Kafka(bootstrap=self._kafka.bootstrap)
        folder = self._installation.kafka_folder
        return status.Kafka(
            bootstrap=self._kafka.bootstrap,
            security_protocol=SASL_SSL,
            sasl_mechanism=SCRAM,
            ca_file=str(folder / CA_FILE),
            clients={principal: str(folder / f"{principal}.conf") for principal in OUTSIDERS},
        )

    def _make_nanomdm(self, folder: Path) -> EmbeddedNanoMDM:
        passwords = self._installation.passwords
        return EmbeddedNanoMDM(
            folder,
            dsn=self._dsn(database.NANOMDM, database.NANOMDM),
            ca_file=self._ca()[0],
            webhook_url=f"{self._installation.url('mdm_actions')}{NANOMDM_WEBHOOK}",
            secrets=Secrets(api_key=passwords["nanomdm_api"], webhook_hmac_key=passwords["nanomdm_webhook"]),
        )

    def prepare(self) -> None:
        """Topics, ACLs, database roles and schemas, and what the MDM server needs."""
        self.prepare_broker()
        asyncio.run(self._prepare_databases())
        authority(*self._ca())

    def prepare_broker(self) -> None:
        """Topics; on a guarded broker also who may sign in, and who may do what."""
        connection = self.admin_connection()
        topics.apply(connection, topics.manifest())
        if (guard := self._guard()) is None:
            return
        installation = self._installation
        if isinstance(self._kafka, NamedKafka):
            installation.kafka_folder.mkdir(mode=0o700, exist_ok=True)
            replace_private(installation.kafka_folder / CA_FILE, guard.ca_file.read_bytes())
            admin = AdminClient({**connection})
            for principal in (*SERVICES, *OUTSIDERS[1:]):
                tell_broker(admin, principal, installation.kafka_password(principal))
        acls.apply(connection, INTEGRATORS)
        for name in OUTSIDERS:
            principal, password = guard.admin, guard.password
            if name != OUTSIDERS[0]:
                principal, password = name, installation.kafka_password(name)
            write_client_files(installation.kafka_folder, principal, password, guard.ca_file, name=name)

    def admin_connection(self) -> dict[str, str]:
        """librdkafka's settings of the one who may do everything on the broker."""
        guard = self._guard()
        return {"bootstrap.servers": self._kafka.bootstrap, **(guard.client() if guard else {})}

    async def _prepare_databases(self) -> None:
        passwords = self._installation.passwords
        superuser = self.superuser_dsn("postgres")
        if isinstance(self._postgres, EmbeddedPostgres):
            await database.require_passwords(superuser, passwords["postgres"])
        await database.claim(superuser, database.DATABASE, self._installation.owner)
        await database.prepare(superuser, database.DATABASE, {name: passwords[name] for name in SERVICES})
        inside = self.superuser_dsn(database.DATABASE)
        await database.migrate_all(inside, SERVICES)
        await database.prepare_nanomdm(superuser, passwords["nanomdm"], schema_file().read_text(), "mdm_actions")

    def _sandbox_part(self) -> Part:
        def environment() -> Mapping[str, str]:
            file = self._programs / "sandbox.json"
            file.write_text(json.dumps(self._sandbox_configuration(), indent=2))
            return _environment({"LOSTPHONE_SANDBOX_CONFIG": str(file)})

        ready = [f"{self._installation.url(part)}/health/ready" for part in _HTTP_PARTS]
        return Program("sandbox", self._programs, [sys.executable, "-m", "sandbox"], environment, ready)

    def _witness(self) -> Part:
        """The log's witness, which trusts only the keys that it was given."""
        installation = self._installation

        def environment() -> Mapping[str, str]:
            file = self._programs / f"{WITNESS}.json"
            said = {
                "data_dir": str(installation.data_dir / "sandbox"),
                "port": installation.ports[WITNESS],
                "name": WITNESS_NAME,
                "keys": [str(installation.key_file(WITNESS, name)) for name in WITNESS_KEYS],
                "logs": installation.log_keys.vkeys(),
            }
            file.write_text(json.dumps(said, indent=2))
            return _environment({"LOSTPHONE_WITNESS_CONFIG": str(file)})

        ready = [f"{installation.url(WITNESS)}/health/ready"]
        command = [sys.executable, "-m", "sandbox.witness"]
        return Program(WITNESS, self._programs, command, environment, ready, nice=_YIELDS)

    def _sandbox_configuration(self) -> dict[str, object]:
        cert, key = self._ca()
        return {
            "data_dir": str(self._installation.data_dir / "sandbox"),
            "ports": {part: self._installation.ports[part] for part in SANDBOX_PARTS},
            "nanomdm": {"url": self._nanomdm.url},
            "ca": {"cert": str(cert), "key": str(key)},
            # Every poll of every phone is a webhook of NanoMDM.
            "poll_seconds": 1.0,
        }

    def _after_sandbox(self) -> None:
        self._settled()
        make_sandbox_approvers(self._installation)
        self._bearer = token(self._installation.url("identity"), AUDITOR, life_seconds=_BEARER_LIFE_SECONDS)

    def _service(self, name: Service) -> Part:
        def environment() -> Mapping[str, str]:
            # A password may have been changed since.
            installation = Installation.read(self._installation.data_dir)
            facts = Facts(installation, self._kafka.bootstrap, self._dsn(name), self._nanomdm_facts())
            return _environment(service_environment(name, facts))

        command = [sys.executable, "-m", f"services.{name}", "serve"]
        ready = [f"{self._installation.url(name)}{_READY}"]
        return Program(name, self._programs, command, environment, ready, nice=0 if name in _ON_THE_WAY else _YIELDS)

    def _nanomdm_facts(self) -> NanoMDMFacts:
        return NanoMDMFacts(self._nanomdm.url, self._dsn("mdm_actions", database.NANOMDM))

    def _dsn(self, role: str, name: str = database.DATABASE) -> str:
        return _with_password(self._postgres.dsn(name, role), self._installation.passwords[role])

    def _ca(self) -> tuple[Path, Path]:
        keys = self._installation.data_dir / "keys" / "sandbox"
        return keys / "devices-ca.pem", keys / "devices-ca.key"


class _NanoMDM:
    """The MDM server, made at its first start: the address of its database is known only then."""

    name = database.NANOMDM

    def __init__(self, folder: Path, make: Callable[[Path], EmbeddedNanoMDM]) -> None:
        self._folder = folder
        self._make = make
        self._server: EmbeddedNanoMDM | None = None

    @property
    def child(self) -> Child:
        return self._server.child if self._server is not None else Child(self._folder, self.name)

    @property
    def url(self) -> str:
        """Known once it was started."""
        if self._server is None:
            raise EmbeddedError("NanoMDM was not started yet.")
        return self._server.base_url

    def start(self) -> None:
        self.child.kill()
        self._server = self._server or self._make(self._folder)
        self._server.start()

    def await_ready(self, within: float) -> None:
        """It is, once started."""

    def stop(self) -> object:
        return self._server.stop() if self._server is not None else self.child.stop(within=5)


def _security(installation: Installation) -> Security:
    if not installation.secure:
        return Plaintext()
    keystore, truststore = kept_certificates(installation.kafka_folder.absolute())
    return SaslSsl(keystore, truststore, {name: installation.kafka_password(name) for name in PRINCIPALS})


def _environment(own: Mapping[str, str]) -> dict[str, str]:
    # The packages lie beside this one, whatever folder the command was given in.
    return {"PYTHONPATH": str(_ROOT), "PYTHONUNBUFFERED": "1", **own}


def _with_password(dsn: str, password: str) -> str:
    scheme, _, rest = dsn.partition("://")
    user, _, address = rest.partition("@")
    return f"{scheme}://{user}:{password}@{address}"
