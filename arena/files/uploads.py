"""Reads forms with a file. Limits are enforced while the body arrives."""

import asyncio
from collections.abc import Awaitable, Callable

from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import Message

from ml_trainer_env.arena.errors import RefusedError, SlowBodyError, TooLargeError
from ml_trainer_env.arena.files.names import file_name

__all__ = ["read_form", "timed", "too_large_error", "uploaded_file"]

_FORM_OVERHEAD_BYTES = 16 * 1024
"""Bytes allowed for the rest of a form, besides its file."""

_FILE_OVERHEAD_BYTES = 512
"""Bytes allowed for the head of a file in a form."""

_MAX_DRAIN_BYTES = 2**31
"""Bytes of a too large body that are read before the connection is closed."""

BODY_S = 60.0
BYTES_PER_S = 10_000
"""A body may take a minute, and a second more for each 10 kB that have come."""


async def read_form(request: Request, max_file_bytes: int, max_files: int = 1) -> FormData:
    """Read a multipart or urlencoded form with files.

    Args:
        request: The request.
        max_file_bytes: Maximum size of all files together, in bytes.
        max_files: Maximum number of files.

    Raises:
        TooLargeError: The files are larger than `max_file_bytes`.
        SlowBodyError: The body comes too slowly.
        RefusedError: The body is not a valid form.
    """
    receive = timed(request.receive)
    most = max_file_bytes + _FORM_OVERHEAD_BYTES + max_files * _FILE_OVERHEAD_BYTES
    announced = request.headers.get("content-length", "")
    if announced.isdigit() and int(announced) > most:
        await _drain(receive)
        raise too_large_error(max_file_bytes)
    bounded = Request(request.scope, _bounded(receive, most, max_file_bytes))
    try:
        form = await bounded.form(max_files=max_files, max_fields=8, max_part_size=_FORM_OVERHEAD_BYTES)
    except TooLargeError:
        await _drain(receive)
        raise
    except HTTPException as error:
        raise RefusedError(str(error.detail)) from error
    except (UnicodeError, LookupError) as error:
        raise RefusedError("the form names an encoding that it does not have") from error
    for value in form.values():
        if isinstance(value, UploadFile) and (value.size or 0) > max_file_bytes:
            await form.close()
            raise too_large_error(max_file_bytes)
    return form


def uploaded_file(form: FormData, name_of: Callable[[str], str] = file_name) -> tuple[str, UploadFile]:
    """Get the field `file` with its validated name.

    Args:
        form: The form.
        name_of: Validates the name.

    Raises:
        RefusedError: The field is missing, or the file name is not allowed.
    """
    file = form.get("file")
    if not isinstance(file, UploadFile):
        raise RefusedError("the form should have a field `file` with a file")
    return name_of(file.filename or ""), file


def too_large_error(limit: int) -> TooLargeError:
    """Create the error for a file that is larger than a limit in bytes."""
    return TooLargeError(f"a file may have {limit} bytes at the most")


def timed(receive: Callable[[], Awaitable[Message]], body_s: float = BODY_S) -> Callable[[], Awaitable[Message]]:
    """Limit the time of a body: `body_s` seconds, and a second more for each 10 kB that have come.

    Args:
        receive: The channel of the request.
        body_s: Seconds for a small body.

    Returns:
        A channel that raises `SlowBodyError` when the time is over.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + body_s

    async def receive_in_time() -> Message:
        nonlocal deadline
        try:
            async with asyncio.timeout_at(deadline):
                message = await receive()
        except TimeoutError:
            raise SlowBodyError("the body comes too slowly") from None
        deadline += len(message.get("body", b"")) / BYTES_PER_S
        return message

    return receive_in_time


async def _drain(receive: Callable[[], Awaitable[Message]]) -> None:
    """Read and discard the rest of a body. A client reads the response only after it has sent its body."""
    taken, more = 0, True
    while more and taken < _MAX_DRAIN_BYTES:
        message = await receive()
        taken += len(message.get("body", b""))
        more = message["type"] == "http.request" and message.get("more_body", False)


def _bounded(
    receive: Callable[[], Awaitable[Message]], limit: int, shown_limit: int
) -> Callable[[], Awaitable[Message]]:
    taken = 0

    async def bounded() -> Message:
        nonlocal taken
        message = await receive()
        taken += len(message.get("body", b""))
        if taken > limit:
            raise too_large_error(shown_limit)
        return message

    return bounded
