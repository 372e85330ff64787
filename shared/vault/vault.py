"""Put, open and destroy personal values inside the caller's transaction."""

import secrets
from collections.abc import Iterable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any

import asyncpg

from shared.vault.commitment import Disclosure
from shared.vault.keys import KEY_BYTES, VaultKeys, owner_of, seal, unseal

MIGRATIONS = Path(__file__).parent / "migrations"
"""For `shared.postgres.migrate(dsn, "vault", MIGRATIONS, owner="vault_owner")`, after the roles were created."""

MAX_VALUE_BYTES = 64 * 1024
MAX_PEOPLE = 10_000
"""In one call; a longer list is put in several."""
_ROUNDS = 5

_PUT = "SELECT person, vault_key, wrapped FROM vault.put($1, $2, $3, $4, $5, $6, $7, $8)"
_OPEN = "SELECT digest, person, vault_key, wrapped, content FROM vault.open($1, $2, $3, $4)"
_DESTROY = "SELECT vault.destroy($1, $2, $3, $4)"


class DataClass(StrEnum):
    """What kind of personal data; the database grants each class to each service role on its own."""

    CONTACT = "contact"
    """How to reach an employee or reporter: names, numbers, addresses."""
    POSITION = "position"
    """Where a device or a person was."""
    NARRATIVE = "narrative"
    """What somebody wrote in their own words."""
    PRINCIPAL = "principal"
    """People whose data was on the phone: customers and partners."""
    SECRET = "secret"  # noqa: S105 - the name of a class
    """Device identifiers, PINs, unlock tokens."""


class VaultDeniedError(PermissionError):
    """The database role may not do this with this class of data. The transaction is broken off."""


