"""Receives and removes the files of a competition, for the endpoints of both protocols."""

import io
import json
from typing import Any

from fastapi import Request
from fastapi.concurrency import run_in_threadpool
from pydantic import ValidationError

from ml_trainer_env.arena.audit import record
from ml_trainer_env.arena.competitions import service
from ml_trainer_env.arena.competitions.config import FILE, apply_file, forget_file
from ml_trainer_env.arena.competitions.images import IMAGE_START, image_type
from ml_trainer_env.arena.competitions.repository import competition_files, own_competition
from ml_trainer_env.arena.competitions.schemas import FileContent
from ml_trainer_env.arena.errors import RefusedError, TooLargeError
from ml_trainer_env.arena.files.names import file_name
from ml_trainer_env.arena.files.uploads import read_form, timed, too_large_error, uploaded_file
from ml_trainer_env.arena.services import Services
from ml_trainer_env.arena.tables import FilePurpose
from ml_trainer_env.server.security.bodies import BodyTooLargeError, read_body

__all__ = ["delete_file", "receive_file", "receive_image", "receive_picture"]

_IMAGE_BYTES = 5 * 2**20
_JSON_BYTES = 8 * 2**20
"""A text file of 2 MB, escaped as JSON."""


async def receive_file(
    cid: int, purpose: FilePurpose, user_id: int, services: Services, request: Request
) -> dict[str, Any]:
    """Add or replace a file of a competition, from a form or from JSON. challenge.toml is applied when it is kept.

    Returns:
        The reply to the creator: the name and the size of the file, all files, and what is wrong with a source.

    Raises:
        NotFoundError: The competition does not exist, or the user may not edit it.
        RefusedError: The competition has started, the request is not valid, or challenge.toml cannot be applied.
        TooLargeError: The file is too large.
    """
    limit = await run_in_threadpool(_upload_limit, cid, user_id, services)
    async with services.upload_locks.of(user_id):
        name, sha256, size = await _read_file(limit, user_id, services, request)
        return await run_in_threadpool(_keep_file, cid, purpose, user_id, services, name, sha256, size)


async def _read_file(limit: int, user_id: int, services: Services, request: Request) -> tuple[str, str, int]:
    """Read and store a file from a form or from JSON. Returns its name, SHA-256 and size."""
    if request.headers.get("content-type", "").startswith("application/json"):
        try:
            body = await read_body(timed(request.receive), _JSON_BYTES)
            wanted = FileContent.model_validate(json.loads(body or b""))
        except BodyTooLargeError as error:
            raise TooLargeError(str(error)) from error
        except (ValueError, ValidationError, RecursionError) as error:
            raise RefusedError("the body should be JSON with `filename` and `content`") from error
        name, content = file_name(wanted.filename), wanted.content.encode(errors="replace")
        if len(content) > limit:
            raise too_large_error(limit)
        return name, *await run_in_threadpool(services.store_upload, user_id, io.BytesIO(content), len(content))
    form = await read_form(request, limit)
    try:
        name, file = uploaded_file(form)
        return name, *await run_in_threadpool(services.store_upload, user_id, file.file, file.size or 0)
    finally:
        await form.close()


def _keep_file(
    cid: int, purpose: FilePurpose, user_id: int, services: Services, name: str, sha256: str, size: int
) -> dict[str, Any]:
    problem = services.sources.find_problem(name, sha256, size)
    with services.database.transaction(by=user_id) as session:
        own = own_competition(session, cid, user_id)
        is_config = purpose is FilePurpose.ENV and name == FILE
        if is_config:
            apply_file(session, own, services.blobs.get(sha256), services.settings.max_upload_bytes)
        service.keep_file(session, own, purpose, name, sha256, size, while_started=is_config)
        record(session, user_id, f"competition.{purpose}", f"{cid} {name}", cid)
        files = [file.name for file in competition_files(session, cid, purpose)]
    return {"filename": name, "size": size, "files": files, "validation": problem or "ok"}


def _upload_limit(cid: int, user_id: int, services: Services) -> int:
    with services.database.transaction(read_only=True) as session:
        return service.settings_of(own_competition(session, cid, user_id)).max_upload_size_bytes


def _set_image(cid: int, user_id: int, services: Services, sha256: str) -> None:
    with services.database.transaction(by=user_id) as session:
        own_competition(session, cid, user_id).image_sha256 = sha256
        record(session, user_id, "competition.image", f"{cid} {sha256}", cid)


async def receive_image(cid: int, user_id: int, services: Services, request: Request) -> tuple[str, int]:
    """Set the picture of a competition. Returns its SHA-256 and its size in bytes.

    Raises:
        NotFoundError: The competition does not exist, or the user may not edit it.
        RefusedError: It is not a PNG, JPEG, GIF or WebP.
        TooLargeError: It is too large.
    """
    await run_in_threadpool(_upload_limit, cid, user_id, services)
    sha256, size = await receive_picture(user_id, services, request)
    await run_in_threadpool(_set_image, cid, user_id, services, sha256)
    return sha256, size


async def receive_picture(user_id: int, services: Services, request: Request) -> tuple[str, int]:
    """Store a picture that a user uploads. Returns its SHA-256 and its size in bytes.

    Raises:
        RefusedError: It is not a PNG, JPEG, GIF or WebP.
        TooLargeError: It is too large.
    """
    async with services.upload_locks.of(user_id):
        form = await read_form(request, _IMAGE_BYTES)
        try:
            _, file = uploaded_file(form)
            image_type(await file.read(IMAGE_START))
            await file.seek(0)
            return await run_in_threadpool(services.store_upload, user_id, file.file, file.size or 0)
        finally:
            await form.close()


def delete_file(cid: int, purpose: FilePurpose, filename: str, user_id: int, services: Services) -> None:
    """Remove a file of a competition.

    Raises:
        NotFoundError: The competition or the file does not exist, or the user may not edit it.
        RefusedError: The competition has started, or the file is the environment itself.
    """
    name = file_name(filename)
    with services.database.transaction(by=user_id) as session:
        own = own_competition(session, cid, user_id)
        if purpose is FilePurpose.ENV and name == "env.py":
            raise RefusedError("env.py cannot be deleted: upload another one")
        service.remove_file(session, own, purpose, name)
        if purpose is FilePurpose.ENV and name == FILE:
            forget_file(own)
        record(session, user_id, f"competition.{purpose}.delete", f"{cid} {name}", cid)
