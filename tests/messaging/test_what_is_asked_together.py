"""What is asked for in the same turn of the event loop is asked for in one go, and everybody gets their own answer."""

import asyncio

import pytest

from shared.postgres import Together


class Shelf:
    """Answers for many at once, and remembers how it was asked."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []
        self.begun = asyncio.Event()
        self.open = asyncio.Event()
        self.broken = False

    async def ask(self, keys: list[str]) -> dict[str, str]:
        self.asked.append(keys)
        self.begun.set()
        await self.open.wait()
        if self.broken:
            raise ConnectionError("gone")
        return {key: f"the {key}" for key in keys if key != "nothing"}


async def test_callers_of_one_turn_are_asked_for_in_one_go() -> None:
    shelf = Shelf()
    shelf.open.set()
    together = Together(shelf.ask)
    answers = await asyncio.gather(*(together.of(key) for key in ("book", "nothing", "map", "book")))
    assert answers == ["the book", None, "the map", "the book"]
    assert shelf.asked == [["book", "nothing", "map"]]


async def test_who_comes_while_it_is_asked_waits_for_the_next_answer() -> None:
    shelf = Shelf()
    together = Together(shelf.ask)
    first = asyncio.create_task(together.of("book"))
    await shelf.begun.wait()
    second = asyncio.create_task(together.of("book"))
    shelf.open.set()
    assert await asyncio.gather(first, second) == ["the book", "the book"]
    assert shelf.asked == [["book"], ["book"]]


async def test_an_error_reaches_everybody_and_the_next_question_is_asked_anew() -> None:
    shelf = Shelf()
    shelf.broken = True
    shelf.open.set()
    together = Together(shelf.ask)
    said = await asyncio.gather(together.of("book"), together.of("map"), return_exceptions=True)
    assert [type(error) for error in said] == [ConnectionError, ConnectionError]
    shelf.broken = False
    assert await together.of("map") == "the map"


async def test_who_gives_up_takes_the_answer_from_nobody() -> None:
    shelf = Shelf()
    together = Together(shelf.ask)
    hasty, patient = (asyncio.create_task(together.of("book")) for _ in range(2))
    await shelf.begun.wait()
    hasty.cancel()
    with pytest.raises(asyncio.CancelledError):
        await hasty
    shelf.open.set()
    assert await patient == "the book"
