"""Routes that this service does not serve, refused in words.

These are chat challenges, which need a language model and pay in euros; GitHub sync, which needs requests to another
host; and every route that is not known, such as those that mlarena-sdk had only in versions 2 and 3.
"""

from typing import NoReturn

from fastapi import APIRouter

from ml_trainer_env.arena.errors import NotFoundError, RefusedError

__all__ = ["SERVED", "router"]

SERVED = "mlarena-sdk 0.2.0 to 1.0.0 and 4.6.0"
"""The versions of the official SDK that this service serves."""

METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]

router = APIRouter(include_in_schema=False)


@router.api_route("/api/chat/{rest:path}", methods=METHODS, response_model=None)
def chat() -> NoReturn:
    """Refuse chat challenges."""
    raise RefusedError("this service has no chat challenges: they need a language model, and accounts in euros")


@router.api_route("/api/data_sources/{rest:path}", methods=METHODS, response_model=None)
def data_sources() -> NoReturn:
    """Refuse live data."""
    raise RefusedError("this service has no live data: it makes no requests to other hosts")


@router.api_route("/api/{rest:path}", methods=METHODS, response_model=None)
def unknown() -> NoReturn:
    """Tell the caller of an unknown route which clients are served."""
    raise NotFoundError(
        f"this service has no such route. It serves {SERVED}; other versions have routes of their own: "
        "`pip install mlarena-sdk==4.6.0`"
    )
