"""Policies (c2sp.org/tlog-policy): the keys that a reader trusts, and how many witnesses must have signed.

    log <vkey> [<url>]
    witness <name> <vkey> [<url>]
    group <name> <number>|any|all <member> …
    quorum <name>|none

The policy comes from the reader. One that came with what it judges proves nothing.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from services.audit.tlog.keys import COSIGNATURE, ED25519, VerifierKey

_NONE = "none"
_MAX_NAME = 200
_MAX_LINES = 1_000
"""Far more than anybody's policy has. Each is compared with those before it."""
_WORD = re.compile(r"[^ \t]+")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


class PolicyError(ValueError):
    """The text is not a policy; the message names the line."""


@dataclass(frozen=True, slots=True)
class Witness:
    """One key of a witness, and where it is asked."""

    name: str
    key: VerifierKey
    url: str | None


@dataclass(frozen=True, slots=True)
class Group:
    """Fulfilled by so many of its members."""

    threshold: int
    members: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Policy:
    """What a checkpoint needs before it counts."""

    logs: tuple[VerifierKey, ...]
    witnesses: Mapping[str, Witness]
    groups: Mapping[str, Group]
    quorum: str

    @classmethod
    def parse(cls, text: str) -> "Policy":
        """Raises `PolicyError`."""
        logs: list[VerifierKey] = []
        witnesses: dict[str, Witness] = {}
        groups: dict[str, Group] = {}
        quorum: str | None = None
        for number, line in enumerate(_lines(text), 1):
            words = _WORD.findall(line)
            if not words or words[0].startswith("#"):
                continue
            try:
                match words:
                    case ["log", vkey] | ["log", vkey, _]:
                        logs.append(_new(VerifierKey.of_log(vkey), logs))
                    case ["witness", name, vkey, *url] if len(url) <= 1:
                        _fresh(name, witnesses, groups)
                        key = _new(_cosigner(vkey), [witness.key for witness in witnesses.values()])
                        witnesses[name] = Witness(name, key, url[0].rstrip("/") if url else None)
                    case ["group", name, threshold, *members] if members:
                        _fresh(name, witnesses, groups)
                        groups[name] = _group(threshold, members, _free(witnesses, groups))
                    case ["quorum", name] if quorum is None and (name == _NONE or name in {*witnesses, *groups}):
                        quorum = name
                    case _:
                        raise PolicyError("not a line of a policy, or it names what was not said before")
            except ValueError as error:
                raise PolicyError(f"line {number}: {error}") from None
        if not logs or quorum is None:
            raise PolicyError("a policy names at least one key of the log, and one quorum")
        return cls(tuple(logs), witnesses, groups, quorum)

    def is_fulfilled(self, signed: Collection[str]) -> bool:
        """Whether the witnesses of these names are enough."""
        return self.quorum == _NONE or self._has(self.quorum, signed)

    def _has(self, name: str, signed: Collection[str]) -> bool:
        group = self.groups.get(name)
        if group is None:
            return name in signed
        return sum(self._has(member, signed) for member in group.members) >= group.threshold


def _lines(text: str) -> list[str]:
    if _CONTROL.search(text):
        raise PolicyError("a policy holds no control characters but tab and newline")
    lines = text.split("\n")
    if len(lines) > _MAX_LINES:
        raise PolicyError(f"a policy has more than {_MAX_LINES} lines")
    return lines


def _cosigner(vkey: str) -> VerifierKey:
    key = VerifierKey.parse(vkey)
    # Some policies give a witness's key in the type of a log's key; it cosigns under the other id all the same.
    return replace(key, type=COSIGNATURE) if key.type == ED25519 else key


def _new(key: VerifierKey, known: Collection[VerifierKey]) -> VerifierKey:
    if any(key.public == other.public for other in known):
        raise PolicyError(f"the key of {key.name} stands there twice")
    return key


def _free(witnesses: Mapping[str, Witness], groups: Mapping[str, Group]) -> set[str]:
    """Who may still become a member: nobody counts in two groups."""
    return {*witnesses, *groups} - {member for group in groups.values() for member in group.members}


def _fresh(name: str, witnesses: Mapping[str, Witness], groups: Mapping[str, Group]) -> None:
    if name in witnesses or name in groups or name == _NONE or len(name) > _MAX_NAME:
        raise PolicyError(f"the name {name[:_MAX_NAME]} is taken or too long")


def _group(threshold: str, members: list[str], free: Collection[str]) -> Group:
    needed = {"any": "1", "all": str(len(members))}.get(threshold, threshold)
    if not (needed.isascii() and needed.isdecimal()) or not 0 < int(needed) <= len(members):
        raise PolicyError(f"{threshold} is no number of its members")
    if len(set(members)) != len(members) or not set(members) <= set(free):
        raise PolicyError("a member stands in two places, or was not said before")
    return Group(int(needed), tuple(members))
