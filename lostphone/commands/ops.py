"""`ops`: what operators do with topics and the inventory."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from lostphone import acls, running, topics
from lostphone.client import connect
from lostphone.commands.ocsf import ocsf
from lostphone.commands.options import AsJson, DataDir, Token, Url, Who
from lostphone.commands.rotate import rotate
from lostphone.kafka_access import connection_from_environment, running_connection
from lostphone.screen import NO, CouldNotError, SaidNoError, Sentence, progress, result, why
from lostphone.status import data_directory
from shared.events.contracts.acls import OPERATOR

ops = typer.Typer(help="運用 · Operations.", no_args_is_help=True, add_completion=False)
_topics = typer.Typer(help="Kafka トピック · Kafka topics.", no_args_is_help=True)
_acls = typer.Typer(help="Kafka の許可 · ACLs of Kafka.", no_args_is_help=True)
_inventory = typer.Typer(help="端末台帳 · The inventory of phones.", no_args_is_help=True)
ops.add_typer(_topics, name="topics")
ops.add_typer(_acls, name="acls")
ops.add_typer(rotate, name="rotate")
ops.add_typer(_inventory, name="inventory")
ops.add_typer(ocsf, name="ocsf")

Integrators = Annotated[
    list[str] | None, typer.Option("--integrator", help="連携先の名前 · An integrator: principal integrator-NAME.")
]
Bootstrap = Annotated[str | None, typer.Option(help="Kafka のアドレス · Broker; default the running installation.")]


@_topics.command("apply")
def apply_topics(
    *,
    bootstrap: Bootstrap = None,
    replicas: Annotated[
        int | None, typer.Option(min=1, max=9, help="複製の数 · Replicas; default the broker's.")
    ] = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """足りないトピックを作り設定を揃える · Create and update topics; nothing is deleted. Exit 1 when drift remains."""
    try:
        standings = topics.apply(_connection(bootstrap, data_dir), topics.manifest(), replicas=replicas)
    except topics.BrokerError as error:
        raise _broker(error) from error
    _show_topics(standings, as_json)


@_topics.command("list")
def list_topics(*, bootstrap: Bootstrap = None, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """トピックの現状を定義と比べる · Compare topics with the manifest. Exit 1 when one is missing or differs."""
    try:
        standings = topics.compare(_connection(bootstrap, data_dir), topics.manifest())
    except topics.BrokerError as error:
        raise _broker(error) from error
    _show_topics(standings, as_json)


@_acls.command("apply")
def apply_acls(
    *,
    integrator: Integrators = None,
    remove_extra: Annotated[
        bool, typer.Option("--remove-extra", help="定義にない許可を消す · Take away what the manifest does not grant.")
    ] = False,
    bootstrap: Bootstrap = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """足りない許可を与える · Grant what is missing. Exit 1 when more is granted than the manifest says."""
    try:
        connection = _connection(bootstrap, data_dir, "admin")
        standings = acls.apply(connection, integrator or (), remove_extra=remove_extra)
    except topics.BrokerError as error:
        raise _broker(error) from error
    _show_acls(standings, as_json)


@_acls.command("list")
def list_acls(
    *,
    integrator: Integrators = None,
    bootstrap: Bootstrap = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """許可の現状を定義と比べる · Compare ACLs with the manifest. Exit 1 when they differ."""
    try:
        standings = acls.compare(_connection(bootstrap, data_dir, "admin"), integrator or ())
    except topics.BrokerError as error:
        raise _broker(error) from error
    _show_acls(standings, as_json)


@_inventory.command("import")
def import_inventory(
    *,
    file: Annotated[Path, typer.Argument(help="CSV ファイル · CSV file.")],
    apply: Annotated[
        bool, typer.Option("--apply", help="実際に取り込む(既定は試行)· Do it; default is a dry run.")
    ] = False,
    data_dir: DataDir = None,
    url: Url = None,
    token: Token = None,
    who: Who = None,
    as_json: AsJson = False,
) -> None:
    """端末台帳を取り込む · Import the company's list of phones; says first what would change."""
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise CouldNotError(
            f"{file} を読めません(UTF-8 の CSV): {why(error)}", f"{file} cannot be read as UTF-8 text: {why(error)}"
        ) from error
    client = connect("mdm_actions", data_dir=data_directory(data_dir), url=url, token=token, who=who, role="operator")
    said = client.post_text("/v1/inventory/import", text, "text/csv", apply="true" if apply else "false")
    result(said, as_json, lambda out: _draw_import(out, said, apply))
    if said.get("bad"):
        raise SaidNoError(
            "読めない行があるため、何も取り込んでいません。", "Rows cannot be read, so nothing was imported."
        )


