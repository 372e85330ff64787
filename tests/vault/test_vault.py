"""The vault in a real database: commitments, grants by class and role, organisations, openings on the record."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import pytest

from shared.vault import DataClass, Vault, VaultDeniedError, VaultKeys
from tests.stack.installed import Installed

ACTOR = "person-5f0c7a2e9b1d4c3f8e6a7b9c0d1e2f3a/security_desk"
PERSON = "person-00112233445566778899aabbccddeeff"
OTHER_PERSON = "person-ffeeddccbbaa99887766554433221100"


@pytest.fixture
def keys() -> VaultKeys:
    return VaultKeys.generate()


@pytest.fixture
def vault(keys: VaultKeys) -> Vault:
    return Vault(keys)


@asynccontextmanager
async def as_role(installation: Installed, role: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(installation.dsn(role))
    try:
        yield connection
    finally:
        await connection.close()


@pytest.fixture
async def reporter(installation: Installed) -> AsyncIterator[asyncpg.Connection]:
    async with as_role(installation, "reporter") as connection:
        yield connection


@pytest.fixture
async def superuser(installation: Installed) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(installation.superuser_dsn)
    yield connection
    await connection.close()


async def test_a_value_comes_back_by_its_digest(vault: Vault, reporter: asyncpg.Connection) -> None:
    digest = await vault.put(
        reporter,
        organisation="acme",
        person=PERSON,
        data_class=DataClass.CONTACT,
        name="callback",
        value="山田 090-1234-5678",
    )
    assert len(digest) == 43
    opened = await vault.open(reporter, digest, organisation="acme", actor=ACTOR, reason="call back")
    assert opened == "山田 090-1234-5678"


async def test_many_values_of_one_person_share_one_key(vault: Vault, reporter: asyncpg.Connection) -> None:
    values = {"holder_name": "山田", "callback": "03-0000-0000"}
    first = await vault.put_many(
        reporter, organisation="acme", person=PERSON, data_class=DataClass.CONTACT, values=values
    )
    second = await vault.put_many(
        reporter, organisation="acme", person=PERSON, data_class=DataClass.NARRATIVE, values={"circumstances": "taxi"}
    )
    digests = [*first.values(), *second.values()]
    opened = await vault.open_many(reporter, digests, organisation="acme", actor=ACTOR, reason="case page")
    assert opened == {
        first["holder_name"]: "山田",
        first["callback"]: "03-0000-0000",
        second["circumstances"]: "taxi",
    }


async def test_thousands_of_people_are_stored_at_once_with_a_key_each(
    vault: Vault, installation: Installed, superuser: asyncpg.Connection
) -> None:
    people = {
        f"person-{number:032x}": {"name": f"客{number}", "mail": f"c{number}@example.jp"} for number in range(1240)
    }
    async with as_role(installation, "notifier") as notifier:
        stored = await vault.put_people(notifier, organisation="acme", data_class=DataClass.PRINCIPAL, people=people)
        wanted = [digests["mail"] for digests in stored.values()]
        opened = await vault.open_many(
            notifier, wanted, organisation="acme", actor="service/notifier", reason="send notices"
        )
    assert sorted(opened.values()) == sorted(values["mail"] for values in people.values())
    assert await superuser.fetchval("SELECT count(*) FROM vault.person_key") == 1240
    assert await superuser.fetchval("SELECT count(*) FROM vault.access_record WHERE act = 'open'") == 1240


async def test_another_organisation_sees_nothing(vault: Vault, reporter: asyncpg.Connection) -> None:
    mine = await vault.put(
        reporter, organisation="acme", person=PERSON, data_class=DataClass.CONTACT, name="n", value="acme's"
    )
    theirs = await vault.put(
        reporter, organisation="globex", person=PERSON, data_class=DataClass.CONTACT, name="n", value="globex's"
    )
    assert await vault.open(reporter, mine, organisation="globex", actor=ACTOR, reason="look") is None
    assert await vault.destroy(reporter, organisation="globex", person=PERSON, actor=ACTOR, reason="request") == 1
    assert await vault.open(reporter, theirs, organisation="globex", actor=ACTOR, reason="look") is None
    assert await vault.open(reporter, mine, organisation="acme", actor=ACTOR, reason="look") == "acme's"


@pytest.mark.parametrize(
    ("role", "data_class"),
    [
        ("mdm_actions", DataClass.PRINCIPAL),
        ("notifier", DataClass.POSITION),
        ("notifier", DataClass.SECRET),
        *[("audit", data_class) for data_class in DataClass],
    ],
)
async def test_a_role_puts_only_the_classes_that_it_was_granted(
    vault: Vault, installation: Installed, role: str, data_class: DataClass
) -> None:
    async with as_role(installation, role) as connection:
        with pytest.raises(VaultDeniedError):
            await vault.put(connection, organisation="acme", person=PERSON, data_class=data_class, name="n", value="v")


async def test_a_role_opens_only_the_classes_that_it_was_granted(
    vault: Vault, installation: Installed, reporter: asyncpg.Connection
) -> None:
    digest = await vault.put(
        reporter, organisation="acme", person=PERSON, data_class=DataClass.POSITION, name="p", value="35.6,139.7"
    )
    async with as_role(installation, "notifier") as notifier:
        with pytest.raises(VaultDeniedError, match="may not open position"):
            await vault.open(notifier, digest, organisation="acme", actor="service/notifier", reason="mail")


async def test_setting_a_role_does_not_lend_its_grants(vault: Vault, superuser: asyncpg.Connection) -> None:
    await superuser.execute("SET ROLE reporter")
    with pytest.raises(VaultDeniedError):
        await vault.put(
            superuser, organisation="acme", person=PERSON, data_class=DataClass.CONTACT, name="n", value="v"
        )


async def test_only_the_reporter_erases(vault: Vault, installation: Installed, reporter: asyncpg.Connection) -> None:
    await vault.put(reporter, organisation="acme", person=PERSON, data_class=DataClass.CONTACT, name="n", value="v")
    for role in ("mdm_actions", "notifier", "audit"):
        async with as_role(installation, role) as connection:
            with pytest.raises(VaultDeniedError):
                await vault.destroy(connection, organisation="acme", person=PERSON, actor=ACTOR, reason="request")


async def test_after_erasure_nothing_opens_and_a_later_value_has_a_new_key(
    vault: Vault, reporter: asyncpg.Connection, superuser: asyncpg.Connection
) -> None:
    values = {"a": "1", "b": "2"}
    digests = await vault.put_many(
        reporter, organisation="acme", person=PERSON, data_class=DataClass.CONTACT, values=values
    )
    kept = await vault.put(
        reporter, organisation="acme", person=OTHER_PERSON, data_class=DataClass.CONTACT, name="a", value="kept"
    )
    before = await superuser.fetchval("SELECT wrapped FROM vault.person_key WHERE person = $1", PERSON)
    assert await vault.destroy(reporter, organisation="acme", person=PERSON, actor=ACTOR, reason="request") == 2
    assert await superuser.fetchval("SELECT count(*) FROM vault.person_key WHERE person = $1", PERSON) == 0
    for digest in digests.values():
        assert await vault.open(reporter, digest, organisation="acme", actor=ACTOR, reason="look") is None
    assert await vault.open(reporter, kept, organisation="acme", actor=ACTOR, reason="look") == "kept"
    again = await vault.put(
        reporter, organisation="acme", person=PERSON, data_class=DataClass.CONTACT, name="a", value="3"
    )
    assert await vault.open(reporter, again, organisation="acme", actor=ACTOR, reason="look") == "3"
    after = await superuser.fetchval("SELECT wrapped FROM vault.person_key WHERE person = $1", PERSON)
    assert after != before


async def test_every_opening_is_on_the_record_with_who_and_why(
    vault: Vault, reporter: asyncpg.Connection, superuser: asyncpg.Connection
) -> None:
    digest = await vault.put(
        reporter, organisation="acme", person=PERSON, data_class=DataClass.CONTACT, name="n", value="v"
    )
    await vault.open(reporter, digest, organisation="acme", actor=ACTOR, reason="call back")
    await vault.open(reporter, digest, organisation="globex", actor=ACTOR, reason="wrong door")
    await vault.destroy(reporter, organisation="acme", person=PERSON, actor=ACTOR, reason="request")
    rows = await superuser.fetch(
        "SELECT act, service, organisation, person, data_class, digest, actor, reason, fields "
        "FROM vault.access_record ORDER BY number"
    )
    assert [tuple(row) for row in rows] == [
        ("open", "reporter", "acme", PERSON, "contact", digest, ACTOR, "call back", 1),
        ("open", "reporter", "globex", None, None, digest, ACTOR, "wrong door", 0),
        ("destroy", "reporter", "acme", PERSON, None, None, ACTOR, "request", 1),
    ]


async def test_an_opening_without_a_reason_is_refused(vault: Vault, reporter: asyncpg.Connection) -> None:
    digest = await vault.put(
        reporter, organisation="acme", person=PERSON, data_class=DataClass.CONTACT, name="n", value="v"
    )
    with pytest.raises(asyncpg.CheckViolationError):
        await vault.open(reporter, digest, organisation="acme", actor=ACTOR, reason="")


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE vault.access_record SET reason = 'nothing'",
        "DELETE FROM vault.access_record",
        "TRUNCATE vault.access_record",
    ],
)
@pytest.mark.parametrize("session", ["", "SET ROLE vault_owner", "SET session_replication_role = replica"])
async def test_nobody_changes_the_record_of_openings(
    vault: Vault, reporter: asyncpg.Connection, superuser: asyncpg.Connection, statement: str, session: str
) -> None:
    await vault.open(reporter, "A" * 43, organisation="acme", actor=ACTOR, reason="look")
    if session:
        await superuser.execute(session)
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await superuser.execute(statement)
    await superuser.execute("RESET ROLE")
    assert await superuser.fetchval("SELECT reason FROM vault.access_record") == "look"


@pytest.mark.parametrize("table", ["box", "person_key", "access_record", "class_grant"])
async def test_services_reach_no_table_of_the_vault(installation: Installed, table: str) -> None:
    for role in ("reporter", "mdm_actions", "notifier", "audit"):
        async with as_role(installation, role) as connection:
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.fetch(f"SELECT * FROM vault.{table}")


async def test_there_are_exactly_three_doors(superuser: asyncpg.Connection) -> None:
    rows = await superuser.fetch(
        "SELECT proname, prosecdef, proconfig, pg_get_userbyid(proowner) AS owner, "
        "has_function_privilege('reporter', oid, 'EXECUTE') AS callable "
        "FROM pg_proc WHERE pronamespace = 'vault'::regnamespace ORDER BY proname"
    )
    doors = [row for row in rows if row["callable"]]
    assert [row["proname"] for row in doors] == ["destroy", "open", "put"]
    for row in doors:
        assert row["prosecdef"]
        assert row["proconfig"] == ["search_path=vault, pg_temp"]
        assert row["owner"] == "vault_owner"
    assert not await superuser.fetchval("SELECT rolcanlogin FROM pg_roles WHERE rolname = 'vault_owner'")


async def test_no_plaintext_lies_in_the_database(
    vault: Vault, reporter: asyncpg.Connection, superuser: asyncpg.Connection
) -> None:
    value = "Tanaka-090-9999-8888"
    await vault.put(
        reporter, organisation="acme", person=PERSON, data_class=DataClass.CONTACT, name="planted_name", value=value
    )
    rows = await superuser.fetch(
        "SELECT t::text AS row FROM vault.box t UNION ALL SELECT k::text FROM vault.person_key k"
    )
    text = "\n".join(row["row"] for row in rows)
    for planted in (value, "planted_name"):
        for shape in (planted.encode(), planted.encode("utf-16-le")):
            assert shape.hex() not in text
        assert planted not in text


async def test_the_same_value_twice_gives_two_digests(vault: Vault, reporter: asyncpg.Connection) -> None:
    digests = {
        await vault.put(
            reporter, organisation="acme", person=PERSON, data_class=DataClass.CONTACT, name="n", value="same"
        )
        for _ in range(3)
    }
    assert len(digests) == 3


async def test_a_put_that_rolls_back_leaves_nothing(
    vault: Vault, reporter: asyncpg.Connection, superuser: asyncpg.Connection
) -> None:
    transaction = reporter.transaction()
    await transaction.start()
    await vault.put(reporter, organisation="acme", person=PERSON, data_class=DataClass.CONTACT, name="n", value="v")
    await transaction.rollback()
    assert await superuser.fetchval("SELECT count(*) FROM vault.person_key") == 0
    assert await superuser.fetchval("SELECT count(*) FROM vault.box") == 0


async def test_a_box_moved_to_another_digest_does_not_open(
    vault: Vault, reporter: asyncpg.Connection, superuser: asyncpg.Connection
) -> None:
    digests = await vault.put_many(
        reporter, organisation="acme", person=PERSON, data_class=DataClass.CONTACT, values={"a": "1", "b": "2"}
    )
    await superuser.execute(
        "UPDATE vault.box SET content = (SELECT content FROM vault.box WHERE digest = $1) WHERE digest = $2",
        digests["a"],
        digests["b"],
    )
    with pytest.raises(ValueError, match="does not open"):
        await vault.open(reporter, digests["b"], organisation="acme", actor=ACTOR, reason="look")


async def until_somebody_waits(superuser: asyncpg.Connection) -> None:
    """For a lock in this database; at most ten seconds."""
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    async with asyncio.timeout(10):
        while not await superuser.fetchval(waiting):  # noqa: ASYNC110 - another process says when
            await asyncio.sleep(0.01)


async def test_two_writers_at_once_end_with_one_key(
    vault: Vault, installation: Installed, reporter: asyncpg.Connection, superuser: asyncpg.Connection
) -> None:
    """The second waits for the first to commit, is told of the other key, and seals again."""
    async with as_role(installation, "reporter") as other:
        transaction = reporter.transaction()
        await transaction.start()
        first = await vault.put(
            reporter, organisation="acme", person=PERSON, data_class=DataClass.CONTACT, name="a", value="1"
        )
        waiting = asyncio.create_task(
            vault.put(other, organisation="acme", person=PERSON, data_class=DataClass.CONTACT, name="b", value="2")
        )
        await until_somebody_waits(superuser)
        await transaction.commit()
        second = await waiting
    opened = await vault.open_many(reporter, [first, second], organisation="acme", actor=ACTOR, reason="look")
    assert opened == {first: "1", second: "2"}
    assert await superuser.fetchval("SELECT count(*) FROM vault.person_key") == 1
