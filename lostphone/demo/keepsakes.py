"""What the story leaves behind in `build/demo/`: pages, every message that left, evidence, the sandbox's journals."""

import re
import shutil
from pathlib import Path
from urllib.parse import urljoin

import httpx2
import orjson

from lostphone.demo import cast
from lostphone.demo.cast import Cast
from lostphone.demo.story import Told
from lostphone.screen import CouldNotError, why

_PAGES = {f"{page}.html" for page in ("timeline", "disclosure", "receipt", "case", "duties", "notices", "filing")}
_LEFT = _PAGES | {"timeline.json", "mails", "line", "journals", "evidence"}
"""What a demo leaves in its folder, and therefore may take away again."""
_JOURNALS = ("identity", "carrier", "entra", "mail", "line", "alerts", "phones")


def claim(folder: Path) -> None:
    """Make the folder, before an evening is played for it. Raises `CouldNotError` when it cannot be made, or holds
    what no demo left: that would be lost."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        others = sorted(path.name for path in folder.iterdir() if path.name not in _LEFT)
    except OSError as error:
        raise CouldNotError(
            f"{folder} に書けません: {why(error)}", f"{folder} cannot be written: {why(error)}"
        ) from error
    if others:
        raise CouldNotError(
            f"{folder} には別のもの({others[0]})があるため、使いません。空のフォルダーを指定してください。",
            f"{folder} holds other things ({others[0]}), so it is left alone. Name an empty folder.",
        )


def keep(folder: Path, troupe: Cast, told: Told) -> list[tuple[str, Path]]:
    """Write everything into the folder, replacing what an earlier run left; returns what is where."""
    claim(folder)
    shutil.rmtree(folder)
    folder.mkdir(parents=True)
    http = troupe.status.http
    incident = told.incident
    kept = [
        _page(folder, "timeline.html", f"{http['audit']}/incidents/{incident}", troupe.token(cast.AUDITOR)),
        _page(folder, "disclosure.html", told.disclosure_url),
        _page(folder, "receipt.html", told.receipt_url),
        _page(folder, "case.html", f"{http['reporter']}/incidents/{incident}", troupe.token(cast.DESK)),
        _page(folder, "duties.html", f"{http['notifier']}/incidents/{incident}/duties", troupe.token(cast.PRIVACY)),
        _page(folder, "notices.html", f"{http['notifier']}/incidents/{incident}/notices", troupe.token(cast.PRIVACY)),
        _page(folder, "filing.html", f"{http['notifier']}/incidents/{incident}/filing", troupe.token(cast.PRIVACY)),
        _json(folder, "timeline.json", f"{http['audit']}/v1/incidents/{incident}/timeline", troupe.token(cast.AUDITOR)),
    ]
    sandbox = Path(troupe.status.data_dir) / "sandbox"
    for name, source in (("mails", sandbox / "mail" / "messages"), ("line", sandbox / "line" / "messages")):
        shutil.copytree(source, folder / name)
        kept.append((name, folder / name))
    journals = folder / "journals"
    journals.mkdir()
    for part in _JOURNALS:
        entries = troupe.sandbox(part, "GET", "/_journal").json()
        (journals / f"{part}.json").write_bytes(orjson.dumps(entries, option=orjson.OPT_INDENT_2))
    kept.append(("journals", journals))
    return kept


def _page(folder: Path, name: str, url: str, token: str | None = None) -> tuple[str, Path]:
    kept = _get(folder, name, url, token, "text/html")
    _inline_styles(folder / name, url)
    return kept


def _inline_styles(page: Path, url: str) -> None:
    """Put the style sheets into the page, so that it can be read long after the installation has ended."""

    def styles(link: re.Match[str]) -> str:
        sheet = httpx2.get(urljoin(url, link[1]), timeout=30)
        return f"<style>{sheet.text}</style>" if sheet.is_success else link[0]

    page.write_text(re.sub(r'<link rel="stylesheet" href="([^"]+)">', styles, page.read_text("utf-8")), "utf-8")


def _json(folder: Path, name: str, url: str, token: str) -> tuple[str, Path]:
    return _get(folder, name, url, token, "application/json")


def _get(folder: Path, name: str, url: str, token: str | None, media_type: str) -> tuple[str, Path]:
    headers = {"Accept": media_type} | ({"Authorization": f"Bearer {token}"} if token else {})
    answer = httpx2.get(url, headers=headers, follow_redirects=True, timeout=30)
    if not answer.is_success:
        raise CouldNotError(f"{url}: HTTP {answer.status_code}", f"{url} answered HTTP {answer.status_code}")
    (folder / name).write_bytes(answer.content)
    return name, folder / name
