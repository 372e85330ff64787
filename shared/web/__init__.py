"""What every service's HTTP stands on: sign-in, roles, pages in two languages, problem details, health, metrics."""

from shared.telemetry import Health
from shared.web.app import create_app
from shared.web.identity import Identity
from shared.web.language import Language, language
from shared.web.limits import RateLimit
from shared.web.pages import Pages
from shared.web.person import Person, Role
from shared.web.problem import Problem

__all__ = [
    "Health",
    "Identity",
    "Language",
    "Pages",
    "Person",
    "Problem",
    "RateLimit",
    "Role",
    "create_app",
    "language",
]
