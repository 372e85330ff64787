"""The ports of an installation, wherever they are kept, and what is said when another program took one."""

import json
from collections.abc import Mapping
from pathlib import Path

from lostphone.embedded.ports import is_free
from lostphone.status import INSTALLATION
from lostphone.supervisor import Tell

_PARTS = ("kafka", "postgres", "nanomdm")


def kept(data_dir: Path) -> dict[str, int]:
    """Each port that was chosen here, such as those of `reporter` and `kafka client`; none where nothing ever ran."""
    file = data_dir / INSTALLATION
    ports: dict[str, int] = json.loads(file.read_bytes())["ports"] if file.exists() else {}
    for part in _PARTS:
        file = data_dir / part / "ports.json"
        if file.exists():
            ports |= {f"{part} {name}": port for name, port in json.loads(file.read_bytes()).items()}
    return ports


def taken(data_dir: Path) -> str:
    """Which of them somebody uses, while nothing of the installation runs."""
    return ", ".join(f"{name}: {port}" for name, port in kept(data_dir).items() if not is_free(port))


def tell_moved(before: Mapping[str, int], after: Mapping[str, int], tell: Tell) -> None:
    """Whoever was given an address that is another one now has to hear of it."""
    for name, port in after.items():
        if (old := before.get(name, port)) != port:
            tell(
                f"{name}: ポート {old} は別のプログラムが使用中のため、{port} に変わりました。",
                f"{name}: another program has port {old}; it is port {port} from now on.",
            )
