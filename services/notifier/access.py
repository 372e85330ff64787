"""Which roles may do what here (domain reference, section 2)."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Path

from shared.web import Identity, Person, Role

READ = (
    Role.DESK, Role.APPROVER, Role.LEAD, Role.PRIVACY, Role.EXECUTIVE, Role.PR, Role.AUDITOR,
)  # fmt: skip
ACKNOWLEDGE = (Role.DESK, Role.LEAD, Role.PRIVACY, Role.EXECUTIVE, Role.APPROVER)
FILE = (Role.PRIVACY,)
WAIVE = (Role.PRIVACY, Role.EXECUTIVE, Role.LEAD)
TELL = (Role.PRIVACY,)
DRAFT = (Role.PR, Role.PRIVACY)
APPROVE = (Role.PRIVACY, Role.EXECUTIVE)
CHECK_DESK = (Role.PR, Role.PRIVACY, Role.LEAD)
ISSUE = (Role.PR,)

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


def acting(identity: Identity, roles: tuple[Role, ...]) -> Callable[..., Awaitable[Acting]]:
    """A dependency: the signed-in person, in the first of these roles that they have. Answers 401 or 403."""

    async def found(person: Annotated[Person, Depends(identity.require(*roles))]) -> Acting:
        return Acting(person, next(role for role in roles if role in person.roles))

    return found
