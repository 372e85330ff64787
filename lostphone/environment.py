"""What each service is told: its settings, by the names of their environment variables without the prefix."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import lostphone
from lostphone.embedded.certificates import CA_FILE
from lostphone.installation import SERVICES, Installation, Service
from lostphone.kafka_access import SASL_SSL
from sandbox.companies import companies

CLIENT_ID: Final = "lostphone"
OPERATOR: Final = "acme-kk"
"""The company of the sandbox that runs the installation; its auditors read the whole log."""
NANOMDM_WEBHOOK: Final = "/webhooks/nanomdm"
_PREFIX = "LOSTPHONE_"
_RULES = Path(lostphone.__file__).parent.parent / "rules"


@dataclass(frozen=True)
class NanoMDMFacts:
    """Where the MDM server is, and how mdm_actions reads its queue."""

    url: str
    dsn: str


@dataclass(frozen=True)
class Facts:
    """What is known only once the stack below runs."""

    installation: Installation
    bootstrap: str
    dsn: str
    nanomdm: NanoMDMFacts


def service_environment(service: Service, facts: Facts) -> dict[str, str]:
    """The variables for one service."""
    own = {
        "reporter": _reporter,
        "mdm_actions": _mdm_actions,
        "notifier": _notifier,
        "audit": _audit,
    }[service](facts)
    settings = {**_common(service, facts), **own}
    return {f"{_PREFIX}{name.upper()}": _text(value) for name, value in settings.items()}


def _text(value: object) -> str:
    return value if isinstance(value, str) else str(value) if isinstance(value, int | Path) else json.dumps(value)


def _common(service: Service, facts: Facts) -> dict[str, object]:
    installation = facts.installation
    return {
        "kafka_bootstrap": facts.bootstrap,
        **_signed_in(service, installation),
        "postgres_dsn": facts.dsn,
        "signing_key_file": installation.key_file(service, "event-signing.pem"),
        "event_keys_file": installation.event_keys_file,
        "vault_key_file": installation.vault_key_file,
        "session_key_file": installation.sign_in_key_file,
        "oidc_issuer": installation.url("identity"),
        "oidc_client_id": CLIENT_ID,
        "oidc_client_secret": installation.passwords["oidc_client"],
        "http_port": installation.ports[service],
        "public_url": installation.url(service),
        "links": {other: installation.url(other) for other in SERVICES if other != service},
        "rules_dir": _RULES,
    }


def _signed_in(service: Service, installation: Installation) -> Mapping[str, object]:
    """How the service signs in to a guarded broker."""
    if not installation.secure:
        return {}
    return {
        "kafka_security": SASL_SSL,
        "kafka_username": service,
        "kafka_password": installation.kafka_password(service),
        "kafka_ca_file": installation.kafka_folder / CA_FILE,
    }


def _reporter(_: Facts) -> Mapping[str, object]:
    return {"organisations": list(companies().organisations)}


def _mdm_actions(facts: Facts) -> Mapping[str, object]:
    installation = facts.installation
    return {
        "approvers_file": installation.approvers_file,
        "nanomdm_url": facts.nanomdm.url,
        "nanomdm_dsn": facts.nanomdm.dsn,
        "nanomdm_api_key": installation.passwords["nanomdm_api"],
        "nanomdm_webhook_key": installation.passwords["nanomdm_webhook"],
        "soracom_url": f"{installation.url('carrier')}/v1",
        "soracom_auth_key_id": companies().soracom_operator.auth_key_id,
        "soracom_auth_key": companies().soracom_operator.auth_key,
        "entra_login_url": installation.url("entra"),
        "entra_graph_url": installation.url("entra"),
        "entra_client_id": companies().entra_application.client_id,
        "entra_client_secret": companies().entra_application.client_secret,
        "entra_tenants": {name: company.entra_tenant for name, company in companies().organisations.items()},
    }


def _notifier(facts: Facts) -> Mapping[str, object]:
    installation = facts.installation
    return {
        "smtp_host": "127.0.0.1",
        "smtp_port": installation.ports["smtp"],
        "smtp_security": "none",
        "mail_senders": {name: f"notice@{name}.example" for name in companies().organisations},
        "line_url": installation.url("line"),
        "line_channel_tokens": {
            name: company.line_channel_token for name, company in companies().organisations.items()
        },
        "alert_urls": {"*": [f"json://127.0.0.1:{installation.ports['alerts']}/{{role}}/{{organisation}}"]},
    }


def _audit(facts: Facts) -> Mapping[str, object]:
    installation = facts.installation
    ed25519, mldsa44 = installation.log_keys.files
    return {
        "log_origin": installation.log_origin,
        "log_key_file": ed25519,
        "log_mldsa44_key_file": mldsa44,
        "blinding_key_file": installation.key_file("audit", "blinding.key"),
        "operator_organisation": OPERATOR,
        "log_policy_file": installation.log_policy_file,
        "log_state_dir": installation.log_state_dir,
    }
