"""What a body may be: JSON where a route takes JSON, and forms in UTF-8, as browsers send those of our pages."""

from fastapi import Request, params
from fastapi.routing import APIRoute
from python_multipart.multipart import parse_options_header
from starlette.exceptions import HTTPException

_UTF_8 = (b"utf-8", b"utf8")


async def understood(request: Request) -> None:
    """The dependency that `create_app` puts before all others: 415 for a body that no route of ours reads."""
    given = request.headers.get("content-type")
    if given is None:
        return
    media_type, options = parse_options_header(given)
    # The framework would decode with any codec of Python that is named here, and some fail in a way of their own.
    if media_type == b"multipart/form-data" and options.get(b"charset", b"utf-8").lower() not in _UTF_8:
        raise HTTPException(415)
    if _takes_json(request.scope.get("route")) and not media_type.endswith((b"/json", b"+json")):
        raise HTTPException(415)


def _takes_json(route: object) -> bool:
    if not isinstance(route, APIRoute) or route.body_field is None:
        return False
    return not isinstance(route.body_field.field_info, params.Form)