def _connection(bootstrap: str | None, data_dir: Path | None, principal: str = OPERATOR) -> dict[str, Any]:
    status = None if bootstrap is not None else running.running(data_directory(data_dir))
    if status is not None:
        return running_connection(status.kafka, principal)
    connection = connection_from_environment(bootstrap)
    if "bootstrap.servers" not in connection:
        raise CouldNotError(
            "Kafka がどこにあるか分かりません。--bootstrap か LOSTPHONE_KAFKA_BOOTSTRAP を指定してください。",
            "Where is Kafka? Start an installation, or give --bootstrap or LOSTPHONE_KAFKA_BOOTSTRAP.",
        )
    return connection


def _broker(error: topics.BrokerError) -> CouldNotError:
    return CouldNotError(f"Kafka で失敗しました: {error}", f"Kafka: {error}")


def _show_topics(standings: list[topics.Standing], as_json: bool) -> None:
    result([standing.public() for standing in standings], as_json, lambda out: _draw_topics(out, standings))
    if any(standing.drift or standing.state in ("missing", "differs") for standing in standings):
        progress("定義と違うトピックがあります。", "Topics are not as the manifest says.")
        raise typer.Exit(NO)


def _show_acls(standings: list[acls.Standing], as_json: bool) -> None:
    result([standing.public() for standing in standings], as_json, lambda out: _draw_acls(out, standings))
    if any(standing.state in ("missing", "extra") for standing in standings):
        progress("定義と違う許可があります。", "ACLs are not as the manifest says.")
        raise typer.Exit(NO)


def _draw_acls(out: Console, standings: list[acls.Standing]) -> None:
    columns = ("principal", "resource", "name", "pattern", "operation", "state")
    table = Table(*columns, box=None, pad_edge=False)
    for standing in standings:
        said = standing.public()
        table.add_row(*(said[column] for column in columns))
    out.print(table)


def _draw_topics(out: Console, standings: list[topics.Standing]) -> None:
    table = Table(box=None, pad_edge=False)
    for column in (("トピック", "topic"), ("状態", "state"), ("違い", "difference")):
        table.add_column(str(Sentence(*column)))
    for standing in standings:
        changed = [f"{name}: {before} → {after}" for name, (before, after) in standing.changed.items()]
        table.add_row(standing.name, standing.state, ", ".join([*changed, *standing.drift]))
    out.print(table)


def _draw_import(out: Console, said: dict[str, Any], applied: bool) -> None:
    for name, ja, en in (
        ("added", "追加", "added"),
        ("changed", "変更", "changed"),
        ("unchanged", "変更なし", "unchanged"),
        ("missing", "ファイルにない", "missing from the file"),
        ("bad", "読めない行", "bad rows"),
    ):
        items = said.get(name) or []
        out.print(f"{Sentence(ja, en)}: {len(items)}")
        if name != "unchanged":
            for item in items:
                out.print(f"  {_import_line(item)}", markup=False)
    if not applied:
        out.print(str(Sentence("試行です。取り込むには --apply を付けます。", "A dry run. Add --apply to import.")))


def _import_line(item: Any) -> str:
    if not isinstance(item, dict):
        return str(item)
    if "line" in item:
        return str(
            Sentence(f"{item['line']} 行目: {item.get('reason', '')}", f"line {item['line']}: {item.get('reason', '')}")
        )
    return f"{item.get('asset_tag', '')}: {', '.join(item.get('columns', []))}"
