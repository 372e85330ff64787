"""Pages: Jinja2 templates over the shared shell, in Japanese and English.

    pages = Pages(Path(__file__).parent / "pages", Path(__file__).parent / "pages" / "words.yaml")
    return pages.render(request, "receipt.html", incident=incident)

A template says `{% extends "shell.html" %}` and fills the blocks `title` and `main`. In it:

- `t("key", name=value)`: the words for a key, values escaped; `t.ja("key")` and `t.en("key")` in a given language
- `when(moment)`: a `<time>` element in the installation's time zone; `day(date)`
- `csrf()`: the hidden field that every form with method post needs
- `lang`, `person` (or None), `links` (the other services' addresses; a service is not among its own), `here` (this
  path), `sign_in` (a link). The block `nav` of the shell leads desk and officers to the other services.
"""

from datetime import date, datetime
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode
from zoneinfo import ZoneInfo

import yaml
from fastapi import Request
from jinja2 import ChoiceLoader, Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape
from starlette.responses import HTMLResponse

from shared.events.payload import in_zone
from shared.web import csrf
from shared.web.identity import sign_in_path
from shared.web.language import COOKIE, LANGUAGES, Language, language

_SHARED = Path(__file__).parent / "pages"
_LANGUAGE_SECONDS = 365 * 86400
_WEEKDAYS = "月火水木金土日"

type Words = dict[str, dict[Language, str]]


class Pages:
    """The templates and words of one service. Raises `ValueError` when a key lacks one of the two languages."""

    def __init__(self, folder: Path, words: Path, *, zone: ZoneInfo | None = None) -> None:
        self._words = words_of(words)
        self.zone = zone or ZoneInfo("Asia/Tokyo")
        self._environment = Environment(
            loader=ChoiceLoader([FileSystemLoader(folder), FileSystemLoader(_SHARED)]),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )

    def render(
        self,
        request: Request,
        template: str,
        *,
        status_code: int = 200,
        headers: dict[str, str] | None = None,
        at: str | None = None,
        **context: Any,
    ) -> HTMLResponse:
        """The page in the reader's language. A `?lang=` in the address is remembered in a cookie.

        `at`: where the page can be opened, when it answers a form that was sent elsewhere.
        """
        wanted = language(request)
        other: Language = "en" if wanted == "ja" else "ja"
        identity = request.app.state.identity
        html = self._environment.get_template(template).render(
            **context,
            t=Translation(self._words, wanted),
            when=partial(when, zone=self.zone, lang=wanted),
            day=partial(day, lang=wanted),
            csrf=lambda: _csrf_field(request),
            lang=wanted,
            other_lang=other,
            other_lang_link=_with_language(at or _here(request), other),
            person=getattr(request.state, "person", None),
            links=request.app.state.links,
            sign_in=sign_in_path(request),
        )
        answer = HTMLResponse(
            html,
            status_code,
            headers={"Content-Language": wanted, "Vary": "Accept, Accept-Language, Cookie", **(headers or {})},
        )
        if request.query_params.get("lang") in LANGUAGES:
            answer.set_cookie(
                COOKIE, wanted, max_age=_LANGUAGE_SECONDS, path="/", samesite="lax", secure=identity.secure
            )
        csrf.remember(identity, request, answer)
        return answer


class Translation:
    """`t("key", name=value)` in a template."""

    def __init__(self, words: Words, lang: Language) -> None:
        self._words = words
        self._lang = lang

    def __call__(self, key: str, **values: Any) -> Markup:
        return self._say(self._lang, key, values)

    def ja(self, key: str, **values: Any) -> Markup:
        """In Japanese, whatever the page's language."""
        return self._say("ja", key, values)

    def en(self, key: str, **values: Any) -> Markup:
        """In English, whatever the page's language."""
        return self._say("en", key, values)

    def has(self, key: str) -> bool:
        """Whether there are words for this key; for codes that may grow."""
        return key in self._words

    def _say(self, lang: Language, key: str, values: dict[str, Any]) -> Markup:
        if key not in self._words:
            raise LookupError(f"words.yaml has no key {key!r}")
        return Markup(escape(self._words[key][lang])).format(**values)  # noqa: S704 - escaped in the same breath


def words_of(*files: Path) -> Words:
    """The words that all services share, and those of these files. Raises `ValueError` when a key lacks one of the two
    languages."""
    return {key: said for file in (_SHARED / "words.yaml", *files) for key, said in _read(file).items()}


def when(moment: datetime | None, *, zone: ZoneInfo, lang: Language) -> Markup:
    """A moment for people, to the minute, with its zone; a dash when there is none."""
    if moment is None:
        return Markup("–")
    local = in_zone(moment, zone)
    if lang == "ja":
        text = (
            f"{local.year}年{local.month}月{local.day}日（{_WEEKDAYS[local.weekday()]}）{local:%H:%M} {local.tzname()}"
        )
    else:
        text = f"{local:%a} {local.day} {local:%b %Y, %H:%M} {local.tzname()}"
    return Markup('<time datetime="{}">{}</time>').format(local.isoformat(timespec="seconds"), text)


def day(value: date | None, *, lang: Language) -> Markup:
    """A calendar day for people; a dash when there is none."""
    if value is None:
        return Markup("–")
    if lang == "ja":
        text = f"{value.year}年{value.month}月{value.day}日（{_WEEKDAYS[value.weekday()]}）"
    else:
        text = f"{value:%a} {value.day} {value:%b %Y}"
    return Markup('<time datetime="{}">{}</time>').format(f"{value:%Y-%m-%d}", text)


def _read(path: Path) -> Words:
    document = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    for key, words in document.items():
        if not isinstance(words, dict) or set(words) != set(LANGUAGES):
            raise ValueError(f"{path.name}: {key!r} needs exactly ja and en")
    return {key: {"ja": str(words["ja"]), "en": str(words["en"])} for key, words in document.items()}


def _csrf_field(request: Request) -> Markup:
    token = request.app.state.identity.csrf_token(request, csrf.seed(request))
    return Markup('<input type="hidden" name="{}" value="{}">').format(csrf.FIELD, token)


def _here(request: Request) -> str | None:
    """Where this page can be opened again; None for the answer to a form, which cannot."""
    path = "/" + request.url.path.lstrip("/")  # two slashes would begin the name of a host
    return f"{path}?{request.url.query}" if request.method == "GET" else None


def _with_language(at: str | None, other: Language) -> str | None:
    if at is None:
        return None
    path, _, query = at.partition("?")
    kept = [(name, value) for name, value in parse_qsl(query, keep_blank_values=True) if name != "lang"]
    return f"{path}?{urlencode([*kept, ('lang', other)])}"
