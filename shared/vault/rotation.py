"""Wrap every person's key anew, so that an old vault key can go, and old backups with it."""

from typing import Any

from shared.vault.keys import VaultKeys, owner_of

_PAGE = 1000


async def rewrap(connection: Any, keys: VaultKeys) -> int:
    """Wrap what another key than the active one wraps; returns how many. Safe to stop and start again.

    For the operator: the connection is a member of `vault_owner`; services have no access to these rows. Each page is
    its own transaction when the caller has none open.
    """
    done = 0
    while rows := await connection.fetch(
        "SELECT organisation, person, vault_key, wrapped FROM vault.person_key WHERE vault_key <> $1 LIMIT $2",
        keys.active,
        _PAGE,
    ):
        owners = [owner_of(row["organisation"], row["person"]) for row in rows]
        fresh = [
            keys.wrap(keys.unwrap(row["vault_key"], row["wrapped"], owner), owner)
            for row, owner in zip(rows, owners, strict=True)
        ]
        await connection.execute(
            "UPDATE vault.person_key k SET vault_key = $1, wrapped = f.wrapped "
            "FROM unnest($2::text[], $3::text[], $4::bytea[], $5::bytea[]) AS f (organisation, person, old, wrapped) "
            "WHERE k.organisation = f.organisation AND k.person = f.person AND k.wrapped = f.old",
            keys.active,
            [row["organisation"] for row in rows],
            [row["person"] for row in rows],
            [row["wrapped"] for row in rows],
            fresh,
        )
        done += len(rows)
    return done
