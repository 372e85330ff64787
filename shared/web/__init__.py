"""What every service's HTTP stands on: sign-in, roles, pages in two languages, problem details, health, metrics."""

from shared.telemetry import Health
from shared.web.acting import Acting, acting, in_role
from shared.web.app import create_app
from shared.web.csrf import MAX_FIELDS
from shared.web.identity import Identity, role_needed
from shared.web.language import Language, language
from shared.web.limits import Budget, RateLimit, too_many
from shared.web.pages import Pages
from shared.web.person import Person, Role
from shared.web.problem import Problem, refused_fields
from shared.web.refusal import Refusals
from shared.web.text import must_be_usable

__all__ = [
    "MAX_FIELDS",
    "Acting",
    "Budget",
    "Health",
    "Identity",
    "Language",
    "Pages",
    "Person",
    "Problem",
    "RateLimit",
    "Refusals",
    "Role",
    "acting",
    "create_app",
    "in_role",
    "language",
    "must_be_usable",
    "refused_fields",
    "role_needed",
    "too_many",
]
