"""Runs one service: its HTTP, its consumer, its relay, its timers and its background work, in one process or split.

    main = service_main("reporter", Settings, build, migrations=Path(__file__).parent / "migrations")

`build` is the service's composition root: it gets the `Kit` and returns the `Parts`.
"""

import asyncio
import gc
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, cast

import asyncpg
import httpx2
import structlog
import typer
import uvicorn
from aiokafka.errors import KafkaError
from fastapi import FastAPI

from shared.events import KeyRing, Signer
from shared.events.contracts import redrive_topic
from shared.messaging import backlog
from shared.messaging.clock import DatabaseClock, running
from shared.messaging.consumer import Consumer
from shared.messaging.dead_letter import DeadLetters
from shared.messaging.kafka import Producer
from shared.messaging.lease import Holder
from shared.messaging.outage import is_outage, outlast
from shared.messaging.redrive import Redrivable
from shared.messaging.relay import Relay
from shared.messaging.taking import Sink
from shared.messaging.timer import TimerHandler, Timers
from shared.messaging.unit import Units
from shared.postgres import connect, migrate
from shared.settings import ServiceSettings
from shared.telemetry import Gauges, Health, ProviderCalls, configure, metrics
from shared.vault import People, Vault
from shared.web import Identity
from shared.web.answers import BoundedClient
from shared.web.connections import MAX_HEAD_BYTES, Places

PARTS = ("http", "consumer", "relay", "timers", "background")
_KIT_MIGRATIONS = Path(__file__).parent / "messaging" / "migrations"
_START_PAUSE_SECONDS = 1.0
_PROBE_SECONDS = 2.0
_YOUNG_OBJECTS = 20_000
_KEEP_ALIVE_SECONDS = 75
"""Longer than proxies and clients keep an idle connection (a minute, mostly): whoever is about to ask over it ends it,
not we, while what is asked is on its way."""
_HTTP_SECONDS = 15.0
"""Until a vendor has answered in full; well inside a timer's lease."""
_HTTP_MOST_BYTES = 8 * 1024 * 1024

_log = structlog.get_logger()


@dataclass(frozen=True)
class Kit[S: ServiceSettings]:
    """What a composition root is given."""

    settings: S
    pool: asyncpg.Pool
    units: Units
    vault: Vault
    people: People
    identity: Identity
    keyring: KeyRing
    health: Health
    gauges: Gauges
    providers: ProviderCalls
    http: httpx2.AsyncClient
    on_close: AsyncExitStack
    """Close here what `build` opened."""


@dataclass(frozen=True)
class Parts:
    """What a composition root returns."""

    sink: Sink
    app: FastAPI
    timers: Mapping[str, TimerHandler] = field(default_factory=dict)
    unbroken: Collection[str] = ()
    """Kinds of timers that are not broken off while this process lives, and so are taken over late when it dies."""
    calendar: Collection[str] = ()
    """Kinds of timers that are due at a moment of the calendar, and not so long after something."""
    background: Sequence[Callable[[], Coroutine[Any, Any, None]]] = ()


type Build[S: ServiceSettings] = Callable[[Kit[S]], Awaitable[Parts]]