class Vault:
    """The vault of one installation. Every method runs on the caller's connection, in its transaction.

    `person` is a person reference, or `device-<id>` for values that belong to a device rather than a person.
    `actor` and `reason` go on the record that nobody can change; they never hold personal data. An opening whose
    transaction is rolled back leaves no trace: open in a transaction that commits.
    """

    def __init__(self, keys: VaultKeys) -> None:
        self._keys = keys

    @classmethod
    def from_file(cls, path: Path) -> "Vault":
        """Raises `ValueError` when the file holds no vault keys."""
        return cls(VaultKeys.read(path))

    async def put(
        self, connection: Any, *, organisation: str, person: str, data_class: DataClass, name: str, value: str
    ) -> str:
        """Store one value; returns the digest to put into events and rows."""
        stored = await self.put_many(
            connection, organisation=organisation, person=person, data_class=data_class, values={name: value}
        )
        return stored[name]

    async def put_many(
        self, connection: Any, *, organisation: str, person: str, data_class: DataClass, values: Mapping[str, str]
    ) -> dict[str, str]:
        """Store several values of one person; returns name → digest."""
        stored = await self.put_people(
            connection, organisation=organisation, data_class=data_class, people={person: values}
        )
        return stored[person]

    async def put_people(
        self, connection: Any, *, organisation: str, data_class: DataClass, people: Mapping[str, Mapping[str, str]]
    ) -> dict[str, dict[str, str]]:
        """Store values of many people (at most 10,000) in one or two round trips; returns person → name → digest.

        Raises `ValueError` for too many people or a value over 64 KiB, `VaultDeniedError` where not granted.
        """
        if len(people) > MAX_PEOPLE:
            raise ValueError(f"{len(people)} people in one put; at most {MAX_PEOPLE}")
        disclosures = {
            person: [_disclosure(name, value) for name, value in values.items()]
            for person, values in sorted(people.items())
        }
        await self._store(connection, organisation, data_class, disclosures)
        return {
            person: {disclosure.name: disclosure.digest for disclosure in group}
            for person, group in disclosures.items()
        }

    async def _store(
        self,
        connection: Any,
        organisation: str,
        data_class: DataClass,
        disclosures: Mapping[str, list[Disclosure]],
    ) -> None:
        """Offer a fresh key for everyone; whoever has a key already is sealed and offered again under that one."""
        waiting = {person: _offer(self._keys, organisation, person) for person in disclosures}
        for _ in range(_ROUNDS):
            if not waiting:
                return
            boxes = [
                (person, disclosure.digest, seal(key, disclosure.text.encode(), disclosure.digest.encode()))
                for person, (key, _, _) in waiting.items()
                for disclosure in disclosures[person]
            ]
            others = await self._offer_boxes(connection, organisation, data_class, waiting, boxes)
            waiting = {
                row["person"]: (
                    self._keys.unwrap(row["vault_key"], row["wrapped"], owner_of(organisation, row["person"])),
                    row["vault_key"],
                    row["wrapped"],
                )
                for row in others
            }
        raise RuntimeError(f"the keys of {len(waiting)} people changed {_ROUNDS} times during one put")

    async def _offer_boxes(
        self,
        connection: Any,
        organisation: str,
        data_class: DataClass,
        offers: Mapping[str, tuple[bytes, str, bytes]],
        boxes: list[tuple[str, str, bytes]],
    ) -> list[Any]:
        try:
            rows: list[Any] = await connection.fetch(
                _PUT,
                organisation,
                data_class.value,
                self._keys.active,
                list(offers),
                [wrapped for _, _, wrapped in offers.values()],
                [person for person, _, _ in boxes],
                [digest for _, digest, _ in boxes],
                [content for _, _, content in boxes],
            )
        except asyncpg.InsufficientPrivilegeError as error:
            raise VaultDeniedError(str(error)) from error
        return rows

    async def open(self, connection: Any, digest: str, *, organisation: str, actor: str, reason: str) -> str | None:
        """The value behind a digest; None when it was erased, never stored, or belongs to another organisation."""
        opened = await self.open_many(connection, [digest], organisation=organisation, actor=actor, reason=reason)
        return opened.get(digest)

    async def open_many(
        self, connection: Any, digests: Iterable[str], *, organisation: str, actor: str, reason: str
    ) -> dict[str, str]:
        """The values behind digests; what is erased is absent."""
        found = await self.disclose(connection, digests, organisation=organisation, actor=actor, reason=reason)
        return {digest: disclosure.value for digest, disclosure in found.items()}

    async def disclose(
        self, connection: Any, digests: Iterable[str], *, organisation: str, actor: str, reason: str
    ) -> dict[str, Disclosure]:
        """Like `open_many`, with the disclosure text that proves each value against its digest to an outsider."""
        try:
            rows = await connection.fetch(_OPEN, organisation, list(digests), actor, reason)
        except asyncpg.InsufficientPrivilegeError as error:
            raise VaultDeniedError(str(error)) from error
        keys: dict[str, bytes] = {}
        for row in rows:
            if row["person"] not in keys:
                owner = owner_of(organisation, row["person"])
                keys[row["person"]] = self._keys.unwrap(row["vault_key"], row["wrapped"], owner)
        return {
            row["digest"]: Disclosure.read(
                unseal(keys[row["person"]], row["content"], row["digest"].encode()).decode("ascii")
            )
            for row in rows
        }

    async def destroy(self, connection: Any, *, organisation: str, person: str, actor: str, reason: str) -> int:
        """Erase a person: the key and every box. Returns how many values were destroyed.

        Digests in the log stay and prove nothing about anyone. A later put starts with a new key. Whether a legal
        hold forbids it is the caller's to know.
        """
        try:
            destroyed: int = await connection.fetchval(_DESTROY, organisation, person, actor, reason)
        except asyncpg.InsufficientPrivilegeError as error:
            raise VaultDeniedError(str(error)) from error
        return destroyed


def _disclosure(name: str, value: str) -> Disclosure:
    if len(value.encode()) > MAX_VALUE_BYTES:
        raise ValueError(f"the value of {name} is over {MAX_VALUE_BYTES} bytes")
    return Disclosure.of(name, value)


def _offer(keys: VaultKeys, organisation: str, person: str) -> tuple[bytes, str, bytes]:
    key = secrets.token_bytes(KEY_BYTES)
    return key, keys.active, keys.wrap(key, owner_of(organisation, person))
