"""Every metric is moved by some code, and dashboard and alert rules use exactly the names and labels that there are."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.metrics import MetricWrapperBase

from shared.telemetry import metrics

_ROOT = Path(__file__).parents[2]
_DASHBOARD = _ROOT / "deploy" / "grafana" / "lostphone.json"
_RULES = _ROOT / "deploy" / "prometheus" / "alerts.yml"
_CASES = _RULES.with_name("alerts.test.yml")
_NAME = re.compile(r"\blostphone_[a-z0-9_]+")
_INCREASE = re.compile(r"\bincrease\((?P<series>[^\[]+)\[(?P<time>\w+)\]\)")
_BY = re.compile(r"\bby \(([a-z_, ]+)\)")
_SCRAPED = {"service", "job", "le"}
"""Labels that Prometheus adds, and that of a histogram's buckets."""

METRICS = {name: found for name, found in vars(metrics).items() if isinstance(found, MetricWrapperBase)}


def _exposed(metric: MetricWrapperBase) -> set[str]:
    match metric:
        case Counter():
            return {f"{metric._name}_total"}
        case Histogram():
            return {f"{metric._name}_{part}" for part in ("bucket", "sum", "count")}
        case Gauge():
            return {metric._name}
    raise AssertionError(f"{metric._name} is of a kind that is not used here")


def _dashboard() -> Iterator[str]:
    for panel in json.loads(_DASHBOARD.read_text())["panels"]:
        yield from (target["expr"] for target in panel.get("targets", []))


def _rules() -> Iterator[str]:
    for group in yaml.safe_load(_RULES.read_text())["groups"]:
        yield from (rule["expr"] for rule in group["rules"])


@pytest.mark.parametrize("name", METRICS)
def test_some_code_moves_the_metric(name: str) -> None:
    code = [path for folder in ("shared", "services") for path in (_ROOT / folder).rglob("*.py")]
    assert any(re.search(rf"\bmetrics\.{name}\b", path.read_text()) for path in code if path.name != "metrics.py")


def test_the_dashboard_shows_every_metric_and_no_other() -> None:
    shown = {name for expr in _dashboard() for name in _NAME.findall(expr)}
    assert shown <= {name for metric in METRICS.values() for name in _exposed(metric)}
    missing = [name for name, metric in METRICS.items() if not _exposed(metric) & shown]
    assert not missing


def test_alert_rules_use_metrics_that_there_are_and_say_what_to_do() -> None:
    exposed = {name for metric in METRICS.values() for name in _exposed(metric)}
    assert {name for expr in _rules() for name in _NAME.findall(expr)} <= exposed
    pages = (_ROOT / "docs" / "operations.md").read_text()
    for group in yaml.safe_load(_RULES.read_text())["groups"]:
        for rule in group["rules"]:
            assert rule["labels"]["severity"] in {"page", "ticket"}
            assert rule["annotations"]["summary"]
            _, named, heading = rule["annotations"]["runbook"].partition("docs/operations.md, ")
            assert not named or f"### {heading.rstrip('.')}" in pages, rule["alert"]


@pytest.mark.parametrize("expr", [expr for expr in _rules() if "increase(" in expr])
def test_an_alert_hears_of_the_first_time_which_is_no_increase_yet(expr: str) -> None:
    for found in _INCREASE.finditer(expr):
        series, time = found["series"], found["time"]
        assert f"or {series} unless {series} offset {time}" in expr


def test_promtool_has_a_case_for_each_alert() -> None:
    alerts = {rule["alert"] for group in yaml.safe_load(_RULES.read_text())["groups"] for rule in group["rules"]}
    tried = set(re.findall(r'alertname="(\w+)"', _CASES.read_text()))
    assert tried == alerts


@pytest.mark.parametrize("expr", [*_dashboard(), *_rules()])
def test_an_expression_groups_by_labels_that_its_metrics_have(expr: str) -> None:
    names = set(_NAME.findall(expr))
    labels = {label for metric in METRICS.values() if _exposed(metric) & names for label in metric._labelnames}
    asked = {label.strip() for group in _BY.findall(expr) for label in group.split(",")}
    assert asked <= labels | _SCRAPED
