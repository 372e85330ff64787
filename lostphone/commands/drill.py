"""`drill`: the same code as a real loss, for practice; nothing outside is reached."""

from typing import Annotated

import typer

from lostphone.client import connect
from lostphone.commands.options import AsJson, DataDir, Token, Url, Who
from lostphone.commands.report import send
from lostphone.screen import Sentence, language
from lostphone.status import data_directory


def drill(
    *,
    phone: Annotated[str, typer.Argument(help="訓練で失くす携帯 · The phone that is lost in the drill.")],
    holder: Annotated[str | None, typer.Option(help="持っていた人 · Who held it, when it was not you.")] = None,
    callback: Annotated[str | None, typer.Option(help="折り返し先 · A way to reach you.")] = None,
    data_dir: DataDir = None,
    url: Url = None,
    token: Token = None,
    who: Who = None,
    as_json: AsJson = False,
) -> None:
    """訓練の案件を始める · Begin a drill: nothing reaches a real device, line, person or page."""
    body = {
        "reported_as": "proxy" if holder else "holder",
        "phone": phone,
        "callback": callback or str(Sentence("訓練", "drill")),
        "locale": language(),
        "drill": True,
    }
    if holder:
        body["holder_name"] = holder
    client = connect("reporter", data_dir=data_directory(data_dir), url=url, token=token, who=who, role="security_desk")
    send(client, body, None, as_json)
