"""The observer's HTTP surface, `/room/api/...`. It reads, and changes nothing. docs/room.md describes it."""

import asyncio
import gzip
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Query, Request
from fastapi.exceptions import HTTPException
from fastapi.responses import PlainTextResponse, Response
from sse_starlette.sse import EventSourceResponse
from starlette.types import Message, Receive, Scope, Send

from ml_trainer_env.server.room.archive import Archive
from ml_trainer_env.server.room.board import Board, encode
from ml_trainer_env.server.room.results import find_run
from ml_trainer_env.server.room.scripts import as_csv, as_json_lines, as_python
from ml_trainer_env.server.room.streams import Streams, TooManyWatchersError
from ml_trainer_env.server.store import NoSuchEpisodeError
from ml_trainer_env.server.store.search import Order, Place, Search

__all__ = ["MAX_PAGE", "api_routes", "place_to_text", "search_of"]

MAX_PAGE = 200
"""Limit for the episodes of a page."""

_HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
_PING_S = 15
_PACKED_FROM_BYTES = 10_000
_PACKING = 5
_STATES = {"finished": True, "unfinished": False}
_MAX_ID = 2**63 - 1

Name = Annotated[str, Query(min_length=1, max_length=128, description="The episode's name")]
Count = Annotated[int, Query(ge=0, le=1_000_000)]
Text = Annotated[str | None, Query(max_length=128)]


def api_routes(archive: Archive, board: Board, streams: Streams, results: Path) -> APIRouter:
    """Return the routes.

    Args:
        archive: The episodes.
        board: The live list.
        streams: The event streams.
        results: The folder with the runs of `ml-trainer-play` and `ml-trainer-bench`.
    """
    router = APIRouter(prefix="/room/api", include_in_schema=False)

    @router.get("/live")
    async def live() -> Response:
        """Return the live episodes."""
        return _json(board.snapshot())

    @router.get("/live/events")
    async def live_events() -> Response:
        """Push the live episodes as they change."""
        return _stream(streams.live)

    @router.get("/episodes")
    async def episodes(
        game: Text = None,
        task: Text = None,
        agent: Text = None,
        state: Text = None,
        order: Order = Order.RECENT,
        after: Text = None,
        limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 50,
    ) -> Response:
        """Return a page of the journal's episodes."""
        search = search_of(archive, game, task, agent, state, order, after, limit)
        rows, following = await archive.search(search)
        return _json(encode({"episodes": rows, "next": place_to_text(following)}))

    @router.get("/episode")
    async def episode(name: Name, request: Request) -> Response:
        """Return an episode: facts, calls, figures, branches and forks."""
        found = await _found(archive.episode, name)
        # A long episode has a megabyte of replies: its text is made in a thread, and compressed.
        return await asyncio.to_thread(_packed_json, found, "gzip" in request.headers.get("Accept-Encoding", ""))

    @router.get("/episode/events")
    async def episode_events(name: Name, rows: Count = 0, calls: Count = 0) -> Response:
        """Push the figures and calls of an episode while it is played."""
        return _stream(lambda: streams.episode(name, rows, calls))

    @router.get("/episode/script")
    async def script(name: Name) -> Response:
        """Return a Python script that repeats the episode."""
        found = await _found(archive.recording, name)
        facts = found["episode"]
        text = as_python(facts, archive.views.of_task(facts["task"]), found["calls"])
        return PlainTextResponse(text, headers=_HEADERS)

    @router.get("/episode/calls.jsonl")
    async def json_lines(name: Name) -> Response:
        """Return the episode and its calls as JSON lines."""
        found = await _found(archive.recording, name)
        text = await asyncio.to_thread(as_json_lines, found["episode"], found["calls"])
        return _download(text, "application/jsonl", name, "calls.jsonl")

    @router.get("/episode/figures.csv")
    async def figures(name: Name) -> Response:
        """Return the figures as CSV."""
        found = await _found(archive.episode, name)
        text = await asyncio.to_thread(as_csv, found["view"]["unit"], found["rows"])
        return _download(text, "text/csv", name, "figures.csv")

    @router.get("/run")
    async def run(kind: Name, name: Name) -> Response:
        """Return the episodes of a run of `ml-trainer-play` or `ml-trainer-bench`, with their curves."""
        found = await asyncio.to_thread(find_run, results, kind, name)
        if found is None:
            raise HTTPException(404, f"there is no run {kind:.80}/{name:.80}")
        return _json(await asyncio.to_thread(encode, asdict(found)))

    @router.get("/{rest:path}")
    async def nothing(rest: str) -> Response:
        """Say that there is no such path."""
        raise HTTPException(404, f"the room has no /room/api/{rest:.80}")

    return router


