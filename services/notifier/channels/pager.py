"""Alerts to people inside, through Apprise: chat, pager, mail, whatever the organisation has configured."""

import logging
from collections.abc import Mapping, Sequence

import apprise

from shared.telemetry import ProviderAwayError, ProviderCalls

# It tells of each alert that it was sent, and to which address: `AlertSent` says the former, the latter is a secret.
logging.getLogger("apprise").setLevel(logging.WARNING)


class Pager:
    """Where each organisation's alerts go.

    `urls`: Apprise addresses under `<organisation>/<role>`, `<organisation>`, or `*`; the first that is there counts.
    `{organisation}` and `{role}` in an address are filled in.
    """

    def __init__(self, urls: Mapping[str, Sequence[str]], calls: ProviderCalls) -> None:
        self._urls = urls
        self._calls = calls

    async def send(self, organisation: str, role: str, *, title: str, text: str) -> bool:
        """Whether every address took it; False when there is none."""
        try:
            with self._calls.to("alerts", "send", organisation) as call:
                sent = await self._send(organisation, role, title=title, text=text)
                if not sent:
                    call.away("an alert was not taken by every address, or there is none")
                return sent
        except ProviderAwayError:
            return False

    async def _send(self, organisation: str, role: str, *, title: str, text: str) -> bool:
        names = (f"{organisation}/{role}", organisation, "*")
        found = next((self._urls[name] for name in names if name in self._urls), ())
        if not found:
            return False
        addresses = apprise.Apprise()
        for url in found:
            if not addresses.add(url.replace("{organisation}", organisation).replace("{role}", role)):
                return False
        return bool(await addresses.async_notify(body=text, title=title, notify_type=apprise.NotifyType.WARNING))
