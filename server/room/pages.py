"""The pages of the training room. The server renders them; modules in `static` add what is live."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.exceptions import HTTPException, RequestValidationError
from fastapi.responses import FileResponse, HTMLResponse, RedirectResponse, Response
from fastapi.routing import APIRoute
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from ml_trainer_env.server.room.api import Name, Text, place_to_text, search_of
from ml_trainer_env.server.room.archive import Archive
from ml_trainer_env.server.room.compare import compare
from ml_trainer_env.server.room.results import REPORT_POLICY, find_report, find_run, list_runs
from ml_trainer_env.server.store import NoSuchEpisodeError, StoreError
from ml_trainer_env.server.store.search import Order, Search

__all__ = ["PlayedGame", "page_routes"]

HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'"
    ),
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}
STATIC = Path(__file__).parent / "static"
_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_PER_PAGE = 30
_OFFERED = 8
"""The page that begins an episode offers so many unfinished ones."""

MAX_COMPARED = 8
"""Limit for the episodes that are laid over each other."""

MAX_RUNS = 200
"""Limit for the runs that the page of results lists."""

_TEMPLATES = Environment(
    loader=PackageLoader("ml_trainer_env.server.room"), autoescape=select_autoescape(), undefined=StrictUndefined
)


@dataclass(frozen=True, slots=True)
class PlayedGame:
    """A game that visitors may play.

    Attributes:
        game: Its name.
        prefix: The prefix of its WebSocket.
        default_task: The id of the task of a reset without one.
        tasks: Ids of tasks to choose from. The server may have more.
        splits: Its splits, each with its number of tasks. The server may have tasks beyond it.
        rubrics: The names of its rubrics.
    """

    game: str
    prefix: str
    default_task: str
    tasks: tuple[str, ...]
    splits: tuple[tuple[str, int], ...]
    rubrics: tuple[str, ...]


class _PageRoute(APIRoute):
    """The route of a page. What is wrong with a request is told by a page, too."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return what answers a request."""
        handle = super().get_route_handler()

        async def handle_or_explain(request: Request) -> Response:
            try:
                return await handle(request)
            except RequestValidationError as error:
                problems = [f"{problem['loc'][-1]}: {problem['msg']}" for problem in error.errors()]
                return _page("error.html", 422, title="The address is wrong", reason="; ".join(problems))
            except HTTPException as error:
                title = "No such page" if error.status_code == 404 else "The address is wrong"
                return _page("error.html", error.status_code, title=title, reason=str(error.detail))
            except StoreError as error:
                return _page("error.html", 503, title="The journal cannot be read", reason=str(error))

        return handle_or_explain


def page_routes(archive: Archive, games: Sequence[PlayedGame], results: Path) -> APIRouter:
    """Return the routes of the pages and of their files.

    Args:
        archive: The episodes.
        games: The games that visitors may play.
        results: The folder with the runs of `ml-trainer-play` and `ml-trainer-bench`.
    """
    prefixes = {one.game: one.prefix for one in games}
    router = APIRouter(include_in_schema=False, route_class=_PageRoute)
    files = {path.name: path for path in STATIC.iterdir() if path.suffix in _TYPES}

    @router.get("/")
    @router.get("/web")  # the path that Hugging Face shows of a Space
    @router.get("/room")
    async def watch(
        game: Text = None,
        task: Text = None,
        agent: Text = None,
        state: Text = None,
        order: Order = Order.RECENT,
        after: Text = None,
    ) -> Response:
        """Show all episodes: the live ones above, those of the journal below."""
        search = search_of(archive, game, task, agent, state, order, after, _PER_PAGE)
        rows, following = await archive.search(search)
        chosen = {"game": game, "task": task, "agent": agent, "state": state, "order": order.value}
        return _page(
            "watch.html",
            rows=rows,
            chosen=chosen,
            asked={name: value for name, value in chosen.items() if value},
            is_filtered=any((game, task, agent, state)),
            following=place_to_text(following),
            is_first=not after,
            games=[view.game for view in archive.views.all],
            orders=list(Order),
        )

    @router.get("/room/episode")
    async def episode(name: Name) -> Response:
        """Show an episode."""
        try:
            found = await archive.facts(name)
        except NoSuchEpisodeError as error:
            return _page("error.html", status=404, title="No such episode", reason=str(error))
        return _page("episode.html", **found, prefix=prefixes.get(found["view"]["game"], ""))

    @router.get("/room/play")
    async def play(fork_from: Annotated[str, Query(max_length=260)] = "", game: Text = None) -> Response:
        """Show the form that begins an episode, with the chosen game first, and episodes to go on with."""
        unfinished, _ = await archive.search(Search(done=False, limit=_PER_PAGE))
        return _page(
            "play.html",
            games=sorted(games, key=lambda one: one.game != game),
            fork_from=fork_from,
            free=[row for row in unfinished if row["state"] == "unfinished"][:_OFFERED],
        )

    @router.get("/room/compare")
    async def comparison(name: Annotated[list[str] | None, Query(max_length=MAX_COMPARED)] = None) -> Response:
        """Lay episodes over each other."""
        found, missing = [], []
        for one in dict.fromkeys(name or []):
            try:
                found.append(await archive.recording(one))
            except NoSuchEpisodeError as error:
                missing.append(str(error))
        return _page("compare.html", table=compare(found), missing=missing, most=MAX_COMPARED)

    @router.get("/room/results")
    async def runs() -> Response:
        """List the runs whose results are in the folder."""
        found = await asyncio.to_thread(list_runs, results, MAX_RUNS)
        return _page("results.html", runs=found, folder=str(results))

    @router.get("/room/results/{kind}/{name}")
    async def run(kind: str, name: str) -> Response:
        """Show the episodes of a run, with their curves."""
        found = await asyncio.to_thread(find_run, results, kind, name)
        if found is None:
            return _page("error.html", status=404, title="No such run", reason=f"there is no run {kind}/{name:.80}")
        return _page("run.html", run=found)

    @router.get("/room/results/{kind}/{name}/report")
    async def report(kind: str, name: str) -> Response:
        """Send the report of a run as it was written."""
        path = await asyncio.to_thread(find_report, results, kind, name)
        if path is None:
            return _page("error.html", status=404, title="No report", reason=f"the run {kind}/{name:.80} has none")
        return FileResponse(path, media_type="text/html", headers={**HEADERS, "Content-Security-Policy": REPORT_POLICY})

    @router.get("/room/static/{file}")
    async def static(file: str) -> Response:
        """Send a file of the pages."""
        if file not in files:
            raise HTTPException(404, f"the room has no file {file!r:.80}")
        path = files[file]
        headers = {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-cache"}
        return FileResponse(path, media_type=_TYPES[path.suffix], headers=headers)

    @router.get("/login")
    async def login() -> Response:
        """Lead to the first page. It is asked for only where the server has no token."""
        return RedirectResponse("/room", 303)

    @router.get("/room/{rest:path}")
    async def nothing(rest: str) -> Response:
        """Say that there is no such page."""
        raise HTTPException(404, f"the room has no page /room/{rest:.80}")

    return router


def _page(template: str, status: int = 200, **values: Any) -> HTMLResponse:
    return HTMLResponse(_TEMPLATES.get_template(template).render(**values), status, HEADERS)
