"""Make the pictures of the README anew, from a real run: `.venv/bin/python scripts/pictures.py`.

Starts an installation of its own, plays the demo into it, and keeps what the audience and the people in the story
saw: docs/pictures/demo.svg, and pages at the width of a phone. Needs Chromium on the path for the pages.
"""

import shutil
import sys
import tempfile
import time
from pathlib import Path

from playwright.sync_api import Browser, ViewportSize, sync_playwright
from rich.console import Console

from lostphone import running
from lostphone.demo import cast
from lostphone.demo.cast import Cast
from lostphone.demo.command import play
from lostphone.installation import Installation
from lostphone.screen import progress

_FOLDER = Path(__file__).parents[1] / "docs" / "pictures"
_PHONE: ViewportSize = {"width": 390, "height": 844}
_DESK: ViewportSize = {"width": 1000, "height": 900}


def main() -> None:
    """Play, and take the pictures."""
    chromium = shutil.which("chromium")
    if chromium is None:
        sys.exit("Chromium is not on the path; with Debian: apt-get install chromium fonts-noto-cjk")
    with tempfile.TemporaryDirectory(prefix="lostphone-pictures-") as place:
        directory = Path(place) / "data"
        status, _ = running.start_detached(directory, lambda line: progress(line, line))
        try:
            # In colour and no terminal: a picture does not move, and would keep every frame of what turns.
            console = Console(record=True, color_system="truecolor", width=118, highlight=False, legacy_windows=False)
            told = play(status, directory, Path("build/demo"), as_json=False, began=time.monotonic(), console=console)
            _FOLDER.mkdir(parents=True, exist_ok=True)
            console.save_svg(str(_FOLDER / "demo.svg"), title="make demo")
            troupe = Cast(status, Installation.read(directory))
            reporter, notifier, audit = (status.http[name] for name in ("reporter", "notifier", "audit"))
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
                _shoot(browser, "intake", f"{reporter}/report", troupe.token(cast.COLLEAGUE))
                _shoot(browser, "receipt", told.receipt_url)
                _shoot(browser, "disclosure", told.disclosure_url)
                _shoot(browser, "case", f"{reporter}/incidents/{told.incident}", troupe.token(cast.DESK), _DESK)
                _shoot(browser, "timeline", f"{audit}/incidents/{told.incident}", troupe.token(cast.AUDITOR), _DESK)
                _shoot(browser, "duties", f"{notifier}/incidents/{told.incident}/duties", troupe.token(cast.PRIVACY))
                browser.close()
        finally:
            running.stop(directory)


def _shoot(browser: Browser, name: str, url: str, token: str | None = None, size: ViewportSize = _PHONE) -> None:
    """One screen of a page, as the person of the token sees it."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    context = browser.new_context(viewport=size, locale="ja-JP", timezone_id="Asia/Tokyo", extra_http_headers=headers)
    page = context.new_page()
    answer = page.goto(url)
    if answer is None or not answer.ok:
        sys.exit(f"{url} answered {answer.status if answer else 'nothing'}")
    page.screenshot(path=_FOLDER / f"{name}.png")
    context.close()


if __name__ == "__main__":
    main()
