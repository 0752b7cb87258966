"""Routes for monitoring: readiness and metrics."""

from collections.abc import Callable

from fastapi import APIRouter
from fastapi.responses import JSONResponse, Response

from ml_trainer_env.server.operations.metrics import CONTENT_TYPE_LATEST, Telemetry

__all__ = ["probe_routes"]


def probe_routes(
    telemetry: Telemetry, is_ready: Callable[[], bool], trouble: Callable[[], str | None] = lambda: None
) -> APIRouter:
    """Return the routes `GET /ready` and `GET /metrics`.

    Args:
        telemetry: The metrics.
        is_ready: Whether the server can handle calls now.
        trouble: Reason why it cannot; None while it starts.
    """
    router = APIRouter(tags=["Health"])

    @router.get("/ready", summary="Readiness", responses={503: {"description": "The server is starting"}})
    async def ready() -> JSONResponse:
        """Whether the server can handle calls. A healthy server may still be starting its workers."""
        if is_ready():
            return JSONResponse({"status": "ready"})
        reason = trouble()
        if reason is None:
            return JSONResponse({"status": "starting"}, 503)
        return JSONResponse({"status": "not ready", "reason": reason}, 503)

    @router.get("/metrics", summary="Metrics for Prometheus", response_class=Response)
    async def metrics() -> Response:
        """Metrics in the text format of Prometheus."""
        return Response(telemetry.exposition(), media_type=CONTENT_TYPE_LATEST)

    return router
