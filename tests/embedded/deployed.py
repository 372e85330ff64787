"""What lies under deploy/, and what the programs there make."""

import importlib.util
from pathlib import Path
from types import ModuleType

from services.audit.settings import Settings as AuditSettings
from services.mdm_actions.settings import Settings as MdmActionsSettings
from services.notifier.settings import Settings as NotifierSettings
from services.reporter.settings import Settings as ReporterSettings

ROOT = Path(__file__).parents[2]
SETTINGS = {
    "reporter": ReporterSettings,
    "mdm_actions": MdmActionsSettings,
    "notifier": NotifierSettings,
    "audit": AuditSettings,
}


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "deploy" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
