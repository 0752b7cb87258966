"""Receives the files of a submission, for the endpoints of both protocols."""

from typing import Any

from fastapi import Request
from fastapi.concurrency import run_in_threadpool

from ml_trainer_env.arena.audit import record
from ml_trainer_env.arena.competitions.service import settings_of
from ml_trainer_env.arena.files.uploads import read_form, uploaded_file
from ml_trainer_env.arena.services import Services
from ml_trainer_env.arena.submissions import service
from ml_trainer_env.arena.submissions.repository import agent_files, own_agent
from ml_trainer_env.arena.tables import Agent

__all__ = ["parse_ahead", "receive_file"]


async def receive_file(request: Request, services: Services, user_id: int, cid: int, aid: int) -> tuple[Agent, str]:
    """Add or replace a file of a submission, or delete the file that the form field `delete_file` names.

    Returns:
        The submission after the change, and what was done.

    Raises:
        NotFoundError: The submission or the file to delete does not exist.
        RefusedError: The form or the file name is not valid, or the submission has too many files.
        TooLargeError: The file is too large.
        TooManyError: The user's upload limit is exhausted.
    """
    limit = await run_in_threadpool(_upload_limit, services, user_id, cid, aid)
    async with services.upload_locks.of(user_id):
        form = await read_form(request, limit)
        try:
            return await run_in_threadpool(_change_file, services, user_id, cid, aid, form)
        finally:
            await form.close()


def parse_ahead(services: Services, user_id: int, aid: int, *more: tuple[str, str, int]) -> None:
    """Parse sources before the transaction that needs them, so that the transaction stays short.

    Args:
        services: The components of the service.
        user_id: The owner of the submission.
        aid: The submission.
        more: Names, SHA-256 and sizes of files that will be added.
    """
    with services.database.transaction(read_only=True) as session:
        files = [
            (file.name, file.sha256, file.size) for file in agent_files(session, own_agent(session, aid, user_id).id)
        ]
    services.sources.parse_ahead([*files, *more])


def _upload_limit(services: Services, user_id: int, cid: int, aid: int) -> int:
    with services.database.transaction(read_only=True) as session:
        return settings_of(own_agent(session, aid, user_id, cid).competition).max_upload_size_bytes


def _change_file(services: Services, user_id: int, cid: int, aid: int, form: Any) -> tuple[Agent, str]:
    deleted_name = form.get("delete_file")
    if isinstance(deleted_name, str):
        parse_ahead(services, user_id, aid)
        with services.database.transaction(by=user_id) as session:
            agent = own_agent(session, aid, user_id, cid)
            service.delete_file(session, agent, deleted_name, services.sources)
            record(session, user_id, "agent.file.delete", f"{aid} {deleted_name}")
            return agent, f"{deleted_name} was deleted"
    name, file = uploaded_file(form)
    sha256, size = services.store_upload(user_id, file.file, file.size or 0)
    parse_ahead(services, user_id, aid, (name, sha256, size))
    with services.database.transaction(by=user_id) as session:
        agent = own_agent(session, aid, user_id, cid)
        service.keep_file(session, agent, name, sha256, size, services.sources)
        record(session, user_id, "agent.file", f"{aid} {name} {sha256}")
        return agent, f"{name} was uploaded"
