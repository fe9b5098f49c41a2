"""The addresses of the page: every view as HTML and, with `.json` behind it, as the data that the HTML is made of."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vevolve.archive.web import shown, stream
from vevolve.archive.web.guard import Guard
from vevolve.archive.web.library import Library
from vevolve.archive.web.published import Shelf
from vevolve.archive.web.sight import Sight
from vevolve.archive.web.views import board, candidate, certified, lineage, run, table
from vevolve.errors import BadInput, UnknownName, VEvolveError

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.types import ASGIApp


def certificate(sight: Sight, query: Mapping[str, str]) -> dict[str, Any]:
    """The certificate of an attempt that a row of the log registered."""
    return certified.certificate(sight, query.get("id", ""))


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
DATA: dict[str, View] = {"/points": table.points, "/curve": run.curve, "/certificate-{id}": certificate}
"""Views that have no page of their own: what plots are drawn from, and certificates for `vevolve verify`."""
LOOPBACK = ("127.0.0.1", "localhost", "::1")


def create(library: Library, hosts: Collection[str] = LOOPBACK, shelf: Shelf | None = None) -> ASGIApp:
    """The page over a library, which it closes when the server stops.

    Args:
        library: the runs.
        hosts: names that a request may give for this server.
        shelf: what is known of problems without any run; None: there is no leaderboard.
    """
    from starlette.applications import Starlette
    from starlette.routing import Mount, Route
    from starlette.staticfiles import StaticFiles

    pages = Pages(library, shelf)
    routes: list[Any] = [Mount("/static", StaticFiles(directory=Path(__file__).parent / "static"), name="static")]
    for end in (".json", ""):
        routes.append(Route(f"/index{end}" if end else "/", pages.runs(bool(end)), methods=["GET"]))
        routes.append(Route(f"/leaderboard{end}", pages.board(bool(end)), methods=["GET"]))
        for path, (template, view) in PAGES.items():
            routes.append(Route(f"/run/{{run}}{path}{end}", pages.page(template, view, bool(end)), methods=["GET"]))
    for path, view in DATA.items():
        routes.append(Route(f"/run/{{run}}{path}.json", pages.page("", view, True), methods=["GET"]))
    routes.insert(1, Route("/run/{run}/events", pages.events, methods=["GET"]))
    routes.insert(1, Route("/run/{run}/published.json", pages.published, methods=["GET"]))

    async def not_found(request: Request, error: Exception) -> Response:
        return pages.failed(request, UnknownName("page", request.url.path, ["/", "/leaderboard", "/run/NAME"]))

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncGenerator[None]:
        yield
        await asyncio.to_thread(library.close)

    app = Starlette(routes=routes, exception_handlers={404: not_found}, lifespan=lifespan)
    library.warm()
    return Guard(app, hosts)


KEPT = 8
"""Plots whose data is kept as text."""


def as_text(data: dict[str, Any]) -> str:
    """The JSON twin of a page."""
    return json.dumps(data, allow_nan=False, default=str, separators=(",", ":"))


class Pages:
    """The endpoints over one library."""

    def __init__(self, library: Library, shelf: Shelf | None) -> None:
        self.library, self.shelf = library, shelf
        self.templates = shown.environment()
        self._kept: dict[tuple[Any, ...], str] = {}

    def runs(self, as_json: bool) -> Any:
        """The list of runs."""

        async def endpoint(request: Request) -> Response:
            return await self._answer(request, "runs.html", as_json, lambda: run.runs(self.library))

        return endpoint

    def board(self, as_json: bool) -> Any:
        """The leaderboard. Problems take a second to load, so that no reader of a run waits for it."""

        async def endpoint(request: Request) -> Response:
            if (shelf := self.shelf) is None:
                return self.failed(request, UnknownName("page", request.url.path, ["/"]), as_json)
            work = functools.partial(board.board, shelf)
            return await self._answer(request, "leaderboard.html", as_json, work, asyncio.to_thread)

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

    async def published(self, request: Request) -> Response:
        """What a plot draws beside a run's own points."""
        name, query, shelf = request.path_params["run"], dict(request.query_params), self.shelf
        try:
            problem = await self.library.read(lambda: self.library.sight(name).archive.started.problem)
            known = None if shelf is None else await asyncio.to_thread(shelf.known, problem)
        except VEvolveError as error:
            return self.failed(request, error, as_json=True)
        return await self._answer(request, "", True, lambda: board.beside(self.library.sight(name), query, known))

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
        self,
        request: Request,
        template: str,
        as_json: bool,
        work: Callable[[], dict[str, Any] | str],
        where: Callable[[Callable[[], str]], Awaitable[str]] | None = None,
    ) -> Response:
        """What `work` makes, on the reading thread or elsewhere, as a page or as its twin."""
        from starlette.responses import HTMLResponse, Response

        def made() -> str:
            data = work()
            if isinstance(data, str):
                return data
            if as_json:
                return as_text(data)
            return self._page(template, request.url.path, request.query_params, data)

        try:
            text = await (where or self.library.read)(made)
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
        text = self._page("error.html", request.url.path, {}, {"error": str(error)})
        return HTMLResponse(text.encode("utf-8", "replace"), code)

    def _page(self, template: str, path: str, query: Mapping[str, str], data: Mapping[str, Any]) -> str:
        return shown.render(self.templates, template, path, query, {**data, "has_board": self.shelf is not None})
