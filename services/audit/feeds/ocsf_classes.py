"""The part of OCSF that the feed uses, the same in 1.8.0 and 1.9.0: classes, activities, statuses and their captions.

Taken from the published schema; tests compare every number and caption with it.
"""

from collections.abc import Mapping
from dataclasses import dataclass

type Captions = Mapping[int, str]

OTHER = 99
"""Every enumeration has it; its caption is the source's own wording."""
SEVERITIES: Captions = {1: "Informational", 2: "Low", 3: "Medium", 4: "High", 5: "Critical"}
INFORMATIONAL, LOW, MEDIUM, HIGH, CRITICAL = SEVERITIES

CREATE, UPDATE, CLOSE = 1, 2, 3
ISOLATE, EVICT, RESTORE = 1, 2, 3
LOG, COLLECT = 1, 2
DELETE, SUSPEND, RESUME = 4, 12, 13
SUCCESS, FAILURE, UNSUPPORTED = 1, 2, 5
NEW, IN_PROGRESS, RESOLVED = 1, 2, 4
CLOSED = 5
SUPPRESSED = 3


@dataclass(frozen=True, slots=True)
class EventClass:
    """One class of OCSF. `profiles`: which of them each of our events of this class declares."""

    uid: int
    name: str
    category_uid: int
    category_name: str
    activities: Captions
    statuses: Captions
    profiles: tuple[str, ...]


_FINDING_ACTIVITIES = {CREATE: "Create", UPDATE: "Update", CLOSE: "Close"}
_FINDING_STATUSES = {NEW: "New", IN_PROGRESS: "In Progress", SUPPRESSED: "Suppressed", RESOLVED: "Resolved"}
_RESULTS = {SUCCESS: "Success", FAILURE: "Failure"}

COMPLIANCE = EventClass(
    2003, "Compliance Finding", 2, "Findings", _FINDING_ACTIVITIES, _FINDING_STATUSES, ("datetime", "host")
)
DETECTION = EventClass(
    2004,
    "Detection Finding",
    2,
    "Findings",
    _FINDING_ACTIVITIES,
    _FINDING_STATUSES,
    ("datetime", "host", "security_control"),
)
INCIDENT = EventClass(
    2005,
    "Incident Finding",
    2,
    "Findings",
    _FINDING_ACTIVITIES,
    {NEW: "New", IN_PROGRESS: "In Progress", RESOLVED: "Resolved", CLOSED: "Closed"},
    ("datetime", "host", "incident"),
)
DATA_SECURITY = EventClass(
    2006, "Data Security Finding", 2, "Findings", _FINDING_ACTIVITIES, _FINDING_STATUSES, ("datetime", "incident")
)
ENTITY = EventClass(
    3004,
    "Entity Management",
    3,
    "Identity & Access Management",
    {DELETE: "Delete", SUSPEND: "Suspend", RESUME: "Resume"},
    _RESULTS,
    ("datetime",),
)
INVENTORY = EventClass(
    5001, "Device Inventory Info", 5, "Discovery", {LOG: "Log", COLLECT: "Collect"}, _RESULTS, ("datetime",)
)
REMEDIATION = EventClass(
    7001,
    "Remediation Activity",
    7,
    "Remediation",
    {ISOLATE: "Isolate", EVICT: "Evict", RESTORE: "Restore"},
    _RESULTS | {UNSUPPORTED: "Unsupported"},
    ("datetime", "host", "security_control"),
)
CLASSES = (COMPLIANCE, DETECTION, INCIDENT, DATA_SECURITY, ENTITY, INVENTORY, REMEDIATION)

OBSERVED: Mapping[str, tuple[int, str]] = {
    "device.uid": (47, "Device Object: uid"),
    "device.owner.uid": (31, "User Object: uid"),
    "actor.user.uid": (31, "User Object: uid"),
    "entity.device.uid": (47, "Device Object: uid"),
    "entity.user.uid": (31, "User Object: uid"),
}
"""Where an observable may lie, with its type."""
