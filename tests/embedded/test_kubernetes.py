"""deploy/kubernetes: what can be checked where no cluster is."""

import re
from itertools import chain
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from shared.service import PARTS
from tests.embedded.deployed import ROOT, SETTINGS

FOLDER = ROOT / "deploy" / "kubernetes"
VERSIONS = ("1.34", "1.37")
OBJECTS = [found for file in sorted(FOLDER.glob("*.yaml")) for found in yaml.safe_load_all(file.read_text())]
DEPLOYMENTS = {found["metadata"]["name"]: found for found in OBJECTS if found["kind"] == "Deployment"}
SHARED = {"ca.pem", "event-keys.json", "vault-keys.json"}
CONFIG_MAPS = {"lostphone-approvers": {"approvers.json"}, "lostphone-log-policy": {"log-policy.txt"}}
"""What docs/deployment.md makes of the files of `make_secrets.py`."""


def _named(kind: str, name: str) -> dict[str, Any]:
    (found,) = [found for found in OBJECTS if (found["kind"], found["metadata"]["name"]) == (kind, name)]
    return found


def _pod(service: str) -> dict[str, Any]:
    pod: dict[str, Any] = DEPLOYMENTS[f"lostphone-{service.replace('_', '-')}"]["spec"]["template"]["spec"]
    return pod


def _environment(pod: dict[str, Any]) -> dict[str, str]:
    """What stands in the manifests; a secret as where it comes from."""
    (container,) = pod["containers"]
    maps = [_named("ConfigMap", source["configMapRef"]["name"])["data"] for source in container.get("envFrom", [])]
    named = {item["name"]: str(item.get("value") or item["valueFrom"]) for item in container.get("env", [])}
    return dict(chain.from_iterable(found.items() for found in maps)) | named


def _mounted(pod: dict[str, Any], secrets: Path, service: str) -> set[str]:
    """The names under /run/secrets."""
    (volume,) = [volume for volume in pod["volumes"] if volume["name"] == "secrets"]
    own = {path.name for path in (secrets / "installation" / "keys" / service).glob("*")} | {"settings.env"}
    given = {f"lostphone-{service.replace('_', '-')}": own, "lostphone": SHARED} | CONFIG_MAPS
    sources = [source[kind]["name"] for source in volume["projected"]["sources"] for kind in source]
    return set().union(*(given[source] for source in sources))


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("found", OBJECTS, ids=lambda found: f"{found['kind']} {found['metadata']['name']}")
def test_each_object_is_what_kubernetes_publishes_for_its_kind(found: dict[str, Any], version: str) -> None:
    kubernetes_validate.validate(found, version, strict=True)


def test_each_service_runs_as_the_code_has_it() -> None:
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    assert set(DEPLOYMENTS) == {f"lostphone-{service.replace('_', '-')}" for service in SETTINGS}
    for service in SETTINGS:
        (container,) = _pod(service)["containers"]
        assert container["args"] == ["python", "-m", f"services.{service}", "serve"]
        assert container["image"] == compose["services"][service]["image"]
        assert "http" in PARTS
    (prepare,) = _named("Job", "lostphone-prepare")["spec"]["template"]["spec"]["containers"]
    assert prepare["args"] == compose["services"]["prepare"]["command"]


@pytest.mark.parametrize("service", SETTINGS)
def test_each_service_gets_every_setting_that_it_demands_and_none_that_it_does_not_know(
    secrets: Path, monkeypatch: pytest.MonkeyPatch, service: str
) -> None:
    kept = dict(line.split("=", 1) for line in (secrets / f"{service}.env").read_text().splitlines())
    given = _environment(_pod(service)) | kept
    values = {name.removeprefix("LOSTPHONE_").lower(): value for name, value in given.items()}
    fields = SETTINGS[service].model_fields
    assert {name for name, field in fields.items() if field.is_required()} <= set(values)
    assert set(values) <= set(fields)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    SETTINGS[service]()