def search_of(
    archive: Archive,
    game: str | None,
    task: str | None,
    agent: str | None,
    state: str | None,
    order: Order,
    after: str | None,
    limit: int,
) -> Search:
    """Read a search. Empty texts are none.

    Raises:
        HTTPException: A value does not exist (422).
    """
    view = archive.views.find(game) if game else None
    if game and view is None:
        names = ", ".join(one.game for one in archive.views.all)
        raise HTTPException(422, f"game must be one of {names}, got {game!r}")
    if state and state not in _STATES:
        raise HTTPException(422, f"state must be finished or unfinished, got {state!r}")
    return Search(
        task=task or None,
        within=view.tasks if view else (),
        without=archive.views.tasks_beside(view) if view and not view.tasks else (),
        agent=agent or None,
        done=_STATES[state] if state else None,
        order=order,
        after=_place_of(after) if after else None,
        limit=limit,
    )


def place_to_text(place: Place | None) -> str | None:
    """Return a place in a list as text for `after`. None for none."""
    return None if place is None else f"{place.value!r}_{place.id}"


def _place_of(text: str) -> Place:
    value, _, row = text.partition("_")
    with suppress(ValueError):
        place = Place(float(value), int(row))
        if 0 <= place.id <= _MAX_ID and math.isfinite(place.value):
            return place
    raise HTTPException(422, f"after must be `next` of the page before, got {text!r}")


async def _found(find: Callable[[str], Awaitable[dict[str, Any]]], name: str) -> dict[str, Any]:
    try:
        return await find(name)
    except NoSuchEpisodeError as error:
        raise HTTPException(404, str(error)) from error


def _json(text: str) -> Response:
    return Response(text, media_type="application/json", headers=_HEADERS)


def _packed_json(value: Any, may_pack: bool) -> Response:
    """Return JSON, compressed if it is long and the client takes that."""
    content, headers = encode(value).encode(), {**_HEADERS, "Vary": "Accept-Encoding"}
    if may_pack and len(content) >= _PACKED_FROM_BYTES:
        content, headers["Content-Encoding"] = gzip.compress(content, _PACKING), "gzip"
    return Response(content, media_type="application/json", headers=headers)


def _download(text: str, media_type: str, episode: str, filename: str) -> Response:
    """Return a file with the episode's name in its own (RFC 6266; browsers replace what a file system refuses)."""
    named = f"attachment; filename=\"{filename}\"; filename*=UTF-8''{quote(episode, safe='')}-{filename}"
    headers = {**_HEADERS, "Content-Disposition": named}
    return Response(text, media_type=media_type, headers=headers)


def _stream(begin: Any) -> Response:
    try:
        events: AsyncIterator[Any] = begin()
    except TooManyWatchersError as error:
        raise HTTPException(503, str(error), {"Retry-After": "30"}) from error
    return _EventStream(events, ping=_PING_S, headers=_HEADERS)


class _EventStream(EventSourceResponse):
    """Server-sent events that end as a whole response does when the server stops. The library cuts them off."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events, and the end of the body if it was not sent."""
        is_unfinished = False

        async def send_noted(message: Message) -> None:
            nonlocal is_unfinished
            is_unfinished = message["type"] == "http.response.start" or bool(message.get("more_body", False))
            await send(message)

        await super().__call__(scope, receive, send_noted)
        if is_unfinished:
            await send({"type": "http.response.body", "body": b""})
