"""Playbooks on disk: `rules/playbooks/*.yaml`. An organisation's own goes before the default."""

from collections.abc import Mapping
from pathlib import Path

import yaml

from services.mdm_actions.domain.playbook import Playbook

DEFAULT = "default"


class PlaybookError(Exception):
    """A playbook cannot be used; the message names the file and what is wrong."""


class Playbooks:
    """The newest version of each playbook."""

    def __init__(self, playbooks: Mapping[str, Playbook]) -> None:
        self._playbooks = playbooks

    def of(self, organisation: str) -> Playbook:
        """The playbook named like the organisation, or the default one."""
        return self._playbooks.get(organisation) or self._playbooks[DEFAULT]


def read_folder(folder: Path) -> Playbooks:
    """Read every playbook. Raises `PlaybookError`."""
    newest: dict[str, Playbook] = {}
    for file in sorted(folder.glob("*.yaml")):
        playbook = _read(file)
        known = newest.get(playbook.playbook)
        if known and known.version == playbook.version:
            raise PlaybookError(f"{file}: {playbook.playbook} version {playbook.version} stands in two files")
        if known is None or known.version < playbook.version:
            newest[playbook.playbook] = playbook
    if DEFAULT not in newest:
        raise PlaybookError(f"{folder}: no playbook named {DEFAULT}")
    return Playbooks(newest)


def _read(file: Path) -> Playbook:
    try:
        return Playbook.model_validate(yaml.safe_load(file.read_text()))
    except (OSError, yaml.YAMLError, ValueError) as error:
        raise PlaybookError(f"{file}: {' '.join(str(error).split())[:400]}") from error
