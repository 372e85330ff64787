"""Which provider a command goes to, and how it is put to that provider. Nothing here touches our own database.

A drill gets stand-ins for all of them: choosing them here is the only difference between a drill and a real loss.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from services.mdm_actions.carriers.desk import Desk
from services.mdm_actions.domain.command import Kind, State
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
)
from services.mdm_actions.store import Case, Command

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

    def __init__(self, providers: Providers) -> None:
        self.providers = providers
        self._drill = providers.drill()

    async def perform(self, case: Case, command: Command, *, ask_first: bool) -> Said:
        """Have it done. `ask_first`: an earlier call may have got through, so look before doing it again."""
        if ask_first:
            said = await self.ask(case, command)
            if said is not None and _done(command, said):
                return said
        match command.kind:
            case Kind.REVOKE_SESSIONS:
                identity = self._identity(command)
                await identity.revoke(command.target)
                return await self.ask(case, command) or Outcome(State.QUEUED)
            case Kind.SUSPEND_LINE | Kind.RESUME_LINE:
                return await self._carrier(command).change(command.target, _line_action(case, command.kind))
            case _:
                order = DeviceOrder(command.id, command.kind, _message(case))
                await self._mdm(command).enqueue(command.target, order)
                return Outcome(State.QUEUED)

    async def ask(self, case: Case, command: Command) -> Said | None:
        """What became of it; None when the provider knows nothing of it, or cannot be asked."""
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
        return await self._mdm(command).look(command.target)

    async def wake(self, command: Command) -> None:
        """Have the device connect, when it can."""
        await self._mdm(command).wake(command.target)

    async def disarm(self, command: Command) -> bool:
        """Have the command not handed out any more. False: too late, or the server does not know it."""
        return await self._mdm(command).disarm(command.target, command.id)

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
