"""The mapping as a page for people: `python -m services.audit.feeds.ocsf_page` writes docs/ocsf-mapping.md."""

from collections.abc import Iterator
from pathlib import Path

from services.audit.feeds.ocsf_classes import CLASSES, OTHER, SEVERITIES
from services.audit.feeds.ocsf_table import LEFT_OUT, REFUSED, ROWS, Row
from services.audit.feeds.ocsf_versions import RECORD_INTEGRITY, RENAMED, SERIALIZATION, OcsfVersion
from shared.events import event_types

PAGE = Path("docs/ocsf-mapping.md")

_HEAD = f"""# How events look in the SIEM feed

Generated from `services/audit/feeds/ocsf_table.py`; do not edit. How to read the feed: [siem.md](siem.md).

Topic `lostphone.ocsf.v1`, OCSF {OcsfVersion.V1_8}, and {OcsfVersion.V1_9} where it is set so. `type_uid` is
`class_uid * 100 + activity_id`. A status in quotes is a wording of ours with `status_id` 99.
"""

_NOTES = """\
What stands over the table: `LeakAssessed` is Update from version 2 on, Close (Resolved) when it is final, and of
Medium severity when there is no leak; `LockFailed` is Unsupported when the phone does not know the command;
`PersonalDataErased` is Failure when a legal hold kept the data; a duty filed late stays Fail in `compliance`. A
`reason` is in `status_code` where the class is about a result.

Every event has in `unmapped` besides: `drill`, `actor_role`, `recorded_late` (recorded more than five minutes after it
was said), `causation_id` (the event it answers), `log_seq` and `log_leaf` (its place in the timeline and the hash of
its leaf).
"""


def page() -> str:
    """The page, whole."""
    return "\n".join([_HEAD, *_by_event(), *_refused(), *_left_out(), *_by_class(), *_newer()])


def _by_event() -> Iterator[str]:
    yield "## Events\n"
    yield "| event | from | class | activity | type_uid | severity | status | facts in `unmapped` |"
    yield "|---|---|---|---|---|---|---|---|"
    written = {entry.name: entry for entry in event_types()}
    for name, row in ROWS.items():
        entry = written[name]
        link = f"[{name}](events/{entry.writer}.md#{name.lower()})"
        facts = ", ".join(f"`{path.replace('.', '_')}`" for path in row.keep)
        yield f"| {link} | {entry.writer} | {_cells(row)} | {facts} |"
    yield ""
    yield _NOTES


def _refused() -> Iterator[str]:
    yield "## Records that act nowhere\n"
    yield "| entry of the timeline | `event_code` | class | activity | type_uid | severity | status |"
    yield "|---|---|---|---|---|---|---|"
    for kind, row in REFUSED.items():
        yield f"| {kind} | Record{kind.capitalize()} | {_cells(row)} |"
    yield ""


def _left_out() -> Iterator[str]:
    yield "## Left out\n"
    yield "| entry of the timeline | why |"
    yield "|---|---|"
    for kind, why in LEFT_OUT.items():
        yield f"| {kind} | {why} |"
    yield ""


def _by_class() -> Iterator[str]:
    yield "## Classes\n"
    yield "| class | uid | profiles | events |"
    yield "|---|---|---|---|"
    for known in CLASSES:
        names = [name for name, row in ROWS.items() if row.event_class is known]
        yield f"| {known.name} | {known.uid} | {', '.join(known.profiles)} | {len(names)} |"
    yield ""


def _newer() -> Iterator[str]:
    varies = " and ".join(f"`{name}`" for name, row in ROWS.items() if row.activity_varies)
    yield f"## What {OcsfVersion.V1_9} changes\n"
    yield f"| attribute | in {OcsfVersion.V1_9} |"
    yield "|---|---|"
    yield f"| `metadata.version` | `{OcsfVersion.V1_9}` |"
    for old, new in RENAMED.items():
        yield f"| `{old}` | `{new}`: the same, by its new name |"
    yield (
        f"| `metadata.profiles` | `{RECORD_INTEGRITY}` besides, on every event but `IntegrityFinding`, which has no "
        "entry in the timeline |"
    )
    yield "| `attestation_list[0].fingerprint` | the hash of the event's leaf, for `TimelineSealed` of the seal's |"
    yield (
        f"| … `.serialization_id`, `.serialization` | {OTHER}, `{SERIALIZATION}`: taken over the leaf, not over the "
        "OCSF text |"
    )
    yield "| `attestation_list[0].chain_uid` | the subject; absent on records that act nowhere: they are in no chain |"
    yield "| `attestation_list[0].prev_event.fingerprint` | of the leaf before in that chain; none at its first |"
    yield (
        "| … `.uid` | `metadata.uid` of the event before; behind a seal, which is no event, the hash of the seal's "
        "leaf |"
    )
    yield f"| … `.type_uid` | of the event before; absent behind a seal and behind {varies}, whose activity varies |"
    yield ""


def _cells(row: Row) -> str:
    status = (
        f'"{row.status}"' if isinstance(row.status, str) else f"{row.status} {row.event_class.statuses[row.status]}"
    )
    activity = f"{row.activity} {row.event_class.activities[row.activity]}"
    severity = f"{row.severity} {SEVERITIES[row.severity]}"
    return f"{row.event_class.uid} {row.event_class.name} | {activity} | {row.type_uid} | {severity} | {status}"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
