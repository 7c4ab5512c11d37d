"""The local server of `stepmill browse`: files of the page, and JSON under the token's path.

    http://127.0.0.1:PORT/TOKEN/            the page
    http://127.0.0.1:PORT/TOKEN/api/RUN/... what it asks for

Invariant: it listens on 127.0.0.1 alone, every answer has the headers of `guard`, and every request
passes `guard` before anything else looks at it.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Awaitable, Callable, Mapping
from importlib import resources
from typing import Any

from aiohttp import web

from launch.browse.desk import Desk
from launch.browse.guard import HEADERS, refusal, same_token
from storage.errors import NothingFound, StepmillError, UserError

MOST_BODY = 64 * 1024
TYPES = {
    ".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".txt": "text/plain",
    ".svg": "image/svg+xml", ".woff2": "font/woff2",
}  # fmt: skip
_NO_FILTERS = ("text", "start", "id", "beside")
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def make_app(desks: Mapping[str, Desk], token: str) -> web.Application:
    """The server's application; the first run is shown unless another one is asked for."""
    served = _Served(desks)
    app = web.Application(middlewares=[_guarded(token)], client_max_size=MOST_BODY)
    place = f"/{token}"
    app.router.add_get(f"{place}/api/runs", served.runs)
    app.router.add_get(f"{place}/api/{{run}}/{{what}}", served.ask)
    app.router.add_post(f"{place}/api/{{run}}/mark", served.mark)
    app.router.add_get(f"{place}/{{file:[A-Za-z0-9._-]*}}", served.file)
    return app


class _Served:
    def __init__(self, desks: Mapping[str, Desk]) -> None:
        self._desks = desks

    async def runs(self, request: web.Request) -> web.Response:
        return _answer({"runs": list(self._desks), "live": True})

    async def ask(self, request: web.Request) -> web.Response:
        desk, query = self._desk(request), request.query
        asked = {
            name: query.getall(name) for name in query if name not in _NO_FILTERS
        }  # fmt: skip
        text, start = query.get("text", ""), query.get("start", "0")
        beside = query.get("beside")
        listing = desk.list_beside(self._named(beside) if beside else None)
        start_row = int(start) if start.isdecimal() and len(start) < 12 else 0
        calls: dict[str, Callable[[], Any]] = {
            "meta": desk.meta,
            "glance": desk.glance,
            "reasons": desk.reasons,
            "page": lambda: listing.page(asked, text, start_row),
            "facets": lambda: listing.facets(asked, text),
            "path": lambda: desk.path(query.get("id", ""), asked, text, listing),
        }
        call = calls.get(request.match_info["what"])
        if call is None:
            raise web.HTTPNotFound
        return _answer(await asyncio.to_thread(call))

    async def mark(self, request: web.Request) -> web.Response:
        desk = self._desk(request)
        try:
            body = await request.json()
        except ValueError:
            body = None
        if not isinstance(body, dict) or not isinstance(body.get("path_id"), str):
            return _answer({"error": "a mark names a path_id"}, 400)
        return _answer(await asyncio.to_thread(desk.mark, body["path_id"], body))

    async def file(self, request: web.Request) -> web.Response:
        name = request.match_info["file"] or "index.html"
        file = resources.files("launch.browse").joinpath("site", name)
        kind = TYPES.get("." + name.rpartition(".")[2])
        if kind is None or not file.is_file():
            raise web.HTTPNotFound
        charset = None if kind.startswith("font/") else "utf-8"
        return web.Response(body=file.read_bytes(), content_type=kind, charset=charset)

    def _desk(self, request: web.Request) -> Desk:
        return self._named(request.match_info["run"])

    def _named(self, name: str) -> Desk:
        if name not in self._desks:
            raise NothingFound(f"run {name!r} is not open here")
        return self._desks[name]


def _guarded(token: str) -> Any:
    @web.middleware
    async def guarded(request: web.Request, handler: Handler) -> web.StreamResponse:
        given = request.path.split("/")[1]
        why = refusal(request.method, request.headers)
        if why is None and not same_token(given, token):
            why = "the address lacks the token that `stepmill browse` printed"
        if why is not None:
            response: web.StreamResponse = web.Response(status=403, text=why + "\n")
        else:
            response = await _handled(request, handler)
        response.headers.update(HEADERS)
        return response

    return guarded


async def _handled(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except web.HTTPException as error:
        return web.Response(status=error.status, text=f"{error.reason}\n")
    except NothingFound as error:
        return _answer({"error": str(error)}, 404)
    except UserError as error:
        return _answer({"error": str(error)}, 400)
    except StepmillError as error:
        return _answer({"error": str(error)}, 503)


def _answer(value: Any, status: int = 200) -> web.Response:
    return web.Response(
        body=to_json(value), status=status, content_type="application/json", charset="utf-8"
    )


def to_json(value: Any) -> bytes:
    """JSON that every browser reads: a number that is none is null."""
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except ValueError:
        text = json.dumps(_finite(value), ensure_ascii=False, separators=(",", ":"))
    return text.encode("utf-8", "replace")


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(part) for part in value]
    return value
