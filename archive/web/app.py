"""The addresses of the page: every view as HTML and, with `.json` behind it, as the data that the HTML is made of."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vevolve.archive.web import shown, stream
from vevolve.archive.web.guard import Guard
from vevolve.archive.web.library import Library
from vevolve.archive.web.sight import Sight
from vevolve.archive.web.views import board, candidate, lineage, run, table
from vevolve.errors import BadInput, UnknownName, VEvolveError

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.types import ASGIApp

View = Callable[[Sight, Mapping[str, str]], dict[str, Any]]

PAGES: dict[str, tuple[str, View]] = {
    "": ("run.html", run.overview),
    "/scatter": ("scatter.html", table.table),
    "/table": ("table.html", table.listing),
    "/lineage": ("lineage.html", lineage.lineage),
    "/compare": ("compare.html", candidate.compare),
    "/failures": ("failures.html", run.failures),
    "/costs": ("costs.html", run.costs),
    "/c/{id}": ("candidate.html", candidate.candidate),
}
"""Path behind a run -> its template and what makes its data."""
DATA: dict[str, View] = {"/points": table.points, "/curve": run.curve}
"""Views that have no page of their own: what plots are drawn from."""
LOOPBACK = ("127.0.0.1", "localhost", "::1")


def create(root: Path, hosts: Collection[str] = LOOPBACK) -> ASGIApp:
    """The page over a folder of runs, or a single run; answers requests that name one of `hosts`."""
    from starlette.applications import Starlette
    from starlette.routing import Mount, Route
    from starlette.staticfiles import StaticFiles

    library = Library(root)
    pages = Pages(library)
    routes: list[Any] = [Mount("/static", StaticFiles(directory=Path(__file__).parent / "static"), name="static")]
    for end in (".json", ""):
        routes.append(Route(f"/index{end}" if end else "/", pages.runs(bool(end)), methods=["GET"]))
        routes.append(Route(f"/leaderboard{end}", pages.board(bool(end)), methods=["GET"]))
        for path, (template, view) in PAGES.items():
            routes.append(Route(f"/run/{{run}}{path}{end}", pages.page(template, view, bool(end)), methods=["GET"]))
    for path, view in DATA.items():
        routes.append(Route(f"/run/{{run}}{path}.json", pages.page("", view, True), methods=["GET"]))
    routes.insert(1, Route("/run/{run}/events", pages.events, methods=["GET"]))

    async def not_found(request: Request, error: Exception) -> Response:
        return pages.failed(request, UnknownName("page", request.url.path, ["/", "/leaderboard", "/run/NAME"]))

    app = Starlette(routes=routes, exception_handlers={404: not_found})
    library.warm()
    return Guard(app, hosts)


KEPT = 8
"""Plots whose data is kept as text."""


def as_text(data: dict[str, Any]) -> str:
    """The JSON twin of a page."""
    return json.dumps(data, allow_nan=False, default=str, separators=(",", ":"))


class Pages:
    """The endpoints over one library."""

    def __init__(self, library: Library) -> None:
        self.library = library
        self.templates = shown.environment()
        self._kept: dict[tuple[Any, ...], str] = {}

    def runs(self, as_json: bool) -> Any:
        """The list of runs."""

        async def endpoint(request: Request) -> Response:
            return await self._answer(request, "runs.html", as_json, lambda: run.runs(self.library, {}))

        return endpoint

    def board(self, as_json: bool) -> Any:
        """The stored leaderboard."""

        async def endpoint(request: Request) -> Response:
            return await self._answer(request, "leaderboard.html", as_json, lambda: board.board(self.library))

        return endpoint

    def page(self, template: str, view: View, as_json: bool) -> Any:
        """One view of one run."""

        async def endpoint(request: Request) -> Response:
            name = request.path_params["run"]
            query = {
                **request.query_params,
                **({"id": request.path_params["id"]} if "id" in request.path_params else {}),
            }
            if not template:
                return await self._answer(request, template, as_json, lambda: self._columns(name, view, query))
            return await self._answer(request, template, as_json, lambda: view(self.library.sight(name), query))

        return endpoint

    async def events(self, request: Request) -> Response:
        """What the log takes in from now on, as server-sent events."""
        from starlette.responses import StreamingResponse

        name = request.path_params["run"]
        try:
            after = request.headers.get("last-event-id") or request.query_params.get("after") or ""
            head = await self.library.read(lambda: self.library.sight(name).head)
        except VEvolveError as error:
            return self.failed(request, error, as_json=True)
        start = int(after) if after.isdecimal() and len(after) < 15 else head
        return StreamingResponse(stream.follow(self.library, name, start), media_type="text/event-stream")

    def _columns(self, name: str, view: View, query: dict[str, str]) -> str:
        """The data of a plot as JSON, kept until the log grows: at ten thousand candidates making it takes a while."""
        sight = self.library.sight(name)
        key = (sight.head, id(sight), view.__name__, *sorted(query.items()))
        if key not in self._kept:
            self._kept[key] = as_text(view(sight, query))
            while len(self._kept) > KEPT:
                del self._kept[next(iter(self._kept))]
        return self._kept[key]

    async def _answer(
        self, request: Request, template: str, as_json: bool, work: Callable[[], dict[str, Any] | str]
    ) -> Response:
        from starlette.responses import HTMLResponse, Response

        def made() -> str:
            data = work()
            if isinstance(data, str):
                return data
            if as_json:
                return as_text(data)
            return shown.render(self.templates, template, request.url.path, request.query_params, data, self.library)

        try:
            text = await self.library.read(made)
        except VEvolveError as error:
            return self.failed(request, error, as_json)
        body = text.encode("utf-8", "replace")
        return Response(body, media_type="application/json") if as_json else HTMLResponse(body)

    def failed(self, request: Request, error: VEvolveError, as_json: bool = False) -> Response:
        """One line that says what is wrong."""
        from starlette.responses import HTMLResponse, JSONResponse

        code = 404 if isinstance(error, UnknownName) else 400 if isinstance(error, BadInput) else 500
        if as_json:
            return JSONResponse({"error": str(error)}, code)
        text = shown.render(self.templates, "error.html", request.url.path, {}, {"error": str(error)}, self.library)
        return HTMLResponse(text.encode("utf-8", "replace"), code)
