"""A whole installation under exact control: each process can be killed and started again, each connection broken.

It runs the parts of `lostphone up` without its supervisor, so that a kill and a restart happen when the test says. The
reporter's relay has a process of its own. Between the services and everything that they call stands a Toxiproxy.
"""

import json
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import httpx2
import structlog
import yaml

from lostphone import database, status
from lostphone.embedded import EmbeddedError, EmbeddedKafka
from lostphone.embedded import kafka as embedded_kafka
from lostphone.embedded.kafka_properties import as_text
from lostphone.embedded.ports import LOOPBACK, Claims
from lostphone.installation import SERVICES, Installation, Service
from lostphone.process import Part, Program
from lostphone.stack import LocalStack, _with_password
from lostphone.supervisor import Stage
from lostphone.topics import manifest
from tests.chaos.toxiproxy import Toxiproxy

RELAY = "reporter-relay"
KILLABLE = ("kafka", "postgres", "nanomdm", *SERVICES, RELAY)
_PROXIES = ["kafka", "postgres", "nanomdm", "carrier", "entra", "line", "smtp"]
_READY_WITHIN = 120.0
_RESTARTED_WITHIN = 300.0
_LAST_LINES = 40
_LONGEST_LINE = 4000

_log = structlog.get_logger()


class _Kafka(EmbeddedKafka):
    """A broker with a second listener, which tells its clients to come back through the proxy."""

    def __init__(self, folder: Path, proxy_port: int) -> None:
        super().__init__(folder, archive=False)
        # A machine that starts killed processes all the time is slow; giving up and starting anew would make it slower.
        embedded_kafka.START_SECONDS = 300
        self.proxied = self._claims.settle({}, ["proxied"])["proxied"]
        self._proxy_port = proxy_port

    def _configure(self, data: Path, ports: dict[str, int]) -> Path:
        configuration = super()._configure(data, ports)
        lines = dict(line.split("=", 1) for line in configuration.read_text().splitlines())
        lines["listeners"] += f",PROXIED://{LOOPBACK}:{self.proxied}"
        lines["advertised.listeners"] += f",PROXIED://{LOOPBACK}:{self._proxy_port}"
        lines["listener.security.protocol.map"] = "PLAINTEXT:PLAINTEXT,PROXIED:PLAINTEXT,CONTROLLER:PLAINTEXT"
        configuration.write_text(as_text(lines))
        return configuration


class _Stack(LocalStack):
    """The installation's own parts, told to go through the proxies, with the limits of a loud night lifted."""

    def __init__(self, installation: Installation, proxies: Toxiproxy) -> None:
        super().__init__(installation)
        self.proxies = proxies
        self._kafka = _Kafka(installation.data_dir / "kafka", proxies.ports["kafka"])
        self.rules = _rules(installation.data_dir)

    def stages(self) -> Sequence[Stage]:
        stages = list(super().stages())
        last = stages[-1]
        stages[-1] = Stage([*last.parts, self._relay()], last.then, last.said)
        return stages

    def point(self) -> None:
        """Lead each proxy to its target, once the targets have ports."""
        installation = self._installation
        targets = {
            "kafka": self._kafka.proxied,
            "postgres": urlsplit(self._postgres.dsn()).port,
            "nanomdm": urlsplit(self._nanomdm.url).port,
            **{part: installation.ports[part] for part in ("carrier", "entra", "line", "smtp")},
        }
        for name, port in targets.items():
            self.proxies.point(name, port or 0)

    def _service(self, name: Service) -> Part:
        part = super()._service(name)
        assert isinstance(part, Program)
        told = part._environment
        part._environment = lambda: self._proxied(told())
        if name == "reporter":
            part._command = [*part._command, "--only", "http,consumer,timers,background"]
        return part

    def _relay(self) -> Part:
        part = self._service("reporter")
        assert isinstance(part, Program)
        return Program(RELAY, self._programs, [*part._command[:-1], "relay"], part._environment, [])

    def _proxied(self, told: Mapping[str, str]) -> dict[str, str]:
        ports, url = self.proxies.ports, f"http://{LOOPBACK}:"
        dsns = {name: _moved(dsn, ports["postgres"]) for name, dsn in told.items() if name.endswith("_DSN")}
        instead = {
            **dsns,
            "LOSTPHONE_KAFKA_BOOTSTRAP": f"{LOOPBACK}:{ports['kafka']}",
            "LOSTPHONE_SORACOM_URL": f"{url}{ports['carrier']}/v1",
            "LOSTPHONE_ENTRA_LOGIN_URL": f"{url}{ports['entra']}",
            "LOSTPHONE_ENTRA_GRAPH_URL": f"{url}{ports['entra']}",
            "LOSTPHONE_NANOMDM_URL": f"{url}{ports['nanomdm']}",
            "LOSTPHONE_LINE_URL": f"{url}{ports['line']}",
            "LOSTPHONE_SMTP_PORT": str(ports["smtp"]),
            "LOSTPHONE_RULES_DIR": str(self.rules),
        }
        lifted = {
            "LOSTPHONE_EMERGENCY_BURST": "100000",
            "LOSTPHONE_EMERGENCY_PER_MINUTE": "100000",
            # Watched commands are asked about often, so that a lost webhook costs seconds.
            "LOSTPHONE_WATCH_MOST_SECONDS": "5",
        }
        return {**told, **{name: value for name, value in instead.items() if name in told}, **lifted}


def _moved(dsn: str, port: int) -> str:
    parts = urlsplit(dsn)
    return parts._replace(netloc=f"{parts.username}:{parts.password}@{LOOPBACK}:{port}").geturl()