@pytest.mark.parametrize("service", SETTINGS)
def test_every_file_that_a_service_is_told_of_is_mounted(secrets: Path, service: str) -> None:
    pod = _pod(service)
    told = {Path(value).name for value in _environment(pod).values() if Path(value).parent == Path("/run/secrets")}
    assert told | {"settings.env"} <= _mounted(pod, secrets, service)
    assert all((secrets / f"{service}.env").exists() for service in (*SETTINGS, "prepare"))


@pytest.mark.parametrize("service", SETTINGS)
def test_no_service_is_given_the_secret_of_another(service: str) -> None:
    named = set(re.findall(r"'secret': \{'name': '([a-z-]+)'\}", str(_pod(service))))
    assert named == {"lostphone", f"lostphone-{service.replace('_', '-')}"}


@pytest.mark.parametrize("service", SETTINGS)
def test_probes_ask_what_there_is_where_it_is_served(service: str) -> None:
    pod = _pod(service)
    (container,) = pod["containers"]
    assert [str(port["containerPort"]) for port in container["ports"]] == [_environment(pod)["LOSTPHONE_HTTP_PORT"]]
    app = (ROOT / "shared" / "web" / "app.py").read_text()
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        asked = container[probe]["httpGet"]
        assert asked["port"] == container["ports"][0]["name"]
        assert f'@app.get("{asked["path"]}"' in app
    assert container["readinessProbe"]["httpGet"]["path"] == "/health/serving"


def test_every_pod_is_without_privileges_and_writes_into_no_image() -> None:
    user = re.search(r"useradd .*--uid (\d+)", (ROOT / "deploy" / "Dockerfile").read_text())
    assert user
    for found in (*DEPLOYMENTS.values(), _named("Job", "lostphone-prepare")):
        pod = found["spec"]["template"]["spec"]
        assert pod["securityContext"]["runAsNonRoot"]
        assert pod["securityContext"]["runAsUser"] == int(user[1])
        assert pod["automountServiceAccountToken"] is False
        (container,) = pod["containers"]
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }


def test_services_budgets_and_policies_select_the_pods_that_there_are() -> None:
    specs = [(found["kind"], found["spec"]) for found in OBJECTS if "spec" in found]
    pods = [spec["template"]["metadata"]["labels"] for _, spec in specs if "template" in spec]
    selectors = [spec["selector"] for kind, spec in specs if kind == "Service"]
    selectors += [spec["selector"]["matchLabels"] for kind, spec in specs if kind == "PodDisruptionBudget"]
    for selector in selectors:
        assert [labels for labels in pods if selector.items() <= labels.items()] == [selector]
    names = {labels["app.kubernetes.io/name"] for labels in pods}
    for chosen in (spec["podSelector"] for kind, spec in specs if kind == "NetworkPolicy"):
        assert chosen.get("matchLabels", {}).get("app.kubernetes.io/name", "audit") in names
        for expression in chosen.get("matchExpressions", []):
            assert set(expression["values"]) <= names | {"lostphone"}


def test_one_process_of_audit_at_a_time_holds_what_lies_outside_its_database() -> None:
    audit = DEPLOYMENTS["lostphone-audit"]["spec"]
    assert (audit["replicas"], audit["strategy"]) == (1, {"type": "Recreate"})
    (container,) = audit["template"]["spec"]["containers"]
    kept = _environment(audit["template"]["spec"])["LOSTPHONE_LOG_STATE_DIR"]
    assert kept in {mount["mountPath"] for mount in container["volumeMounts"]}


def test_what_is_not_on_the_way_of_the_lock_yields_the_processor() -> None:
    asked = {name: _pod(name)["containers"][0]["resources"]["requests"]["cpu"] for name in SETTINGS}
    assert asked == {"reporter": "500m", "mdm_actions": "500m", "notifier": "100m", "audit": "100m"}
