"""The file of an exported episode: its facts and calls as JSON, and states that it may continue from.

The file is one line of text and a zip archive. The line has the SHA-256 of the archive, so that no byte can change
unnoticed. Programs that read zip archives read the file, too.
"""

import hashlib
import io
import json
import re
import struct
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ml_trainer_env.errors import MLTrainerError
from ml_trainer_env.server.store.damage import DamagedError, check_value
from ml_trainer_env.server.store.episode_checks import check_episode, check_key, check_time
from ml_trainer_env.server.store.records import CallRecord, JournaledEpisode
from ml_trainer_env.server.store.rows import call_from_row, call_to_row, header_from_row, header_to_row

__all__ = ["MAX_FILE_BYTES", "EpisodeFile", "EpisodeFileError", "call_to_text", "pack_file", "unpack_file"]

_VERSION = 1
_FIRST_LINE = re.compile(rb"ml-trainer-episode (\d+) ([0-9a-f]{64})\n")
_LONGEST_LINE = 128
_EPISODE = "episode.json"
_STATES = "states/"
_STATE_SUFFIX = ".safetensors"

MAX_FILE_BYTES = 2_000_000_000
"""Limit for the file. Its states are not compressed, so they are no larger than the file."""

MAX_EPISODE_BYTES = 256_000_000
"""Limit for the facts and calls, unpacked. The replies of an episode's calls are bounded, and so is their number."""

_JSON_COLUMNS = frozenset({"versions", "arguments", "reply", "epochs", "withheld"})
"""Columns of the journal that have JSON as text. In the file they are JSON."""


_MALFORMED = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    DamagedError,
    AttributeError,
    EOFError,
    KeyError,
    OverflowError,
    RuntimeError,  # an archive with a password, a compression that is unknown, JSON that is nested too deep
    TypeError,
    ValueError,
)
"""What reading a file raises whose checksum is right and whose content is wrong."""


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
    if len(content) > MAX_FILE_BYTES:
        raise EpisodeFileError(f"the file of an episode has at most {MAX_FILE_BYTES:,} bytes, got {len(content):,}")
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
    except _MALFORMED as error:
        raise EpisodeFileError(f"the file of the episode is malformed: {error}") from error


def call_to_text(call: CallRecord) -> str:
    """Return a call as the text in which it is compared and exported. NaN is equal to itself."""
    return json.dumps(_call_to_json(call), sort_keys=True, default=repr)


def _call_to_json(call: CallRecord) -> dict[str, Any]:
    row = call_to_row(0, 0, call)
    del row["episode"], row["number"]
    return {**row, "withheld": None if call.withheld is None else dict(call.withheld)}


def _read(archive: zipfile.ZipFile) -> EpisodeFile:
    found = check_value("episode", json.loads(_read_member(archive, _EPISODE, MAX_EPISODE_BYTES)), dict)
    header = header_from_row(str(found["header"]["name"]), _as_row(found["header"]))
    calls = tuple(
        call_from_row(header.name, number, _as_row({**call, "number": number}))
        for number, call in enumerate(check_value("calls", found["calls"], list), 1)
    )
    episode = JournaledEpisode(header, calls)
    check_episode(episode)
    begun_at = check_time("begun_at", check_value("begun_at", found["begun_at"], float | int))
    return EpisodeFile(episode, begun_at, _read_states(archive))


def _read_states(archive: zipfile.ZipFile) -> dict[str, bytes]:
    states: dict[str, bytes] = {}
    left = MAX_FILE_BYTES
    for member in archive.infolist():
        if member.filename.startswith(_STATES):
            key = check_key(member.filename.removeprefix(_STATES).removesuffix(_STATE_SUFFIX))
            if member.compress_type != zipfile.ZIP_STORED:
                raise ValueError(f"the model {key} is compressed")
            states[key] = _read_member(archive, member.filename, left)
            left -= len(states[key])
    return states


def _read_member(archive: zipfile.ZipFile, name: str, limit: int) -> bytes:
    """Return a file of the archive. No more than the limit is unpacked, whatever size the archive names."""
    with archive.open(name) as member:
        content = member.read(limit + 1)
    if len(content) > limit:
        raise ValueError(f"{name} unpacks to more than {limit:,} bytes")
    return content


def _as_row(fields: Mapping[str, Any]) -> Any:
    """Return a JSON object as a row of the database."""
    return {
        name: json.dumps(value) if name in _JSON_COLUMNS and value is not None else value
        for name, value in fields.items()
    }
