"""Which provider a command goes to, and how it is put to that provider. Nothing here touches our own database.

A drill gets stand-ins for all of them: choosing them here is the only difference between a drill and a real loss.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

import structlog

from services.mdm_actions.carriers.desk import Desk
from services.mdm_actions.domain.command import LINE_KINDS, Kind, State
from services.mdm_actions.drill import DrillCarrier, DrillDevices, DrillIdentity
from services.mdm_actions.providers import (
    Carrier,
    DeviceOrder,
    HandOver,
    IdentityProvider,
    LineAction,
    LineReading,
    MobileDeviceManagement,
    Outcome,
    Presence,
    ProviderRefusedError,
    ProviderUnavailableError,
)
from services.mdm_actions.store import Case, Command
from shared.telemetry import ProviderAwayError, ProviderCalls

_log = structlog.get_logger()

type Said = Outcome | LineReading | HandOver
"""What a provider says about a command."""

_CLOCK_SKEW = timedelta(seconds=5)
"""Microsoft Graph gives whole seconds."""


@dataclass(frozen=True)
class Providers:
    """The providers that are configured."""

    mdm: Mapping[str, MobileDeviceManagement]
    """By the code with which the inventory names them."""
    carriers: Mapping[str, Carrier]
    """The same. Lines of any other carrier are a matter of calling its desk."""
    identity: Mapping[str, IdentityProvider]
    """By organisation: each has its own tenant."""
    identity_name: str = "entra"

    def manages(self, mdm: str | None) -> bool:
        """Whether commands can reach a device that names this MDM server."""
        return mdm in self.mdm

    def by_hand(self, carrier: str, sim_id: str | None) -> bool:
        """Whether a person has to call the carrier."""
        return carrier not in self.carriers or sim_id is None

    def drill(self) -> "Providers":
        """The same names, with nothing behind them."""
        return Providers(
            dict.fromkeys(self.mdm, DrillDevices()),
            dict.fromkeys(self.carriers, DrillCarrier()),
            dict.fromkeys(self.identity, DrillIdentity()),
            self.identity_name,
        )


class Outside:
    """Puts one command to its provider. Methods raise `ProviderUnavailableError` and `ProviderRefusedError`."""

    def __init__(self, providers: Providers, calls: ProviderCalls) -> None:
        self.providers = providers
        self._drill = providers.drill()
        self._calls = calls

    async def perform(self, case: Case, command: Command, *, ask_first: bool) -> Said:
        """Have it done. `ask_first`: an earlier call may have got through, so look before doing it again."""
        if ask_first:
            said = await self.ask(command)
            if said is not None and _done(command, said):
                return said
        with self._call(command, command.kind.value):
            match command.kind:
                case Kind.REVOKE_SESSIONS:
                    await self._identity(command).revoke(command.target)
                case Kind.SUSPEND_LINE | Kind.RESUME_LINE:
                    return await self._carrier(command).change(command.target, _line_action(case, command.kind))
                case _:
                    order = DeviceOrder(command.id, command.kind, _message(case))
                    await self._mdm(command).enqueue(command.target, order)
                    return Outcome(State.QUEUED)
        return await self.ask(command) or Outcome(State.QUEUED)

    async def ask(self, command: Command) -> Said | None:
        """What became of it; None when the provider knows nothing of it, or cannot be asked."""
        with self._call(command, "ask"):
            match command.kind:
                case Kind.REVOKE_SESSIONS:
                    valid_from = await self._identity(command).valid_from(command.target)
                    if valid_from is None or valid_from < command.ordered_at - _CLOCK_SKEW:
                        return None
                    return Outcome(State.SUCCEEDED, valid_from)
                case Kind.SUSPEND_LINE | Kind.RESUME_LINE:
                    return await self._carrier(command).read_back(command.target)
                case _:
                    return await self._mdm(command).outcome(command.target, command.id)

    async def look(self, command: Command) -> Presence:
        """How the device stands at its server."""
        with self._call(command, "look"):
            return await self._mdm(command).look(command.target)

    async def wake(self, commands: Sequence[Command]) -> None:
        """Have the devices of these connect, when they can. No promise: what fails is logged, and says nothing about
        whether their servers take orders."""
        devices: dict[MobileDeviceManagement, list[str]] = {}
        for command in commands:
            server = self._of(command).mdm.get(command.provider)
            if server is not None:
                devices.setdefault(server, []).append(command.target)
        for server, udids in devices.items():
            try:
                await server.wake(udids)
            except (ProviderUnavailableError, ProviderRefusedError) as error:
                _log.warning("devices_not_woken", count=len(udids), reason=str(error))

    async def disarm(self, command: Command) -> bool:
        """Have the command not handed out any more. False: too late, or the server does not know it."""
        with self._call(command, "disarm"):
            return await self._mdm(command).disarm(command.target, command.id)

    def watch(self) -> None:
        """Have the providers probed while nothing is asked of them."""
        for name, server in self.providers.mdm.items():
            self._calls.watch(name, partial(_probed, server))
        for name, carrier in self.providers.carriers.items():
            self._calls.watch(name, partial(_probed, carrier))
        for organisation, identity in self.providers.identity.items():
            self._calls.watch(self.providers.identity_name, partial(_probed, identity), organisation)

    @contextmanager
    def _call(self, command: Command, operation: str) -> Iterator[None]:
        """Around a call that leaves the house: a drill's does not, nor does asking a person to call a desk."""
        by_hand = command.kind in LINE_KINDS and self.providers.by_hand(command.provider, command.target or None)
        if command.drill or by_hand:
            yield
            return
        # Each organisation has a tenant of its own; MDM server and carrier account belong to the installation.
        organisation = command.organisation if command.kind is Kind.REVOKE_SESSIONS else None
        try:
            with self._calls.to(command.provider, operation, organisation) as call:
                try:
                    yield
                except (ProviderUnavailableError, ProviderRefusedError) as error:
                    if (reason := _away(error)) is not None:
                        call.away(reason)
                    raise
        except ProviderAwayError as error:
            raise ProviderUnavailableError(str(error)) from error

    def _of(self, command: Command) -> Providers:
        return self._drill if command.drill else self.providers

    def _mdm(self, command: Command) -> MobileDeviceManagement:
        found = self._of(command).mdm.get(command.provider)
        if found is None:
            raise ProviderRefusedError("provider_not_configured")
        return found

    def _identity(self, command: Command) -> IdentityProvider:
        found = self._of(command).identity.get(command.organisation)
        if found is None:
            raise ProviderRefusedError("provider_not_configured")
        return found

    def _carrier(self, command: Command) -> Carrier:
        if command.drill:
            # Nobody is asked to call a carrier's desk for practice.
            return DrillCarrier()
        by_hand = self.providers.by_hand(command.provider, command.target or None)
        return Desk(command.provider) if by_hand else self.providers.carriers[command.provider]


