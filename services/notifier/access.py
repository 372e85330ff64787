"""Which roles may do what here (domain reference, section 2)."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Final

from fastapi import Depends, Path

from shared.web import Identity, Person, Role, role_needed

READ = (
    Role.DESK, Role.APPROVER, Role.LEAD, Role.PRIVACY, Role.EXECUTIVE, Role.PR, Role.AUDITOR,
)  # fmt: skip
ACKNOWLEDGE = (Role.DESK, Role.LEAD, Role.PRIVACY, Role.EXECUTIVE, Role.APPROVER)
FILE = (Role.PRIVACY,)
WAIVE = (Role.PRIVACY, Role.EXECUTIVE)
TELL = (Role.PRIVACY,)
DRAFT = (Role.PR, Role.PRIVACY)
APPROVE = (Role.PRIVACY, Role.EXECUTIVE)
CHECK_DESK = (Role.PR, Role.PRIVACY, Role.LEAD)
ISSUE = (Role.PR,)

STEPS: Final[Mapping[str, tuple[Role, ...]]] = {
    "file": FILE,
    "waive": WAIVE,
    "tell": TELL,
    "draft": DRAFT,
    "revise": DRAFT,
    "approve": APPROVE,
    "check": CHECK_DESK,
    "issue": ISSUE,
    "retract": ISSUE,
}
"""What people do on the pages, and who may."""

type Uuid = Annotated[str, Path(pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")]


@dataclass(frozen=True)
class Acting:
    """A person acting in one role."""

    person: Person
    role: Role

    @property
    def actor(self) -> str:
        return self.person.actor(self.role)

    @property
    def organisation(self) -> str:
        return self.person.organisation


def allowed(person: Person) -> set[str]:
    """The steps that this person may take."""
    return {step for step, roles in STEPS.items() if not person.roles.isdisjoint(roles)}


def in_step(person: Person, step: str) -> "Acting":
    """The person in the first of their roles that may take the step. Raises `Problem` 403."""
    role = next((role for role in STEPS[step] if role in person.roles), None)
    if role is None:
        raise role_needed(STEPS[step])
    return Acting(person, role)


def acting(identity: Identity, roles: tuple[Role, ...]) -> Callable[..., Awaitable[Acting]]:
    """A dependency: the signed-in person, in the first of these roles that they have. Answers 401 or 403."""

    async def found(person: Annotated[Person, Depends(identity.require(*roles))]) -> Acting:
        return Acting(person, next(role for role in roles if role in person.roles))

    return found
