"""Where a drill's messages go: nowhere. The same code runs, nobody outside hears of it."""

from services.notifier.channels.message import Message, Outcome, Result


class Drill:
    """Stands in for every channel during a drill."""

    repeats_safely = True

    async def probe(self) -> str | None:
        return None

    async def send(self, message: Message) -> Result:
        return Result(Outcome.ACCEPTED, provider_id=f"drill-{message.key}")