async def _probed(provider: MobileDeviceManagement | Carrier | IdentityProvider) -> str | None:
    try:
        await provider.probe()
    except (ProviderUnavailableError, ProviderRefusedError) as error:
        return _away(error)
    return None


def _away(error: ProviderUnavailableError | ProviderRefusedError) -> str | None:
    """Why nobody gets anything from this provider; None when it refused this one thing."""
    if isinstance(error, ProviderUnavailableError):
        return str(error)
    return f"it refuses our key ({error.reason})" if error.reason.endswith("refused_our_key") else None


def line_reads(kind: Kind, reading: LineReading) -> bool:
    """Whether the line stands as the command wants it."""
    return reading.active == (kind is Kind.RESUME_LINE)


def _done(command: Command, said: Said) -> bool:
    """Whether what an earlier call left behind makes another one needless."""
    return line_reads(command.kind, said) if isinstance(said, LineReading) else isinstance(said, Outcome)


def _line_action(case: Case, kind: Kind) -> LineAction:
    if kind is Kind.RESUME_LINE:
        return "activate"
    return "deactivate" if case.playbook.line_action == "deactivate" else "suspend"


def _message(case: Case) -> str:
    """What the finder reads, in every language of the playbook."""
    return "\n".join(case.playbook.lost_mode_message.values())
