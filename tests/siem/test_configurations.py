"""The configurations for log managers read the right topic, from its beginning, under a group that the SIEM may use."""

import configparser
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from shared.events.contracts.acls import SIEM
from shared.events.contracts.topics import OCSF_TOPIC

FOLDER = Path("deploy/siem")
_CONSUMERS = (
    "logstash/lostphone.conf", "sentinel/logstash.conf", "vector/lostphone.yaml", "fluent-bit/lostphone.yaml",
    "rsyslog/lostphone.conf", "splunk/connect-sink.json", "tenzir/lostphone.tql",
)  # fmt: skip
_GROUP = re.compile(r"""(?:group_id|consumergroup|group\.id)"?\s*(?:=>|:|=)\s*"?([A-Za-z0-9.-]+)""")


def _read(name: str) -> str:
    return (FOLDER / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", _CONSUMERS)
def test_it_reads_the_feed_from_the_beginning(name: str) -> None:
    text = _read(name)
    assert OCSF_TOPIC in text
    assert "earliest" in text
    (group,) = _GROUP.findall(text)
    assert group.startswith(f"{SIEM}."), "the ACLs let the SIEM use groups of that name only"


@pytest.mark.parametrize("name", [*_CONSUMERS, "splunk/props.conf", "splunk/savedsearches.conf", "sentinel/parser.kql"])
def test_it_says_whether_it_was_run_here(name: str) -> None:
    if not name.endswith(".json"):
        assert re.search(r"(Not run|Run) here", _read(name))
    assert name in Path("docs/siem.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("file", sorted(FOLDER.rglob("*.json")), ids=str)
def test_json_is_json(file: Path) -> None:
    assert json.loads(file.read_text())


@pytest.mark.parametrize("file", sorted([*FOLDER.glob("vector/*"), *FOLDER.glob("fluent-bit/*")]), ids=str)
def test_yaml_is_yaml(file: Path) -> None:
    assert yaml.safe_load(file.read_text())


@pytest.mark.parametrize("name", ["splunk/props.conf", "splunk/savedsearches.conf"])
def test_splunk_files_are_stanzas(name: str) -> None:
    text = _read(name).replace("\\\n", " ")
    parser = configparser.RawConfigParser(delimiters=("=",), comment_prefixes=("#",), strict=True)
    parser.read_string(text)
    assert parser.sections()


@pytest.mark.parametrize("file", sorted(FOLDER.rglob("*.conf")), ids=str)
def test_brackets_close(file: Path) -> None:
    text = re.sub(r"(?m)^\s*#.*$", "", file.read_text())
    text = re.sub(r"\"[^\"\n]*\"|'[^'\n]*'", "", text) if "splunk" not in file.parts else text
    for left, right in ("{}", "()"):
        assert text.count(left) == text.count(right), file


def test_no_secret_stands_in_a_configuration() -> None:
    for file in FOLDER.rglob("*"):
        if file.is_file():
            for found in re.findall(
                r"(?i)(?:password|secret|token|api_key)\"?\s*(?:=>|:|=)\s*\"?([^\s\",]+)", file.read_text()
            ):
                assert found.startswith(("$", "'", "...", "{", "env(")), (file, found)


def test_a_column_that_has_the_name_of_a_type_of_kql_stands_in_brackets() -> None:
    rule = json.loads(_read("sentinel/data-collection-rule.json"))["properties"]
    named = {column["name"] for column in rule["streamDeclarations"]["Custom-Lostphone"]["columns"]}
    for name in named & {"time", "date", "string", "long", "int", "real", "bool", "dynamic"}:
        assert re.findall(rf"\b{name}\b(?!'\])", rule["dataFlows"][0]["transformKql"]) == []


def test_the_field_names_of_the_pipeline_are_those_of_the_feed() -> None:
    pipeline: dict[str, Any] = json.loads(_read("elastic/ingest-pipeline.json"))
    sources = {step["set"]["copy_from"] for step in pipeline["processors"] if "copy_from" in step["set"]}
    mapping = {
        "activity_name",
        "severity_id",
        "raw_data_hash.value",
        "actor.user.uid",
        "device.owner.uid",
        "device.uid",
    }
    assert sources == mapping | {
        f"metadata.{name}"
        for name in ("uid", "event_code", "sequence", "log_provider", "tenant_uid", "correlation_uid")
    }
