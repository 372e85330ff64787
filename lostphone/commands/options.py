"""Options that many commands share."""

from pathlib import Path
from typing import Annotated

import typer

DataDir = Annotated[
    Path | None,
    typer.Option(
        "--data-dir", help="データの場所(既定 .lostphone/data、LOSTPHONE_DATA)· Data directory.", show_default=False
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="JSON で出力 · Print JSON for programs.")]
Url = Annotated[
    str | None,
    typer.Option(
        "--url", help="サービスのアドレス(既定 動作中の環境)· Base address of the service.", show_default=False
    ),
]
Token = Annotated[
    str | None,
    typer.Option("--token", envvar="LOSTPHONE_TOKEN", help="OIDC アクセストークン · Bearer token.", show_default=False),
]
Who = Annotated[
    str | None,
    typer.Option(
        "--who",
        help="サンドボックスの人(sub)として実行 · Act as this person of the sandbox (embedded stack only).",
        show_default=False,
    ),
]
