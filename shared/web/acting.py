"""A person in the one role in which they act: events name both."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends

from shared.web.identity import Identity, role_needed
from shared.web.person import Person, Role


@dataclass(frozen=True)
class Acting:
    """A signed-in person in the role in which they act."""

    person: Person
    role: Role

    @property
    def actor(self) -> str:
        return self.person.actor(self.role)

    @property
    def organisation(self) -> str:
        return self.person.organisation


def in_role(person: Person, roles: Sequence[Role]) -> Acting:
    """The person in the first of these roles that they have. Raises `Problem` 403."""
    role = next((role for role in roles if role in person.roles), None)
    if role is None:
        raise role_needed(roles)
    return Acting(person, role)


def acting(identity: Identity, roles: Sequence[Role]) -> Callable[..., Awaitable[Acting]]:
    """A dependency: the signed-in person in the first of these roles that they have. Answers 401 or 403."""

    async def found(person: Annotated[Person, Depends(identity.require(*roles))]) -> Acting:
        return in_role(person, roles)

    return found
