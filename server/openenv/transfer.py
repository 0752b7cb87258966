"""The orchestrator's HTTP surface for moving episodes, beside OpenEnv's own.

No tool of an agent leads here, and the token that agents have does not open it: `TokenMiddleware` admits operators.
"""

from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, Response

from ml_trainer_env.server.episodes.transfer import EpisodeTransfer
from ml_trainer_env.server.executors.contract import ExecutorError
from ml_trainer_env.server.security.bodies import IMPORT_PATH
from ml_trainer_env.server.security.tokens import EXPORT_PATH
from ml_trainer_env.server.store import ExportError, NoSuchEpisodeError
from ml_trainer_env.server.store.episode_file import EpisodeFileError

__all__ = ["transfer_routes"]

Name = Annotated[str, Query(min_length=1, max_length=128, description="The episode's name")]


def transfer_routes(transfer: EpisodeTransfer) -> APIRouter:
    """Return the routes. They are for the application at the root and serve the episodes of all games.

    Args:
        transfer: Exports and imports episodes.
    """
    router = APIRouter(include_in_schema=False)

    @router.post(EXPORT_PATH)
    async def export(name: Name, states: bool = True) -> Response:
        """Take an episode away from this server. The body of the response is its file."""
        try:
            content = await transfer.export(name, states)
        except NoSuchEpisodeError as error:
            return _refusal(404, error)
        except ExportError as error:
            return _refusal(409, error)
        return Response(content, media_type="application/octet-stream", headers={"Cache-Control": "no-store"})

    @router.post(IMPORT_PATH)
    async def import_(request: Request) -> Response:
        """Record the episode of a file, which is the body of the request."""
        try:
            episode = await transfer.import_(await request.body())
        except EpisodeFileError as error:
            return _refusal(422, error)
        except ExportError as error:
            return _refusal(409, error)
        except ExecutorError as error:
            return _refusal(503, error)
        header = episode.header
        return JSONResponse({"episode_id": header.name, "task_id": header.task, "calls": len(episode.calls)})

    return router


def _refusal(status: int, error: Exception) -> JSONResponse:
    return JSONResponse({"detail": str(error)}, status)