def service_main[S: ServiceSettings](
    name: str, settings_class: type[S], build: Build[S], *, migrations: Path
) -> typer.Typer:
    """The command line of one service: `serve` and `migrate`."""
    main = typer.Typer(
        help=f"The {name} service of Lostphone.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )

    @main.command()
    def serve(
        only: Annotated[str, typer.Option(help=f"Parts to run, of {', '.join(PARTS)}.")] = ",".join(PARTS),
    ) -> None:
        """Run until SIGTERM or SIGINT."""
        parts = [part.strip() for part in only.split(",")]
        unknown = set(parts) - set(PARTS)
        if unknown:
            raise typer.BadParameter(f"unknown parts: {', '.join(sorted(unknown))}")
        settings = settings_class.read()
        configure(name, log_level=settings.log_level, otlp_endpoint=settings.otlp_endpoint)
        asyncio.run(_serve(name, settings, build, parts))

    @main.command("migrate")
    def migrate_() -> None:
        """Bring the service's schema up to date."""
        settings = settings_class.read()
        dsn = settings.migrate_dsn or settings.postgres_dsn
        for applied in asyncio.run(
            migrate(dsn.get_secret_value(), name, _KIT_MIGRATIONS, migrations, owner=f"{name}_owner")
        ):
            typer.echo(f"applied {applied}")

    return main


@asynccontextmanager
async def open_kit[S: ServiceSettings](name: str, settings: S, *, notify: bool = False) -> AsyncIterator[Kit[S]]:
    """Everything that a composition root stands on, closed in order at the end. Waits for the database."""
    async with AsyncExitStack() as stack:
        pool, clock = await outlast(lambda: _connected(name, settings))
        stack.push_async_callback(_close_pool, pool)
        http = await stack.enter_async_context(BoundedClient(seconds=_HTTP_SECONDS, most=_HTTP_MOST_BYTES))
        people = People.from_file(settings.vault_key_file)
        units = Units(pool, Signer.from_pem(name, settings.signing_key_file), notify=notify, clock=clock)
        health, gauges = Health(), Gauges()
        gauges.ask(metrics.READY, health.readiness)
        backlog.watch(gauges, pool)
        yield Kit(
            settings=settings,
            pool=pool,
            units=units,
            vault=Vault.from_file(settings.vault_key_file),
            people=people,
            identity=Identity.from_settings(settings, http, people),
            keyring=KeyRing(settings.event_keys_file),
            health=health,
            gauges=gauges,
            providers=ProviderCalls(health),
            http=http,
            on_close=stack,
        )


async def _connected(name: str, settings: ServiceSettings) -> tuple[asyncpg.Pool, DatabaseClock]:
    pool = await connect(settings.postgres_dsn.get_secret_value(), name, max_size=settings.postgres_connections)
    try:
        return pool, await _clock_of(pool)
    except BaseException:
        pool.terminate()
        raise


async def _clock_of(pool: asyncpg.Pool) -> DatabaseClock:
    clock, asked = DatabaseClock(), running()
    clock.set(await pool.fetchval("SELECT clock_timestamp()"), asked)
    return clock


async def _close_pool(pool: asyncpg.Pool) -> None:
    try:
        await asyncio.wait_for(pool.close(), 5)
    except TimeoutError:
        pool.terminate()


async def _serve[S: ServiceSettings](name: str, settings: S, build: Build[S], only: Collection[str]) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signal_number, stop.set)
    async with open_kit(name, settings, notify=set(only) != set(PARTS)) as kit:
        parts = await build(kit)
        running = Running(name, kit, parts, only)
        collect_less()
        _log.info("starting", parts=list(only), port=settings.http_port if "http" in only else None)
        await running.until(stop)
    _log.info("stopped")


def collect_less() -> None:
    """Have the collection of garbage look at what comes, and at that more seldom."""
    # What was loaded stays: to go through all of it again stops the whole service for a tenth of a second.
    gc.collect()
    gc.freeze()
    # A batch of the log is ten thousand objects, none of which is garbage while it is looked at.
    gc.set_threshold(_YOUNG_OBJECTS)


def server_of(app: FastAPI, settings: ServiceSettings, places: Places | None = None) -> uvicorn.Server:
    """The HTTP server of a service, with every bound on connections and heads that it needs to stand in the open."""
    return uvicorn.Server(
        uvicorn.Config(
            app,
            host=settings.http_host,
            port=settings.http_port,
            http=cast("type[asyncio.Protocol]", (places or Places()).protocol()),
            ws="none",
            lifespan="off",
            h11_max_incomplete_event_size=MAX_HEAD_BYTES,
            # Only a proxy that is named may say on whose behalf it asks.
            proxy_headers=bool(settings.trusted_proxies),
            forwarded_allow_ips=[str(proxy) for proxy in settings.trusted_proxies],
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_keep_alive=_KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=10,
        )
    )


class PartEndedError(Exception):
    """A part that works until the service ends has ended before; its name."""


