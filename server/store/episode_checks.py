"""Checks an episode that comes from a file, where every value may have been edited.

What the journal reads from its own rows is checked by `rows`. A file is trusted less: its keys name objects of the
place of states, and its times are shown by commands.
"""

import re

from ml_trainer_env.server.store.damage import check_value
from ml_trainer_env.server.store.records import CallRecord, JournaledEpisode, RecordedUnit

__all__ = ["check_episode", "check_key", "check_time"]

_KEY = re.compile(r"[0-9A-Za-z_-]{1,128}")
_HASH = re.compile(r"[0-9A-Za-z]{0,128}")
_MAX_TIME_S = 1e11
"""The year 5138, which calendars can still show."""

_MAX_WHOLE = 2**63
"""Whole figures are times in microseconds and counts."""


def check_episode(episode: JournaledEpisode) -> None:
    """Check the values of an episode that `rows` leaves unchecked.

    Raises:
        ValueError: A value is out of bounds. The message names it.
    """
    header = episode.header
    for name, fact in header.versions.items():
        check_value(f"version of {name}", fact, str)
    for text in (header.task, header.rubric, header.data, header.forked_from or ""):
        if not text.isprintable():
            raise ValueError(f"its header has the text {text!r:.60}")
    for number, call in enumerate(episode.calls, 1):
        try:
            _check_call(call)
        except ValueError as error:
            raise ValueError(f"in call {number} {error}") from error


def check_key(key: str) -> str:
    """Return the key of a state if it may name an object. Raises ValueError."""
    if not _KEY.fullmatch(key):
        raise ValueError(f"a key is {key!r:.60}")
    return key


def check_time(name: str, value: float) -> float:
    """Return a time in seconds if it is one that can be shown. Raises ValueError."""
    if not 0 <= value <= _MAX_TIME_S:  # NaN is refused, too
        raise ValueError(f"its {name} is {value!r:.60}")
    return float(value)


def _check_call(call: CallRecord) -> None:
    check_time("at", call.at)
    _check_hash("weights_hash", call.weights_hash or "")
    if call.reply is not None:
        check_value("score", call.reply.get("score"), float | int | None)
    for unit in call.units:
        _check_unit(unit)


def _check_unit(unit: RecordedUnit) -> None:
    check_key(unit.figures.key)
    _check_hash("digest", unit.figures.digest)
    _check_hash("identity", unit.identity)
    check_time("seconds", unit.figures.seconds)
    for name, figure in unit.figures.figures.items():
        if isinstance(figure, int) and abs(figure) > _MAX_WHOLE:
            raise ValueError(f"its {name} is {figure!r:.60}")


def _check_hash(name: str, text: str) -> None:
    if not _HASH.fullmatch(text):
        raise ValueError(f"its {name} is {text!r:.60}")