def _rules(data_dir: Path) -> Path:
    """The rules of the product, but for the breaker: so many wipes in one night are what it is there to stop."""
    import lostphone

    rules = data_dir / "processes" / "rules"
    if not rules.exists():
        shutil.copytree(Path(lostphone.__file__).parent.parent / "rules", rules)
        file = rules / "playbooks" / "default.yaml"
        playbook = yaml.safe_load(file.read_text("utf-8"))
        playbook["breaker"] |= {"wipes_per_window": 1000, "wipes_per_approver": 1000, "fleet_minimum": 1000}
        file.write_text(yaml.safe_dump(playbook, allow_unicode=True, sort_keys=False), "utf-8")
    return rules


class World:
    """One installation. Methods block; any thread may call them, each for its own part."""

    def __init__(self, data_dir: Path) -> None:
        self._claims = Claims()
        self.installation = Installation.open(data_dir, claims=self._claims)
        self.proxies = Toxiproxy.start(data_dir / "processes", _PROXIES)
        self.stack = _Stack(self.installation, self.proxies)
        self.parts: dict[str, Part] = {}
        self.status: status.Status

    def start(self) -> None:
        """Everything, in order, as `lostphone up` does it. Raises `EmbeddedError`."""
        for stage in self.stack.stages():
            if any(part.name in SERVICES for part in stage.parts):
                self.stack.point()
            with ThreadPoolExecutor(max(1, len(stage.parts))) as pool:
                list(pool.map(_bring_up, stage.parts))
            self.parts |= {part.name: part for part in stage.parts}
            if stage.then is not None:
                stage.then()
        self.announce()

    def announce(self) -> None:
        """Write down where everything is, as `lostphone up` does."""
        self.stack.announce(self.parts.values())
        found = status.read(self.installation.data_dir)
        assert found is not None
        self.status = found

    def stop(self) -> None:
        """End everything at once; the data is thrown away."""
        for part in reversed(self.parts.values()):
            part.child.kill()
        self.proxies.stop()

    def kill(self, name: str) -> None:
        """SIGKILL to the process and all of its group."""
        self.parts[name].child.kill()

    def restart(self, name: str) -> None:
        """Start a part that was killed, until it stands. A service is not waited for."""
        deadline = time.monotonic() + _RESTARTED_WITHIN
        while True:
            try:
                self.parts[name].start()
            except EmbeddedError as error:
                # PostgreSQL waits for the last process of the killed server, and NanoMDM for PostgreSQL.
                if time.monotonic() > deadline:
                    raise
                _log.info("not_started_yet", part=name, error=str(error)[:200])
                time.sleep(0.5)
            else:
                return

    def dead(self) -> list[str]:
        """Parts that do not run."""
        return [name for name, part in self.parts.items() if part.child.pid is None]

    def end_of(self, name: str) -> str:
        """How a part that does not run ended, and the last lines that it wrote."""
        child = self.parts[name].child
        lines = child.log_file.read_text(errors="replace").splitlines()[-_LAST_LINES:]
        return "\n".join([f"exit {child.exit_code}", *(line[-_LONGEST_LINE:] for line in lines)])

    def await_ready(self, within: float = _READY_WITHIN) -> None:
        """Return when all services say that they are ready. Raises `EmbeddedError`."""
        for name in SERVICES:
            self.parts[name].await_ready(within)

    def readiness(self, service: str) -> dict[str, Any]:
        """What `/health/ready` of a service says; `{}` when it does not answer."""
        with suppress(httpx2.HTTPError):
            return {**httpx2.get(f"{self.status.http[service]}/health/ready", timeout=10).json()}
        return {}

    def superuser(self, name: str = database.DATABASE) -> str:
        """The DSN of the installation's superuser, past the proxy."""
        return _with_password(self.stack._postgres.dsn(name), self.installation.passwords["postgres"])

    async def database(self, name: str = database.DATABASE) -> asyncpg.Connection:
        return await asyncpg.connect(self.superuser(name), timeout=10)

    @property
    def bootstrap(self) -> str:
        """The broker, past the proxy."""
        return self.stack._kafka.bootstrap

    def topics(self) -> list[str]:
        """Every topic of the product."""
        return sorted(topic.name for topic in manifest())

    def journal(self, part: str) -> list[dict[str, Any]]:
        """All calls that a part of the outside world received."""
        answer = httpx2.get(f"{self.status.sandbox[part]}/_journal", timeout=60)
        return list(answer.raise_for_status().json()["entries"])

    def sandbox(self, part: str, method: str, path: str, body: object = None) -> Any:
        """A control call to the sandbox."""
        answer = httpx2.request(method, f"{self.status.sandbox[part]}{path}", json=body, timeout=60)
        answer.raise_for_status()
        return answer.json() if answer.content else None

    def logs(self) -> dict[str, str]:
        """What each process wrote."""
        return {
            name: part.child.log_file.read_text(errors="replace")
            for name, part in self.parts.items()
            if part.child.log_file.exists()
        }

    def said(self, event: str) -> list[dict[str, Any]]:
        """The structured log lines of our services with this event."""
        lines = (line for name in (*SERVICES, RELAY) for line in self.logs().get(name, "").splitlines())
        return [json.loads(line) for line in lines if line.startswith("{") and f'"{event}"' in line]


def _bring_up(part: Part) -> None:
    part.start()
    part.await_ready(_READY_WITHIN)


@contextmanager
def world(data_dir: Path) -> Iterator[World]:
    """A running installation, ended with everything that belongs to it."""
    made = World(data_dir)
    try:
        made.start()
        yield made
    finally:
        made.stop()
