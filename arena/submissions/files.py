"""Receives the files of a submission, for the endpoints of both protocols."""

from typing import Any, BinaryIO

from fastapi import Request
from fastapi.concurrency import run_in_threadpool

from ml_trainer_env.arena.audit import record
from ml_trainer_env.arena.competitions.schemas import CompetitionSettings
from ml_trainer_env.arena.competitions.service import settings_of
from ml_trainer_env.arena.files.archives import is_archive, open_archive
from ml_trainer_env.arena.files.names import file_path
from ml_trainer_env.arena.files.uploads import read_form, uploaded_file
from ml_trainer_env.arena.services import Services
from ml_trainer_env.arena.submissions import service
from ml_trainer_env.arena.submissions.repository import agent_files, own_agent
from ml_trainer_env.arena.tables import Agent

__all__ = ["parse_ahead", "receive_file", "store_files"]


async def receive_file(request: Request, services: Services, user_id: int, cid: int, aid: int) -> tuple[Agent, str]:
    """Add or replace files of a submission, or delete the file that the form field `delete_file` names.

    A file may be called by a path, such as `models/net.py`. A .zip archive is unpacked: its files are added or replaced
    all together, or none of them.

    Returns:
        The submission after the change, and what was done.

    Raises:
        NotFoundError: The submission or the file to delete does not exist.
        RefusedError: The form, a name or the archive is not valid, or the submission would have too many files or two
            that are the same file on some systems.
        TooLargeError: The file is too large.
        TooManyError: The user's upload limit is exhausted.
    """
    settings = await run_in_threadpool(_settings, services, user_id, cid, aid)
    async with services.upload_locks.of(user_id):
        form = await read_form(request, settings.max_upload_size_bytes)
        try:
            return await run_in_threadpool(_change_files, services, user_id, cid, aid, settings, form)
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


def store_files(
    services: Services, user_id: int, settings: CompetitionSettings, name: str, stream: BinaryIO, size: int
) -> dict[str, tuple[str, int]]:
    """Store an uploaded file, or the files of an uploaded archive. They belong to no submission yet.

    Args:
        services: The components of the service.
        user_id: Who uploads it.
        settings: Settings of the competition, which limit the number of files and their size.
        name: Name or path of the file. A name that ends in .zip is that of an archive.
        stream: The file.
        size: Its size in bytes.

    Returns:
        SHA-256 and size in bytes of each file, by its path.

    Raises:
        RefusedError: The path or the archive is not valid.
        NoRoomError: The disk is nearly full.
        TooManyError: The user's daily upload limit is exhausted.
    """
    if not is_archive(name):
        return {file_path(name): services.store_upload(user_id, stream, size)}
    archive = open_archive(stream, size, settings.max_upload_files, settings.max_upload_size_bytes)
    files = {}
    for member in archive.members:
        with archive.reading(member) as content:
            files[member.path] = services.store_upload(user_id, content, member.info.file_size)
    return files


def _settings(services: Services, user_id: int, cid: int, aid: int) -> CompetitionSettings:
    with services.database.transaction(read_only=True) as session:
        return settings_of(own_agent(session, aid, user_id, cid).competition)


def _change_files(
    services: Services, user_id: int, cid: int, aid: int, settings: CompetitionSettings, form: Any
) -> tuple[Agent, str]:
    deleted_name = form.get("delete_file")
    if isinstance(deleted_name, str):
        parse_ahead(services, user_id, aid)
        with services.database.transaction(by=user_id) as session:
            agent = own_agent(session, aid, user_id, cid)
            service.delete_file(session, agent, deleted_name, services.sources)
            record(session, user_id, "agent.file.delete", f"{aid} {deleted_name}", cid)
            return agent, f"{deleted_name} was deleted"
    name, file = uploaded_file(form, str)
    files = store_files(services, user_id, settings, name, file.file, file.size or 0)
    parse_ahead(services, user_id, aid, *((path, *kept) for path, kept in files.items()))
    with services.database.transaction(by=user_id) as session:
        agent = own_agent(session, aid, user_id, cid)
        service.keep_files(session, agent, files, services.sources)
        for path, (sha256, _) in files.items():
            record(session, user_id, "agent.file", f"{aid} {path} {sha256}", cid)
        return agent, f"{', '.join(list(files)[:20])} uploaded" if is_archive(name) else f"{name} was uploaded"