class Running[S: ServiceSettings]:
    """The parts of one service at work."""

    def __init__(self, name: str, kit: Kit[S], parts: Parts, only: Collection[str]) -> None:
        self._name = name
        self._kit = kit
        self._parts = parts
        self._only = only
        self._asking: asyncio.Task[Any] | None = None

    async def until(self, stop: asyncio.Event) -> None:
        """Work until `stop`, or until a part fails for good; then end in order and raise that failure."""
        work = [asyncio.create_task(coroutine, name=part) for part, coroutine in self._work()]
        stopping = asyncio.create_task(stop.wait())
        done, _ = await asyncio.wait([*work, stopping], return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        for task in work:
            task.cancel()
        results = await asyncio.gather(*work, return_exceptions=True)
        for task, result in zip(work, results, strict=True):
            if task in done and (isinstance(result, Exception) or not stop.is_set()):
                failure = result if isinstance(result, Exception) else PartEndedError(task.get_name())
                _log.critical("part_failed", part=task.get_name(), exc_info=failure)
                raise failure

    def _work(self) -> list[tuple[str, Coroutine[Any, Any, None]]]:
        kit, settings = self._kit, self._kit.settings
        work: list[tuple[str, Coroutine[Any, Any, None]]] = []
        if "http" in self._only:
            kit.health.check("database", self._database, serving=True)
            work.append(("http", self._http()))
            # Here, because readiness is asked for here.
            work.append(("providers", kit.providers.run()))
        if "consumer" in self._only:
            work.append(("consumer", self._consume()))
        if "relay" in self._only:
            producer = Producer(settings.kafka(), f"lostphone-{self._name}-relay")
            dsn = settings.postgres_dsn.get_secret_value()
            work.append(("relay", Relay(dsn, self._name, producer, kit.units.in_hand, kit.health).run()))
        if "timers" in self._only:
            holder = Holder(settings.postgres_dsn.get_secret_value(), self._name)
            timers = Timers(
                kit.units,
                self._parts.timers,
                kit.health,
                holder,
                unbroken=self._parts.unbroken,
                calendar=self._parts.calendar,
            )
            work.append(("timers", timers.run()))
        if "background" in self._only:
            work.extend(("background", start()) for start in self._parts.background)
        return work

    async def _database(self) -> str | None:
        """None when the database answers, else the reason."""
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._kit.pool.fetchval("SELECT 1"))
            # One that fails after it was given up is nobody's error.
            self._asking.add_done_callback(lambda asked: asked.cancelled() or asked.exception())
        # Not cancelled when it takes too long: over a network that is half open that would wait as well.
        await asyncio.wait([self._asking], timeout=_PROBE_SECONDS)
        if not self._asking.done():
            return f"the database does not answer within {_PROBE_SECONDS:g} seconds"
        error = self._asking.exception()
        return None if error is None else f"the database cannot be reached: {type(error).__name__}"

    async def _http(self) -> None:
        server = server_of(self._parts.app, self._kit.settings)
        # `serve` would take the signals for itself, and end the process before the other parts have.
        serving = asyncio.create_task(server._serve())  # noqa: SLF001
        try:
            await asyncio.shield(serving)
        except asyncio.CancelledError:
            server.should_exit = True
            await serving
            raise

    async def _consume(self) -> None:
        kit, settings = self._kit, self._kit.settings
        producer = Producer(settings.kafka(), f"lostphone-{self._name}-dead-letters")
        consumer = Consumer(
            self._name,
            settings.kafka(),
            kit.units,
            kit.keyring,
            self._parts.sink,
            dead_letters=DeadLetters(self._name, producer),
            health=kit.health,
            redrive_topic=redrive_topic(self._name) if isinstance(self._parts.sink, Redrivable) else None,
        )
        kit.health.fail("consumer", "not yet started")
        while True:
            try:
                await consumer.start()
                break
            except Exception as error:
                # aiokafka also tells a broker that ended while the group was joined as an error not to be retried.
                if not (is_outage(error) or isinstance(error, KafkaError)):
                    raise
                kit.health.fail("consumer", f"Kafka cannot be used: {type(error).__name__}")
                _log.warning("consumer_waits", error=type(error).__name__, seldom=True)
                await consumer.stop()
                await asyncio.sleep(_START_PAUSE_SECONDS)
        try:
            await consumer.ended()
        finally:
            await consumer.stop()
            await producer.close()
