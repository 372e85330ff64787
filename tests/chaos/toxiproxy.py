"""Toxiproxy: TCP proxies on loopback that can be closed, slowed down, or left half open.

Built once from its own source, as NanoMDM is; `toxiproxy_module/go.mod` and `go.sum` hold versions and hashes.
"""

import fcntl
import subprocess
from dataclasses import dataclass
from pathlib import Path

import httpx2

from lostphone.embedded import Child, EmbeddedError, tools_folder
from lostphone.embedded.nanomdm import _toolchains
from lostphone.embedded.ports import LOOPBACK, Claims, answers

_MODULE = Path(__file__).parent / "toxiproxy_module"
_PACKAGE = "github.com/Shopify/toxiproxy/v2/cmd/server"


def program() -> Path:
    """The built server; it is built when it is not there yet."""
    folder = tools_folder() / "bin"
    folder.mkdir(parents=True, exist_ok=True)
    built = folder / "toxiproxy"
    with (folder / "toxiproxy.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not built.exists():
            _build(built)
    return built


def _build(target: Path) -> None:
    tried = []
    for go, environment in _toolchains():
        fresh = target.with_suffix(".new")
        done = subprocess.run(
            [go, "build", "-mod=readonly", "-trimpath", "-ldflags", "-s -w", "-o", fresh, _PACKAGE],
            cwd=_MODULE, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode == 0:
            fresh.replace(target)
            return
        tried.append(f"{go}: {done.stderr.strip()[-300:]}")
    raise EmbeddedError(f"Toxiproxy could not be built ({'; '.join(tried) or 'no Go toolchain found'}).")


@dataclass(frozen=True)
class Toxiproxy:
    """One running server with its proxies; `ports` says where each listens."""

    child: Child
    port: int
    ports: dict[str, int]
    claims: Claims

    @classmethod
    def start(cls, folder: Path, names: list[str]) -> "Toxiproxy":
        """Start it. Each proxy gets its port now, and its target later by `point`."""
        claims = Claims()
        chosen = claims.settle({}, ["api", *names])
        child = Child(folder, "toxiproxy")
        child.start([program(), "-host", LOOPBACK, "-port", str(chosen["api"])])
        child.wait_until(lambda: answers(chosen["api"]), within=10)
        return cls(child, chosen.pop("api"), chosen, claims)

    def point(self, name: str, upstream_port: int) -> None:
        """Make the proxy, leading to this port of loopback."""
        self._call(
            "POST",
            "/proxies",
            {"name": name, "listen": f"{LOOPBACK}:{self.ports[name]}", "upstream": f"{LOOPBACK}:{upstream_port}"},
        )

    def refuse(self, name: str) -> None:
        """Cut what is connected and take nothing new: the other side is away."""
        self._call("POST", f"/proxies/{name}", {"enabled": False})

    def freeze(self, name: str) -> None:
        """Half open: connections stand and are taken, and not a byte passes in either direction."""
        for stream in ("upstream", "downstream"):
            toxic = {"name": f"frozen-{stream}", "type": "timeout", "stream": stream, "attributes": {"timeout": 0}}
            self._call("POST", f"/proxies/{name}/toxics", toxic)

    def slow(self, name: str, milliseconds: int) -> None:
        """Every answer comes so much later."""
        toxic = {"name": "slow", "type": "latency", "stream": "downstream", "attributes": {"latency": milliseconds}}
        self._call("POST", f"/proxies/{name}/toxics", toxic)

    def heal(self) -> None:
        """Everything as it was. What was frozen is cut first: its bytes are lost, as on a real network."""
        for name in self._call("GET", "/proxies").json():
            self._call("POST", f"/proxies/{name}", {"enabled": False})
        self._call("POST", "/reset")

    def stop(self) -> None:
        self.child.stop(within=5)

    def _call(self, method: str, path: str, body: object = None) -> httpx2.Response:
        answer = httpx2.request(method, f"http://{LOOPBACK}:{self.port}{path}", json=body, timeout=10)
        answer.raise_for_status()
        return answer
