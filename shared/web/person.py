"""Who is signed in, and in which roles."""

from dataclasses import dataclass
from enum import StrEnum

from shared.web.language import Language


class Role(StrEnum):
    """The roles of the process. The identity provider grants them; what each may do stands at each request."""

    EMPLOYEE = "employee"
    DESK = "security_desk"
    APPROVER = "approver"
    LEAD = "incident_lead"
    PRIVACY = "privacy_officer"
    EXECUTIVE = "executive"
    PR = "disclosure_owner"
    OPERATOR = "operator"
    AUDITOR = "auditor"


@dataclass(frozen=True, slots=True)
class Person:
    """A signed-in person, as this request knows them."""

    ref: str
    """The reference that events and rows carry."""
    organisation: str
    roles: frozenset[Role]
    locale: Language
    name: str
    """For the screen only; never stored in events, rows or logs."""

    def actor(self, role: Role) -> str:
        """How events name this person acting in a role. Raises `ValueError` for a role that the person has not."""
        if role not in self.roles:
            raise ValueError(f"{self.ref} does not have the role {role}")
        return f"{self.ref}/{role}"

    def __repr__(self) -> str:
        return f"Person({self.ref}, {self.organisation}, {sorted(self.roles)})"
