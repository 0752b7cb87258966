"""Routes for whoever runs the server: whether it is ready, and what it has counted."""

from collections.abc import Callable

from fastapi import APIRouter
from fastapi.responses import JSONResponse, Response

from ml_trainer_env.server.operations.metrics import CONTENT_TYPE_LATEST, Telemetry

__all__ = ["probe_routes"]


def probe_routes(
    telemetry: Telemetry, is_ready: Callable[[], bool], trouble: Callable[[], str | None] = lambda: None
) -> APIRouter:
    """`GET /ready` and `GET /metrics`.

    Args:
        telemetry: What has been counted.
        is_ready: Whether a call would be worked on now.
        trouble: Why it would not, in words; None if the server is just starting.
    """
    router = APIRouter(tags=["Health"])

    @router.get("/ready", summary="Readiness", responses={503: {"description": "The server is starting"}})
    async def ready() -> JSONResponse:
        """Whether calls are worked on: a server that is healthy may still be starting its workers."""
        if is_ready():
            return JSONResponse({"status": "ready"})
        reason = trouble()
        if reason is None:
            return JSONResponse({"status": "starting"}, 503)
        return JSONResponse({"status": "not ready", "reason": reason}, 503)

    @router.get("/metrics", summary="Figures for Prometheus", response_class=Response)
    async def metrics() -> Response:
        """What the server has counted, in the text format of Prometheus."""
        return Response(telemetry.exposition(), media_type=CONTENT_TYPE_LATEST)

    return router
