"""`ops evidence`: one incident as a bundle that an outsider checks without us."""

import io
import zipfile
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer

from lostphone.client import connect
from lostphone.commands.options import AsJson, DataDir, Token, Url, Who
from lostphone.screen import CouldNotError, SaidNoError, Sentence, result, why
from lostphone.status import data_directory


def evidence(
    *,
    incident: Annotated[str, typer.Argument(help="案件 · Incident id.")],
    out: Annotated[Path | None, typer.Option(help="保存先 · File to write; default evidence-<incident>.zip.")] = None,
    show: Annotated[
        list[str] | None,
        typer.Option(help="開示する項目のダイジェスト(個人情報保護管理者)· Digest of a field; a privacy officer's."),
    ] = None,
    reason: Annotated[str, typer.Option(help="開示の理由コード · Why fields are opened; a code.")] = "evidence",
    previous: Annotated[
        list[int] | None, typer.Option(help="手元のチェックポイントの大きさ · Size of a checkpoint that you kept.")
    ] = None,
    data_dir: DataDir = None,
    url: Url = None,
    token: Token = None,
    who: Who = None,
    as_json: AsJson = False,
) -> None:
    """案件の証拠一式を書き出す · Write one incident's evidence; check it with lostphone verify FILE --policy ….

    記録に案件がなければ終了コード 1 · Exit 1 when the log does not know the incident; the bundle proves that then.
    """
    body: dict[str, Any] = {"previous": previous or [], "disclosures": [], "not_there": []}
    where = data_directory(data_dir)
    if show:
        desk = connect("reporter", data_dir=where, url=None, token=token, who=who, role="privacy_officer")
        opened = desk.post("/v1/disclosures", {"digests": show, "reason": reason})
        body["disclosures"] = [text for text in opened.values() if text is not None]
        body["not_there"] = [digest for digest, text in opened.items() if text is None]
    client = connect("audit", data_dir=where, url=url, token=token, who=who, role="auditor")
    archive = client.post_for_file(f"/v1/incidents/{incident}/evidence", body)
    file = out or Path(f"evidence-{incident}.zip")
    try:
        file.write_bytes(archive)
    except OSError as error:
        raise CouldNotError(f"{file} に書けません: {why(error)}", f"{file} cannot be written: {why(error)}") from error
    manifest = orjson.loads(zipfile.ZipFile(io.BytesIO(archive)).read("MANIFEST.json"))
    said = {
        "file": str(file),
        "bytes": len(archive),
        "entries": manifest["entries"],
        "shown": len(body["disclosures"]),
        "not_there": body["not_there"],
    }
    sentence = Sentence(f"{file} に書き出しました。", f"Written to {file}.")
    result(said, as_json, lambda screen: screen.print(str(sentence), markup=False))
    if not manifest["entries"]:
        raise SaidNoError(
            f"{manifest['as_of']} 件のログに案件 {incident} はありません。番号を確かめてください。"
            "書き出したのは、ないことの証明です。",
            f"The log of {manifest['as_of']} entries does not know the incident {incident}. Check the id: what was "
            "written proves that there is no such incident.",
        )
