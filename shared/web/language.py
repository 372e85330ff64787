"""Which of the two languages a reader gets: Japanese unless they say otherwise."""

from typing import Literal

from starlette.requests import HTTPConnection

type Language = Literal["ja", "en"]

LANGUAGES: tuple[Language, ...] = ("ja", "en")
COOKIE = "lostphone_lang"


def language(request: HTTPConnection) -> Language:
    """`?lang=`, then the cookie that it leaves, then the signed-in person's locale, then Accept-Language, then ja."""
    person = getattr(request.state, "person", None)
    chosen = (
        request.query_params.get("lang"),
        request.cookies.get(COOKIE),
        person.locale if person is not None else None,
    )
    for choice in chosen:
        named = _one_of(choice)
        if named is not None:
            return named
    return accepted(request.headers.get("accept-language", ""))


def accepted(header: str) -> Language:
    """The better of the two in an Accept-Language header (RFC 9110, 12.5.4); ja when neither is named."""
    weights: dict[str, float] = {}
    for item in header.split(",")[:20]:
        tag, *parameters = (part.strip().lower() for part in item.split(";"))
        named = tag if tag == "*" else tag.split("-")[0]
        weights[named] = max(weights.get(named, 0.0), _weight(parameters))
    others = weights.get("*", 0.0)
    best = max(LANGUAGES, key=lambda name: weights.get(name, others))
    return best if weights.get(best, others) > 0 else "ja"


def known(locale: object) -> Language:
    """A locale claim such as `en-GB`, as one of ours."""
    return "en" if isinstance(locale, str) and locale.lower().startswith("en") else "ja"


def _one_of(tag: object) -> Language | None:
    return next((name for name in LANGUAGES if name == tag), None)


def _weight(parameters: list[str]) -> float:
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                return float(value)
            except ValueError:
                return 0.0
    return 1.0
