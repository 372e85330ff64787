"""The desk's pager: takes what Apprise's `json://` posts, on any path, and shows the links in it."""

import re

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from sandbox.part import Part, json_object

_LINK = re.compile(r"https?://[^\s<>\"')\]]+")


class Alerts:
    """Every alert that was posted; the path tells the pager."""

    def __init__(self, part: Part) -> None:
        self._part = part

    def application(self) -> ASGIApp:
        routes = [
            Route("/_alerts", self._show, methods=["GET"]),
            Route("/{pager:path}", self._take, methods=["POST"]),
        ]
        return self._part.application(routes)

    async def _take(self, request: Request) -> Response:
        said = json_object(await request.body())
        if not isinstance(said.get("message"), str):
            return JSONResponse({"message": "an alert has a message"}, 400)
        return JSONResponse({"accepted": True})

    async def _show(self, request: Request) -> Response:
        pager = request.query_params.get("pager")
        return JSONResponse(
            [
                {
                    "time": entry["time"],
                    "pager": entry["path"].strip("/"),
                    "title": entry["body"].get("title", ""),
                    "message": entry["body"]["message"],
                    "links": _LINK.findall(entry["body"]["message"]),
                }
                for entry in self._part.journal.entries()
                if entry["answer"]["status"] == 200 and pager in (None, entry["path"].strip("/"))
            ]
        )
