"""Vault keys come and go; values still open, references to people stay."""

from pathlib import Path

import asyncpg
import pytest

from shared.vault import DataClass, People, Vault, VaultKeys, rewrap
from tests.stack.installed import Installed

ACTOR = "service/reporter"


async def test_values_open_under_old_and_new_keys_and_old_keys_can_go(installation: Installed) -> None:
    old = VaultKeys.generate()
    connection = await asyncpg.connect(installation.dsn("reporter"))
    owner = await asyncpg.connect(installation.superuser_dsn)
    try:
        before = await Vault(old).put(
            connection,
            organisation="acme",
            person=f"person-{1:032x}",
            data_class=DataClass.CONTACT,
            name="n",
            value="v1",
        )
        both = old.rotated()
        after = await Vault(both).put(
            connection,
            organisation="acme",
            person=f"person-{2:032x}",
            data_class=DataClass.CONTACT,
            name="n",
            value="v2",
        )
        more = await Vault(both).put(
            connection,
            organisation="acme",
            person=f"person-{1:032x}",
            data_class=DataClass.CONTACT,
            name="n",
            value="v3",
        )
        wanted = [before, after, more]
        opened = await Vault(both).open_many(connection, wanted, organisation="acme", actor=ACTOR, reason="look")
        assert list(map(opened.get, wanted)) == ["v1", "v2", "v3"]

        assert await rewrap(owner, both) == 1
        assert await rewrap(owner, both) == 0
        only = both.only_active()
        opened = await Vault(only).open_many(connection, wanted, organisation="acme", actor=ACTOR, reason="look")
        assert list(map(opened.get, wanted)) == ["v1", "v2", "v3"]
        with pytest.raises(ValueError, match="is not in the key file"):
            await Vault(old).open(connection, before, organisation="acme", actor=ACTOR, reason="look")
    finally:
        await connection.close()
        await owner.close()


def test_references_survive_rotation() -> None:
    old = VaultKeys.generate()
    assert People(old).ref("acme", "e1") == People(old.rotated().only_active()).ref("acme", "e1")


def test_a_reference_is_keyed_and_belongs_to_one_organisation() -> None:
    people = People(VaultKeys.generate())
    assert people.ref("acme", "e1") == people.ref("acme", "e1")
    assert people.ref("acme", "e1") != people.ref("globex", "e1")
    assert people.ref("ac", "mee1") != people.ref("acme", "e1")
    assert people.ref("acme", "e1") != People(VaultKeys.generate()).ref("acme", "e1")
    assert people.new_ref() != people.new_ref()


def test_the_key_file_is_for_its_owner_only_and_reads_back(tmp_path: Path) -> None:
    path = tmp_path / "vault.json"
    keys = VaultKeys.generate().rotated()
    keys.write(path)
    assert path.stat().st_mode & 0o777 == 0o600
    read = VaultKeys.read(path)
    assert read.active == keys.active
    assert People(read).ref("acme", "e1") == People(keys).ref("acme", "e1")
    assert [item.name for item in tmp_path.iterdir()] == ["vault.json"]


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"active": "a", "keys": {"a": "c2hvcnQ="}, "root": "c2hvcnQ="}'])
def test_a_file_that_holds_no_keys_is_refused_without_showing_it(tmp_path: Path, content: str) -> None:
    path = tmp_path / "vault.json"
    path.write_text(content)
    with pytest.raises(ValueError, match="vault key") as refused:
        VaultKeys.read(path)
    assert "c2hvcnQ" not in str(refused.value)


def test_keys_do_not_show_themselves() -> None:
    keys = VaultKeys.generate()
    assert repr(keys) == f"VaultKeys(active={keys.active!r})"
