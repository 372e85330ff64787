"""ACLs as the registry of events wants them: compared with a broker, and put in force.

    await asyncio.to_thread(apply, connection, integrators=["example"])

What the broker grants beyond that is named, and taken away only when asked for.
"""

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from confluent_kafka import KafkaException
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)

from lostphone.topics import BrokerError
from shared.events.contracts import Acl, acls
from shared.events.contracts.acls import INTEGRATOR

type State = Literal["created", "unchanged", "missing", "extra", "removed"]

_NAME: Final = "<name>"
_INTEGRATORS: Final = f"User:{INTEGRATOR.removesuffix(_NAME)}"
# librdkafka calls the cluster as a whole a broker.
_RESOURCES: Final = {"topic": ResourceType.TOPIC, "group": ResourceType.GROUP, "cluster": ResourceType.BROKER}
# The library's types know neither that None stands for any, nor that names given become members.
_Filter: Final[Any] = AclBindingFilter
_EVERY_ACL: Final = _Filter(
    ResourceType.ANY, None, ResourcePatternType.ANY, None, None, AclOperation.ANY, AclPermissionType.ANY
)
_CALL_TIMEOUT: Final = 30.0
_IN_FORCE_WITHIN: Final = 60.0


@dataclass(frozen=True)
class Standing:
    """How one allowance stands: one operation of one principal."""

    binding: AclBinding
    state: State

    def public(self) -> dict[str, str]:
        """As `--json` prints it."""
        binding: Any = self.binding
        return {
            "principal": binding.principal,
            "resource": "cluster" if binding.restype is ResourceType.BROKER else binding.restype.name.lower(),
            "name": binding.name,
            "pattern": binding.resource_pattern_type.name.lower(),
            "operation": binding.operation.name.lower(),
            "state": self.state,
        }


def manifest(integrators: Iterable[str] = ()) -> tuple[Acl, ...]:
    """Every allowance of an installation, the pattern for integrators filled in with these names."""
    names = list(integrators)
    return tuple(
        replace(acl, principal=acl.principal.replace(_NAME, name), name=acl.name.replace(_NAME, name))
        for acl in acls()
        for name in (names if _NAME in acl.principal else [""])
    )


def bindings(allowances: Iterable[Acl]) -> list[AclBinding]:
    """As librdkafka names them, each once: reading and writing a topic both bring `describe`."""
    granted = [
        AclBinding(
            _RESOURCES[acl.resource],
            acl.name,
            ResourcePatternType[acl.pattern.upper()],
            acl.principal,
            "*",
            AclOperation[operation.upper()],
            AclPermissionType.ALLOW,
        )
        for acl in allowances
        for operation in acl.operations
    ]
    return list(dict.fromkeys(granted))


def compare(connection: Mapping[str, Any], integrators: Iterable[str] = ()) -> list[Standing]:
    """How the broker stands, changing nothing; integrators that it knows already belong there. Raises `BrokerError`.
    To a principal that may not see ACLs, all are missing."""
    return _standings(_admin(connection), integrators)


def apply(
    connection: Mapping[str, Any], integrators: Iterable[str] = (), *, remove_extra: bool = False
) -> list[Standing]:
    """Grant what is missing, and return once the broker refuses nothing of it any more. Doing it again changes nothing.
    With `remove_extra`, what the manifest does not grant is taken away. Raises `BrokerError`."""
    admin = _admin(connection)
    before = _standings(admin, integrators)
    missing = [now.binding for now in before if now.state == "missing"]
    extra = [now.binding for now in before if now.state == "extra"] if remove_extra else []
    if missing:
        _all(admin.create_acls(missing), "an ACL could not be made")
    if extra:
        _all(admin.delete_acls([_filter(binding) for binding in extra]), "an ACL could not be removed")
    # The controller has them; a broker refuses until it has heard of them, and a producer takes that as final.
    deadline = time.monotonic() + _IN_FORCE_WITHIN
    while (set(missing) - (now := _present(admin))) or (set(extra) & now):
        if time.monotonic() > deadline:
            raise BrokerError(f"ACLs are not in force after {_IN_FORCE_WITHIN:.0f} s: try again")
        time.sleep(0.1)
    done: dict[State, State] = {"missing": "created"}
    if remove_extra:
        done["extra"] = "removed"
    return [replace(standing, state=done.get(standing.state, standing.state)) for standing in before]


def _standings(admin: AdminClient, integrators: Iterable[str]) -> list[Standing]:
    present = _present(admin)
    known = {binding.principal.removeprefix(_INTEGRATORS) for binding in present if _is_integrator(binding)}
    wanted = bindings(manifest(sorted({*integrators, *known})))
    named: list[Standing] = [Standing(it, "unchanged" if it in present else "missing") for it in wanted]
    extra = sorted(present - set(wanted), key=str)
    return [*named, *(Standing(binding, "extra") for binding in extra)]


def _is_integrator(binding: AclBinding) -> bool:
    return bool(binding.principal.startswith(_INTEGRATORS))


def _present(admin: AdminClient) -> set[AclBinding]:
    try:
        return set(admin.describe_acls(_EVERY_ACL).result(timeout=_CALL_TIMEOUT))
    except KafkaException as error:
        raise BrokerError(f"ACLs could not be read: {error.args[0].str()}") from error


def _filter(binding: AclBinding) -> Any:
    return _Filter(
        binding.restype,
        binding.name,
        binding.resource_pattern_type,
        binding.principal,
        binding.host,
        binding.operation,
        binding.permission_type,
    )


def _all(answers: Mapping[Any, Any], failure: str) -> None:
    for answer in answers.values():
        try:
            answer.result(timeout=_CALL_TIMEOUT)
        except KafkaException as error:
            raise BrokerError(f"{failure}: {error.args[0].str()}") from error


def _admin(connection: Mapping[str, Any]) -> AdminClient:
    return AdminClient({"log_level": 0, "socket.timeout.ms": 10_000, **connection})
