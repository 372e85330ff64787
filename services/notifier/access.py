"""Which roles may do what here (domain reference, section 2)."""

from collections.abc import Mapping
from typing import Annotated, Final

from fastapi import Path, Query

from shared.web import Person, Role

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
    # One person: what the text stood in for is owed again, and one that does harm must not wait for a second.
    "retract": ISSUE,
}
"""What people do on the pages, and who may."""

_UUID = r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"
type Uuid = Annotated[str, Path(pattern=_UUID)]
type AlertQuery = Annotated[
    str | None, Query(pattern=_UUID, description="The last alert of the page before, for the next one.")
]


def allowed(person: Person) -> set[str]:
    """The steps that this person may take."""
    return {step for step, roles in STEPS.items() if not person.roles.isdisjoint(roles)}
