"""Forms with a file: bounded in bytes and in number while they come, not after."""

from collections.abc import Awaitable, Callable

from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import Message

from ml_trainer_env.arena.errors import RefusedError, TooLargeError
from ml_trainer_env.arena.files.names import file_name

__all__ = ["read_form", "the_file", "too_large"]

_AROUND = 16 * 1024
"""Bytes that a form may have around its file."""

_DRAINED = 2**31
"""Of a body that is too large so much is read before the connection is closed on it."""


async def read_form(request: Request, max_file_bytes: int) -> FormData:
    """Read a form, multipart or urlencoded, with one file at the most.

    Raises:
        TooLargeError: It has more bytes than that.
        RefusedError: It is no form.
    """
    announced = request.headers.get("content-length", "")
    if announced.isdigit() and int(announced) > max_file_bytes + _AROUND:
        await _drain(request.receive)
        raise too_large(max_file_bytes)
    bounded = Request(request.scope, _bounded(request.receive, max_file_bytes + _AROUND, max_file_bytes))
    try:
        form = await bounded.form(max_files=1, max_fields=8, max_part_size=_AROUND)
    except TooLargeError:
        await _drain(request.receive)
        raise
    except HTTPException as error:
        raise RefusedError(str(error.detail)) from error
    except (UnicodeError, LookupError) as error:
        raise RefusedError("the form names an encoding that it does not have") from error
    for value in form.values():
        if isinstance(value, UploadFile) and (value.size or 0) > max_file_bytes:
            await form.close()
            raise too_large(max_file_bytes)
    return form


def the_file(form: FormData) -> tuple[str, UploadFile]:
    """The field `file`, and its name.

    Raises:
        RefusedError: There is none, or its name is no plain one.
    """
    file = form.get("file")
    if not isinstance(file, UploadFile):
        raise RefusedError("the form should have a field `file` with a file")
    return file_name(file.filename or ""), file


def too_large(limit: int) -> TooLargeError:
    """What is said of a file that is too large, in bytes."""
    return TooLargeError(f"a file may have {limit} bytes at the most")


async def _drain(receive: Callable[[], Awaitable[Message]]) -> None:
    """Take what still comes, and forget it: a client that is sending would not see an answer before it is done."""
    taken, more = 0, True
    while more and taken < _DRAINED:
        message = await receive()
        taken += len(message.get("body", b""))
        more = message["type"] == "http.request" and message.get("more_body", False)


def _bounded(receive: Callable[[], Awaitable[Message]], limit: int, told: int) -> Callable[[], Awaitable[Message]]:
    taken = 0

    async def bounded() -> Message:
        nonlocal taken
        message = await receive()
        taken += len(message.get("body", b""))
        if taken > limit:
            raise too_large(told)
        return message

    return bounded
