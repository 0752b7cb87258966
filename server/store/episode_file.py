"""The file of an exported episode: its facts and calls as JSON, and states that it may continue from.

The file is one line of text and a zip archive. The line has the SHA-256 of the archive, so that no byte can change
unnoticed. Programs that read zip archives read the file, too.
"""

import hashlib
import io
import json
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ml_trainer_env.errors import MLTrainerError
from ml_trainer_env.server.store.damage import DamagedError, check_value
from ml_trainer_env.server.store.records import CallRecord, JournaledEpisode
from ml_trainer_env.server.store.rows import call_from_row, call_to_row, header_from_row, header_to_row

__all__ = ["EpisodeFile", "EpisodeFileError", "call_to_text", "pack_file", "unpack_file"]

_VERSION = 1
_FIRST_LINE = re.compile(rb"ml-trainer-episode (\d+) ([0-9a-f]{64})\n")
_LONGEST_LINE = 128
_EPISODE = "episode.json"
_STATES = "states/"
_STATE_SUFFIX = ".safetensors"

MAX_UNPACKED_BYTES = 2_000_000_000
"""Limit for the files of the archive together."""


class EpisodeFileError(MLTrainerError, ValueError):
    """The file of an episode is damaged, or of another version. The message says what is wrong."""


@dataclass(frozen=True, slots=True)
class EpisodeFile:
    """The content of a file.

    Attributes:
        episode: The episode with all its calls.
        begun_at: When it began, in seconds since 1970.
        states: Contents of safetensors files by the key of the state. Missing states are computed again.
    """

    episode: JournaledEpisode
    begun_at: float
    states: Mapping[str, bytes] = field(default_factory=dict)


def pack_file(file: EpisodeFile) -> bytes:
    """Return the bytes of a file."""
    episode = {
        "header": header_to_row(file.episode.header),
        "begun_at": file.begun_at,
        "calls": [_call_to_json(call) for call in file.episode.calls],
    }
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        text = json.dumps(episode, default=repr).encode()
        archive.writestr(zipfile.ZipInfo(_EPISODE), text, zipfile.ZIP_DEFLATED)
        for key, content in sorted(file.states.items()):
            archive.writestr(zipfile.ZipInfo(f"{_STATES}{key}{_STATE_SUFFIX}"), content)  # weights hardly compress
    content = buffer.getvalue()
    return b"ml-trainer-episode %d %s\n" % (_VERSION, hashlib.sha256(content).hexdigest().encode()) + content


def unpack_file(content: bytes) -> EpisodeFile:
    """Return the content of a file.

    Raises:
        EpisodeFileError: It is no such file, has another version, or is damaged.
    """
    line = _FIRST_LINE.match(content[:_LONGEST_LINE])
    if line is None:
        raise EpisodeFileError("this is not the file of an exported episode, or its beginning is damaged")
    version, digest = line.groups()
    if int(version) != _VERSION:
        raise EpisodeFileError(f"the file of the episode has version {int(version)}; this program reads {_VERSION}")
    archived = memoryview(content)[line.end() :]
    if hashlib.sha256(archived).hexdigest().encode() != digest:
        raise EpisodeFileError("the file of the episode is damaged: its checksum is wrong; copy or export it again")
    try:
        return _read(zipfile.ZipFile(io.BytesIO(archived)))
    except (zipfile.BadZipFile, DamagedError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise EpisodeFileError(f"the file of the episode is malformed: {error}") from error


def call_to_text(call: CallRecord) -> str:
    """Return a call as the text in which it is compared and exported. NaN is equal to itself."""
    return json.dumps(_call_to_json(call), sort_keys=True, default=repr)


def _call_to_json(call: CallRecord) -> dict[str, Any]:
    row = call_to_row(0, 0, call)
    del row["episode"], row["number"]
    return {**row, "withheld": None if call.withheld is None else dict(call.withheld)}


def _read(archive: zipfile.ZipFile) -> EpisodeFile:
    if sum(member.file_size for member in archive.infolist()) > MAX_UNPACKED_BYTES:
        raise ValueError(f"it unpacks to more than {MAX_UNPACKED_BYTES:,} bytes")
    found = check_value("episode", json.loads(archive.read(_EPISODE)), dict)
    header = header_from_row(str(found["header"]["name"]), _as_row(found["header"]))
    calls = tuple(
        call_from_row(header.name, number, _as_row({**call, "number": number}))
        for number, call in enumerate(check_value("calls", found["calls"], list), 1)
    )
    states = {
        name.removeprefix(_STATES).removesuffix(_STATE_SUFFIX): archive.read(name)
        for name in archive.namelist()
        if name.startswith(_STATES)
    }
    return EpisodeFile(
        JournaledEpisode(header, calls), float(check_value("begun_at", found["begun_at"], float)), states
    )


def _as_row(fields: Mapping[str, Any]) -> Any:
    """Return a JSON object as a row of the database, in which objects and lists are text."""
    return {name: json.dumps(value) if isinstance(value, dict | list) else value for name, value in fields.items()}
